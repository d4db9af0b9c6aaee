"""`python -m lab`: what bin/lab runs."""

import sys

from lab.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

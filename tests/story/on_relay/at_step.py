"""Runs where a monitor runs: sends it a signal as soon as its journal says that a step of a run is recorded.

python3 - STEP SIGNAL FILE UNIT      prints `waiting` when it listens, then the Unix time of the signal; ends without
FILE
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

step, wanted, number, unit = sys.argv[1], Path(sys.argv[3]), signal.Signals[f"SIG{sys.argv[2]}"], sys.argv[4]
command = ["journalctl", "-q", "-f", "--no-tail", f"--since=@{time.time():.0f}", "-o", "cat", "-u", unit]
follow = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1)
main = int(subprocess.check_output(["systemctl", "show", "--property=MainPID", "--value", unit], text=True))
assert follow.stdout is not None
wanted.touch()


def end_when_nobody_wants_it() -> None:
    while wanted.exists():
        time.sleep(0.2)
    follow.kill()


threading.Thread(target=end_when_nobody_wants_it, daemon=True).start()
print("waiting", flush=True)
for line in follow.stdout:
    if line.startswith("takeover_step ") and f" step={step} " in line:
        if wanted.exists():
            os.kill(main, number)
            print(time.time(), flush=True)
        break
follow.kill()

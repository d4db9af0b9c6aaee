"""Runs on a relay: send the monitor a signal as soon as its journal says that a step of a run is recorded.

python3 - STEP SIGNAL      prints `waiting` when it listens, then the Unix time of the signal
"""

import os
import signal
import subprocess
import sys
import time

step, number = sys.argv[1], signal.Signals[f"SIG{sys.argv[2]}"]
UNIT = "holdfast-monitor"
command = ["journalctl", "-q", "-f", "--no-tail", f"--since=@{time.time():.0f}", "-o", "cat", "-u", UNIT]
follow = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1)
main = int(subprocess.check_output(["systemctl", "show", "--property=MainPID", "--value", UNIT], text=True))
assert follow.stdout is not None
print("waiting", flush=True)
for line in follow.stdout:
    if line.startswith("takeover_step ") and f" step={step} " in line:
        os.kill(main, number)
        print(time.time(), flush=True)
        break
follow.kill()

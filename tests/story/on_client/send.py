"""Runs on client1: hand the letters to its Postfix at a steady rate, and say when each was handed over.

python3 - FOLDER RATE      FOLDER: index.json and one file a letter; RATE: letters a second
"""

import json
import subprocess
import sys
import time
from pathlib import Path

folder, rate = Path(sys.argv[1]), float(sys.argv[2])
index = json.loads((folder / "index.json").read_text())
start = time.time()
done = []
for n, letter in enumerate(index):
    pause = start + n / rate - time.time()
    if pause > 0:
        time.sleep(pause)  # the rate is the point here
    with (folder / letter["file"]).open("rb") as data:
        # -i: a line with a single dot is text; -f "": the empty sender of a notice.
        subprocess.run(
            ["/usr/sbin/sendmail", "-i", "-f", letter["sender"], "--", *letter["recipients"]], stdin=data, check=True
        )
    done.append({"id": letter["id"], "time": time.time()})
print(json.dumps(done))

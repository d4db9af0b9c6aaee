"""Runs on client1: connect to an address again and again, and say when a mail server answered.

python3 - ADDRESS FILE      until FILE exists; a connection every half second, given up after one
"""

import json
import socket
import sys
import time
from pathlib import Path

address, over = sys.argv[1], Path(sys.argv[2])
answered: list[float] = []
failed: dict[str, int] = {}
while not over.exists():
    begin = time.time()
    try:
        with socket.create_connection((address, 25), 1.0) as s:
            s.settimeout(1.0)
            said = s.recv(200).decode(errors="replace")
            if said.startswith("220"):
                answered.append(time.time())
                s.sendall(b"QUIT\r\n")
                s.recv(200)
            else:
                failed[said[:60]] = failed.get(said[:60], 0) + 1
    except OSError as why:
        failed[str(why)] = failed.get(str(why), 0) + 1
    time.sleep(max(0.0, begin + 0.5 - time.time()))  # the rate is the point here
print(json.dumps({"answered": answered, "failed": failed}))

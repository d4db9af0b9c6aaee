"""Runs on a client: somebody connects to an address every second, and says when a mail server greeted him.

python3 - ADDRESS FILE      until FILE exists

Prints {"answered": [Unix seconds, …], "failed": {why: how often}}. Each has a patience of his own: whoever is kept
waiting, by a busy server or by a host that has just lost its power, holds up nobody who comes behind him.
"""

import json
import socket
import sys
import threading
import time
from pathlib import Path

TO_CONNECT, TO_GREET = 3.0, 15.0  # seconds
address, over = sys.argv[1], Path(sys.argv[2])
answered: list[float] = []
failed: dict[str, int] = {}
noting = threading.Lock()


def fails(why: str) -> None:
    with noting:
        failed[why] = failed.get(why, 0) + 1


def connect() -> None:
    try:
        with socket.create_connection((address, 25), TO_CONNECT) as connection:
            connection.settimeout(TO_GREET)
            said = connection.recv(200).decode(errors="replace")
            if not said.startswith("220"):
                return fails(said[:60])
            with noting:
                answered.append(time.time())
            connection.sendall(b"QUIT\r\n")
            connection.recv(200)
    except OSError as why:
        fails(str(why))


everybody: list[threading.Thread] = []
while not over.exists():
    everybody = [one for one in everybody if one.is_alive()] + [threading.Thread(target=connect)]
    everybody[-1].start()
    time.sleep(1.0)  # the rate is the point here
for one in everybody:
    one.join()
print(json.dumps({"answered": sorted(answered), "failed": failed}))

"""Runs on client1: hand all letters to one server as fast as it takes them, and say when each was accepted.

python3 - FOLDER SERVER      FOLDER: index.json and one file a letter
"""

import concurrent.futures
import json
import smtplib
import sys
import time
from pathlib import Path
from typing import Any

CONNECTIONS = 8

folder, server = Path(sys.argv[1]), sys.argv[2]
index = json.loads((folder / "index.json").read_text())


def send(some: list[dict[str, Any]]) -> list[dict[str, Any]]:
    accepted = []
    with smtplib.SMTP(server, 25, local_hostname="client1.outside.example", timeout=120) as smtp:
        for letter in some:
            # Raises for any recipient that is refused: all are to be accepted.
            refused = smtp.sendmail(letter["sender"], letter["recipients"], (folder / letter["file"]).read_bytes())
            if refused:
                raise SystemExit(f"refused: {refused}")
            accepted.append({"id": letter["id"], "time": time.time()})
    return accepted


with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
    parts = pool.map(send, [index[n::CONNECTIONS] for n in range(CONNECTIONS)])
    print(json.dumps([done for part in parts for done in part]))

"""Runs on a client: a user's IMAP session that stays open, with a NOOP every second; on its loss it logs in again.

python3 - CA SERVER USER PASSWORD FILE      until FILE exists

Prints {"opened": [Unix seconds, …], "lost": [[when, why], …], "longest": seconds of the slowest answer,
"peers": [address, …]}.
"""

import contextlib
import imaplib
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any

PATIENCE = 20.0  # seconds for each answer; programs for people wait for a minute and more
ca, server, user, password = sys.argv[1:5]
over = Path(sys.argv[5])
context = ssl.create_default_context(cafile=ca)
told: dict[str, Any] = {"opened": [], "lost": [], "longest": 0.0, "peers": []}
session: imaplib.IMAP4_SSL | None = None
while not over.exists():
    begin = time.time()
    try:
        if session is None:
            session = imaplib.IMAP4_SSL(server, 993, ssl_context=context, timeout=PATIENCE)
            session.login(user, password)
            session.select("INBOX", readonly=True)
            told["opened"].append(time.time())
            told["peers"].append(session.sock.getpeername()[0])
        session.noop()
        told["longest"] = max(told["longest"], time.time() - begin)
    except (OSError, imaplib.IMAP4.error) as why:
        told["lost"].append([time.time(), f"{type(why).__name__}: {why}"[:160]])
        session = None
    time.sleep(max(0.0, begin + 1.0 - time.time()))  # the rate is the point here
if session is not None:
    with contextlib.suppress(OSError, imaplib.IMAP4.error):  # a server that has just gone
        session.logout()
print(json.dumps(told))

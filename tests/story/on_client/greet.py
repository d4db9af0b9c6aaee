"""Runs on client1: opens many IMAP sessions over TLS and keeps them all, and says how many were greeted.

python3 - SERVER CA COUNT      prints {greeted: number, failed: {why: number}}
"""

import imaplib
import json
import ssl
import sys

PATIENCE = 20.0  # seconds for each greeting

server, ca, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
context = ssl.create_default_context(cafile=ca)
sessions: list[imaplib.IMAP4_SSL] = []
failed: dict[str, int] = {}
for _ in range(count):
    try:
        sessions.append(imaplib.IMAP4_SSL(server, 993, ssl_context=context, timeout=PATIENCE))
    except (OSError, imaplib.IMAP4.error) as why:
        failed[str(why)] = failed.get(str(why), 0) + 1
        if sum(failed.values()) == 3:
            break
greeted = len(sessions)
for session in sessions:
    session.logout()
print(json.dumps({"greeted": greeted, "failed": failed}))

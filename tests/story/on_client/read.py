"""Runs on client1: log in over IMAPS as a user would, read every message, and say its id, hash and arrival.

python3 - SERVER CA USER PASSWORD [expunge]
"""

import hashlib
import imaplib
import json
import re
import ssl
import sys

server, ca, user, password = sys.argv[1:5]
context = ssl.create_default_context(cafile=ca)
box = imaplib.IMAP4_SSL(server, 993, ssl_context=context, timeout=60)
box.login(user, password)
found = []
count = int(box.select("INBOX")[1][0] or 0)
# One command for all: with one for each message a mailbox of a thousand keeps its server busy for minutes.
parts = box.fetch("1:*", "(BODY.PEEK[])")[1] if count else []
for raw in (p[1].replace(b"\r\n", b"\n") for p in parts if isinstance(p, tuple)):
    head, _end, body = raw.partition(b"\n\n")
    ident = re.search(rb"^X-Story-Id: *(\S+)", head, re.MULTILINE | re.IGNORECASE)
    # The topmost field is the identity's own: it names the queue entry that this copy comes from.
    entry = re.search(rb"^Received:(?:.|\n[ \t])*?[ \t\n]id (\w+)", head, re.MULTILINE)
    found.append(
        {
            "id": ident.group(1).decode() if ident else None,
            "hash": hashlib.sha256(body.rstrip(b"\n")).hexdigest(),
            "queue": entry.group(1).decode() if entry else None,
            "bounce": b"\nContent-Type: multipart/report" in head,
        }
    )
if len(found) < count:
    sys.exit(f"{user}: {len(found)} of {count} messages were read")
if found and "expunge" in sys.argv[5:]:
    box.store(f"1:{len(found)}", "+FLAGS.SILENT", "\\Deleted")
    box.expunge()
box.logout()
print(json.dumps(found))

"""Runs on a client: reads whole mailboxes as their users would, by IMAP or POP3 over TLS, and says what is in them.

python3 - CA JSON      [{"user", "password", "server", "protocol": "ids", "imap" or "pop3", "expunge": true or not}, …]

One that lies here has `folder` and protocol "maildir". Prints {user: [{id, hash, queue, by, bounce, time}, …]}; `by`:
servers that it has passed, the last one first; `time`: its arrival, Unix seconds, null by POP3. "ids" is IMAP, too, and
tells {id, time} alone: that costs the server hardly more for a thousand letters than for ten, since it keeps the field
that it was asked for before.
"""

import hashlib
import imaplib
import json
import poplib
import re
import ssl
import sys
import time
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # seconds
PATIENCE_TO_EXPUNGE = 300.0  # each letter is renamed and then taken away, by NFS
context = ssl.create_default_context(cafile=sys.argv[1])


def known(raw: bytes, arrived: float | None) -> dict[str, Any]:
    raw = raw.replace(b"\r\n", b"\n")
    head, _, body = raw.partition(b"\n\n")
    ident = re.search(rb"^X-Story-Id: *(\S+)", head, re.MULTILINE | re.IGNORECASE)
    # The topmost field is the last server's own: it names the queue entry that this copy comes from.
    entry = re.search(rb"^Received:(?:.|\n[ \t])*?[ \t\n]id (\w+)", head, re.MULTILINE)
    return {
        "id": ident.group(1).decode() if ident else None,
        "hash": hashlib.sha256(body.rstrip(b"\n")).hexdigest(),
        "queue": entry.group(1).decode() if entry else None,
        "by": [name.decode() for name in re.findall(rb"^Received:(?:.|\n[ \t])*?\bby ([\w.-]+)", head, re.MULTILINE)],
        "bounce": b"\nContent-Type: multipart/report" in head,
        "time": arrived,
    }


def ids(box: dict[str, Any]) -> list[dict[str, Any]]:
    read = imap(box, "BODY.PEEK[HEADER.FIELDS (X-STORY-ID)]")
    return [{"id": message["id"], "time": message["time"]} for message in read]


def imap(box: dict[str, Any], part_of: str = "BODY.PEEK[]") -> list[dict[str, Any]]:
    session = imaplib.IMAP4_SSL(box["server"], 993, ssl_context=context, timeout=PATIENCE)
    session.login(box["user"], box["password"])
    _, (count, *_rest) = session.select("INBOX")
    found: list[tuple[bytes, bytes]] = []
    if int(count or b"0"):
        _, parts = session.fetch("1:*", f"(INTERNALDATE {part_of})")
        for part in parts:
            if isinstance(part, tuple):
                found.append((part[0], part[1]))
            elif found:
                found[-1] = (found[-1][0] + b" " + (part or b""), found[-1][1])
        if box["expunge"]:
            session.sock.settimeout(PATIENCE_TO_EXPUNGE)
            session.store("1:*", "+FLAGS.SILENT", "\\Deleted")
            session.expunge()
    session.logout()
    messages = []
    for words, raw in found:
        moment = imaplib.Internaldate2tuple(words)
        messages.append(known(raw, None if moment is None else time.mktime(moment)))
    return messages


def pop3(box: dict[str, Any]) -> list[dict[str, Any]]:
    session = poplib.POP3_SSL(box["server"], 995, context=context, timeout=PATIENCE)
    session.user(box["user"])
    session.pass_(box["password"])
    count, _ = session.stat()
    messages = []
    for number in range(1, count + 1):
        messages.append(known(b"\n".join(session.retr(number)[1]) + b"\n", None))
        if box["expunge"]:
            session.dele(number)
    session.quit()
    return messages


def maildir(box: dict[str, Any]) -> list[dict[str, Any]]:
    messages = []
    for folder in (Path(box["folder"]) / part for part in ("new", "cur")):
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            messages.append(known(file.read_bytes(), file.stat().st_mtime))
            if box["expunge"]:
                file.unlink()
    return messages


READ = {"ids": ids, "imap": imap, "pop3": pop3, "maildir": maildir}
print(json.dumps({box["user"]: READ[box["protocol"]](box) for box in json.loads(sys.argv[2])}))

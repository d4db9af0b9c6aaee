"""Runs on a client: stays logged in by IMAP and says when each letter is seen, as a user's program does.

python3 - CA SERVER USER PASSWORD FILE      until FILE exists; asks twice a second, and prints {id: Unix seconds}
"""

import imaplib
import json
import re
import ssl
import sys
import time
from pathlib import Path

ca, server, user, password, over = sys.argv[1:6]
session = imaplib.IMAP4_SSL(server, 993, ssl_context=ssl.create_default_context(cafile=ca), timeout=60)
session.login(user, password)
session.select("INBOX", readonly=True)
seen: dict[str, float] = {}
known = 0
while True:
    last = Path(over).exists()
    session.noop()
    count = max((int(number) for number in session.response("EXISTS")[1] or () if number), default=known)
    if count > known:
        now = time.time()
        _, parts = session.fetch(f"{known + 1}:{count}", "(BODY.PEEK[HEADER.FIELDS (X-STORY-ID)])")
        for part in parts:
            if isinstance(part, tuple) and (found := re.search(rb"(?i)x-story-id: *(\S+)", part[1])):
                seen.setdefault(found.group(1).decode(), now)
        known = count
    if last:
        break
    time.sleep(0.5)  # the rate is the point here
session.logout()
print(json.dumps(seen))

"""Runs on the outside: says what is in a Maildir, in the words of read.py.

python3 - FOLDER [expunge]
"""

import hashlib
import json
import re
import sys
from pathlib import Path

found = []
for part in ("new", "cur"):
    folder = Path(sys.argv[1]) / part
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        raw = file.read_bytes().replace(b"\r\n", b"\n")
        head, _, body = raw.partition(b"\n\n")
        ident = re.search(rb"^X-Story-Id: *(\S+)", head, re.MULTILINE | re.IGNORECASE)
        entry = re.search(rb"^Received:(?:.|\n[ \t])*?[ \t\n]id (\w+)", head, re.MULTILINE)
        found.append(
            {
                "id": ident.group(1).decode() if ident else None,
                "hash": hashlib.sha256(body.rstrip(b"\n")).hexdigest(),
                "queue": entry.group(1).decode() if entry else None,
                "bounce": b"\nContent-Type: multipart/report" in head,
                "time": file.stat().st_mtime,
            }
        )
        if "expunge" in sys.argv[2:]:
            file.unlink()
print(json.dumps(found))

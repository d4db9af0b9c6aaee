"""Runs on the active store server: leaves an identity's files as an owner may leave them that has lost its power.

python3 - ROOT IDENTITY IDS MAILDROP      IDS: JSON, names of the test to queue ids, all of them in `hold` but what
was delivered: that is in `kept`, as it was before. MAILDROP: a file of maildrop, base64. Prints JSON.
"""

import base64
import json
import os
import sys
from pathlib import Path

root, identity, ids, maildrop = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), base64.b64decode(sys.argv[4])
queue, mail = root / "queue", root / "mail" / "alpha.example"
POSTFIX, VMAIL = 2001, 2005
COMPLETE, UNFINISHED = 0o700, 0o600  # Postfix makes a queue file executable once it is whole
READABLE = 0o044  # besides, in maildrop


def put(file: Path, data: bytes, mode: int = UNFINISHED, owner: int = POSTFIX) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    os.chown(file, owner, owner)
    file.chmod(mode)


def tear(file: Path) -> None:
    """As a write of which only the beginning has reached the disk."""
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] + bytes(100))


for name in ("active", "incoming", "deferred"):
    (queue / "hold" / ids[name]).rename(queue / name / ids[name])

# In the mailbox, and not out of the queue: with the content from before the delivery.
for name, folder in (("delivered", "active"), ("both", "incoming")):
    before = root / "kept" / ids[name]
    put(queue / folder / ids[name], before.read_bytes(), COMPLETE)
    before.unlink()
(root / "kept").rmdir()

whole = (queue / "active" / ids["active"]).read_bytes()
half, head = whole[: len(whole) // 2], ids["active"][:6]
put(queue / "incoming" / f"{head}0001z1", half)
put(queue / "incoming" / f"{head}0002z2", half, COMPLETE)
put(queue / "active" / f"{head}0003z3", half, COMPLETE)
put(queue / "deferred" / f"{head}0004z4", b"", COMPLETE)
put(queue / "maildrop" / f"{head}0005z5", maildrop, COMPLETE | READABLE, owner=0)
put(queue / "maildrop" / f"{head}0006z6", maildrop[: len(maildrop) // 2], UNFINISHED | READABLE, owner=0)
corrupt = queue / "corrupt" / "0" / f"{head}0007z7"
put(corrupt, half, COMPLETE)
corrupt.parent.chmod(COMPLETE)
os.chown(corrupt.parent, POSTFIX, POSTFIX)
(queue / "pid").unlink()  # a link into the owner's /run; in older queues it is a folder
put(queue / "pid" / "master.pid", b"      4242\n", owner=0)

# The dead owner was amid a delivery: its record is torn or gone, its locks are there, half a letter lies in tmp.
alice, bob = mail / "alice", mail / "bob"
torn = [alice / "Maildir" / "dovecot.index.cache", alice / "Maildir" / "dovecot-uidlist"]
torn += [bob / "Maildir" / "dovecot.index.log", bob / ".dovecot.lda-dupes"]
for file in torn:
    tear(file)
(alice / ".dovecot.lda-dupes").unlink()
for home in (alice, bob):
    put(home / "Maildir" / "dovecot-uidlist.lock", f"3999999:{identity}".encode(), owner=VMAIL)
    put(home / "Maildir" / "tmp" / "1700000000.M1P1.mx,S=1", half, owner=VMAIL)
os.sync()
print(json.dumps({"corrupt": str(corrupt.relative_to(root))}))

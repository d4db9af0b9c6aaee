"""Is the message that Dovecot is about to deliver in the mailbox already? Asked for each one from an adopted queue.

    already-delivered IDENTITY FOLDER RECEIVED        HOME and USER name the mailbox

FOLDER is that of this Dovecot in /run, RECEIVED the message's topmost Received field. Run by Sieve
(vnd.dovecot.execute) as the owner of the mailboxes, for what was accepted before this Dovecot was started. A dead owner
may have put such a message into the mailbox, and then neither into Dovecot's own record of deliveries nor out of the
queue. The mailbox itself is never behind and never ahead of what is in it, so it is what is asked (I7).

    exit 0   it is there: this delivery is to be dropped
    exit 1   it is not, or nobody can say: it is to be delivered, since a second copy is better than none

What a mailbox holds is read once and kept until Dovecot is stopped, so that thousands of adopted messages do not read
it thousands of times; one delivery at a time goes into a mailbox, so nobody else writes that file.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import syslog
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..adapters import maildir
from ..adapters.log import render
from ..core import queue_ids

STARTED = "started.conf"  # written when Dovecot starts; its time is that of the start
FOUND = "found"  # a file for each mailbox looked into

STACK = 256 * 1024  # octets a thread: a process of Dovecot's has 256 MB of addresses, and Python takes 8 MB for each
MARGIN = 60  # seconds: clocks of two hosts, and a message that was on its way in


@dataclass(frozen=True)
class Found:
    """Queue ids of the messages that were delivered from `since` (Unix seconds) until Dovecot's start."""

    since: float
    entries: Mapping[str, str]  # to the file's name


def read(file: Path) -> Found | None:
    """None when there is nothing that can be used; then the mailbox is read again."""
    try:
        data = json.loads(file.read_text())
        return Found(float(data["since"]), {str(k): str(v) for k, v in data["entries"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write(file: Path, found: Found) -> None:
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.write_text(json.dumps({"since": found.since, "entries": dict(found.entries)}))
    new.replace(file)


def look(box: Path, kept: Path, queue_id: str, arrival: float, started: float, identity: str) -> str | None:
    """The file of that queue entry in the mailbox, None when there is none. Raises OSError, maildir.Moved."""
    since = arrival - MARGIN
    found = read(kept)
    if found is None or found.since > since:
        found = Found(since, maildir.entries(box, since, started + MARGIN, identity))
        write(kept, found)
    return found.entries.get(queue_id)


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    threading.stack_size(STACK)
    identity, folder, received = arguments
    user, home = environment["USER"], Path(environment["HOME"])
    queue_id = queue_ids.of_received(received, identity)
    arrival = None if queue_id is None else queue_ids.arrival(queue_id)
    if queue_id is None or arrival is None:
        return 1  # not from this identity's queue
    place = Path(folder)
    try:
        started = (place / STARTED).stat().st_mtime
        # One file a mailbox, whatever its name: what is in one says nothing about another.
        kept = place / FOUND / hashlib.sha256(os.fsencode(home)).hexdigest()
        file = look(home / "Maildir", kept, queue_id, arrival, started, identity)
    except (OSError, maildir.Moved) as why:
        tell("mailbox_not_looked_into", identity, user, queue_id, why=str(why), priority=syslog.LOG_ERR)
        return 1
    if file is None:
        return 1
    tell("already_delivered", identity, user, queue_id, file=file)
    return 0


def tell(
    event: str, identity: str, user: str, queue_id: str, priority: int = syslog.LOG_NOTICE, **fields: object
) -> None:
    syslog.openlog(f"holdfast/{identity}/once", facility=syslog.LOG_MAIL)
    syslog.syslog(priority, render(event, identity=identity, message=queue_id, recipient=user, **fields))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))

"""What lies in a Maildir, by the queue ids of its messages.

A name begins with the Unix second of the delivery (maildir(5)). Over a long line each folder and each file costs round
trips, so only those files are read whose time can matter, and several at a time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from ..core import queue_ids

AT_A_TIME = 16
HEAD = 16384  # octets of a message in which its first Received field ends
TRIES = 3
# A dead owner's last deliveries are what Dovecot's record may lack: of a fuller mailbox the newest files are read.
MOST = 500
FIELD = b"received:"


class Moved(Exception):
    """A message was renamed or removed while it was looked at."""


def delivered(name: str) -> int | None:
    """When the file of that name was delivered, None when the name does not say."""
    seconds, dot, _ = name.partition(".")
    return int(seconds) if dot and seconds.isdecimal() else None


def first_received(head: bytes) -> str | None:
    """The topmost Received field of a message that begins with `head`, unfolded, without its name."""
    found: list[bytes] = []
    for line in head.splitlines():
        if found and line[:1] in (b" ", b"\t"):
            found.append(line.strip())
        elif found or not line:
            break
        elif line[: len(FIELD)].lower() == FIELD:
            found.append(line[len(FIELD) :].strip())
    return b" ".join(found).decode(errors="replace") if found else None


def _candidates(folder: Path, since: float, until: float) -> list[tuple[int, Path]]:
    found = []
    for part in ("new", "cur"):  # in this order: a message moves from the first to the second
        try:
            files = list((folder / part).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            continue
        for file in files:
            time = delivered(file.name)
            if time is not None and since <= time <= until:
                found.append((time, file))
    return found


def _folders(maildir: Path) -> list[Path]:
    """The INBOX and all others (Maildir++): a script of the user's may have filed a message in any of them."""
    try:
        return [maildir, *(one for one in maildir.iterdir() if one.name.startswith("."))]
    except FileNotFoundError:
        return []


def _head(file: Path) -> bytes:
    try:
        with file.open("rb", buffering=0) as message:
            return message.read(HEAD)
    except FileNotFoundError as why:
        raise Moved(str(file)) from why


def entries(maildir: Path, since: float, until: float, identity: str) -> dict[str, str]:
    """Queue id to file name of the messages delivered between two Unix times that the identity's Postfix accepted.

    Of all folders together; of more than MOST the newest. No folder: nothing. Raises OSError, Moved when the messages
    don't keep still.
    """
    for tried in range(TRIES):
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            listed = pool.map(lambda folder: _candidates(folder, since, until), _folders(maildir))
            newest = sorted(chain.from_iterable(listed), reverse=True)[:MOST]
            files = [file for _, file in newest]
            try:
                heads = list(pool.map(_head, files))
            except Moved:
                if tried == TRIES - 1:
                    raise
                continue
        found = {}
        for file, head in zip(files, heads, strict=True):
            field = first_received(head)
            queue_id = None if field is None else queue_ids.of_received(field, identity)
            if queue_id is not None:
                found[queue_id] = file.name
        return found
    raise AssertionError("unreachable")

"""A message in a spool, as one file: its envelope and where it comes from, then its octets, untouched (R3.1).

    HOLDFAST-SPOOL 1 LENGTH SHA256
    {"id": …, "source": …, "epoch": …, "envelope": {…}, "size": …, "sha256": …}
    the message as it came, CRLF and all

LENGTH and SHA256 are the second line's, which tells size and digest of the message: so half a file, and one that has
changed, is seen. The envelope is the whole of RFC 5321 with the options of RFC 1870 (SIZE), 3461 (DSN), 6152
(8BITMIME) and 6531 (SMTPUTF8): what the sender has asked for is asked of the next server.

Pure. Times are Unix seconds (float, UTC), sizes octets.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .model import Json

MAGIC = b"HOLDFAST-SPOOL 1"
ID = re.compile(r"[0-9a-f]{32}")
Octets = bytes | bytearray | memoryview  # a message may be 50 MB: where it can be helped it is copied nowhere
# Below a spool's folder. `done`: at the source, what was carried; at the destination, what its server has taken.
TMP, OUT, IN, DONE, QUARANTINE = FOLDERS = ("tmp", "out", "in", "done", "quarantine")
RECORD = "epoch"  # beside them: the Adoption
MARK = "Holdfast-Transfer-ID"  # RFC 5322 field that a message is given for each crossing

_FIRST = re.compile(rb"HOLDFAST-SPOOL 1 ([0-9]{1,9}) ([0-9a-f]{64})\n")
_FIRST_MOST = 100  # octets of the first line


class Damaged(Exception):
    """No spool file, or not a whole one; the text says what is wrong with it."""


@dataclass(frozen=True)
class Recipient:
    """`notify` and `orcpt` as RFC 3461, 4.1 and 4.2, spells their values; empty where the sender gave none."""

    address: str
    notify: str = ""
    orcpt: str = ""


@dataclass(frozen=True)
class Envelope:
    """`sender` is empty for the null reverse-path. `ret`, `envid`: RFC 3461, 4.3 and 4.4."""

    sender: str
    recipients: tuple[Recipient, ...]
    ret: str = ""
    envid: str = ""
    smtputf8: bool = False
    eight_bit: bool = False  # BODY=8BITMIME

    def only(self, recipients: Sequence[Recipient]) -> Envelope:
        return dataclasses.replace(self, recipients=tuple(recipients))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Envelope:
        return cls(
            str(data["sender"]),
            tuple(Recipient(str(r["address"]), str(r["notify"]), str(r["orcpt"])) for r in data["recipients"]),
            str(data["ret"]),
            str(data["envid"]),
            bool(data["smtputf8"]),
            bool(data["eight_bit"]),
        )


@dataclass(frozen=True)
class Header:
    """What a spool file says of its message.

    `source`, `host`, `epoch`: the identity that has taken it, its owner then, and at which epoch. `restored_from`: the
    id under which it crossed before, when an operator has it cross again.
    """

    id: str
    source: str
    host: str
    epoch: int
    time: float
    envelope: Envelope
    size: int
    sha256: str
    restored_from: str = ""

    def to_json(self) -> Json:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Header:
        return cls(
            str(data["id"]),
            str(data["source"]),
            str(data["host"]),
            int(data["epoch"]),
            float(data["time"]),
            Envelope.from_json(data["envelope"]),
            int(data["size"]),
            str(data["sha256"]),
            str(data.get("restored_from", "")),
        )


def name(envelope: Envelope, message: Octets) -> str:
    """The id of a message that a Postfix hands over: the same when it does so once more.

    Its topmost Received field has a queue id that is used once, so two messages never have one id; and a Postfix that
    has not heard the answer, or the next owner that has adopted its queue, says the very same octets again.
    """
    digest = hashlib.sha256()
    for text in (envelope.sender, *sorted(r.address for r in envelope.recipients)):
        digest.update(text.encode(errors="surrogateescape") + b"\0")
    digest.update(message)
    return digest.hexdigest()[:32]


def head(header: Header, message: Octets) -> bytes:
    """What stands before `message` in its file. Size and digest are those of `message`, whatever `header` says."""
    size, digest = len(message), hashlib.sha256(message).hexdigest()
    return packed_header(dataclasses.replace(header, size=size, sha256=digest))


def pack(header: Header, message: Octets) -> bytes:
    """The whole file; for a large message `head` and the message itself need half the room."""
    return head(header, message) + message


def header_length(data: bytes) -> int:
    """Octets in which the header of a file ends that begins with `data`; 0: it is no spool file."""
    found = _FIRST.match(data[:_FIRST_MOST])
    return 0 if found is None else found.end() + int(found[1]) + 1


def unpack_header(data: bytes) -> tuple[Header, int]:
    """The header and where the message begins, from the beginning of a file. Raises Damaged."""
    found = _FIRST.match(data[:_FIRST_MOST])
    if found is None:
        raise Damaged(f"begins with {data[:30]!r} and not with {MAGIC.decode()}")
    start, length = found.end(), int(found[1])
    line = data[start : start + length]
    if len(line) < length or data[start + length : start + length + 1] != b"\n":
        raise Damaged(f"ends within its header of {length} octets")
    if hashlib.sha256(line).hexdigest().encode() != found[2]:
        raise Damaged("the digest of its header is another")
    try:
        header = Header.from_json(json.loads(line))
    except (ValueError, KeyError, TypeError) as why:
        raise Damaged(f"its header lacks something: {why!r}") from why
    if ID.fullmatch(header.id) is None:
        raise Damaged(f"its id is {header.id!r}")
    return header, start + length + 1


def view(data: bytes) -> tuple[Header, memoryview]:
    """Header and message of a whole file; the message is a part of `data` and no copy. Raises Damaged."""
    header, start = unpack_header(data)
    message = memoryview(data)[start:]
    if len(message) != header.size:
        raise Damaged(f"has {len(message)} octets of a message of {header.size}")
    if hashlib.sha256(message).hexdigest() != header.sha256:
        raise Damaged("the digest of its message is another")
    return header, message


def unpack(data: bytes) -> tuple[Header, bytes]:
    """As `view`, with a copy of the message. Raises Damaged."""
    header, message = view(data)
    return header, bytes(message)


@dataclass(frozen=True)
class Adoption:
    """`epoch` in a spool: who writes to it now, and what an owner before has left.

    Written by the owner before it takes its first message. `names`: what lay in `out` then from earlier epochs: it was
    acknowledged, so it must be carried. What names an earlier epoch and is not among them was written by somebody
    who was the owner no longer.
    """

    epoch: int
    host: str
    time: float
    names: frozenset[str] = frozenset()

    def to_json(self) -> Json:
        return {**dataclasses.asdict(self), "names": sorted(self.names)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Adoption:
        names = frozenset(str(n) for n in data["names"])
        return cls(int(data["epoch"]), str(data["host"]), float(data["time"]), names)

    def holds(self, name: str, epoch: int) -> bool:
        """Was the file of that name and epoch in `out` rightly?"""
        return epoch == self.epoch or (epoch < self.epoch and name in self.names)


def adopt(before: Adoption | None, epoch: int, host: str, time: float, found: Mapping[str, int | None]) -> Adoption:
    """What the owner at `epoch` writes that finds these names in `out`, each with its epoch (None: it is damaged).

    A damaged file is adopted: that it is damaged is said when it is to be carried. Without a record nobody has written
    there before. Raises ValueError when somebody has at a later epoch.
    """
    if before is None:
        return Adoption(epoch, host, time, frozenset(found))
    if before.epoch > epoch:
        raise ValueError(f"{before.host} has written there at epoch {before.epoch}, this is epoch {epoch}")
    held = frozenset(n for n, its in found.items() if its is None or before.holds(n, its))
    # Started once more at its own epoch, it has written some of them itself.
    return Adoption(epoch, host, time, held)


def fields(message: bytes) -> Iterator[tuple[str, str]]:
    """The header fields of a message in their order, unfolded (RFC 5322, 2.2); octets that are no UTF-8 as \\xNN."""
    found: list[bytes] = []
    for octets in io.BytesIO(message):
        line = octets.rstrip(b"\r\n")
        if found and line[:1] in (b" ", b"\t"):
            found.append(line.strip())
            continue
        if found:
            yield _field(found)
        if b":" not in line:
            return
        found = [line]
    if found:
        yield _field(found)


def _field(lines: Sequence[bytes]) -> tuple[str, str]:
    left, _, right = b" ".join(lines).partition(b":")
    return left.strip().decode(errors="backslashreplace"), right.strip().decode(errors="backslashreplace")


def crossings(message: bytes) -> tuple[int, int]:
    """How often it has crossed between the sides, and how many servers have had it (RFC 5321, 6.3)."""
    names = [field.lower() for field, _ in fields(message)]
    return names.count(MARK.lower()), names.count("received")


def packed_header(header: Header) -> bytes:
    """What stands before the message in its file; `header` has to tell the right size and digest of it."""
    line = json.dumps(header.to_json(), separators=(",", ":")).encode()
    return b"%s %d %s\n%s\n" % (MAGIC, len(line), hashlib.sha256(line).hexdigest().encode(), line)


def checked(header: Header, message: Iterable[bytes]) -> Iterator[bytes]:
    """The same pieces of a message. Raises Damaged behind the last one if they are not what `header` tells of."""
    size, digest = 0, hashlib.sha256()
    for piece in message:
        size += len(piece)
        digest.update(piece)
        yield piece
    if size != header.size:
        raise Damaged(f"has {size} octets of a message of {header.size}")
    if digest.hexdigest() != header.sha256:
        raise Damaged("the digest of its message is another")

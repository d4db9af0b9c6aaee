"""Both ends of a spool on the owner of its identity: what goes out is made durable, what came in is submitted."""

from __future__ import annotations

import errno
import json
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from ..adapters.lmtp import Reply
from ..adapters.spool_files import SpoolFiles
from ..adapters.submission import Answer, Outcome
from ..core.ports import Clock, Log
from ..core.spool import (
    DONE,
    FOLDERS,
    ID,
    IN,
    OUT,
    QUARANTINE,
    RECORD,
    TMP,
    Adoption,
    Damaged,
    Envelope,
    Header,
    Octets,
    adopt,
    head,
    header_length,
    name,
    unpack_header,
    view,
)
from ..core.transfer import Backlog, Table, Taken, taken

HEAD = 4096  # octets in which nearly every spool file's header ends
HEAD_MOST = 2**20  # a longer one is damaged: several are in memory at a time
# Headers that are read at a time: each takes some round trips, over a line between sites 31 ms each.
READERS = 8
TELL_EVERY = 5.0  # seconds between words on how far that is
FULL = {errno.ENOSPC, errno.EDQUOT}
AGAIN = 300.0  # seconds until what was not taken is submitted once more; a 4xx of a busy server lasts so long
FILES_AGAIN = 30.0  # until what its files kept from being submitted is


class NotOurs(Exception):
    """This host must not write to the spool."""


class Spooler:
    """Implements `adapters.lmtp.Receiver`. `epoch`: at which `host` owns the identity; `folder`: its spool."""

    def __init__(
        self,
        identity: str,
        host: str,
        epoch: int,
        folder: Path,
        table: Table,
        files: SpoolFiles,
        clock: Clock,
        log: Log,
    ) -> None:
        self._identity = identity
        self._host = host
        self._epoch = epoch
        self._folder = folder
        self._table = table
        self._files = files
        self._clock = clock
        self._log = log

    def adopt(self) -> int:
        """Before the first message: say who writes here now and what was here before. How many messages that is.

        Raises NotOurs, OSError. Safe to repeat.
        """
        for one in FOLDERS:
            if not self._files.exists(self._folder / one):
                raise NotOurs(f"{self._folder / one} is missing; is the spool mounted?")
        data = self._files.read(self._folder / RECORD)
        try:
            before = None if data is None else Adoption.from_json(json.loads(data))
        except (ValueError, KeyError, TypeError) as why:
            raise NotOurs(f"{self._folder / RECORD} cannot be read: {why!r}; see docs/decisions/0034") from why
        found = self._epochs([f.name for f in self._files.names(self._folder / OUT)])
        try:
            record = adopt(before, self._epoch, self._host, self._clock.now(), found)
        except ValueError as why:
            raise NotOurs(str(why)) from why
        text = json.dumps(record.to_json()).encode()
        self._files.write(self._folder / RECORD, text, self._folder / TMP / "spool.epoch")
        for leftover in self._files.names(self._folder / TMP):
            if leftover.name.startswith("spool."):
                self._files.remove(self._folder / TMP / leftover.name)
        self._log("spool_adopted", identity=self._identity, epoch=self._epoch, waiting=len(record.names))
        return len(record.names)

    def _epochs(self, names: Sequence[str]) -> dict[str, int | None]:
        """Of each file in `out` its epoch. A long outage of the transfer leaves tens of thousands."""
        found: dict[str, int | None] = {}
        tell_at = self._clock.boottime() + TELL_EVERY
        with ThreadPoolExecutor(READERS) as readers:
            for one, its in zip(names, readers.map(self._epoch_of, names), strict=True):
                found[one] = its
                if self._clock.boottime() >= tell_at:
                    tell_at = self._clock.boottime() + TELL_EVERY
                    self._log("spool_adopting", identity=self._identity, looked_at=len(found), of=len(names))
        return found

    def _epoch_of(self, one: str) -> int | None:
        """None: it is damaged, or has gone since it was listed."""
        data = self._files.read(self._folder / OUT / one, HEAD) or b""
        if HEAD < (length := header_length(data)) <= HEAD_MOST:
            data = self._files.read(self._folder / OUT / one, length) or b""
        try:
            return unpack_header(data)[0].epoch
        except Damaged:
            return None

    def waits(self) -> Backlog:
        """What is to be carried. Raises OSError."""
        times = [f.time for f in self._files.names(self._folder / OUT) if ID.fullmatch(f.name)]
        return Backlog.of(times, self._clock.now())

    def recipient(self, address: str) -> Reply | None:
        """Somebody of nowhere is a mistake between the tables of Postfix and ours: it waits."""
        if self._table.holder(self._identity, address) is None:
            return 450, "4.4.4 no identity on the other side holds this recipient"
        return None

    def message(self, envelope: Envelope, data: Octets) -> Reply:
        one = name(envelope, data)
        try:
            new = not self._known(one) and self._put(one, envelope, data)
        except OSError as why:
            self._log("spool_fails", identity=self._identity, message=one, detail=str(why), level="error")
            if why.errno in FULL:
                return 452, "4.3.1 the spool is full"
            return 451, "4.3.0 the spool cannot be written"
        if new:
            self._log("spooled", identity=self._identity, message=one, epoch=self._epoch, size=len(data))
        else:
            # Postfix had not heard the answer, or a new owner has adopted its queue.
            self._log("spooled_before", identity=self._identity, message=one, epoch=self._epoch)
        return 250, f"2.0.0 {one} spooled"

    def _known(self, one: str) -> bool:
        """A file goes from `out` to one of the others, so it is looked for in this order."""
        return any(self._files.exists(self._folder / place / one) for place in (OUT, DONE, QUARANTINE))

    def _put(self, one: str, envelope: Envelope, data: Octets) -> bool:
        header = Header(one, self._identity, self._host, self._epoch, self._clock.now(), envelope, 0, "")
        # Two connections may bring the same message at the same time.
        scratch = self._folder / TMP / f"spool.{one}.{secrets.token_hex(4)}"
        return self._files.hand(self._folder / OUT / one, data, scratch, head(header, data))


class Submitter(Protocol):
    def submit(self, header: Header, message: Octets) -> Answer: ...


class Intake:
    """Hands what has come in to the identity's own Postfix. One process does this: that of the owner.

    Beside each begun submission lies a note `tmp/try.ID`. A submission that ended without an answer leaves it, and the
    next one may make a second copy (RFC 1047): that is told, and the final delivery drops it by Holdfast-Transfer-ID.
    """

    def __init__(
        self,
        identity: str,
        folder: Path,
        submitter: Submitter,
        attempts: int,
        files: SpoolFiles,
        clock: Clock,
        log: Log,
        again: float = AGAIN,
    ) -> None:
        self._identity = identity
        self._folder = folder
        self._submitter = submitter
        self._attempts = attempts
        self._files = files
        self._clock = clock
        self._log = log
        self._again = again
        self._not_before: dict[str, float] = {}  # boottime
        self.doubts = 0  # submissions that may have made a second copy, since the start

    def round(self, over: Callable[[], bool]) -> Backlog:
        """Everything that lies in `in`, oldest first, until `over`. What then waits. Raises OSError for the folder.

        A round ends where files fail: that may be the whole spool. The next one begins with another message, since it
        may be that one alone.
        """
        waiting = [f for f in self._files.names(self._folder / IN) if ID.fullmatch(f.name)]
        self._not_before = {n: t for n, t in self._not_before.items() if n in {f.name for f in waiting}}
        left = []
        for n, found in enumerate(waiting):
            if over():
                left += waiting[n:]
                break
            if self._clock.boottime() < self._not_before.get(found.name, 0.0):
                left.append(found)
                continue
            try:
                outcome = self._one(found.name)
            except OSError as why:
                self._wait(found.name, str(why), FILES_AGAIN)
                left += waiting[n:]
                break
            if outcome is not None:
                left.append(found)
            if outcome is Outcome.DOWN:
                left += waiting[n + 1 :]
                break
        return Backlog.of([f.time for f in left], self._clock.now())

    def _one(self, one: str) -> Outcome | None:
        """None when it waits no more."""
        begun, refused = self._note(one)
        done = self._files.exists(self._folder / DONE / one)
        match taken(done, begun, refused, self._attempts):
            case Taken.DROP:
                self._files.remove(self._folder / IN / one)
                self._log("second_entry_dropped", identity=self._identity, message=one)
                return None
            case Taken.QUARANTINE:
                self._files.move(self._folder / IN / one, self._folder / QUARANTINE / one)
                self._files.remove(self._try(one))
                why = f"{begun} submissions without an end, {refused} refused"
                self._log("intake_quarantined", identity=self._identity, message=one, detail=why, level="alert")
                return None
            case Taken.SUBMIT:
                return self._submit(one, begun, refused)

    def _submit(self, one: str, begun: int, refused: int) -> Outcome | None:
        if begun:
            self.doubts += 1
            self._log("maybe_second_copy", identity=self._identity, message=one, count=self.doubts, level="warning")
        self._write(one, begun + 1, refused)
        data = self._files.read(self._folder / IN / one)
        try:
            header, message = view(data or b"")
        except Damaged as why:
            self._wait(one, f"damaged: {why}", self._again)
            return Outcome.REFUSED
        answer = self._submitter.submit(header, message)
        if answer.outcome is Outcome.ACCEPTED:
            self._files.move(self._folder / IN / one, self._folder / DONE / one)
            self._files.remove(self._try(one))
            self._log("submitted", identity=self._identity, message=one, source=header.source)
            return None
        if answer.outcome is not Outcome.UNKNOWN:
            self._write(one, begun, refused + (answer.outcome is Outcome.REFUSED))
        # A server that is away is so for a moment, and no fault of this message.
        self._wait(one, answer.detail, 0.0 if answer.outcome is Outcome.DOWN else self._again)
        return answer.outcome

    def _wait(self, one: str, why: str, seconds: float) -> None:
        self._not_before[one] = self._clock.boottime() + seconds
        self._log("submission_fails", identity=self._identity, message=one, detail=why, level="error")

    def _try(self, one: str) -> Path:
        return self._folder / TMP / f"try.{one}"

    def _note(self, one: str) -> tuple[int, int]:
        data = self._files.read(self._try(one))
        try:
            note = json.loads(data or b"")
            return int(note["begun"]), int(note["refused"])
        except (ValueError, KeyError, TypeError):
            return 0, 0

    def _write(self, one: str, begun: int, refused: int) -> None:
        text = json.dumps({"begun": begun, "refused": refused}).encode()
        self._files.write(self._try(one), text, self._folder / TMP / f"spool.try.{one}")

"""Carries what waits in a spool to the other side (R3.1 to R3.4, I4): what core/transfer.py decides, done with files.

Whoever does this holds the claim on the spool; that two never do is not needed, only that they seldom do. Nothing here
is undone: whatever ends this process, the next one looks what lies where. Each spool may have a thread of its own, and
each round of it some more: what a message costs is waiting for stores, one synced step after the other.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..adapters.spool_files import PIECE, Found, SpoolFiles
from ..adapters.transfer_records import DAY_SECONDS, Records
from ..core.claims import ClaimLost
from ..core.model import Json
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
    Header,
    Recipient,
    checked,
    fields,
    packed_header,
    unpack_header,
)
from ..core.transfer import Act, Backlog, Lies, Limits, Poison, Soon, Stays, Table, admit, next_act

HEAD = PIECE  # octets in which nearly every header ends, and all the fields that servers have put on top of a message
HEADER_MOST = 32 * HEAD  # an envelope of more recipients than any server takes
# Seconds of a round for what did not cross when it was tried before, and does not now.
AGAIN_MOST = 30.0
ALONE = 10.0  # seconds that one waits to be the only one in hand, and the others for it


class NotAlone(Exception):
    """Others are in hand."""


class InHand:
    """What all threads have in hand. A message that kills this process must not count against those beside it.

    So a suspect, of which an attempt did not end, is in hand alone. But one that hangs keeps the others for ALONE only.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self._suspects = 0  # in hand, or waiting to be

    @contextlib.contextmanager
    def __call__(self, suspect: bool) -> Iterator[None]:
        """Raises NotAlone."""
        with self._changed:
            if suspect:
                self._suspects += 1
                if not self._changed.wait_for(lambda: self._count == 0, ALONE):
                    self._suspects -= 1
                    self._changed.notify_all()
                    raise NotAlone
            else:
                self._changed.wait_for(lambda: self._suspects == 0, ALONE)
            self._count += 1
        try:
            yield
        finally:
            with self._changed:
                self._count -= 1
                self._suspects -= suspect
                self._changed.notify_all()


@dataclass(frozen=True)
class Opened:
    """A spool file; only its beginning is in memory. `head`: octets before the message, `top`: its own first ones."""

    header: Header
    head: bytes
    top: bytes
    message: Callable[[], Iterable[bytes]]

    def checked(self) -> Iterator[bytes]:
        """The message. Raises Damaged behind its last piece."""
        return checked(self.header, self.message())


@dataclass(frozen=True)
class Stuck:
    """Why a message stays, and when it was tried last (boottime)."""

    why: str
    tried: float


class Round:
    """What one round of a spool has to try, shared out over its threads, of which the caller is one.

    `waiting`: in the order in which they begin; `again`: the names that were tried before. `held` is asked before each.
    """

    def __init__(
        self, waiting: Sequence[Found], again: Container[str], until: float, held: Callable[[], None], clock: Clock
    ) -> None:
        self._waiting = iter(waiting)
        self._again = again
        self._until = until
        self._held = held
        self._clock = clock
        self._left: list[Found] = []  # be it tried or not
        self._lost = 0.0  # seconds that went into what was tried before, and does not cross now
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    def carried(self, carry: Callable[[str], bool], threads: int) -> list[Found]:
        """What still waits. `carry`: whether a letter waits no more; what it raises ends all, behind what is in hand.

        Daemon threads, as their caller is: one that hangs must not keep the process from its end.
        """
        others = [threading.Thread(target=self._work, args=(carry,), daemon=True) for _ in range(threads - 1)]
        for one in others:
            one.start()
        self._work(carry)
        for one in others:
            one.join()
        if self._error is not None:
            raise self._error
        return self._left

    def _work(self, carry: Callable[[str], bool]) -> None:
        try:
            while (found := self._next()) is not None:
                began = self._clock.boottime()
                if not carry(found.name):
                    self._waits(found, self._clock.boottime() - began)
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            with self._lock:
                if self._error is None or isinstance(self._error, ClaimLost):
                    self._error = error  # a defect is not hidden by a claim that is lost meanwhile

    def _next(self) -> Found | None:
        with self._lock:
            for found in self._waiting:
                if self._error is not None:
                    return None
                late = found.name in self._again and self._lost >= AGAIN_MOST
                if late or self._clock.boottime() >= self._until:
                    self._left.append(found)
                    continue
                self._held()
                return found
            return None

    def _waits(self, found: Found, took: float) -> None:
        with self._lock:
            self._left.append(found)
            if found.name in self._again:
                self._lost += took


class Carrier:
    """`host`: this one; `root`: where the spools are; `at_once`: how many letters of a spool are in hand at most."""

    def __init__(
        self,
        host: str,
        root: Path,
        table: Table,
        limits: Limits,
        files: SpoolFiles,
        records: Records,
        clock: Clock,
        log: Log,
        at_once: int = 1,
    ) -> None:
        self._host = host
        self._root = root
        self._table = table
        self._limits = limits
        self._files = files
        self._records = records
        self._clock = clock
        self._log = log
        self._at_once = at_once
        self._in_hand = InHand()
        # Each by source, in whose round alone they change, and there a letter's by the thread that has it in hand.
        self._stuck: dict[str, dict[str, Stuck]] = {s: {} for s in table.sides}
        self._logged: dict[str, dict[str, set[str]]] = {s: {} for s in table.sides}  # to whom a message was tried
        self._away: dict[str, str] = {}

    def _at(self, identity: str, folder: str, name: str) -> Path:
        return self._root / identity / folder / name

    def away(self, identity: str) -> str | None:
        """Why its spool cannot be worked on, from now on: a root that is not mounted looks empty."""
        why = None
        try:
            gone = (f for f in FOLDERS if not self._files.exists(self._root / identity / f))
            if (folder := next(gone, None)) is not None:
                why = f"{self._root / identity / folder} is missing"
        except OSError as error:
            why = str(error)
        if why is None:
            self._away.pop(identity, None)
        else:
            self._away[identity] = why
        return why

    def round(self, source: str, owner_epoch: int | None, held: Callable[[], None], until: float) -> Backlog:
        """Everything that waits in that spool, oldest first, or what is done by `until` (boottime). What then waits.

        What did not cross before comes behind what was not tried yet, and has no more than AGAIN_MOST to fail in.
        `held`, which several threads may ask, raises ClaimLost when the claim may be another's by now. Raises OSError
        when the spool can't be read.
        """
        waiting = self._waiting(source)
        # Behind the list: what is on it was written by this owner, or by one before.
        adoption = self._adoption(source)
        names = {f.name for f in waiting}
        stuck = self._stuck[source] = {n: s for n, s in self._stuck[source].items() if n in names}
        self._logged[source] = {n: to for n, to in self._logged[source].items() if n in names}
        waiting.sort(key=lambda f: stuck[f.name].tried if f.name in stuck else -math.inf)

        def carry(name: str) -> bool:
            gone = self._try(source, name, adoption, owner_epoch, held)
            if gone:
                stuck.pop(name, None)
            return gone

        letters = Round(waiting, frozenset(stuck), until, held, self._clock)
        left = letters.carried(carry, min(self._at_once, len(waiting)))
        return Backlog.of([f.time for f in left], self._clock.now())

    def backlog(self, source: str) -> Backlog:
        """What waits in that spool. Raises OSError."""
        return Backlog.of([f.time for f in self._waiting(source)], self._clock.now())

    def _waiting(self, source: str) -> list[Found]:
        return [f for f in self._files.names(self._root / source / OUT) if ID.fullmatch(f.name)]

    def epoch(self, source: str) -> int | None:
        """Of whom its spool has a record, None: of nobody. Raises OSError."""
        adoption = self._adoption(source)
        return None if adoption is None else adoption.epoch

    def _adoption(self, source: str) -> Adoption | None:
        data = self._files.read(self._root / source / RECORD)
        try:
            return None if data is None else Adoption.from_json(json.loads(data))
        except (ValueError, KeyError, TypeError):
            return None

    def _try(
        self, source: str, name: str, adoption: Adoption | None, owner_epoch: int | None, held: Callable[[], None]
    ) -> bool:
        """Whether it waits no more. Only ClaimLost is raised: one message keeps no other back."""
        counted = False
        try:
            begun = self._records.begun(source, name)
            if begun >= self._limits.attempts:
                raise Poison(f"{begun} attempts to carry it did not end")
            with self._in_hand(suspect=begun > 0):
                held()  # it may have waited for the others
                self._records.begin(source, name, begun + 1)
                counted = True
                self._carry(source, name, adoption, owner_epoch, held)
                self._records.ended(source, name)
        except ClaimLost:
            if counted:
                self._end(source, name)
            raise
        except NotAlone:
            self._stays(source, name, "an attempt did not end: it waits to be alone in hand", "info")
            return False
        except Poison as why:
            return self._quarantine(source, name, str(why))
        except Stays as why:
            self._stays(source, name, str(why), "info" if isinstance(why, Soon) else "alert")
            self._end(source, name)
            return False
        except OSError as why:
            # No fault of the message: a file system is full, or away.
            self._stays(source, name, str(why), "error")
            self._end(source, name)
            return False
        except Damaged as why:
            # Counted: what is read badly once may be read well the next time.
            self._stays(source, name, f"damaged: {why}", "error")
            return False
        except Exception as why:  # noqa: BLE001 - a defect of ours that one message meets: counted, and the rest goes on
            self._stays(source, name, repr(why), "error")
            return False
        return True

    def _stays(self, source: str, name: str, why: str, level: str) -> None:
        before = self._stuck[source].get(name)
        self._stuck[source][name] = Stuck(why, self._clock.boottime())
        if before is None or before.why != why:
            self._log("transfer_waits", identity=source, message=name, detail=why, level=level)

    def _end(self, source: str, name: str) -> None:
        try:
            self._records.ended(source, name)
        except OSError as why:
            self._log("attempt_not_ended", identity=source, message=name, detail=str(why), level="error")

    def _quarantine(self, source: str, name: str, why: str) -> bool:
        entry = {"event": "quarantine", "id": name, "from": source, "by": self._host, "why": why}
        try:
            self._records.log({**entry, "time": self._clock.now()})
            self._files.move(self._at(source, OUT, name), self._at(source, QUARANTINE, name))
            self._records.ended(source, name)
        except OSError as error:
            self._stays(source, name, f"{why}; not in quarantine: {error}", "alert")
            return False
        self._log("transfer_quarantined", identity=source, message=name, detail=why, level="alert")
        return True

    def _carry(
        self, source: str, name: str, adoption: Adoption | None, owner_epoch: int | None, held: Callable[[], None]
    ) -> None:
        opened = self._open(self._at(source, OUT, name))
        if opened is None:
            return  # another host has carried it
        header = opened.header
        for _ in opened.checked():
            pass
        if (header.id, header.source) != (name, source):
            raise Damaged(f"it says that it is {header.id} of {header.source}")
        admit(header, adoption, owner_epoch)
        self._limits.check(header.size, opened.top)
        split = self._table.split(source, header.envelope.recipients)
        # Whoever can be reached gets it now; it is marked when all have.
        away = sorted(to for to in split if to in self._away)
        there = [to for to in split if to not in away]
        # What cannot be handed over for days is not logged at each attempt.
        logged = self._logged[source].setdefault(name, set())
        before = frozenset(logged)
        while True:
            held()
            lies = self._look(header, there, logged.issuperset(there))
            if away and lies.out and lies.reached.issuperset(there):
                raise Soon(f"the spool of {', '.join(away)} is away")
            act, to = next_act(lies, there)
            match act:
                case Act.ARCHIVE:
                    pieces = itertools.chain([opened.head], opened.checked())
                    self._records.archive(source, name, header.time, pieces)
                case Act.LOG:
                    self._records.log(self._entry(opened, {to: split[to] for to in there if to not in logged}))
                    logged.update(there)
                case Act.HAND_OVER:
                    self._hand_over(opened, to, split[to])
                    if to in before:
                        # Tried in vain when it was logged; this is the time at which it has crossed.
                        self._records.log(self._entry(opened, {to: split[to]}))
                case Act.MARK:
                    self._files.move(self._at(source, OUT, name), self._at(source, DONE, name))
                case Act.NOTHING:
                    return
            if act is Act.MARK:
                self._log("transferred", message=name, identity=source, to=list(split), epoch=header.epoch)
                return

    def _open(self, file: Path) -> Opened | None:
        """None when it is not there. Raises Damaged, OSError."""
        data = self._files.read(file, HEAD)
        if data is None:
            return None
        if len(data) < HEAD:
            header, start = unpack_header(data)
            rest = data[start:]
            return Opened(header, data[:start], rest, lambda: (rest,))
        try:
            header, start = unpack_header(data)
        except Damaged:
            data = self._files.read(file, HEADER_MOST) or b""  # its header may be longer
            header, start = unpack_header(data)
        return Opened(header, data[:start], data[start : start + HEAD], lambda: self._files.pieces(file, start))

    def _look(self, header: Header, destinations: Sequence[str], logged: bool) -> Lies:
        """A file goes from `in` to `done`, so it is looked for in this order."""
        source, name = header.source, header.id
        reached = frozenset(
            d for d in destinations if any(self._files.exists(self._at(d, folder, name)) for folder in (IN, DONE))
        )
        there = self._files.exists(self._at(source, OUT, name))
        return Lies(there, self._records.is_archived(source, name, header.time), logged, reached)

    def _hand_over(self, opened: Opened, to: str, recipients: Sequence[Recipient]) -> None:
        """A copy and not a second name: the two sides must not have one file, which either could change.

        Where it is there already, another host was quicker.
        """
        header = opened.header
        mine = dataclasses.replace(header, envelope=header.envelope.only(recipients))
        pieces = itertools.chain([packed_header(mine)], opened.checked())
        scratch = self._at(to, TMP, f"transfer.{self._host}.{header.id}")
        self._files.hand_pieces(self._at(to, IN, header.id), pieces, scratch)

    def _entry(self, opened: Opened, split: Mapping[str, Sequence[Recipient]]) -> Json:
        header = opened.header
        return {
            "event": "transfer",
            "id": header.id,
            "direction": str(self._table.direction(header.source)),
            "from": header.source,
            "host": header.host,
            "epoch": header.epoch,
            "to": {to: [r.address for r in some] for to, some in split.items()},
            "by": self._host,
            "taken": header.time,
            "time": self._clock.now(),
            "sender": header.envelope.sender,
            "size": header.size,
            "headers": list(fields(opened.top)),
        }

    def tidy(self, identity: str, done_days: int, held: Callable[[], None] = lambda: None) -> None:
        """Removes from its spool what was half-written a day ago, and what has been in `done` for so many.

        Notes of submissions (`try.`) are no halves. `held` raises what ends it. Raises OSError.
        """
        tmp = self._root / identity / TMP
        now = min(self._files.server_time(tmp / f"transfer.{self._host}.time"), self._clock.now())
        self._files.sweep(tmp, now - DAY_SECONDS, held, keep="try.")
        self._files.sweep(self._root / identity / DONE, now - done_days * DAY_SECONDS, held)

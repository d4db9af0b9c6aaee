"""Carries what waits in a spool to the other side (R3.1 to R3.4, I4): what core/transfer.py decides, done with files.

Whoever does this holds the claim on the spool; that two never do is not needed, only that they seldom do. Nothing here
is undone: whatever ends this process, the next one looks what lies where.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..adapters.spool_files import Found, SpoolFiles
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
    fields,
    pack,
    unpack,
)
from ..core.transfer import Act, Backlog, Lies, Limits, Poison, Soon, Stays, Table, admit, next_act


class Carrier:
    """`host`: this one; `root`: where the spools are."""

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
    ) -> None:
        self._host = host
        self._root = root
        self._table = table
        self._limits = limits
        self._files = files
        self._records = records
        self._clock = clock
        self._log = log
        self._told: dict[str, str] = {}  # of what stays: why, so that it is told once
        self._away: dict[str, str] = {}

    def _at(self, identity: str, folder: str, name: str) -> Path:
        return self._root / identity / folder / name

    def away(self) -> dict[str, str]:
        """{identity: why its spool cannot be worked on}: a root that is not mounted looks empty."""
        found = {}
        for identity in self._table.sides:
            try:
                gone = (f for f in FOLDERS if not self._files.exists(self._root / identity / f))
                if (folder := next(gone, None)) is not None:
                    found[identity] = f"{self._root / identity / folder} is missing"
            except OSError as why:
                found[identity] = str(why)
        self._away = found
        return dict(found)

    def round(self, source: str, owner_epoch: int | None, held: Callable[[], None], until: float) -> Backlog:
        """Everything that waits in that spool, oldest first, or what is done by `until` (boottime). What then waits.

        `held` raises ClaimLost when the claim may be another's by now. Raises OSError when the spool can't be read.
        """
        out = self._root / source / OUT
        adoption = self._adoption(source)
        waiting = [f for f in self._files.names(out) if ID.fullmatch(f.name)]
        left: list[Found] = []
        for n, found in enumerate(waiting):
            if self._clock.boottime() >= until:
                left += waiting[n:]
                break
            held()
            if not self._try(source, found.name, adoption, owner_epoch, held):
                left.append(found)
        self._told = {name: why for name, why in self._told.items() if self._files.exists(out / name)}
        return Backlog.of([f.time for f in left], self._clock.now())

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
        try:
            begun = self._records.begun(source, name)
            if begun >= self._limits.attempts:
                raise Poison(f"{begun} attempts to carry it did not end")
            self._records.begin(source, name, begun + 1)
            self._carry(source, name, adoption, owner_epoch, held)
            self._records.ended(source, name)
        except ClaimLost:
            raise
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
        if self._told.get(name) != why:
            self._told[name] = why
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
        data = self._files.read(self._at(source, OUT, name))
        if data is None:
            return  # another host has carried it
        header, message = unpack(data)
        if (header.id, header.source) != (name, source):
            raise Damaged(f"it says that it is {header.id} of {header.source}")
        admit(header, adoption, owner_epoch)
        self._limits.check(message)
        split = self._table.split(source, header.envelope.recipients)
        # Whoever can be reached gets it now; it is marked when all have.
        away = sorted(to for to in split if to in self._away)
        there = [to for to in split if to not in away]
        logged = False
        while True:
            held()
            lies = self._look(source, name, there, logged)
            if away and lies.out and lies.reached.issuperset(there):
                raise Soon(f"the spool of {', '.join(away)} is away")
            act, to = next_act(lies, there)
            match act:
                case Act.ARCHIVE:
                    self._records.archive(source, name, data)
                case Act.LOG:
                    self._records.log(self._entry(header, message, split))
                    logged = True
                case Act.HAND_OVER:
                    self._hand_over(header, message, to, split[to])
                case Act.MARK:
                    self._files.move(self._at(source, OUT, name), self._at(source, DONE, name))
                case Act.NOTHING:
                    return
            if act is Act.MARK:
                self._log("transferred", message=name, identity=source, to=list(split), epoch=header.epoch)
                return

    def _look(self, source: str, name: str, destinations: Sequence[str], logged: bool) -> Lies:
        """A file goes from `in` to `done`, so it is looked for in this order."""
        reached = frozenset(
            d for d in destinations if any(self._files.exists(self._at(d, folder, name)) for folder in (IN, DONE))
        )
        there = self._files.exists(self._at(source, OUT, name))
        return Lies(there, self._records.is_archived(source, name), logged, reached)

    def _hand_over(self, header: Header, message: bytes, to: str, recipients: Sequence[Recipient]) -> None:
        """A copy and not a second name: the two sides must not have one file, which either could change.

        Where it is there already, another host was quicker.
        """
        mine = dataclasses.replace(header, envelope=header.envelope.only(recipients))
        self._files.hand(
            self._at(to, IN, header.id), pack(mine, message), self._at(to, TMP, f"transfer.{self._host}.{header.id}")
        )

    def _entry(self, header: Header, message: bytes, split: Mapping[str, Sequence[Recipient]]) -> Json:
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
            "headers": list(fields(message)),
        }

    def tidy(self, done_days: int) -> None:
        """Removes this host's half-written files, and what has been in `done` for so many days. Raises OSError."""
        for identity in self._table.sides:
            if identity in self._away:
                continue
            tmp = self._root / identity / TMP
            for found in self._files.names(tmp):
                if found.name.startswith(f"transfer.{self._host}."):
                    self._files.remove(tmp / found.name)
            server = self._files.server_time(tmp / f"transfer.{self._host}.time")
            last = min(server, self._clock.now()) - done_days * DAY_SECONDS
            for found in self._files.names(self._root / identity / DONE):
                if found.time < last:
                    self._files.remove(self._at(identity, DONE, found.name))

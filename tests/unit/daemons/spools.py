"""Spools on a file server in memory, on which a machine can die at any call, and who works on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edges import Clock, Lines
from holdfast.adapters.spool_files import Found, SpoolFiles
from holdfast.adapters.submission import Answer, Outcome
from holdfast.adapters.transfer_records import Records
from holdfast.core.spool import DONE, FOLDERS, IN, OUT, QUARANTINE, Envelope, Header, Octets, Recipient, name, pack
from holdfast.core.transfer import INTERNET, INTRANET, Limits, Table
from holdfast.daemons.carrying import Carrier
from holdfast.daemons.spooling import Intake, Spooler

ROOT, RECORDS = Path("/spools"), Path("/records")
MX, IM1, IM2 = "mx.alpha.example", "im1.alpha.example", "im2.alpha.example"
TABLE = Table(
    {MX: INTERNET, IM1: INTRANET, IM2: INTRANET},
    {"one.example": IM1, "two.example": IM2},
    {},
    {IM1: MX, IM2: MX},
)
EPOCH = 4
PIECE = 100  # octets


class Crash(BaseException):
    """The process that made the call is no more."""


@dataclass
class Inode:
    data: bytes
    time: float
    changed: float = 0.0  # its name


@dataclass
class Pending:
    """A change of names that the server has made and not yet written: a name to its file, or to None when it goes."""

    folders: frozenset[Path]
    names: dict[Path, Inode | None]


class FakeDisk:
    """Implements `Disk`. What a file holds is durable at once, as `write` promises; a name when its folder is synced.

    A rename is one change: with its server it dies whole. `before` is called before each call, and may raise.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.now: dict[Path, Inode] = {}
        self.durable: dict[Path, Inode] = {}
        self.pending: list[Pending] = []
        self.folders: set[Path] = {Path("/")}
        self.before: Callable[[str, Path], None] = lambda call, path: None
        self.calls: list[tuple[str, Path]] = []

    def crash_at(self, number: int) -> None:
        """So many calls still end well; at the next one, and at any behind it, the process is no more."""
        end = len(self.calls) + number

        def before(call: str, path: Path) -> None:
            if len(self.calls) >= end:
                raise Crash

        self.before = before

    def _enter(self, call: str, path: Path) -> None:
        self.before(call, path)
        self.calls.append((call, path))

    def _change(self, names: dict[Path, Inode | None]) -> None:
        self.pending.append(Pending(frozenset(p.parent for p in names), names))
        _apply(self.now, names)

    def power_cut(self, survives: Callable[[], bool]) -> None:
        """The server dies and comes back, with those of the pending changes that had reached its disk."""
        for one in self.pending:
            if survives():
                _apply(self.durable, one.names)
        self.pending.clear()
        self.now = dict(self.durable)

    def names(self, folder: Path) -> Sequence[Found]:
        self._enter("names", folder)
        return [Found(i.time, p.name, i.changed) for p, i in self.now.items() if p.parent == folder]

    def exists(self, file: Path) -> bool:
        self._enter("exists", file)
        return file in self.now or file in self.folders

    def read(self, file: Path, most: int) -> bytes:
        self._enter("read", file)
        if file not in self.now:
            raise FileNotFoundError(2, "No such file", str(file))
        data = self.now[file].data
        return data if most < 0 else data[:most]

    def write(self, file: Path, *pieces: Octets) -> None:
        self._enter("write", file)
        if file in self.now:
            raise FileExistsError(17, "File exists", str(file))
        assert file.parent in self.folders, file
        self._change({file: Inode(b"".join(pieces), self.clock.now(), self.clock.now())})

    def pieces(self, file: Path, start: int) -> Iterator[bytes]:
        while True:
            self._enter("read", file)
            if file not in self.now:
                raise FileNotFoundError(2, "No such file", str(file))
            if not (piece := self.now[file].data[start : start + PIECE]):
                return
            yield piece
            start += len(piece)

    def pour(self, file: Path, pieces: Iterable[bytes]) -> None:
        """Each of them is a moment at which a machine can die, and leaves what was written by then."""
        self.write(file, b"")
        for piece in pieces:
            self.before("write", file)
            self.now[file].data += piece

    def append(self, file: Path, data: bytes) -> None:
        self._enter("append", file)
        assert file.parent in self.folders, file
        if file not in self.now:
            self._change({file: Inode(b"", self.clock.now())})
        self.now[file].data += data

    def link(self, source: Path, target: Path) -> None:
        self._enter("link", target)
        if target in self.now:
            raise FileExistsError(17, "File exists", str(target))
        self._change({target: self.now[source]})

    def rename(self, source: Path, target: Path) -> None:
        self._enter("rename", target)
        if source not in self.now:
            raise FileNotFoundError(2, "No such file", str(source))
        if self.now.get(target) is not self.now[source]:
            self.now[source].changed = self.clock.now()
            self._change({source: None, target: self.now[source]})

    def unlink(self, file: Path) -> None:
        self._enter("unlink", file)
        if file not in self.now:
            raise FileNotFoundError(2, "No such file", str(file))
        self._change({file: None})

    def mkdir(self, folder: Path) -> None:
        self._enter("mkdir", folder)
        self.folders.add(folder)

    def sync(self, folder: Path) -> None:
        self._enter("sync", folder)
        # What was done to a name before goes with what was done to it later.
        due, named = [], set[Path]()
        for one in reversed(self.pending):
            if folder in one.folders or named & one.names.keys():
                due.append(one)
                named |= one.names.keys()
        for one in reversed(due):
            _apply(self.durable, one.names)
        self.pending = [one for one in self.pending if all(one is not other for other in due)]


def _apply(to: dict[Path, Inode], names: dict[Path, Inode | None]) -> None:
    for path, inode in names.items():
        if inode is None:
            to.pop(path, None)
        else:
            to[path] = inode


def letter(*addresses: str, text: str = "hello") -> tuple[Envelope, bytes]:
    recipients = tuple(Recipient(a, "SUCCESS", f"rfc822;{a}") for a in addresses)
    return Envelope("s@out.example", recipients, "HDRS", "QQ1"), f"Subject: {text}\r\n\r\n{text}\r\n".encode()


@dataclass
class Postfix:
    """Takes what an intake submits. `outcome`: what it says."""

    outcome: Outcome = Outcome.ACCEPTED
    got: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None

    def submit(self, header: Header, message: Octets) -> Answer:
        self.before()
        if self.outcome is Outcome.ACCEPTED:
            self.got.append((header.id, tuple(r.address for r in header.envelope.recipients)))
        self.after()
        return Answer(self.outcome, "said so")


class Site:
    """A site's spools, with as many transfer hosts and intakes as a test asks for."""

    def __init__(self, table: Table = TABLE, limits: Limits | None = None) -> None:
        self.clock, self.log, self.table = Clock(), Lines(), table
        self.clock.ahead = 1_700_000_000.0
        self.disk = FakeDisk(self.clock)
        self.files = SpoolFiles(self.disk)
        self.limits = limits or Limits(10_000)
        for identity in table.sides:
            for folder in FOLDERS:
                self.files.folder(ROOT / identity / folder)
        self.postfixes = {identity: Postfix() for identity in table.sides}
        self.spoolers = {i: self.spooler(i) for i in table.sides}
        for spooler in self.spoolers.values():
            spooler.adopt()
        self.records = self.kept_by("t1")
        self.records.prepare()

    def spooler(self, identity: str, host: str = "mail1", epoch: int = EPOCH) -> Spooler:
        return Spooler(identity, host, epoch, ROOT / identity, self.table, self.files, self.clock, self.log)

    def kept_by(self, host: str) -> Records:
        return Records(RECORDS, host, self.files, self.clock)

    def carrier(self, host: str = "t1") -> Carrier:
        records = self.kept_by(host)
        return Carrier(host, ROOT, self.table, self.limits, self.files, records, self.clock, self.log)

    def intake(self, identity: str) -> Intake:
        return Intake(
            identity, ROOT / identity, self.postfixes[identity], 3, self.files, self.clock, self.log, again=60.0
        )

    def spool(self, *addresses: str, text: str = "hello", source: str = MX) -> str:
        """Has the source take a message; its id."""
        envelope, message = letter(*addresses, text=text)
        code, words = self.spoolers[source].message(envelope, message)
        assert code == 250, words
        return name(envelope, message)

    def put(self, header: Header, message: bytes, source: str = MX) -> str:
        """A file in `out`, whoever may have written it."""
        self.files.hand(ROOT / source / OUT / header.id, pack(header, message), ROOT / source / "tmp" / "x")
        return header.id

    def carry(
        self, source: str = MX, host: str = "t1", epoch: int | None = EPOCH, held: Callable[[], None] = lambda: None
    ) -> int:
        """How many still wait."""
        return self.carrier(host).round(source, epoch, held, float("inf")).count

    def take_in(self, identity: str) -> int:
        return self.intake(identity).round(lambda: False).count

    def lies(self, identity: str, folder: str) -> set[str]:
        return {p.name for p in self.disk.now if p.parent == ROOT / identity / folder}

    def where(self, one: str) -> dict[str, set[str]]:
        """Identity to those of its folders that have this id."""
        every = (OUT, IN, DONE, QUARANTINE)
        found = {i: {f for f in every if one in self.lies(i, f)} for i in self.table.sides}
        return {i: folders for i, folders in found.items() if folders}

    def archived(self, durable: bool = False) -> list[str]:
        names = self.disk.durable if durable else self.disk.now
        return [p.stem for p in names if RECORDS / "archive" in p.parents]

    def logged(self, durable: bool = False) -> bytes:
        names = self.disk.durable if durable else self.disk.now
        return b"".join(i.data for p, i in names.items() if p.parent == RECORDS / "log")

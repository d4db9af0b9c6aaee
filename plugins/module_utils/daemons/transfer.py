"""holdfast-transfer: carries mail between the Internet side and the isolated one, on a transfer host (R3).

    python3 -m holdfast.daemons.transfer [--check | --now] [FILE]

FILE is /etc/holdfast/transfer.yml; (o) marks what may be left out, with its default:

    host: transfer1
    root: /srv/holdfast-spools        # (o) where the spools are mounted: ROOT/IDENTITY/{tmp,out,in,done,quarantine}
    records: /srv/holdfast-transfer   # (o) archive, log and attempts, on NFS
    directions:                       # each may be off and has its own pace, seconds
      inward: {enabled: true (o), interval: 30 (o)}
      outward: {enabled: true (o), interval: 30 (o)}
    table:                            # who holds which recipient
      sides: {mx.alpha.example: internet, im.alpha.example: intranet}
      domains: {alpha.example: im.alpha.example}
      users: {}                       # (o) address to identity, where it is not that of its domain
      outlets: {im.alpha.example: mx.alpha.example}      # (o) which identity sends to the rest of the world
    limits: {size: 52428800, crossings: 4 (o), received: 50 (o), attempts: 3 (o)}
    archive: {days: 30 (o), move_to: null (o)}           # 15 to 30 days, then deleted, or moved to that mount point
    log_days: 90                      # (o) how long the log is kept
    done_days: 14                     # (o) how long spools remember what was carried: as long as a Postfix queues
    at_once: 4                        # (o) letters of a spool that are in hand at a time, 1 to 16
    backlog: {count: 1000, seconds: 600}    # (o) more, or older, is alarmed
    coordinator: {endpoints: …, ca: …, cert: …, key: …, user: …, password_file: …}

`--now` has both hosts of the site look at once (records/now).

Each spool has a thread of its own, its round some more, and what is tidied has one. The main thread alone asks for
claims and touches no file: whatever a store does, what this host has claimed stays claimed, or goes to the partner.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..adapters.clock import SystemClock
from ..adapters.etcd import EtcdCoordinator
from ..adapters.log import LineLog
from ..adapters.patient_disk import PatientDisk
from ..adapters.spool_files import SpoolFiles, SystemDisk
from ..adapters.transfer_records import Records
from ..core import keys
from ..core.claims import ClaimLost, Claims
from ..core.model import Owner
from ..core.ports import Clock, Coordinator, Log, Unavailable
from ..core.transfer import INTERNET, INTRANET, Backlog, Direction, Limits, Table
from . import config, service
from .carrying import Carrier
from .config import ConfigError, Section

FILE = "/etc/holdfast/transfer.yml"
TICK = 2.0  # seconds; each costs a read of etcd, and of each spool a look at the store
ROUND_MOST = 300.0  # seconds of one round of one spool; what is left is carried in the next
TIDY_EVERY = 3600.0
LOOK_EVERY = 10.0  # seconds between looks whether a spool is there
AGAIN = 3600.0  # seconds after which an alert that still holds is told once more
ADOPTED_WITHIN = 60.0  # seconds that a new owner may take to say what it has found in its spool
PATIENCE = 600.0  # seconds without a step of a thread: no call to a store takes that long, so that is a defect of ours
# Together with what the coordinator takes, less than the unit's TimeoutStopSec.
STOP_WITHIN = 8.0
HURRY = 3.0  # seconds that a call to a store may take once a stop is asked for
DAYS = (15, 30)  # R3.4
AT_ONCE = 16  # a thread each, and one more for each call to a store


@dataclass(frozen=True)
class Alarm:
    """More messages, or seconds, than these are alarmed."""

    count: int
    seconds: float


@dataclass(frozen=True)
class Config:
    """Checked. `intervals`: seconds, of the directions that are on. `move_to`: None deletes. `at_once`: of a spool."""

    host: str
    root: Path
    records: Path
    intervals: Mapping[Direction, float]
    table: Table
    limits: Limits
    days: int
    move_to: Path | None
    log_days: int
    done_days: int
    at_once: int
    alarm: Alarm
    coordinator: EtcdCoordinator


def table(s: Section) -> Table:
    """Raises ConfigError."""
    names = ("sides", "domains", "users", "outlets")
    given = {name: {k: str(v) for k, v in s.values(name, {}).items()} for name in names}
    s.done()
    sides = given["sides"]
    for name, side in sides.items():
        if side not in (INTERNET, INTRANET):
            raise s.wrong(f"sides.{name}", side, f"give {INTERNET} or {INTRANET}")
    for key in ("domains", "users", "outlets"):
        for name, identity in given[key].items():
            if identity not in sides:
                raise s.wrong(f"{key}.{name}", identity, f"name one of {', '.join(sides) or 'sides, which is empty'}")
    lower = {key: {name.lower(): identity for name, identity in given[key].items()} for key in ("domains", "users")}
    return Table(sides, lower["domains"], lower["users"], given["outlets"])


def alarm(top: Section) -> Alarm:
    s = top.section("backlog", {})
    made = Alarm(s.whole("count", 1000, least=1), s.number("seconds", 600.0, least=1))
    s.done()
    return made


def load(file: str) -> Config:
    """Raises ConfigError."""
    top = Section.load(file)
    intervals = {}
    directions = top.section("directions", {})
    for direction in Direction:
        one = directions.section(direction, {})
        enabled, interval = one.value("enabled", True), one.number("interval", 30.0, least=1)
        if not isinstance(enabled, bool):
            raise one.wrong("enabled", enabled, "give true or false")
        if enabled:
            intervals[direction] = interval
        one.done()
    directions.done()
    limits, archive = top.section("limits"), top.section("archive", {})
    days = archive.whole("days", DAYS[1])
    if not DAYS[0] <= days <= DAYS[1]:
        raise archive.wrong("days", days, f"give days from {DAYS[0]} to {DAYS[1]}")
    at_once = top.whole("at_once", 4, least=1)
    if at_once > AT_ONCE:
        raise top.wrong("at_once", at_once, f"give 1 to {AT_ONCE}")
    made = Config(
        host=top.text("host"),
        root=Path(top.path("root", "/srv/holdfast-spools")),
        records=Path(top.path("records", "/srv/holdfast-transfer")),
        intervals=intervals,
        table=table(top.section("table")),
        limits=Limits(
            limits.whole("size", least=1),
            limits.whole("crossings", 4, least=1),
            limits.whole("received", 50, least=1),
            limits.whole("attempts", 3, least=1),
        ),
        days=days,
        move_to=None if archive.value("move_to", None) is None else Path(archive.path("move_to")),
        log_days=top.whole("log_days", 90, least=1),
        done_days=top.whole("done_days", 14, least=1),
        at_once=at_once,
        alarm=alarm(top),
        coordinator=config.coordinator(top.section("coordinator")),
    )
    for section in (limits, archive, top):
        section.done()
    return made


class Hang(Exception):
    """A thread that does not come back; systemd starts the daemon anew."""


class Told:
    """What fails: an alert when it begins, or its reason changes, and each hour while it lasts. For all threads."""

    def __init__(self, clock: Clock, log: Log) -> None:
        self._clock = clock
        self._log = log
        self._lock = threading.Lock()
        self._said: dict[str, tuple[str, float]] = {}  # by what fails: why, and when that was told (boottime)

    def __call__(self, what: str, why: str | None) -> None:
        now = self._clock.boottime()
        with self._lock:
            if why is None:
                self._said.pop(what, None)
                return
            before, at = self._said.get(what, ("", now))
            if before == why and now - at < AGAIN:
                return
            self._said[what] = why, now
        self._log("transfer_fails", what=what, detail=why, level="alert")


class Work(threading.Thread):
    """Calls `turn` every other second; `stop` ends it behind the step that it is at."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.stop = threading.Event()
        self._error: BaseException | None = None
        self._step = time.monotonic()

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self.step()
                self.turn()
                self.stop.wait(TICK)
        except BaseException as error:
            self._error = error
            raise

    def turn(self) -> None:
        raise NotImplementedError

    def step(self) -> None:
        """A sign of life."""
        self._step = time.monotonic()

    def check(self, patience: float = PATIENCE) -> None:
        """Raises what ended it, and Hang."""
        if self._error is not None:
            raise self._error
        if time.monotonic() - self._step > patience:
            raise Hang(f"{self.name}: one step does not end")


class Spool(Work):
    """Looks whether a spool is there, and carries what waits in it while this host has the claim.

    `interval`: seconds between rounds, None: nothing is carried from it, but it may be where others' mail goes.
    """

    def __init__(
        self,
        identity: str,
        interval: float | None,
        limit: Alarm,
        coordinator: Coordinator,
        claims: Claims,
        carrier: Carrier,
        records: Records,
        clock: Clock,
        log: Log,
        told: Told,
    ) -> None:
        super().__init__(f"spool of {identity}")
        self.identity = identity
        self.there = False  # whether this host can work on it
        self._interval = interval
        self._limit = limit
        self._coordinator = coordinator
        self._claims = claims
        self._carrier = carrier
        self._records = records
        self._clock = clock
        self._log = log
        self._told = told
        self._look_at = self._due = clock.boottime()
        self._asked: bytes | None = None
        self._alarmed: set[str] = set()
        self._alarm_at = clock.boottime()  # when one that still holds is told again
        self._unadopted: float | None = None  # since when the owner has not said what it has found

    def turn(self) -> None:
        """What fails is told, and tried again."""
        self._look()
        if not self.there or self._interval is None:
            return
        try:
            self._claims.check(self.identity)
        except ClaimLost:
            self._due = self._clock.boottime()  # as soon as it is this host's
            return
        try:
            asked = self._records.asked()
            if asked == self._asked and self._clock.boottime() < self._due:
                return
            self._asked, self._due = asked, self._clock.boottime() + self._interval
            self._round()
            self._told(self.identity, None)
        except OSError as why:
            self._told(self.identity, str(why))

    def _look(self) -> None:
        if self._clock.boottime() < self._look_at:
            return
        self._look_at = self._clock.boottime() + LOOK_EVERY
        away, no_records = self._carrier.away(self.identity), self._records.away()
        self._told(self.name, away)
        self._told("records", no_records)
        self.there = away is None and no_records is None

    def _held(self) -> None:
        """Asked by all threads of a round; that two of them look at once does no harm."""
        self.step()
        if self.stop.is_set():
            raise ClaimLost(f"{self.identity}: this host stops")
        self._look()
        if not self.there:
            raise ClaimLost(f"{self.identity} is away")
        self._claims.check(self.identity)

    def _round(self) -> None:
        try:
            value = self._coordinator.get(keys.owner(self.identity)).value
            self._told("coordinator", None)
        except Unavailable as why:
            self._told("coordinator", str(why))
            return
        epoch = None if value is None else Owner.from_json(value).epoch
        self._adopted(epoch)
        try:
            left = self._carrier.round(self.identity, epoch, self._held, self._clock.boottime() + ROUND_MOST)
        except ClaimLost:
            self._due = self._clock.boottime()
            if self.stop.is_set():
                return
            left = self._carrier.backlog(self.identity)  # whoever has it now goes on
        now = self._clock.boottime()
        if not left.over(self._limit.count, self._limit.seconds):
            self._alarm_at = now
        elif now >= self._alarm_at:
            self._alarm_at = now + AGAIN
            self._alarmed.clear()
        report(self.identity, "out", left, self._limit, self._alarmed, self._log)

    def _adopted(self, epoch: int | None) -> None:
        """A new owner whose end of the spool does not start is told, also while nothing waits."""
        said = self._carrier.epoch(self.identity)
        if epoch is None or (said is not None and said >= epoch):
            self._unadopted = None
        elif self._unadopted is None:
            self._unadopted = self._clock.boottime()
        late = self._unadopted is not None and self._clock.boottime() - self._unadopted >= ADOPTED_WITHIN
        why = f"holdfast-spool of its owner at epoch {epoch} has not looked into it yet" if late else None
        self._told(f"owner of {self.identity}", why)


class Tidy(Work):
    """Once an hour, on one host of a site at a time: what is old goes. Moving a day to elsewhere takes its time."""

    def __init__(
        self,
        settings: Config,
        coordinator: Coordinator,
        claims: Claims,
        carrier: Carrier,
        records: Records,
        clock: Clock,
        log: Log,
        told: Told,
    ) -> None:
        super().__init__("tidying")
        self._settings = settings
        self._coordinator = coordinator
        self._claims = claims
        self._carrier = carrier
        self._records = records
        self._clock = clock
        self._log = log
        self._told = told
        self._at = clock.boottime()

    def turn(self) -> None:
        if self._clock.boottime() < self._at:
            return
        if self._records.away() is not None:
            return  # that is told by others
        try:
            claimed = self._coordinator.list(keys.TRANSFER_CLAIMS)
        except Unavailable:
            claimed = {}
        if not any(keys.transfer_claim(identity) in claimed for identity in self._settings.table.sides):
            self._at = self._clock.boottime() + LOOK_EVERY  # this site has only begun
            return
        self._at = self._clock.boottime() + TIDY_EVERY
        # Each host its own.
        self._try("log", self._records.pack_logs)
        first = self._claims.first(claimed)
        if first is None:
            return

        def held() -> None:
            self.step()
            if self.stop.is_set():
                raise ClaimLost("this host stops")
            self._claims.check(first)

        try:
            for identity in self._settings.table.sides:
                held()
                if self._carrier.away(identity) is None:
                    tidy = functools.partial(self._carrier.tidy, identity, self._settings.done_days, held)
                    self._try(f"done of {identity}", tidy)
            held()
            self._try("archive", lambda: self._expire(held))
            held()
            self._try("old logs", self._expire_logs)
            self._try("tmp of records", self._records.tidy)
        except ClaimLost:
            return  # whoever has it now goes on

    def _expire(self, held: Callable[[], None]) -> None:
        gone = self._records.expire(self._settings.days, self._settings.move_to, held)
        if gone:
            self._log("archive_expired", days=gone, moved_to=self._settings.move_to)

    def _expire_logs(self) -> None:
        gone = self._records.expire_logs(self._settings.log_days)
        if gone:
            self._log("log_expired", files=gone)

    def _try(self, what: str, call: Callable[[], None]) -> None:
        """One of them that fails keeps no other back."""
        try:
            call()
            self._told(what, None)
        except ClaimLost:
            raise
        except Exception as why:  # noqa: BLE001 - a defect of ours in here stops no mail
            self._told(what, str(why) if isinstance(why, OSError) else repr(why))


class Transfer:
    """Call `tick` every other second."""

    def __init__(self, spools: Sequence[Spool], tidy: Tidy, claims: Claims, told: Told) -> None:
        self._spools = spools
        self._tidy = tidy
        self._claims = claims
        self._told = told

    def start(self) -> None:
        for work in (*self._spools, self._tidy):
            work.start()

    def tick(self) -> None:
        """Raises what ended a thread, and Hang."""
        for spool in self._spools:
            spool.check()
        try:
            self._tidy.check(TIDY_EVERY)
            self._told("tidying", None)
        except Hang as why:
            # To delete a day takes long, and it may wait for a store that is away; mail crosses without it.
            self._told("tidying", str(why))
        try:
            self._claims.look([spool.identity for spool in self._spools if spool.there])
            self._told("host", None)
        except Unavailable as why:
            self._told("host", str(why))

    def close(self) -> None:
        """Each ends behind the step that it is at, and what this host has claimed is the others' at once."""
        end = time.monotonic() + STOP_WITHIN
        for work in (*self._spools, self._tidy):
            work.stop.set()
        for spool in self._spools:
            if spool.is_alive():
                spool.join(max(0.0, end - time.monotonic()))
        self._claims.close()


def report(spool: str, folder: str, left: Backlog, limit: Alarm, alarmed: set[str], log: Log) -> None:
    """Tells what waits; by an alert when it becomes too much, and when that is over. `alarmed`: where it stands."""
    told = {"identity": spool, "folder": folder, "count": left.count, "oldest": round(left.oldest)}
    if left.over(limit.count, limit.seconds):
        log("backlog", **told, level="info" if spool in alarmed else "alert")
        alarmed.add(spool)
    elif spool in alarmed:
        alarmed.discard(spool)
        log("backlog_over", **told)
    elif left.count:
        log("backlog", **told)


def start(file: str) -> Callable[[], None]:
    """What runs the daemon of that configuration. Raises ConfigError."""
    settings = load(file)

    def serve() -> None:
        clock, log, sides = SystemClock(), LineLog(), settings.table.sides
        mounts = [settings.records, *(settings.root / identity for identity in sides)]
        disk = PatientDisk(SystemDisk(), mounts)
        files = SpoolFiles(disk)
        records = Records(settings.records, settings.host, files, clock)
        transfer = build(settings, records, files, clock, log)
        records.prepare()

        def close() -> None:
            disk.hurry(HURRY)
            transfer.close()

        transfer.start()
        service.run(transfer.tick, TICK, close)

    return serve


def build(settings: Config, records: Records, files: SpoolFiles, clock: Clock, log: Log) -> Transfer:
    sides, coordinator, told = settings.table.sides, settings.coordinator, Told(clock, log)
    paces = {identity: settings.intervals.get(settings.table.direction(identity)) for identity in sides}
    claims = Claims(settings.host, [i for i, pace in paces.items() if pace is not None], coordinator, clock, log)
    carrier = Carrier(
        settings.host, settings.root, settings.table, settings.limits, files, records, clock, log, settings.at_once
    )
    spools = [
        Spool(i, pace, settings.alarm, coordinator.another(), claims, carrier, records, clock, log, told)
        for i, pace in paces.items()
    ]
    tidy = Tidy(settings, coordinator.another(), claims, carrier, records, clock, log, told)
    return Transfer(spools, tidy, claims, told)


def now(file: str) -> Callable[[], None]:
    """What makes the hosts of this site carry all that waits at once. Raises ConfigError."""
    settings = load(file)

    def ask() -> None:
        try:
            Records(settings.records, settings.host, SpoolFiles(), SystemClock()).ask()
        except OSError as why:
            raise ConfigError(f"{settings.records}: {why.strerror}: is it mounted, and are you root?") from why

    return ask


def main(arguments: Sequence[str]) -> int:
    return config.main(arguments, FILE, now if "--now" in arguments else start)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

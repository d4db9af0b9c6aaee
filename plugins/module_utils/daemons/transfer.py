"""holdfast-transfer: carries mail between the Internet side and the isolated one, on a transfer host (R3).

    python3 -m holdfast.daemons.transfer [--check | --now] [FILE]

FILE is /etc/holdfast/transfer.yml; (o) marks what may be left out, with its default:

    host: transfer1
    root: /srv/holdfast-spools        # (o) where the spools are mounted: ROOT/IDENTITY/{tmp,out,in,done,quarantine}
    records: /srv/holdfast-transfer   # (o) archive, log and attempts, on NFS
    trigger: /run/holdfast-transfer/now     # (o) a file; when it is there all is carried at once (`--now` makes it)
    directions:                       # each may be off and has its own pace, seconds
      inward: {enabled: true (o), interval: 30 (o)}
      outward: {enabled: true (o), interval: 30 (o)}
    table:                            # who holds which recipient
      sides: {mx.alpha.example: internet, im.alpha.example: intranet}
      domains: {alpha.example: im.alpha.example}
      users: {}                       # (o) address to identity, where it is not that of its domain
      outlets: {im.alpha.example: mx.alpha.example}      # (o) which identity sends to the rest of the world
    limits: {size: 52428800, crossings: 4 (o), received: 50 (o), attempts: 3 (o)}
    archive: {days: 30 (o), move_to: null (o)}           # 15 to 30 days, then deleted, or moved to that folder
    done_days: 14                     # (o) how long spools remember what was carried: as long as a Postfix queues
    backlog: {count: 1000, seconds: 600}    # (o) more, or older, is alarmed
    coordinator: {endpoints: …, ca: …, cert: …, key: …, user: …, password_file: …}
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..adapters.clock import SystemClock
from ..adapters.etcd import EtcdCoordinator
from ..adapters.log import LineLog
from ..adapters.spool_files import SpoolFiles
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
TICK = 1.0  # seconds
ROUND_MOST = 300.0  # seconds of one round of one spool; what is left is carried in the next
TIDY_EVERY = 3600.0
LOOK_EVERY = 10.0  # seconds between looks whether the spools are there
DAYS = (15, 30)  # R3.4


@dataclass(frozen=True)
class Alarm:
    """More messages, or seconds, than these are alarmed."""

    count: int
    seconds: float


@dataclass(frozen=True)
class Config:
    """Checked. `intervals`: seconds, of the directions that are on. `move_to`: None deletes."""

    host: str
    root: Path
    records: Path
    trigger: Path
    intervals: Mapping[Direction, float]
    table: Table
    limits: Limits
    days: int
    move_to: Path | None
    done_days: int
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
    made = Config(
        host=top.text("host"),
        root=Path(top.path("root", "/srv/holdfast-spools")),
        records=Path(top.path("records", "/srv/holdfast-transfer")),
        trigger=Path(top.path("trigger", "/run/holdfast-transfer/now")),
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
        done_days=top.whole("done_days", 14, least=1),
        alarm=alarm(top),
        coordinator=config.coordinator(top.section("coordinator")),
    )
    for section in (limits, archive, top):
        section.done()
    return made


class Transfer:
    """Call `tick` about once a second."""

    def __init__(
        self,
        settings: Config,
        coordinator: Coordinator,
        claims: Claims,
        carrier: Carrier,
        records: Records,
        clock: Clock,
        log: Log,
    ) -> None:
        self._settings = settings
        self._coordinator = coordinator
        self._claims = claims
        self._carrier = carrier
        self._records = records
        self._clock = clock
        self._log = log
        self._due: dict[str, float] = {}  # by spool: when its next round is
        self._tidy_at = clock.boottime()
        self._alarmed: set[str] = set()
        self._said: dict[str, str] = {}  # by what fails: why
        self._look_at = clock.boottime()
        self._seen: list[str] = []  # spools that this host can work on

    def tick(self) -> None:
        """What fails is told once, and tried again by the next tick."""
        try:
            if self._clock.boottime() >= self._look_at:
                self._look()
                self._look_at = self._clock.boottime() + LOOK_EVERY
            self._claims.look(self._seen)
            self._say("host", None)
            if self._seen:
                self._rounds()
                self._tidy()
        except (Unavailable, OSError) as why:
            self._say("host", str(why))

    def _look(self) -> None:
        """One spool that is away keeps no other from crossing."""
        away, sides = self._carrier.away(), self._settings.table.sides
        self._seen = [identity for identity in sides if identity not in away]
        for identity in sides:
            self._say(f"spool of {identity}", away.get(identity))

    def _say(self, what: str, why: str | None) -> None:
        if why is None:
            self._said.pop(what, None)
        elif self._said.get(what) != why:
            self._said[what] = why
            self._log("transfer_fails", what=what, detail=why, level="alert")

    def _rounds(self) -> None:
        now = self._clock.boottime()
        if self._settings.trigger.exists():
            self._settings.trigger.unlink(missing_ok=True)
            self._due.clear()
        for spool in self._claims.held():
            interval = self._settings.intervals.get(self._settings.table.direction(spool))
            if interval is None or now < self._due.get(spool, now):
                continue
            self._due[spool] = now + interval
            try:
                self._round(spool)
                self._say(spool, None)
            except ClaimLost:
                continue  # whoever has it now goes on
            except (Unavailable, OSError) as why:
                self._say(spool, str(why))  # and the others go on

    def _round(self, spool: str) -> None:
        owner = self._coordinator.get(keys.owner(spool)).value
        epoch = None if owner is None else Owner.from_json(owner).epoch
        until = self._clock.boottime() + ROUND_MOST
        left = self._carrier.round(spool, epoch, lambda: self._claims.check(spool), until)
        report(spool, "out", left, self._settings.alarm, self._alarmed, self._log)

    def _tidy(self) -> None:
        if self._clock.boottime() >= self._tidy_at:
            self._tidy_at = self._clock.boottime() + TIDY_EVERY
            self._carrier.tidy(self._settings.done_days)
            gone = self._records.expire(self._settings.days, self._settings.move_to)
            if gone:
                self._log("archive_expired", days=gone, moved_to=self._settings.move_to)


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
        clock, log, files = SystemClock(), LineLog(), SpoolFiles()
        records = Records(settings.records, settings.host, files, clock)
        spools = [s for s in settings.table.sides if settings.table.direction(s) in settings.intervals]
        claims = Claims(settings.host, spools, settings.coordinator, clock, log)
        carrier = Carrier(settings.host, settings.root, settings.table, settings.limits, files, records, clock, log)
        records.prepare()
        transfer = Transfer(settings, settings.coordinator, claims, carrier, records, clock, log)
        service.run(transfer.tick, TICK, claims.close, patience=ROUND_MOST * len(settings.table.sides) + 300.0)

    return serve


def trigger(file: str) -> Callable[[], None]:
    """What makes the daemon carry all that waits at once. Raises ConfigError."""
    path = load(file).trigger

    def touch() -> None:
        try:
            path.touch()
        except OSError as why:
            raise ConfigError(f"{path}: {why.strerror}: does holdfast-transfer run, and are you root?") from why

    return touch


def main(arguments: Sequence[str]) -> int:
    return config.main(arguments, FILE, trigger if "--now" in arguments else start)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

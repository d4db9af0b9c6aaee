"""holdfast-spool: the mail host's end of the transfer, for one identity that it owns (R3.1).

    python3 -m holdfast.daemons.spool [--check] FILE

FILE is /etc/holdfast/identity/IDENTITY/spool.yml; (o) marks what may be left out, with its default:

    identity: mx.alpha.example
    host: mail1
    folder: /srv/holdfast-spool/mx.alpha.example       # its spool, mounted
    socket: /run/holdfast-spool-mx.alpha.example/lmtp  # where Postfix hands over what is for the other side
    socket_group: postfix             # (o) who may
    submission: /run/postfix-mx.alpha.example/public/intake    # where that Postfix takes what has come in
    mark: /run/holdfast/running/mx.alpha.example       # (o) the agent's word on what runs here
    size: 52428800                    # octets, as Postfix's message_size_limit
    attempts: 3                       # (o) submissions without an end, or refused, until quarantine
    interval: 5                       # (o) seconds between looks for what has come in
    table: {sides: …, domains: …, users: …, outlets: …}        # as in transfer.py
    backlog: {count: 1000, seconds: 600}               # (o)
    coordinator: {endpoints: …, ca: …, cert: …, key: …, user: …, password_file: …}

Started with the identity's Postfix, by its unit, on its owner only.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..adapters.clock import SystemClock
from ..adapters.etcd import EtcdCoordinator
from ..adapters.lmtp import Server
from ..adapters.log import LineLog
from ..adapters.spool_files import SpoolFiles
from ..adapters.submission import Submission
from ..core import keys
from ..core.model import Owner
from ..core.ports import Clock, Coordinator, Log, Unavailable
from ..core.spool import IN, OUT
from ..core.transfer import Backlog, Table
from . import config, service
from .config import Section
from .running import MARKS, Mark
from .spooling import Intake, NotOurs, Spooler
from .transfer import Alarm, alarm, report, table

ROUND_MOST = 300.0  # seconds
# A submission may take as long as Postfix takes for its last reply.
PATIENCE = ROUND_MOST + 900.0
OUT_EVERY = 60.0  # seconds between looks at what is to be carried; a transfer host looks at it, too, if there is one
ALARM_EVERY = 3600.0  # what is told once is not to be seen the day after
# Seconds that it stays when it must not write: systemd starts it anew then, and each time is an alert.
REFUSED = 60.0


@dataclass(frozen=True)
class Config:
    """Checked; `size` in octets, `interval` in seconds."""

    identity: str
    host: str
    folder: Path
    socket: Path
    socket_group: str
    submission: Path
    mark: Path
    size: int
    attempts: int
    interval: float
    table: Table
    alarm: Alarm
    coordinator: EtcdCoordinator


def load(file: str) -> Config:
    """Raises ConfigError."""
    top = Section.load(file)
    identity = top.text("identity")
    made = Config(
        identity=identity,
        host=top.text("host"),
        folder=Path(top.path("folder")),
        socket=Path(top.path("socket")),
        socket_group=top.text("socket_group", "postfix"),
        submission=Path(top.path("submission")),
        mark=Path(top.path("mark", str(MARKS / identity))),
        size=top.whole("size", least=1),
        attempts=top.whole("attempts", 3, least=1),
        interval=top.number("interval", 5.0, least=1),
        table=table(top.section("table")),
        alarm=alarm(top),
        coordinator=config.coordinator(top.section("coordinator")),
    )
    if identity not in made.table.sides:
        raise top.wrong("identity", identity, f"name one of table.sides: {', '.join(made.table.sides)}")
    top.done()
    return made


def epoch(settings: Config, coordinator: Coordinator) -> int:
    """At which this host owns the identity. Raises NotOurs, Unavailable.

    While it is coming up only the coordinator knows; later the agent's mark does, also while the coordinator is away.
    """
    marked = Mark(settings.mark.name, settings.mark.parent).read()
    if marked is not None:
        return marked
    value = coordinator.get(keys.owner(settings.identity)).value
    owner = None if value is None else Owner.from_json(value)
    if owner is None or owner.host != settings.host:
        raise NotOurs(f"{settings.identity} is owned by {owner.host if owner else 'nobody'}, not by {settings.host}")
    return owner.epoch


class Work:
    """Call `tick` every few seconds: submits what has come in, and tells what waits at either end."""

    def __init__(
        self,
        identity: str,
        spooler: Spooler,
        intake: Intake,
        limit: Alarm,
        clock: Clock,
        log: Log,
        over: Callable[[], bool],
    ) -> None:
        self._identity = identity
        self._spooler = spooler
        self._intake = intake
        self._limit = limit
        self._clock = clock
        self._log = log
        self._over = over
        self._out_at = clock.boottime()
        self._alarmed: dict[str, set[str]] = {IN: set(), OUT: set()}
        self._again: dict[str, float] = {}  # by folder: when what still stands is an alert again

    def tick(self) -> None:
        # Before what has come in, which may take its time.
        if self._clock.boottime() >= self._out_at:
            self._out_at = self._clock.boottime() + OUT_EVERY
            self._tell(OUT, self._spooler.waits)
        until = self._clock.boottime() + ROUND_MOST
        # A stop waits for the message that is being submitted: cut off behind Postfix's 250 it would go twice.
        self._tell(IN, lambda: self._intake.round(lambda: self._clock.boottime() >= until or self._over()))

    def _tell(self, folder: str, waits: Callable[[], Backlog]) -> None:
        alarmed, now = self._alarmed[folder], self._clock.boottime()
        try:
            left = waits()
        except OSError as why:
            again = now >= self._again.get(folder, now)
            if again:
                self._again[folder] = now + ALARM_EVERY
            level = "alert" if again else "error"
            self._log("spool_away", identity=self._identity, folder=folder, detail=str(why), level=level)
            return
        over = left.over(self._limit.count, self._limit.seconds)
        if not over:
            self._again.pop(folder, None)
        elif now >= self._again.get(folder, now):
            self._again[folder] = now + ALARM_EVERY
            alarmed.clear()
        report(self._identity, folder, left, self._limit, alarmed, self._log)


def adopted(settings: Config, coordinator: Coordinator, files: SpoolFiles, clock: Clock, log: Log) -> Spooler:
    """One that may write. Raises NotOurs, Unavailable, OSError; the first of them is an alert."""
    try:
        at = epoch(settings, coordinator)
        spooler = Spooler(settings.identity, settings.host, at, settings.folder, settings.table, files, clock, log)
        spooler.adopt()
    except NotOurs as why:
        log("spool_refused", identity=settings.identity, detail=str(why), level="alert")
        raise
    except (Unavailable, OSError) as why:
        log("spool_not_begun", identity=settings.identity, detail=str(why), level="error")
        raise
    return spooler


def start(file: str) -> Callable[[], None]:
    """What runs the daemon of that configuration. Raises ConfigError."""
    settings = load(file)

    def serve() -> None:
        clock, log, files = SystemClock(), LineLog(), SpoolFiles()
        try:
            spooler = adopted(settings, settings.coordinator, files, clock, log)
        except NotOurs as why:
            clock.sleep(REFUSED)
            raise SystemExit(1) from why
        except (Unavailable, OSError) as why:
            raise SystemExit(1) from why
        submission = Submission(settings.submission, settings.host)
        intake = Intake(settings.identity, settings.folder, submission, settings.attempts, files, clock, log)
        wake = threading.Event()  # set by SIGTERM alone
        work = Work(settings.identity, spooler, intake, settings.alarm, clock, log, wake.is_set)

        def failed(why: str) -> None:
            log("lmtp_fails", identity=settings.identity, detail=why, level="error")

        with Server(
            settings.socket, settings.identity, settings.size, spooler, failed, settings.socket_group
        ) as server:
            threading.Thread(target=server.serve_forever, name="lmtp", daemon=True).start()
            service.run(work.tick, settings.interval, server.shutdown, PATIENCE, wake)

    return serve


def main(arguments: Sequence[str]) -> int:
    return config.main(arguments, "/etc/holdfast/spool.yml", start)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

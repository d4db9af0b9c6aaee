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
from ..core.ports import Coordinator
from ..core.transfer import Table
from . import config, service
from .config import Section
from .running import MARKS, Mark
from .spooling import Intake, NotOurs, Spooler
from .transfer import Alarm, alarm, report, table

ROUND_MOST = 300.0  # seconds
# A submission may take as long as Postfix takes for its last reply.
PATIENCE = ROUND_MOST + 900.0


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


def start(file: str) -> Callable[[], None]:
    """What runs the daemon of that configuration. Raises ConfigError."""
    settings = load(file)

    def serve() -> None:
        clock, log, files = SystemClock(), LineLog(), SpoolFiles()
        try:
            at = epoch(settings, settings.coordinator)
            spooler = Spooler(settings.identity, settings.host, at, settings.folder, settings.table, files, clock, log)
            spooler.adopt()
        except NotOurs as why:
            raise SystemExit(f"holdfast-spool: {why}") from why
        submission = Submission(settings.submission, settings.host)
        intake = Intake(settings.identity, settings.folder, submission, settings.attempts, files, clock, log)
        alarmed: set[str] = set()
        wake = threading.Event()  # set by SIGTERM alone

        def failed(why: str) -> None:
            log("lmtp_fails", identity=settings.identity, detail=why, level="error")

        def tick() -> None:
            until = clock.boottime() + ROUND_MOST
            try:
                # A stop waits for the message that is being submitted: cut off behind Postfix's 250 it would go twice.
                left = intake.round(lambda: clock.boottime() >= until or wake.is_set())
            except OSError as why:
                log("intake_fails", identity=settings.identity, detail=str(why), level="error")
                return
            report(settings.identity, "in", left, settings.alarm, alarmed, log)

        with Server(
            settings.socket, settings.identity, settings.size, spooler, failed, settings.socket_group
        ) as server:
            threading.Thread(target=server.serve_forever, name="lmtp", daemon=True).start()
            service.run(tick, settings.interval, server.shutdown, PATIENCE, wake)

    return serve


def main(arguments: Sequence[str]) -> int:
    return config.main(arguments, "/etc/holdfast/spool.yml", start)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

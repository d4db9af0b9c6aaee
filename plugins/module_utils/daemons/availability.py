"""holdfast-availability: tells redirectors how available each identity on this host is (R2.5).

    python3 -m holdfast.daemons.availability [--check] [FILE]

FILE is /etc/holdfast/availability.yml; (o) marks what may be left out, with its default:

    port: 10100
    identities:                     # those behind redirectors of which this host is a candidate
      mx.alpha.example: {address: 203.0.113.10, queue: /srv/holdfast/mx.alpha.example/queue}
    load: [0.7, 4]                  # (o) average of a minute for each processor: up to the first the whole share, from
    queue: [100, 5000]              # (o) the second on 1 %; letters in hand, the same
    interval: 5                     # (o) seconds between looks at the queues; three without an answer are a drain
    drain_file: /etc/holdfast/drain # (o) while it exists this host gets nothing new
    marks: /run/holdfast/running    # (o) the agent's word that an identity runs here
    leaving: /run/holdfast/leaving  # (o) and that it is about to be handed over

Whoever connects to the port on an identity's address gets one line (core/availability.py) and the connection's end; not
an octet of his is read. A program of its own and not a part of holdfast-agent: that one runs as root and keeps the
host's lease, so nobody from outside should be able to speak with it, and a queue that does not answer must not keep it
waiting. What the agent knows stands in files below /run, which outlive its restarts; the coordinator is not asked, and
its outage is none of mail. The main thread looks at the queues, one of its own answers.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..adapters import backlog, machine
from ..adapters.log import LineLog
from ..adapters.track import TrackFile
from ..core.availability import Answer, Limits, Scale, Seen, decide
from ..core.ports import Log
from . import config, running, service

FILE = "/etc/holdfast/availability.yml"

IP_FREEBIND = 15  # ip(7): an address that is not here yet; the identity's comes and goes
SEND_WITHIN = 1.0  # seconds


@dataclass(frozen=True)
class Served:
    """An identity: where it is asked for, and its Postfix's queue."""

    address: str
    queue: str


@dataclass(frozen=True)
class Config:
    """A host's configuration, checked."""

    port: int
    identities: Mapping[str, Served]
    limits: Limits
    interval: float
    drain_file: Path
    marks: Path
    leaving: Path


def load(file: str) -> Config:
    top = config.Section.load(file)
    identities = {}
    for name, section in top.sections("identities"):
        identities[name] = Served(section.text("address"), section.path("queue"))
        section.done()
    usual = Limits()
    made = Config(
        port=top.whole("port", least=1),
        identities=identities,
        limits=Limits(load=_scale(top, "load", usual.load), queue=_scale(top, "queue", usual.queue)),
        interval=top.number("interval", 5.0, least=0.1),
        drain_file=Path(top.path("drain_file", "/etc/holdfast/drain")),
        marks=Path(top.path("marks", str(running.MARKS))),
        leaving=Path(top.path("leaving", str(running.LEAVING))),
    )
    top.done()
    return made


def _scale(top: config.Section, name: str, default: Scale) -> Scale:
    value = top.value(name, None)
    if value is None:
        return default
    numbers = isinstance(value, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    if not numbers or len(value) != 2 or not 0 <= value[0] < value[1]:
        raise top.wrong(name, value, "give two numbers, the first 0 or more and smaller than the second")
    return Scale(float(value[0]), float(value[1]))


class Availability:
    """What is said of each identity. `look` reads the queues and may take seconds; `line` may be asked at any time."""

    def __init__(
        self,
        settings: Config,
        log: Log,
        busy: Callable[[], float] = machine.load,
        in_hand: Callable[[str], int | None] = backlog.in_hand,
    ) -> None:
        self._settings = settings
        self._log = log
        self._busy = busy
        self._in_hand = in_hand
        self._marks = {name: running.Mark(name, settings.marks) for name in settings.identities}
        self._queues: dict[str, int] = {}
        self._silent: dict[str, int] = {}
        self._told: dict[str, Answer] = {}

    def look(self) -> None:
        """Only where it runs: elsewhere there is no queue, or one that is being taken away."""
        for name, served in self._settings.identities.items():
            runs = self._marks[name].exists()
            length = self._in_hand(served.queue) if runs else None
            if length is None:
                self._queues.pop(name, None)
                # What was silent where it does not run any more says nothing of where it runs anew.
                self._silent[name] = self._silent.get(name, 0) + 1 if runs else 0
            else:
                self._queues[name], self._silent[name] = length, 0

    def line(self, name: str) -> str:
        settings = self._settings
        seen = Seen(
            running=self._marks[name].exists(),
            leaving=TrackFile(name, settings.leaving).read(),
            drained=settings.drain_file.exists(),
            load=self._busy(),
            queue=self._queues.get(name),
            silent=self._silent.get(name, 0),
        )
        found = decide(seen, settings.limits)
        if self._told.get(name) is not found.answer:
            self._log("availability", identity=name, answer=found.answer, reason=found.reason or None)
        self._told[name] = found.answer
        return found.line()


class Listener(threading.Thread):
    """Answers on each identity's address, whether it is on this host or not. Binds at once, or raises OSError."""

    def __init__(self, addresses: Mapping[str, str], port: int, line: Callable[[str], str]) -> None:
        super().__init__(name="listener", daemon=True)
        self._line = line
        self._selector = selectors.DefaultSelector()
        self.ports: dict[str, int] = {}
        for name, address in addresses.items():
            listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            listening.bind((address, port))
            listening.listen(64)
            listening.setblocking(False)
            self._selector.register(listening, selectors.EVENT_READ, name)
            self.ports[name] = listening.getsockname()[1]

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                assert isinstance(key.fileobj, socket.socket)
                # Who has gone meanwhile asks again.
                with contextlib.suppress(OSError):
                    self._answer(key.fileobj.accept()[0], self._line(key.data).encode())

    @staticmethod
    def _answer(connection: socket.socket, line: bytes) -> None:
        with connection:
            connection.settimeout(SEND_WITHIN)
            connection.sendall(line)
            connection.shutdown(socket.SHUT_WR)


def start(settings: Config) -> None:
    log = LineLog()
    availability = Availability(settings, log)
    availability.look()
    addresses = {name: served.address for name, served in settings.identities.items()}
    listener = Listener(addresses, settings.port, availability.line)
    listener.start()

    def tick() -> None:
        if not listener.is_alive():
            raise RuntimeError("the listener has ended")  # systemd begins anew
        availability.look()

    service.run(tick, settings.interval)


def prepare(file: str) -> Callable[[], None]:
    settings = load(file)
    return lambda: start(settings)


if __name__ == "__main__":
    sys.exit(config.main(sys.argv[1:], FILE, prepare))

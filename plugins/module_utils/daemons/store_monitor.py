"""holdfast-store-monitor: watches the partner of this store server, and takes the store over from it (R2.8).

    python3 -m holdfast.daemons.store_monitor [--check] [FILE]

FILE is /etc/holdfast/store-monitor.yml:

    host: store1b
    interval: 2                   # (o) seconds between probes of the partner
    retry: 15                     # (o) seconds before a held run is tried again
    hourly_limit: 2               # (o) automatic takeovers of one store within an hour
    coordinator: {endpoints: …, ca: …, cert: …, key: …,
                  user: (o), password_file: (o), timeout: 3 (o)}
    stores:
      store1: {address, members, home, threshold_seconds, bind_address, partner_address}
    fence_devices: {NAME: {address, port, user, hosts, timeout, host_key, client_key_file}}

It is the relay's machinery (core/watching.py) with another probe: down for `threshold_seconds`, and the owner's lease
lost as the second evidence.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from ..adapters.clock import SystemClock
from ..adapters.etcd import EtcdCoordinator
from ..adapters.log import LineLog
from ..adapters.nfs_probe import NfsProber
from ..core.locked_run import Ports, Timeouts
from ..core.model import Identity, Method, Route
from ..core.pairing import Pairing
from ..core.ports import Coordinator, Log, PowerSwitch
from ..core.takeover import Takeover
from ..core.threshold import Threshold
from ..core.watching import Settings, Watch
from . import config, service, wiring
from .fences import Devices, Invoker
from .store_instance import place

FILE = "/etc/holdfast/store-monitor.yml"
TICK = 1.0  # seconds


@dataclass(frozen=True)
class Pair:
    """One store of this host, and where its partner answers."""

    identity: Identity
    threshold: Threshold
    route: Route
    partner_address: str


@dataclass(frozen=True)
class Config:
    host: str
    interval: float
    retry: float
    hourly_limit: int
    coordinator: EtcdCoordinator
    pairs: tuple[Pair, ...]
    lock: int
    switches: Callable[[], Mapping[str, Sequence[PowerSwitch]]]


def load(path: str) -> Config:
    """Read and check the file. Raises ConfigError."""
    s = config.Section.load(path)
    pairs = []
    for name, one in s.sections("stores"):
        one.value("gateway", None)  # the file of the release before names one
        pairs.append(
            Pair(
                place(name, one).identity,
                Threshold(None, one.number("threshold_seconds", least=1)),
                Route("storage", one.text("bind_address")),
                one.text("partner_address"),
            )
        )
        one.done()
    devices = Devices(s)
    if devices.invoker is not Invoker.SELF:
        raise s.wrong("invoker", str(devices.invoker), "nobody but its partner takes a store over; remove this key")
    made = Config(
        host=s.text("host"),
        interval=s.number("interval", 2.0, least=0.5),
        retry=s.number("retry", 15.0, least=1),
        hourly_limit=s.whole("hourly_limit", 2),
        coordinator=config.coordinator(s.section("coordinator")),
        pairs=tuple(pairs),
        lock=devices.lock,
        switches=devices.switches,
    )
    s.done()
    for pair in made.pairs:
        if made.host not in pair.identity.candidates:
            raise s.wrong("host", made.host, f"is no member of {pair.identity.name}; remove that store here")
    return made


class Changes:
    """A log that says of attempts only what differs from the last one: there is one every other second."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._last: dict[object, object] = {}

    def __call__(self, event: str, /, **fields: object) -> None:
        if event == "attempt":
            known = self._last.get(fields.get("identity"))
            self._last[fields.get("identity")] = fields.get("result")
            if known == fields.get("result"):
                return
        self._log(event, **fields)


class Seldom:
    """The coordinator without the evidence that says nothing new: every write there wakes agents and stores."""

    def __init__(self, coordinator: EtcdCoordinator) -> None:
        self._coordinator = coordinator
        self._said: dict[str, tuple[object, ...]] = {}

    def put(self, key: str, value: Mapping[str, object], lease: int | None = None) -> None:
        news = tuple(value.get(field) for field in ("epoch", "downs", "verdict", "passed"))
        if self._said.get(key) != news:
            self._coordinator.put(key, value, lease)
            self._said[key] = news

    def __getattr__(self, name: str) -> object:
        return getattr(self._coordinator, name)


def pairing(settings: Config, pair: Pair, log: Log) -> Pairing:
    clock, mail = SystemClock(), wiring.NoMail()
    watched = Settings(
        settings.host,
        settings.interval,
        (Method.PROBE,),
        pair.threshold,
        (pair.route,),
        reset_after=1,
        retry=settings.retry,
    )
    ports = Ports(
        settings.coordinator, settings.switches(), NfsProber(clock), mail, mail, clock, log, wiring.new_run_id
    )
    # Without a plan of its own: power, then an operator's word, and nothing else counts against a store.
    takeover = Takeover(
        pair.identity, settings.host, (pair.route,), ports, Timeouts(lock=settings.lock), settings.hourly_limit
    )
    prober = NfsProber(clock, pair.partner_address)
    coordinator = cast(Coordinator, Seldom(settings.coordinator))
    return Pairing(Watch(pair.identity, watched, coordinator, prober, mail, takeover, clock, log))


def start(file: str) -> Callable[[], None]:
    settings = load(file)

    def serve() -> None:
        log = Changes(LineLog())
        pairings = [pairing(settings, pair, log) for pair in settings.pairs]

        def tick() -> None:
            for one in pairings:
                one.tick()

        service.run(tick, TICK, settings.coordinator.close, Timeouts(lock=settings.lock).look)

    return serve


def main(arguments: list[str]) -> int:
    return config.main(arguments, FILE, start)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

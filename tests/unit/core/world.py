"""The outside world of the core in memory: a coordinator with etcd's semantics, a power switch, a store, agents.

Fakes stand at the edges only; everything that decides is the product's own core.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.core import access, dropping, keys
from holdfast.core.fencing import FencePlan, HostView, Watchdog
from holdfast.core.locked_run import Ports, Timeouts
from holdfast.core.model import (
    Access,
    Attempt,
    Identity,
    Method,
    Owner,
    Phase,
    Readiness,
    Report,
    Result,
    Route,
    Run,
    Step,
)
from holdfast.core.ports import AT_ONCE, Entry, Lock, LockLost, Power, Unavailable
from holdfast.core.promotion import Promote
from holdfast.core.takeover import Takeover
from holdfast.core.threshold import Threshold
from holdfast.core.watching import Settings, Watch

MX = Identity(
    "mx.alpha.example",
    "203.0.113.10",
    "internet",
    ("alpha.example",),
    "mail1",
    ("mail1", "mail2"),
    "store1",
    ("relay2",),
)
ROUTES = (Route("internet", "10.2.1.31", ("10.2.1.1",)), Route("isolated", "10.2.2.31", ("10.2.2.1",)))


class FakeClock:
    """Time goes on only when somebody sleeps; `on_sleep` is what the rest of the world does meanwhile."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.ahead = 0.0  # of the wall clock, which may be set
        self.on_sleep: list[Callable[[], None]] = []

    def now(self) -> float:
        return self.time + self.ahead

    def boottime(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        for callback in self.on_sleep:
            callback()


class FakeCoordinator:
    """Revisions, leases and transactions as etcd has them."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.revision = 0
        self.data: dict[str, tuple[dict[str, Any], int, int, int | None]] = {}  # value, create, mod, lease
        self.leases: dict[int, tuple[float, int]] = {}  # end, ttl
        self.reachable = True
        self.calls = 0
        self.before_call: Callable[[int], None] = lambda n: None
        self._ids = itertools.count(100)

    def _enter(self) -> None:
        self.calls += 1
        self.before_call(self.calls)
        if not self.reachable:
            raise Unavailable("no quorum")
        gone = {i for i, (end, _) in self.leases.items() if self.clock.time >= end}
        for i in gone:
            del self.leases[i]
        self.data = {k: v for k, v in self.data.items() if v[3] is None or v[3] not in gone}

    def _put(self, key: str, value: Mapping[str, Any], lease: int | None = None) -> None:
        self.revision += 1
        create = self.data[key][1] if key in self.data else self.revision
        self.data[key] = (dict(value), create, self.revision, lease)

    def get(self, key: str) -> Entry:
        self._enter()
        found = self.data.get(key)
        return Entry(None, 0) if found is None else Entry(dict(found[0]), found[2])

    def list(self, *prefixes: str) -> dict[str, Entry]:
        self._enter()
        assert len(prefixes) <= AT_ONCE, "etcd: too many operations in txn request"
        return {k: Entry(dict(v[0]), v[2]) for k, v in self.data.items() if k.startswith(prefixes)}

    def create(self, key: str, value: Mapping[str, Any]) -> bool:
        self._enter()
        if key in self.data:
            return False
        self._put(key, value)
        return True

    def put(self, key: str, value: Mapping[str, Any], lease: int | None = None) -> None:
        self._enter()
        self._put(key, value, lease)

    def delete(self, key: str) -> bool:
        self._enter()
        return self.data.pop(key, None) is not None

    def lock(self, key: str, value: Mapping[str, Any], ttl: int) -> Lock | None:
        self._enter()
        if key in self.data:
            return None
        lease = self._grant(ttl)
        self._put(key, value, lease)
        return Lock(key, self.data[key][1], lease)

    def refresh(self, lock: Lock) -> None:
        self._enter()
        self._check(lock)
        self.leases[lock.lease] = (self.clock.time + self.leases[lock.lease][1], self.leases[lock.lease][1])

    def _check(self, lock: Lock) -> None:
        if lock.key not in self.data or self.data[lock.key][1] != lock.revision:
            raise LockLost(lock.key)

    def write(self, lock: Lock, puts: Mapping[str, Mapping[str, Any]], unchanged: Mapping[str, int]) -> bool:
        self._enter()
        self._check(lock)
        if any((self.data[k][2] if k in self.data else 0) != rev for k, rev in unchanged.items()):
            return False
        for key, value in puts.items():
            self._put(key, value)
        return True

    def unlock(self, lock: Lock) -> None:
        self._enter()
        self.leases.pop(lock.lease, None)
        if lock.key in self.data and self.data[lock.key][1] == lock.revision:
            del self.data[lock.key]

    def _grant(self, ttl: int) -> int:
        lease = next(self._ids)
        self.leases[lease] = (self.clock.time + ttl, ttl)
        return lease

    def grant(self, ttl: int) -> int:
        self._enter()
        return self._grant(ttl)

    def keepalive(self, lease: int) -> bool:
        self._enter()
        if lease not in self.leases:
            return False
        self.leases[lease] = (self.clock.time + self.leases[lease][1], self.leases[lease][1])
        return True


@dataclass
class FakeSwitch:
    """`answer`: what `off` does: confirm, refuse, or say nothing certain after having acted."""

    world: World
    method: str = "lab-switch"
    answer: str = "confirm"

    def off(self, host: str) -> str:
        if self.answer == "refuse":
            raise Unavailable(f"{host} refused")
        self.world.up.discard(host)
        if self.answer == "uncertain":
            raise Unavailable("connection lost while waiting for the answer")
        return f"{host} off"

    def status(self, host: str) -> Power:
        return Power.ON if host in self.world.up else Power.OFF


@dataclass
class World:
    """Two mail hosts, one store, one relay with a monitor; `step` lets agents and store react."""

    clock: FakeClock = field(default_factory=FakeClock)
    up: set[str] = field(default_factory=lambda: {"mail1", "mail2"})
    cut: set[str] = field(default_factory=set)  # hosts whose mail routes are gone while they live
    alone: set[str] = field(default_factory=set)  # hosts that run and do not reach the coordinator
    watchdogs: dict[str, Watchdog] = field(default_factory=dict)
    deaf: bool = False  # agents do not stop what they run
    announced: set[str] | None = None  # hosts that the routers have a path to; None: as they run
    routes_down: set[str] = field(default_factory=set)
    waiting: int = 0
    flushed: int = 0
    start_fails: bool = False
    store_up: bool = True
    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    published: list[tuple[str, int]] = field(default_factory=list)
    exchangers: list[bool] = field(default_factory=list)  # of each publication: was it the primary's
    attempts: list[Attempt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.coordinator = FakeCoordinator(self.clock)
        self.switch = FakeSwitch(self)
        self.running: dict[str, int] = {}  # host -> epoch at which it runs the identity
        self.access: Access | None = None
        self.boots: dict[str, int] = {}  # host -> number of its present boot
        self._was_up: set[str] = set()
        self._ids = itertools.count(1)
        self._last_agents = 0.0
        self.coordinator._put(keys.owner(MX.name), Owner("mail1", 1, "deploy", self.clock.time).to_json())
        self.clock.on_sleep.append(self.step)
        self.step()

    # what the other programs do
    def step(self) -> None:
        if not self.coordinator.reachable:
            return
        c = self.coordinator
        for host in self.up - self._was_up:
            self.boots[host] = self.boots.get(host, 0) + 1
        self._was_up = set(self.up)
        for host in self.up - self.alone:
            lease = self.clock.time + 15
            c.leases[hash(host)] = (lease, 15)
            boot = f"{host}-boot-{self.boots[host]}"
            c._put(keys.lease(host), {"host": host, "boot_id": boot}, hash(host))
            if host in self.watchdogs:
                dog = dataclasses.replace(self.watchdogs[host], boot_id=boot)
                if (c.data.get(keys.watchdog(host)) or [None])[0] != dog.to_json():
                    c._put(keys.watchdog(host), dog.to_json())
            ready = Readiness(True, (), self.clock.time)
            c._put(keys.ready(host, MX.name), ready.to_json(), hash(host))
        owner = Owner.from_json(c.data[keys.owner(MX.name)][0])
        record = c.data.get(keys.takeover(MX.name))
        run = None if record is None else Run.from_json(record[0])
        wanted = access.decide(MX, owner, run)
        entries = {k: Entry(v[0], v[2]) for k, v in c.data.items()}
        views = {h: HostView.of(h, entries) for h in MX.candidates}
        drop = dropping.to_drop([MX], {MX.name: owner}, {MX.name: run}, views, {wanted.admit} - {None})  # type: ignore[arg-type]
        said = (wanted.epoch, wanted.run, wanted.admit, drop)
        if self.store_up and (
            self.access is None
            or (self.access.epoch, self.access.run, self.access.admitted, self.access.dropped) != said
        ):
            self.access = Access(wanted.epoch, wanted.run, wanted.admit, self.clock.time, wanted.expire, drop)
            c._put(keys.access(MX.store, MX.name), self.access.to_json())
        gone = {h for h in self.running if h not in self.up}
        for host, epoch in self.running.items():
            revoked = self.access is not None and self.access.epoch == epoch and self.access.admitted is None
            if host not in self.alone | gone and not self.deaf and (owner.host != host or revoked):
                gone.add(host)
                c._put(keys.report(host, MX.name), Report(host, epoch, Phase.STOPPED, self.clock.time).to_json())
        self.running = {h: e for h, e in self.running.items() if h not in gone}
        admitted = self.access is not None and self.access.admitted == owner.host
        if owner.host in self.up - self.alone and admitted and self.access is not None:
            if not self.start_fails and self.access.epoch == owner.epoch:
                self.running[owner.host] = owner.epoch
            phase = Phase.FAILED if self.start_fails else Phase.RUNNING
            steps = (Step("store", self.clock.time, self.clock.time),)
            c._put(
                keys.report(owner.host, MX.name),
                Report(owner.host, owner.epoch, phase, self.clock.time, steps).to_json(),
            )

    # ports of the relay
    def serves(self, route: str) -> bool:
        if route in self.routes_down or self.access is None:
            return False
        return any(h in self.up - self.cut and self.access.admitted == h for h in self.running)

    def _attempt(self, method: Method, route: Route) -> Attempt:
        result = Result.OK if self.serves(route.name) else Result.DOWN
        made = Attempt(method, route.name, result, self.clock.time, self.clock.time)
        self.attempts.append(made)
        return made

    def probe(self, identity: Identity, route: Route) -> Attempt:
        return self._attempt(Method.PROBE, route)

    def topology(self, identity: Identity, route: Route) -> Attempt:
        return self._attempt(Method.TOPOLOGY, route)

    def deliver(self, identity: Identity, route: Route) -> Attempt | None:
        if not self.waiting:
            return None
        made = self._attempt(Method.DELIVERY, route)
        if made.result is Result.OK:
            self.waiting -= 1
        return made

    def publish(self, identity: Identity, owner: str, epoch: int, *, primary: bool = True) -> str:
        self.published.append((owner, epoch))
        self.exchangers.append(primary)
        return f"{owner} {epoch}"

    def use_route(self, identities: Sequence[Identity], route: Route) -> None:
        pass

    def flush(self, identity: Identity) -> None:
        self.flushed, self.waiting = self.flushed + self.waiting, 0

    def withdrawn(self, identity: Identity, routes: Iterable[Route]) -> str:
        announced = set(self.running) if self.announced is None else self.announced
        if announced:
            raise Unavailable(f"a path to {', '.join(sorted(announced))} is announced")
        return "no path over any route"

    def log(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    # wiring
    def takeover(
        self,
        timeouts: Timeouts | None = None,
        plan: FencePlan | None = None,
        promote: Promote = Promote.PRIMARY,
        relay: str = "relay2",
        identity: Identity = MX,
    ) -> Takeover:
        ports = Ports(
            self.coordinator,
            {"mail1": [self.switch], "mail2": [self.switch]},
            self,
            self,
            self,  # type: ignore[arg-type]
            self.clock,
            self.log,
            lambda: f"run-{next(self._ids)}",
            self,
        )
        return Takeover(identity, relay, ROUTES, ports, timeouts, plan=plan, promote=promote)

    def watch(self, threshold: Threshold, methods: tuple[Method, ...] = tuple(Method), reset_after: int = 2) -> Watch:
        settings = Settings("relay2", 30.0, methods, threshold, ROUTES, reset_after)
        return Watch(MX, settings, self.coordinator, self, self, self.takeover(), self.clock, self.log)  # type: ignore[arg-type]

    def let_run(self, watch: Watch, seconds: float) -> None:
        end = self.clock.time + seconds
        while self.clock.time < end:
            watch.tick()
            self.clock.sleep(1.0)

    @property
    def owner(self) -> Owner:
        return Owner.from_json(self.coordinator.data[keys.owner(MX.name)][0])

    @property
    def record(self) -> Run:
        return Run.from_json(self.coordinator.data[keys.takeover(MX.name)][0])

    def said(self, event: str) -> list[dict[str, object]]:
        return [fields for name, fields in self.events if name == event]

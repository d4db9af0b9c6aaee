"""holdfast-agent: runs on a host the identities that it owns, and no others (docs/architecture.md, "The agent").

    python3 -m holdfast.daemons.agent [--check] [FILE]

FILE is /etc/holdfast/agent.yml (agent_config.py tells what stands in it).

What to do is decided in core/ownership.py, seen to in keeper.py, and how it is done stands in instance.py. The main
thread alone talks to the coordinator; each identity's steps run in a thread of their own, so that one of them can wait
for a dead store while the lease is kept and the others are looked after.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

from ..adapters import machine
from ..adapters.announcement import Announcement
from ..adapters.certificates import Certificates
from ..adapters.clock import SystemClock
from ..adapters.disk import DiskMount
from ..adapters.drbd import Drbd
from ..adapters.etcd_watch import woken_by
from ..adapters.log import LineLog
from ..adapters.mount import NfsMount
from ..adapters.nfsd import Clients
from ..adapters.track import TrackFile
from ..adapters.units import Units
from ..adapters.watchdog import Guard, Watchdog
from ..core import fencing, keys, ownership, stores
from ..core.certificates import Ending
from ..core.model import Access, Configuration, Json, Owner, Phase, Readiness, Report, Run
from ..core.placement import outdated
from ..core.ports import Clock, Entry, Log, Unavailable
from . import config, running, service
from .agent_config import FILE, Config, WatchdogPlan, load
from .instance import Instance, Place
from .keeper import Keeper, Located, Works, then_awake
from .readiness import Checks, configuration
from .store_instance import StoreChecks, StoreInstance, StorePlace

READY_EVERY = 10.0  # seconds between looks at what this host is ready for
# Seconds after which a word that still holds is written again: each write costs every member of the coordinator, and
# a word goes with the lease anyway.
SAID_AGAIN = 60.0


class Coordinator(Protocol):
    """What an agent needs of the coordinator."""

    def read(self, keys: Sequence[str]) -> dict[str, Entry]: ...

    def put(self, key: str, value: Mapping[str, object], lease: int | None = None) -> None: ...

    def grant(self, ttl: int) -> int: ...

    def keepalive(self, lease: int) -> bool: ...


class StoodStill(Exception):
    """This host stood still for longer than its lease: nothing may be asked before what runs is stopped."""


class Asking:
    """A coordinator that is asked nothing any more once `check` raises.

    A look is several calls, and each may take as long as a coordinator does not answer: a standstill in the middle of
    the look must not wait for its end.
    """

    def __init__(self, coordinator: Coordinator, check: Callable[[], None]) -> None:
        self._coordinator = coordinator
        self._check = check

    def read(self, keys: Sequence[str]) -> dict[str, Entry]:
        self._check()
        return self._coordinator.read(keys)

    def put(self, key: str, value: Mapping[str, object], lease: int | None = None) -> None:
        self._check()
        self._coordinator.put(key, value, lease)

    def grant(self, ttl: int) -> int:
        self._check()
        return self._coordinator.grant(ttl)

    def keepalive(self, lease: int) -> bool:
        self._check()
        return self._coordinator.keepalive(lease)


class Dog(Protocol):
    """An armed watchdog (adapters.watchdog.Watchdog)."""

    kind: str
    timeout: float


def _run(entries: Mapping[str, Entry], keeper: Keeper) -> Run | None:
    value = entries[keys.takeover(keeper.name)].value
    return None if value is None else Run.from_json(value)


class Agent:
    """Call `tick` every other second."""

    def __init__(
        self,
        host: str,
        lease_ttl: int,
        keepers: Sequence[tuple[Keeper, Located]],
        coordinator: Coordinator,
        reasons: Callable[[Located], tuple[str, ...]],
        gap: Callable[[], float],
        boot_id: str,
        clock: Clock,
        log: Log,
        stops_alone: bool = False,
        half: Callable[[Located], stores.Half | None] = lambda place: None,
        configured: Callable[[Located], Configuration | None] = lambda place: None,
        certificate: Callable[[], Ending | None] = lambda: None,
        leaving: Callable[[str, bool], None] = lambda name, so: None,
        store_answers: Callable[[Located], bool] = lambda place: True,
    ) -> None:
        self._host = host
        self._leaving = leaving
        self._store_answers = store_answers
        self._heard: dict[str, float] = {}  # by identity, when the coordinator or its store has answered last
        self._given_up: set[str] = set()  # identities of which it was told that neither answers
        self._half = half
        self._configured = configured
        self._certificate = certificate
        self._alarm = ""  # about the certificate, as it was logged last
        self._ttl = lease_ttl
        self._stops_alone = stops_alone
        self.dog: Dog | None = None
        self.arm: Callable[[], Dog | None] | None = None  # opens the watchdog; called once
        self._recorded: Dog | None = None  # what the record in the coordinator says of it
        self._lease_end = clock.boottime()
        self._keepers = keepers
        self._coordinator = Asking(coordinator, self._check_awake)
        self._reasons = reasons
        self._gap = gap
        self._longest = 0.0  # seconds of the longest gap since the last decision
        self._boot_id = boot_id
        self._clock = clock
        self._log = log
        self._since = clock.now()
        self._lease: int | None = None
        self._renew_at = 0.0
        self._ready_at = 0.0
        self._ready: dict[str, tuple[str, ...]] = {}
        self._asked: dict[str, str] = {}  # by identity, the planned run whose question was answered last
        self._said: dict[str, tuple[Json, float]] = {}  # by key, and when, under the present lease
        self._unreachable = ""

    def tick(self) -> None:
        entries: dict[str, Entry] | None = None
        self._guard()
        # A host that stood still stops first and asks afterwards, also when it stood still in the middle of asking.
        with contextlib.suppress(StoodStill):
            self._check_awake()
            try:
                entries = self._contact()
                self._reached("")
            except Unavailable as why:
                self._reached(str(why))
        self._longest = max(self._longest, self._gap())
        gap, self._longest = self._longest, 0.0
        if gap > self._ttl:
            self._log("stood_still", seconds=round(gap, 1), level="alert")
            entries = None
        for keeper, place in self._keepers:
            self._decide(keeper, place, entries, gap)
        if entries is not None:
            # A standstill in the middle of telling is the next tick's to decide about.
            with contextlib.suppress(StoodStill):
                try:
                    self._tell(entries)
                except Unavailable as why:
                    self._reached(str(why))

    def _check_awake(self) -> None:
        """Raises StoodStill."""
        self._longest = max(self._longest, self._gap())
        if self._longest > self._ttl:
            raise StoodStill

    def _contact(self) -> dict[str, Entry]:
        """Keep the lease, then read all that decides, in one call."""
        if self._lease is not None and self._clock.boottime() >= self._renew_at:
            # The next renewal is counted from the sending of this one.
            sent = self._clock.boottime()
            if self._coordinator.keepalive(self._lease):
                self._lease_end = sent + self._ttl
            else:
                self._log("lease_lost", host=self._host, level="warning")
                self._lease = None
            self._renew_at = sent + self._ttl / 3
        wanted = [keys.lease(self._host)]
        for keeper, place in self._keepers:
            wanted += [keys.owner(keeper.name), self._access_key(place), keys.report(self._host, keeper.name)]
            wanted.append(keys.takeover(keeper.name))
        entries = self._coordinator.read(wanted)
        lease = entries[keys.lease(self._host)].value
        if self._lease is None or lease is None or lease.get("boot_id") != self._boot_id:
            self._take_lease()
        self._guard()
        if self._recorded is not self.dog:
            self._record()
        return entries

    def _guard(self) -> None:
        """Open the watchdog as soon as this host's word is good, or nothing runs here.

        Not before: opening it makes it count anew. What an agent before this one has left running without a lease would
        get that time, too, and run for longer than whoever wants to take over waits.
        """
        if self.arm is not None and self.safe():
            arm, self.arm = self.arm, None
            self.dog = arm()

    def _take_lease(self) -> None:
        sent = self._clock.boottime()
        self._renew_at = sent + self._ttl / 3
        self._lease = None
        lease = self._coordinator.grant(self._ttl)
        value = {"host": self._host, "boot_id": self._boot_id, "since": self._since}
        self._coordinator.put(keys.lease(self._host), value, lease)
        # Behind the lease and before it is relied on (core/fencing.py, Watchdog).
        self._record()
        self._lease, self._lease_end = lease, sent + self._ttl
        self._ready_at = sent  # what was said before went with the lease before
        self._said.clear()
        self._log("lease_taken", host=self._host, seconds=self._ttl)

    def _record(self) -> None:
        dog, now = self.dog, self._clock.now()
        kind, timeout = ("", 0.0) if dog is None else (dog.kind, dog.timeout)
        record = fencing.Watchdog(self._boot_id, dog is not None, kind, timeout, now, self._stops_alone)
        self._coordinator.put(keys.watchdog(self._host), record.to_json())
        self._recorded = dog

    def _access_key(self, place: Located) -> str:
        """What admits this host: a store by its export, a disk by the in-sync set."""
        if place.identity.kind == stores.KIND:
            return keys.insync(place.identity.name)
        return keys.access(place.identity.store, place.identity.name)

    def _decide(self, keeper: Keeper, place: Located, entries: Mapping[str, Entry] | None, gap: float) -> None:
        owner = access = run = None
        if entries is not None:
            run = _run(entries, keeper)
            self._leaving(keeper.name, ownership.leaves(self._host, run))
            owner_value = entries[keys.owner(keeper.name)].value
            access_value = entries[self._access_key(place)].value
            owner = None if owner_value is None else Owner.from_json(owner_value)
            if place.identity.kind == stores.KIND:
                access = stores.as_access(owner, stores.parse(access_value))
            else:
                access = None if access_value is None else Access.from_json(access_value)
        # First: it may wait for a store that does not answer, and a stop may end meanwhile.
        forsaken = self._forsaken(keeper, place, entries is not None)
        left = self._lease_end - self._clock.boottime() if self._stops_alone else None
        action = ownership.decide(
            self._host,
            owner,
            access,
            keeper.epoch,
            entries is not None,
            gap,
            self._ttl,
            left,
            run=run,
            forsaken=forsaken,
        )
        keeper.act(action, owner, entries is not None, run)

    def _forsaken(self, keeper: Keeper, place: Located, reached: bool) -> float:
        """Seconds for which neither the coordinator nor the store has answered, while the identity runs here."""
        if reached or keeper.epoch is None or self._store_answers(place):
            self._heard[keeper.name] = self._clock.boottime()
            self._given_up.discard(keeper.name)
        seconds = self._clock.boottime() - self._heard.setdefault(keeper.name, self._clock.boottime())
        if seconds > ownership.FORSAKEN * self._ttl and keeper.name not in self._given_up:
            self._given_up.add(keeper.name)
            why = "neither the coordinator nor its store answers"
            self._log("forsaken", identity=keeper.name, seconds=round(seconds, 1), detail=why, level="alert")
        return seconds

    def safe(self) -> bool:
        """For the watchdog's guard, in a thread of its own: is this host's word still good, or is nothing here?"""
        return self.idle or self._clock.boottime() < self._lease_end

    @property
    def idle(self) -> bool:
        return all(keeper.idle for keeper, _ in self._keepers)

    def _tell(self, entries: Mapping[str, Entry]) -> None:
        """Reports that the coordinator does not have, for whatever reason; now and then what this host is ready for."""
        configured = {keeper.name: self._configured(place) for keeper, place in self._keepers}
        for keeper, _ in self._keepers:
            key = keys.report(self._host, keeper.name)
            report = self._owed(keeper, entries[key].value)
            if report is None:
                continue
            report = dataclasses.replace(report, configuration=configured[keeper.name], lacks=keeper.lacks)
            if report.to_json() != entries[key].value:
                self._coordinator.put(key, report.to_json())
        asked = {k.name: ownership.asked_by(self._host, _run(entries, k)) for k, _ in self._keepers}
        if self._clock.boottime() < self._ready_at and asked == self._asked:
            return
        self._ready_at, self._asked = self._clock.boottime() + READY_EVERY, asked
        missed, certificate = self._missed(entries, configured), self._first_to_end()
        for keeper, place in self._keepers:
            reasons = self._reasons(place) + missed.get(keeper.name, ())
            word = Readiness(not reasons, reasons, self._clock.now(), asked[keeper.name], certificate)
            if self._ready.get(keeper.name) != reasons:
                self._ready[keeper.name] = reasons
                self._log("ready", identity=keeper.name, ready=word.ready, reasons="; ".join(reasons) or None)
            self._say(keys.ready(self._host, keeper.name), word.to_json())
            if (half := self._half(place)) is not None:
                self._say(keys.half(self._host, keeper.name), half.to_json())

    def _missed(
        self, entries: Mapping[str, Entry], configured: Mapping[str, Configuration | None]
    ) -> dict[str, tuple[str, ...]]:
        """Identities of others for which this host has missed a deploy that the owner has had, with the reason."""
        owners = {}
        for keeper, place in self._keepers:
            value = entries[keys.owner(keeper.name)].value
            if value is not None and place.identity.kind != stores.KIND:
                owners[keeper.name] = Owner.from_json(value).host
        others = {name: keys.report(host, name) for name, host in owners.items() if host != self._host}
        there = self._coordinator.read(list(others.values())) if others else {}
        found: dict[str, tuple[str, ...]] = {}
        for name, key in others.items():
            report = there[key].value
            its = None if report is None else Report.from_json(report).configuration
            if (why := outdated(self._host, configured[name], owners[name], its)) is not None:
                found[name] = (why,)
        return found

    def _first_to_end(self) -> Ending | None:
        """An alert a day once it is time."""
        found = self._certificate()
        alarm = "" if found is None else found.alarm(self._host, self._clock.now())
        if alarm and alarm != self._alarm:
            self._log("certificate", detail=alarm, level="alert")
        self._alarm = alarm
        return found

    def _say(self, key: str, word: Json) -> None:
        """No word outlives the lease: so nobody has to compare clocks to know that it is fresh."""
        what, now = {**word, "time": None}, self._clock.boottime()
        said, when = self._said.get(key, (None, 0.0))
        if what != said or now >= when + SAID_AGAIN:
            self._coordinator.put(key, word, self._lease)
            self._said[key] = (what, now)

    def _owed(self, keeper: Keeper, there: Json | None) -> Report | None:
        """What the coordinator should say. After a restart of the agent what stands there is kept where it is true."""
        if keeper.report is None:
            known = None if there is None else Report.from_json(there)
            phase = Phase.STOPPED if keeper.epoch is None else Phase.RUNNING
            epoch = keeper.epoch if keeper.epoch is not None else (known.epoch if known is not None else 0)
            true = known is not None and (known.phase, known.epoch) == (phase, epoch)
            keeper.report = known if true else Report(self._host, epoch, phase, self._clock.now())
        return keeper.report

    def _reached(self, why_not: str) -> None:
        if bool(why_not) != bool(self._unreachable):
            event, level = ("coordinator_unreachable", "error") if why_not else ("coordinator_reached", "info")
            self._log(event, detail=why_not or None, level=level)
        self._unreachable = why_not


def start(file: str, settings: Config) -> None:
    for place in settings.places:
        password = None if place.mailboxes is None else place.mailboxes.probe_password_file
        if password is not None and not Path(password).is_file():
            key = f"identities.{place.identity.name}.probe.password_file"
            raise config.ConfigError(f"{file}: {key} is {password!r}: no such file; write it")
    clock, log = SystemClock(), LineLog()
    units, wake = Units(), woken_by(settings.coordinator, keys.IDENTITIES, keys.STORES)
    machinery: list[Works] = []
    announcement = Announcement()
    for place in settings.places:
        mount = NfsMount(place.source, place.mount)
        machinery.append(Instance(place, mount, units, TrackFile(place.identity.name), announcement, clock))
    drbd, disks = {}, {}
    for owned in settings.stores:
        assert settings.records is not None
        name = owned.identity.name
        drbd[name], disks[name] = Drbd(name, owned.minor), DiskMount(owned.device, owned.root)
        parts = (settings.records, drbd[name], disks[name], units, Clients(clock))
        machinery.append(StoreInstance(settings.host, owned, *parts, TrackFile(name), clock, log))
    keepers = []
    for works in machinery:
        keeper = Keeper(settings.host, works, clock, log, then_awake(wake))
        keeper.find()
        keepers.append((keeper, works.place))
    pulse = machine.Pulse()
    pulse.start()
    checks = Checks(settings.limits)
    store_checks = StoreChecks(settings.limits.drain_file, drbd, disks, clock, log)

    def reasons(place: Located) -> tuple[str, ...]:
        return store_checks.reasons(place) if isinstance(place, StorePlace) else checks.reasons(cast(Place, place))

    def store_answers(place: Located) -> bool:
        return isinstance(place, StorePlace) or checks.silent(cast(Place, place)) is None

    def half(place: Located) -> stores.Half | None:
        return store_checks.half(place) if isinstance(place, StorePlace) else None

    def leaving(name: str, so: bool) -> None:
        mark = TrackFile(name, running.LEAVING)
        if mark.read() is not so:
            mark.write(so)

    def configured(place: Located) -> Configuration | None:
        return configuration(place.configuration) if isinstance(place, Place) else None

    agent = Agent(
        settings.host,
        settings.lease_ttl,
        keepers,
        settings.coordinator,
        reasons,
        pulse.take,
        machine.boot_id(),
        clock,
        log,
        settings.watchdog is not None,
        half,
        configured,
        Certificates(settings.certificates).first,
        leaving,
        store_answers,
    )
    guards: list[Guard] = []
    if settings.watchdog is not None:
        agent.arm = functools.partial(_arm, settings.watchdog, agent, guards, log)

    def close() -> None:
        for guard in guards:
            guard.close(agent.idle)
        settings.coordinator.close()

    service.run(agent.tick, settings.tick, close, wake=wake)


def _arm(plan: WatchdogPlan, agent: Agent, guards: list[Guard], log: Log) -> Watchdog | None:
    """A host without a watchdog works on: it stops by itself, and the level proves nothing against it."""
    try:
        dog = Watchdog(plan.device, plan.timeout)
    except Unavailable as why:
        log("watchdog", armed=False, detail=str(why), level="alert")
        return None
    log("watchdog", armed=True, kind=dog.kind, seconds_to_reset=dog.timeout)
    guard = Guard(dog, agent.safe, log)
    guard.start()
    guards.append(guard)
    return dog


def prepare(file: str) -> Callable[[], None]:
    settings = load(file)
    return lambda: start(file, settings)


if __name__ == "__main__":
    sys.exit(config.main(sys.argv[1:], FILE, prepare))

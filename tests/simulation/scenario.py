"""From a seed to a deployment, a schedule of faults, and a verdict.

Faults begin at random times or strike at a certain step of a takeover; at the end everything is mended, and every
identity must be served again by exactly one host within a bounded time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from holdfast.core import keys
from holdfast.core.locked_run import Timeouts
from holdfast.core.model import Identity, Method
from holdfast.core.threshold import Threshold

from .coordinator import pack
from .faults import End, Faults
from .hosts import EPOCH, Host
from .kernel import Kernel
from .network import ALL, MAIL_ROUTES, MANAGEMENT, STORAGE
from .world import Topology, World

STOPS_WITHIN = 15.0  # seconds after a pause by which an agent has begun to stop what ran


def topology(dice: random.Random) -> Topology:
    """One deployment: up to two identities, three mail hosts, two relays, two stores."""
    mail = {"mail1": "dc1", "mail2": "dc2"}
    if dice.random() < 0.35:
        mail["mail3"] = "dc1"
    relays = {"relay2": "dc2"} if dice.random() < 0.35 else {"relay1": "dc1", "relay2": "dc2"}
    two = dice.random() < 0.45
    stores = {"store1": "dc1"}
    if two and dice.random() < 0.6:
        stores["store2"] = "dc2"
    hosts = tuple(mail)
    names = tuple(relays)
    identities = [Identity("mx", "203.0.113.10", "internet", ("alpha.example",), "mail1", hosts, "store1", names)]
    if two:
        home = dice.choice(hosts)
        order = (home, *(h for h in hosts if h != home))
        store = "store2" if "store2" in stores else "store1"
        identities.append(Identity("im", "203.0.113.11", "intranet", ("alpha.example",), home, order, store, names))
    five = len(relays) == 2 and "store2" in stores
    members = ("store1", "store2", "relay1", "relay2", "witness1") if five else ("store1", "relay2", "witness1")
    threshold = dice.choice(
        (
            Threshold(4, 120),
            Threshold(4, 120),
            Threshold(4, None),
            Threshold(3, None),
            Threshold(None, 90),
            Threshold(2, 45),
        )
    )
    methods = dice.choice(
        (tuple(Method), tuple(Method), (Method.DELIVERY, Method.PROBE), (Method.PROBE,), (Method.TOPOLOGY,))
    )
    return Topology(
        mail=mail,
        relays=relays,
        stores=stores,
        witness="witness1",
        members=members,
        identities=tuple(identities),
        lease_ttl=dice.choice((10, 15, 15, 20)),
        agent_tick=dice.choice((1.0, 2.0, 3.0)),
        store_tick=dice.choice((1.0, 2.0, 3.0)),
        monitor_tick=dice.choice((1.0, 2.0)),
        interval=dice.choice((30.0, 30.0, 45.0)),
        methods=methods,
        threshold=threshold,
        reset_after=dice.choice((1, 2, 2, 3)),
        timeouts=Timeouts(poll=1.0),
        hourly_limit=2,
    )


class Scenario(Faults[World]):
    """One seed, run."""

    def __init__(self, seed: int) -> None:
        kernel = Kernel(seed)
        super().__init__(seed, kernel, World(topology(random.Random(f"{seed} topology")), kernel))
        self._strikes: list[_Strike] = []
        self._permanent: set[str] = set()  # hosts that the power switch never takes off
        self.world.on_write = self._wrote

    PLAIN, LENGTH = 0.08, (240.0, 900.0)

    # --- a run -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        self.world.judge.check_woken(STOPS_WITHIN)

    def _patience(self) -> float:
        t = self.world.topology
        per_run = t.timeouts.lock + t.timeouts.revoke + t.timeouts.start + t.timeouts.verify
        return 600.0 + 2 * (per_run + 5 * t.interval)

    def _takeovers(self) -> int:
        return sum(epoch - 1 for _, epoch in self.world.owners.values())

    def _unserved(self) -> str | None:
        return next((f"{n}: {w}" for n in self.world.identities if (w := self._unserved_of(n)) is not None), None)

    def _unserved_of(self, name: str) -> str | None:
        why = self.world.unserved(name)
        if why is not None and self._permanent:
            # A fence that is refused for good holds the run for good: that is right, mail is kept.
            record = self.world.cluster.state.records.get(keys.takeover(name))
            value = None if record is None else record.read()
            if value is not None and value["state"] == "held" and value["from"] in self._permanent:
                return None
        return why

    def _mend(self) -> None:
        self._end_all()
        for name in self.world.mood:
            if name not in self._permanent:
                self.world.mood[name] = "works"
        self.world.tell("scenario", "mended")

    def _plain(self) -> None:
        """One host is lost and nothing else: everything that it ran must be served by another in time."""
        world, t = self.world, self.world.topology
        begin, lost = self.dice.uniform(40.0, 90.0), self.world.hosts["mail1"]
        ran = [name for name, (host, _) in world.owners.items() if host == lost.name]
        self._until(begin)
        self._begin(self._host_down, long=True, victim=lost.name, seconds=1e6)
        limits = [t.interval * (t.threshold.attempts + 1)] if t.threshold.attempts is not None else []
        limits += [t.threshold.seconds + t.interval * 2] if t.threshold.seconds is not None else []
        patience = min(limits) + t.lease_ttl + 60.0 * len(ran)
        self._until(begin + patience)
        for name in ran:
            if world.owners[name][0] == lost.name or (why := world.unserved(name)) is not None:
                state = "nobody took it over" if world.owners[name][0] == lost.name else why
                world.judge.violate("takes_over", f"{patience:.0f} s after {lost.name} was lost: {name}: {state}")

    # --- faults ------------------------------------------------------------------------------------------------

    def _schedule(self, length: float) -> None:
        dice = self.dice
        if dice.random() < 0.06:
            self._permanent.add(dice.choice(tuple(self.world.topology.mail)))
            for name in self._permanent:
                self.world.mood[name] = "refusing"
        story = dice.random()
        if story < 0.12:
            self._hunt(length)
        elif story < 0.24:
            for _ in range(dice.randint(1, 2)):
                self.kernel.at(dice.uniform(20.0, length * 0.4), lambda: self._begin(self._host_down, long=True))
        elif story < 0.34:
            self._duel()
        elif story < 0.44:
            self._island()
        for _ in range(dice.choice((0, 1, 2, 3, 4, 6, 8))):
            self.kernel.at(dice.uniform(15.0, length * 0.95), lambda: self._begin(dice.choice(self._kinds())))
        for _ in range(dice.choice((0, 0, 1, 1, 2, 3))):
            self._strikes.append(_Strike(dice.choice(_Strike.MOMENTS), dice.expovariate(0.25)))

    def _duel(self) -> None:
        """The invoker stands still in the middle of it, for longer than its lock lives, and another one takes over."""
        moment = self.dice.choice(("candidate", "fence", "revoke", "revoke"))
        self._strikes.append(_Strike(moment, self.dice.expovariate(2.0), still=self.dice.uniform(60.0, 200.0)))
        owner = self.world.hosts[self.world.owners["mx"][0]]
        self.kernel.at(
            self.dice.uniform(20.0, 60.0), lambda: self._begin(self._host_down, long=True, victim=owner.name)
        )

    def _island(self) -> None:
        """The owner lives and writes, but nobody can reach it; whether its power switch works is another matter."""
        name = self.world.owners["mx"][0]
        self.world.mood[name] = self.dice.choice(("works", "slow", "silent", "refusing", "lying", "lost answer"))
        networks = (*MAIL_ROUTES, MANAGEMENT) if self.dice.random() < 0.7 else ALL
        ways = self.world.network.around(name, networks)
        what = f"{name} is an island, its power switch: {self.world.mood[name]}"
        at = self.dice.uniform(20.0, 60.0)
        self.kernel.at(at, lambda: self._begin(lambda: self._cut(what, ways), long=True))

    def _hunt(self, length: float) -> None:
        """Whoever owns the identity is lost, again and again."""

        def strike() -> None:
            if not self._over:
                self._begin(self._host_down, long=True, victim=self.world.owners["mx"][0])
                self.kernel.after(self.dice.uniform(60.0, 240.0), strike)

        self.kernel.at(self.dice.uniform(20.0, 60.0), strike)

    def _kinds(self) -> list[Callable[..., tuple[str, End]]]:
        return [
            self._host_down,
            self._host_down,
            self._host_paused,
            self._host_paused,
            self._daemon_crashes,
            self._daemon_down,
            self._daemon_paused,
            self._host_cut,
            self._host_cut,
            self._host_cut,
            self._link_cut,
            self._site_cut,
            self._bad_line,
            self._leader,
            self._doubt,
            self._clock,
            self._switch,
            self._units_die,
            self._refusing,
            self._sick,
            self._no_address,
            self._flag,
            self._small_services,
            self._store_trouble,
            self._drain,
        ]

    def _any_host(self) -> Host:
        """Those who matter more often than the others."""
        world, dice = self.world, self.dice
        if dice.random() < 0.5:
            return world.hosts[world.owners[dice.choice(tuple(world.identities))][0]]
        return world.hosts[dice.choice(tuple(world.hosts))]

    def _host_cut(self) -> tuple[str, End]:
        dice, host = self.dice, self._any_host()
        networks = dice.choice((ALL, MAIL_ROUTES, (MAIL_ROUTES[0],), (MAIL_ROUTES[1],), (MANAGEMENT,), (STORAGE,)))
        inwards, outwards = dice.choice(((True, True), (True, True), (True, False), (False, True)))
        which = "" if inwards and outwards else " inwards" if inwards else " outwards"
        ways = self.world.network.around(host.name, networks, inwards, outwards)
        return self._cut(f"{host.name} is cut off from {', '.join(networks)}{which}", ways)

    def _clock(self) -> tuple[str, End]:
        relays = [self.world.hosts[name] for name in self.world.topology.relays]
        host = self.dice.choice(relays) if self.dice.random() < 0.6 else self._any_host()
        step = self.dice.choice((-3600.0, 3600.0, -30.0, 30.0, 7200.0))
        host.clock_error += step
        self.world.clocks_stepped = True

        def end() -> None:
            host.clock_error -= step

        return f"{host.name}'s clock is stepped by {step:+.0f} s", end

    def _switch(self) -> tuple[str, End]:
        mood = self.world.mood
        host = self.dice.choice(tuple(mood))
        how = self.dice.choice(("slow", "silent", "refusing", "lying", "lost answer"))
        if host not in self._permanent:
            mood[host] = how

        def end() -> None:
            if host not in self._permanent:
                mood[host] = "works"

        return f"the power switch of {host} is {how}", end

    def _some_service(self) -> tuple[str, Host]:
        name = self.dice.choice(tuple(self.world.identities))
        return name, self.world.hosts[self.world.owners[name][0]]

    def _units_die(self) -> tuple[str, End]:
        name, host = self._some_service()
        if host.services[name].units:
            host.services[name].units = False
            self.world.changed(name, f"{host.name} -units")
        return f"the units of {name} on {host.name} die", lambda: None

    def _condition(self, attribute: str, words: str) -> tuple[str, End]:
        name, host = self._some_service()
        service = host.services[name]
        setattr(service, attribute, True)
        if attribute == "no_address":
            service.address = False
        return f"{name} on {host.name} {words}", lambda: setattr(service, attribute, False)

    def _refusing(self) -> tuple[str, End]:
        return self._condition("refusing", "refuses with 451")

    def _sick(self) -> tuple[str, End]:
        return self._condition("sick", "hangs")

    def _no_address(self) -> tuple[str, End]:
        name, host = self._some_service()
        service = host.services[name]
        service.no_address, service.address = True, False

        def end() -> None:
            service.no_address = False
            if host.up and service.track and not service.address:
                service.address = True
                self.world.changed(name, f"{host.name} +address")

        return f"keepalived on {host.name} does nothing for {name}", end

    def _flag(self) -> tuple[str, End]:
        """An operator says: treat as inoperable."""
        world = self.world
        name = self.dice.choice(tuple(world.identities))
        flag = {"by": "operator", "reason": "test", "time": EPOCH + self.kernel.now, "epoch": world.owners[name][1]}
        world.cluster.state.put(keys.inoperable(name), pack(flag))

        def end() -> None:
            world.cluster.state.delete(keys.inoperable(name))

        return f"{name} is flagged as inoperable", end

    def _small_services(self) -> tuple[str, End]:
        world = self.world
        world.names_broken, world.queue_broken = self.dice.choice(((True, False), (False, True), (True, True)))

        def end() -> None:
            world.names_broken = world.queue_broken = False

        return "name server and relay queue do not answer", end

    def _store_trouble(self) -> tuple[str, End]:
        world = self.world
        store = self.dice.choice(tuple(world.topology.stores))
        which = self.dice.choice((world.exportfs_broken, world.expire_broken, world.nfsd_down))
        which.add(store)
        words = {0: "exportfs fails", 1: "clients do not expire", 2: "nfsd is down"}
        number = [which is s for s in (world.exportfs_broken, world.expire_broken, world.nfsd_down)].index(True)
        return f"{store}: {words[number]}", lambda: which.discard(store)

    def _drain(self) -> tuple[str, End]:
        world = self.world
        host = self.dice.choice(tuple(world.topology.mail))
        world.drained[host] = self.kernel.now

        def end() -> None:
            world.drained.pop(host, None)

        return f"{host} is drained", end

    # --- faults that strike at a step of a takeover ----------------------------------------------------------------

    def _wrote(self, key: str, value: dict[str, Any] | None) -> None:
        parts = key.split("/")
        if value is None or self._over or parts[2] != "identity" or parts[4] not in ("takeover", "owner", "lock"):
            return
        moment = parts[4]
        if moment == "takeover" and value["steps"]:
            moment = str(value["steps"][-1]["name"])
        for strike in [s for s in self._strikes if s.moment == moment]:
            if strike.still or self.dice.random() < 0.5:
                self._strikes.remove(strike)
                process = self.kernel.current
                invoker = process.group.name.split("/")[0] if process is not None else None
                to, former = value.get("to"), value.get("from")
                if strike.still and invoker is not None:
                    self.kernel.after(strike.after, self._stands_still(invoker, strike.still))
                    return
                self.kernel.after(strike.after, lambda: self._strike(invoker, to, former))  # noqa: B023 - returns below
                return

    def _stands_still(self, host: str, seconds: float) -> Callable[[], None]:
        return lambda: self._begin(self._host_paused, victim=host, seconds=seconds)

    def _strike(self, invoker: str | None, to: str | None, former: str | None) -> None:
        world, dice = self.world, self.dice
        choices: list[Callable[[], None]] = [
            lambda: self._begin(self._leader),
            lambda: self._begin(self._doubt),
            lambda: self._begin(self._host_down, victim="store1"),
            lambda: self._begin(self._host_paused, victim="store1"),
            lambda: self._begin(self._small_services),
        ]
        if invoker is not None and invoker in world.topology.relays:
            choices += [
                lambda: self._begin(self._host_down, victim=invoker),
                lambda: self._begin(self._host_paused, victim=invoker),
                lambda: self._begin(self._host_paused, long=True, victim=invoker),
                world.hosts[invoker].daemons["monitor"].crash,
                world.hosts[invoker].daemons["monitor"].crash,
            ]
        if to in world.topology.mail:
            choices += [
                lambda: self._begin(self._host_down, victim=to),
                lambda: self._begin(self._host_paused, victim=to),
            ]
        if former is not None and former in world.topology.mail:
            choices += [world.hosts[former].power_on, world.hosts[former].go_on]
        if not self._over:
            world.tell("scenario", "strikes")
            dice.choice(choices)()


@dataclass(frozen=True)
class _Strike:
    """Something that happens some seconds behind a step of a takeover."""

    MOMENTS = ("lock", "candidate", "fence", "takeover", "revoke", "owner", "own", "store", "started", "verify", "dns")
    moment: str
    after: float
    still: float = 0.0  # seconds for which the invoker stands still; else the dice say what happens

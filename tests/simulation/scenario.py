"""From a seed to a deployment, a schedule of faults, and a verdict.

Faults begin at random times or strike at a certain step of a takeover; at the end everything is mended, and every
identity must be served again by exactly one host within a bounded time.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from holdfast.core import keys
from holdfast.core.fencing import SOFTDOG, FencePlan, Level, LevelName, MarkState, Withdrawal
from holdfast.core.locked_run import Timeouts
from holdfast.core.model import Identity, Method
from holdfast.core.threshold import Threshold

from .coordinator import pack
from .faults import End, Faults
from .hosts import EPOCH, Host
from .kernel import Kernel
from .network import ALL, GATEWAY, MAIL_ROUTES, MANAGEMENT, STORAGE
from .world import Topology, World

STOPS_WITHIN = 15.0  # seconds after a pause by which an agent has begun to stop what ran
HANDED_OVER = 60.0  # seconds within which a hand-over is done
UNDONE = 150.0  # seconds within which one whose invoker is gone is undone or finished

POWER, WATCHDOG, OPERATOR = Level(LevelName.POWER), Level(LevelName.WATCHDOG), Level(LevelName.OPERATOR)
AGENT = Level(LevelName.STORE_REVOCATION, timeout=30.0, address_withdrawal=Withdrawal.AGENT)
ROUTES = Level(LevelName.STORE_REVOCATION, timeout=30.0, address_withdrawal=Withdrawal.ROUTES)
PLANS = (
    (POWER, ROUTES, OPERATOR),
    (POWER, AGENT, ROUTES),
    (POWER, WATCHDOG, OPERATOR),
    (POWER, WATCHDOG),
    (ROUTES, WATCHDOG, OPERATOR),
    (AGENT, ROUTES, POWER, WATCHDOG),
    (ROUTES,),
    (WATCHDOG,),
    (OPERATOR,),
)


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
    timeouts = Timeouts(poll=1.0)
    lease_ttl = dice.choice((10, 15, 15, 20))
    made = Topology(
        mail=mail,
        relays=relays,
        stores=stores,
        witness="witness1",
        members=members,
        identities=tuple(identities),
        lease_ttl=lease_ttl,
        agent_tick=dice.choice((1.0, 2.0, 3.0)),
        store_tick=dice.choice((1.0, 2.0, 3.0)),
        monitor_tick=dice.choice((1.0, 2.0)),
        interval=dice.choice((30.0, 30.0, 45.0)),
        methods=methods,
        threshold=threshold,
        reset_after=dice.choice((1, 2, 2, 3)),
        timeouts=timeouts,
        hourly_limit=2,
    )
    return dataclasses.replace(made, **_fencing(dice, made))


def _fencing(dice: random.Random, deployed: Topology) -> dict[str, Any]:
    """Who may fence, by what, and which hosts have a watchdog."""
    asking = frozenset({dice.choice(("relay1", "relay2"))} if len(deployed.relays) == 2 and dice.random() < 0.3 else ())
    plan = FencePlan()
    if dice.random() < 0.5:
        plan = FencePlan(dice.choice(PLANS), {"mail1": dice.choice(PLANS)} if dice.random() < 0.3 else {})
    dogs = {}
    for name in deployed.mail:
        if plan.stops_alone(name) and dice.random() < 0.9:
            dogs[name] = (dice.choice(("i6300esb", "i6300esb", "iTCO_wdt", SOFTDOG)), dice.choice((10.0, 30.0)))
    return {"asking": asking, "plan": plan, "dogs": dogs}


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
        self._until(self.dice.uniform(40.0, 90.0))
        # From dice of its own: all other seeds are as before there was this one.
        if random.Random(f"{self.seed} alone").random() < 0.25 and not self.world.topology.plan.stops_alone("mail1"):
            self._apart()
            return
        # Who has lost its power is fenced by its switch, whatever else might be tried first or afterwards.
        by_power = self.world.topology.plan.levels("mail1")[0].level is LevelName.POWER
        if by_power and self.dice.random() < 0.5:
            self._host_lost()
        else:
            self._handed_over(dies=self.dice.random() < 0.7)

    def _handed_over(self, dies: bool) -> None:
        """Nothing fails but its invoker, if `dies`, at any step."""
        world, name = self.world, "mx"
        before = world.owners[name]
        world.hand_over(self.dice.choice(world.desks()), [name])
        if dies:
            self._until(self.kernel.now + self.dice.uniform(0.0, 25.0))
            world.tell("scenario", "fault", what="the operator leaves")
            world.operator_leaves()
        patience = UNDONE + world.topology.interval if dies else HANDED_OVER
        self._until(self.kernel.now + patience)
        if (why := world.unserved(name)) is not None:
            world.judge.violate("hands_over", f"{patience:.0f} s after an operator began to move {name}: {why}")
        elif not dies and world.owners[name] == before:
            world.judge.violate("hands_over", f"nothing failed, and {before[0]} still owns {name}")

    def _apart(self) -> None:
        """The owner and all relays lose their lines at once, and get them back at once. The owner, which reaches its
        store, has gone on all the time: for what relays saw then nobody is fenced.
        """
        world, before = self.world, dict(self.world.owners)
        ways = world.network.around("mail1", (*MAIL_ROUTES, MANAGEMENT))
        ways += [way for relay in world.topology.relays for way in world.network.around(relay, ALL)]
        self._begin(lambda: self._cut("mail1 and all relays are alone", ways), seconds=self.dice.uniform(200.0, 400.0))
        while self.active and not self.kernel.stopped:
            self._until(self.kernel.now + 5.0)
        self._until(self.kernel.now + 3 * world.topology.interval)
        for name, (host, epoch) in world.owners.items():
            if (host, epoch) != before[name]:
                world.judge.violate("need", f"all lines are back, nobody was down, and {name} went to {host}")

    def _host_lost(self) -> None:
        """One host is lost and nothing else: everything that it ran must be served by another in time."""
        world, t = self.world, self.world.topology
        begin, lost = self.kernel.now, self.world.hosts["mail1"]
        ran = [name for name, (host, _) in world.owners.items() if host == lost.name]
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
        elif story < 0.48:
            self._island()
        elif story < 0.66:
            self._planned(length)
        if self.world.topology.asking and dice.random() < 0.3:
            self._half_blind()
        if self.world.topology.dogs and dice.random() < 0.4:
            self._nobody_stops()
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
        networks = self.dice.choice(((*MAIL_ROUTES, MANAGEMENT), (*MAIL_ROUTES, MANAGEMENT), ALL, MAIL_ROUTES))
        ways = self.world.network.around(name, networks)
        what = f"{name} is an island, its power switch: {self.world.mood[name]}"
        at = self.dice.uniform(20.0, 60.0)
        if self.dice.random() < 0.3:
            # Somebody made sure before that it was off, and it has been started since.
            self.kernel.at(
                at, lambda: self._begin(self._plug_pulled, seconds=self.dice.uniform(15.0, 35.0), victim=name)
            )
            at += 90.0
        self.kernel.at(at, lambda: self._begin(lambda: self._cut(what, ways), long=True))

    def _nobody_stops(self) -> None:
        """The owner is out of reach, then its lease ends, and its agent does not stop what runs in time."""
        world, dice = self.world, self.dice
        host = world.hosts[world.owners["mx"][0]]
        world.mood[host.name] = "silent"
        at = dice.uniform(20.0, 60.0)
        late = at + dice.uniform(30.0, 120.0)
        for time, networks in ((at, MAIL_ROUTES), (late, (MANAGEMENT,)), (late + dice.uniform(5.0, 20.0), (STORAGE,))):
            ways = world.network.around(host.name, networks)
            cut = functools.partial(self._cut, f"{host.name} is cut off from {', '.join(networks)}", ways)
            self.kernel.at(time, functools.partial(self._begin, cut, seconds=300.0))
        fault = dice.choice((self._daemon_held, self._daemon_held, self._daemon_halted))
        # About as long as a watchdog takes.
        seconds = (30.0 if host.dog is None else host.dog.timeout) * dice.uniform(0.6, 1.1)
        stops = functools.partial(self._begin, fault, seconds=seconds, daemon=host.daemons["agent"])
        self.kernel.at(late + dice.uniform(1.0, world.topology.lease_ttl / 2), stops)

    def _half_blind(self) -> None:
        """A relay without fence rights loses its routes to the owner, which loses its lease and serves others."""
        name, network = self.world.owners["mx"][0], self.world.network
        routes = network.between(self.world.topology.asking, [name], MAIL_ROUTES)
        ways = network.around(name, (MANAGEMENT,))
        at = self.dice.uniform(20.0, 60.0)
        self.kernel.at(at, lambda: self._begin(lambda: self._cut(f"askers do not reach {name}", routes), long=True))
        what = f"{name} is cut off from {MANAGEMENT}"
        late = at + self.dice.uniform(0.0, 60.0)
        self.kernel.at(late, lambda: self._begin(lambda: self._cut(what, ways), long=True))

    def _planned(self, length: float) -> None:
        """Operators move identities, and something happens at a step of it."""
        for _ in range(self.dice.randint(1, 3)):
            act = self.dice.choice((self._hand_over, self._hand_over, self._evacuate))
            self.kernel.at(self.dice.uniform(20.0, length * 0.8), lambda act=act: self._begin(act))  # type: ignore[misc]
        for _ in range(self.dice.randint(1, 3)):
            after = self.dice.choice((0.0, self.dice.expovariate(0.5)))
            self._strikes.append(_Strike(self.dice.choice(_Strike.PLANNED), after))
        if self.dice.random() < 0.3:
            # For longer than the lock lives: others undo it meanwhile.
            moment = self.dice.choice(("candidate", "prepare", "release", "revoke"))
            still = self.dice.uniform(35.0, 150.0)
            self._strikes.append(_Strike(moment, self.dice.expovariate(2.0), still=still))

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
            self._gateway_cut,
            self._hand_over,
            self._evacuate,
            self._plug_pulled,
            self._plug_pulled,
        ]

    def _any_host(self) -> Host:
        """Those who matter more often than the others."""
        world, dice = self.world, self.dice
        if dice.random() < 0.5:
            return self._any_mail_host()
        return world.hosts[dice.choice(tuple(world.hosts))]

    def _any_mail_host(self) -> Host:
        world, dice = self.world, self.dice
        return world.hosts[world.owners[dice.choice(tuple(world.identities))][0]]

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
        which, words = self.dice.choice(
            (
                (world.exportfs_broken, "exportfs fails"),
                (world.expire_broken, "clients do not expire"),
                (world.nfsd_down, "nfsd is down"),
                (world.nft_broken, "the firewall is not set"),
            )
        )
        which.add(store)
        return f"{store}: {words}", lambda: which.discard(store)

    def _gateway_cut(self) -> tuple[str, End]:
        host, routes = self._any_host().name, self.dice.choice((MAIL_ROUTES, MAIL_ROUTES[:1], MAIL_ROUTES[1:]))
        ways = self.world.network.between([host], [GATEWAY], routes)
        return self._cut(f"{host} and the gateway of {', '.join(routes)} are cut off from each other", ways)

    def _hand_over(self) -> tuple[str, End]:
        """Home, to some candidate, or to whoever is ready."""
        world, dice = self.world, self.dice
        name = dice.choice(tuple(world.identities))
        to = dice.choice((None, world.identities[name].home, dice.choice(world.identities[name].candidates)))
        world.hand_over(dice.choice(world.desks()), [name], to)
        return f"an operator hands {name} over to {to or 'whoever is ready'}", lambda: None

    def _evacuate(self) -> tuple[str, End]:
        """The drain mark is taken away at the end."""
        world = self.world
        what, end = self._drain()
        host = what.partition(" ")[0]
        world.hand_over(self.dice.choice(world.desks()), [n for n, (owner, _) in world.owners.items() if owner == host])
        return f"{host} is evacuated", end

    def _plug_pulled(self, victim: str | None = None) -> tuple[str, End]:
        """An operator makes sure by hand that a host is off, and says so; somebody gives it power again."""
        world = self.world
        marks = [(k, r.read()) for k, r in world.cluster.state.records.items() if "/fence/" in k]
        asked = [k.split("/")[3] for k, mark in marks if mark["state"] == MarkState.OPEN]
        victim = self.dice.choice(asked) if victim is None and asked else victim
        host = self._any_mail_host() if victim is None else world.hosts[victim]
        host.power_off()
        world.confirm_off(self.dice.choice(world.desks()), host.name)
        return f"an operator pulls the plug of {host.name}", host.power_on

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
                self._invoker_dies(invoker),
                self._invoker_dies(invoker),
            ]
        if to in world.topology.mail:
            choices += [
                lambda: self._begin(self._host_down, victim=to),
                lambda: self._begin(self._host_paused, victim=to),
            ]
        if former is not None and former in world.topology.mail:
            choices += [world.hosts[former].power_on, world.hosts[former].go_on]
            choices += [world.hosts[former].daemons["agent"].crash] if world.hosts[former].up else []
        if not self._over:
            world.tell("scenario", "strikes")
            dice.choice(choices)()

    def _invoker_dies(self, host: str) -> Callable[[], None]:
        def act() -> None:
            self.world.operator_leaves()
            self.world.hosts[host].daemons["monitor"].crash()

        return act


@dataclass(frozen=True)
class _Strike:
    """Something that happens some seconds behind a step of a takeover."""

    MOMENTS = ("lock", "candidate", "fence", "takeover", "revoke", "owner", "own", "store", "started", "verify", "dns")
    PLANNED = (
        "lock",
        "candidate",
        "prepare",
        "release",
        "revoke",
        "owner",
        "own",
        "undo",
        "store",
        "started",
        "verify",
    )
    moment: str
    after: float
    still: float = 0.0  # seconds for which the invoker stands still; else the dice say what happens

"""From a seed to a store of two members, a schedule of faults, and a verdict: as scenario.py, for the disks below."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from holdfast.core.locked_run import Timeouts

from .faults import End, Faults
from .hosts import Host
from .kernel import Kernel
from .network import ALL, MANAGEMENT, STORAGE
from .pair_world import BOTH, PairTopology, PairWorld

PATIENCE = 600.0  # seconds from mending until it must be
DEPLOYED = 15.0  # seconds until the store is served for the first time
LONE = 75.0  # seconds within which a lone fault is over for clients


def topology(dice: random.Random) -> PairTopology:
    members = dice.choice(
        (
            ("mail1", "relay2", "witness1"),
            ("store1a", "relay2", "witness1"),
            ("store1b", "relay2", "witness1"),
            ("store1a", "store1b", "mail1", "relay2", "witness1"),
        )
    )
    return PairTopology(
        members=members,
        lease_ttl=dice.choice((10, 10, 15)),
        agent_tick=dice.choice((1.0, 2.0, 2.0)),
        threshold=dice.choice((5.0, 5.0, 10.0)),
        interval=2.0,
        retry=15.0,
        hourly_limit=2,
        timeouts=Timeouts(poll=0.5),
    )


class PairScenario(Faults[PairWorld]):
    """One seed, run."""

    def __init__(self, seed: int) -> None:
        kernel = Kernel(seed)
        super().__init__(seed, kernel, PairWorld(topology(random.Random(f"{seed} pair topology")), kernel))
        self._strikes: list[_Strike] = []
        self.world.on_write = self._wrote
        self.world.on_link = self._linked
        self.world.pair.copy_seconds = self.dice.choice(((0.5, 5.0), (1.0, 30.0), (20.0, 60.0)))

    PLAIN, LENGTH = 0.1, (180.0, 700.0)

    # --- a run -------------------------------------------------------------------------------------------------

    def _mend(self) -> None:
        self._end_all()
        for side in self.world.sides.values():
            side.broken = False
        self.world.mood = dict.fromkeys(BOTH, "works")
        self.world.returns = (30.0, 60.0)  # what a run that was under way fences, an operator brings back
        self.world.tell("scenario", "mended")

    def _patience(self) -> float:
        return PATIENCE

    def _unserved(self) -> str | None:
        return self.world.unserved()

    def _takeovers(self) -> int:
        return max(0, self.world.owner[1] - 1)

    def _plain(self) -> None:
        """One thing is lost and nothing else: clients must be able to write again in time."""
        world, (owner, partner) = self.world, BOTH
        world.returns = None
        self._until(self.dice.uniform(40.0, 90.0))
        what = self.dice.choice(("owner", "owner", "partner", "link"))
        if what == "link":
            self._begin(self._cut_between, seconds=1e6, one=owner, other=partner, networks=(STORAGE,))
        else:
            self._begin(self._host_down, victim=owner if what == "owner" else partner, seconds=1e6)
        self._until(self.kernel.now + LONE)
        silent = self.kernel.now - world.last_ack
        if silent > 10.0:
            world.judge.violate(
                "takes_over", f"the {what} alone was lost, and no write was acknowledged since {silent:.0f} s"
            )
        if (world.owner[0] == partner) is not (what == "owner"):
            world.judge.violate("takes_over", f"the {what} alone was lost, and {world.owner[0]} owns the store")

    # --- faults ------------------------------------------------------------------------------------------------

    def _schedule(self, length: float) -> None:
        dice, kernel = self.dice, self.kernel
        story = dice.random()
        if story < 0.2:
            self._hunt()
        elif story < 0.35:
            self._flaps(length)
        elif story < 0.5:
            # The link first, then the owner: whatever was written between the two is on one disk.
            at = dice.uniform(20.0, 60.0)
            kernel.at(at, lambda: self._begin(self._cut_between, one=BOTH[0], other=BOTH[1], networks=(STORAGE,)))
            kernel.at(at + dice.expovariate(0.1), lambda: self._begin(self._host_down, victim=self.world.owner[0]))
        elif story < 0.6:
            self._island()
        elif story < 0.7:
            self._duel()
        elif story < 0.8:
            self._hesitation()
        elif story < 0.9:
            for _ in range(dice.randint(1, 3)):
                kernel.at(dice.uniform(20.0, length * 0.8), lambda: self._begin(self._hand_over))
            for _ in range(dice.randint(1, 2)):
                self._strikes.append(_Strike(dice.choice(_Strike.PLANNED), dice.choice((0.0, dice.expovariate(0.5)))))
        for _ in range(dice.choice((0, 1, 2, 3, 4, 6, 8))):
            kernel.at(dice.uniform(15.0, length * 0.95), lambda: self._begin(dice.choice(self._kinds())))
        for _ in range(dice.choice((0, 1, 1, 2, 3))):
            self._strikes.append(_Strike(dice.choice(_Strike.MOMENTS), dice.choice((0.0, dice.expovariate(0.5)))))

    def _hunt(self) -> None:
        """Whoever owns the store is lost, again and again."""

        def strike() -> None:
            if not self._over:
                self._begin(self._host_down, long=True, victim=self.world.owner[0])
                self.kernel.after(self.dice.uniform(60.0, 240.0), strike)

        self.kernel.at(self.dice.uniform(20.0, 60.0), strike)

    def _hesitation(self) -> None:
        """The link breaks right behind a look at DRBD, and the owner's agent stands still until others go on alone."""
        self._strikes += [_Strike("looks", 0.0, late=True) for _ in range(3)]
        for at in (30.0, 120.0, 210.0):
            self.kernel.at(at + self.dice.uniform(0.0, 20.0), lambda: self._begin(self._mirror_cut, seconds=8.0))

    def _duel(self) -> None:
        """The invoker's monitor stands still in the midst of a run, and who was fenced has power again meanwhile."""
        self._strikes.append(_Strike(self.dice.choice(("fence", "revoke")), 0.0, still=self.dice.uniform(25.0, 58.0)))
        self.kernel.at(
            self.dice.uniform(20.0, 60.0), lambda: self._begin(self._host_down, long=True, victim=self.world.owner[0])
        )

    def _flaps(self, length: float) -> None:
        """The link between the members comes and goes, faster than set and resync follow."""
        at = self.dice.uniform(20.0, 60.0)
        while at < length * 0.8:
            seconds = self.dice.uniform(3.0, 15.0)

            def cut(seconds: float = seconds) -> None:
                self._begin(self._cut_between, seconds=seconds, one=BOTH[0], other=BOTH[1], networks=(STORAGE,))

            self.kernel.at(at, cut)
            at += seconds + self.dice.expovariate(0.1)

    def _island(self) -> None:
        """The owner lives and its clients write, but neither partner nor coordinator reach it."""
        name = self.world.owner[0]
        self.world.mood[name] = self.dice.choice(("works", "slow", "silent", "refusing", "lying", "lost answer"))
        ways = self.world.network.around(name, (MANAGEMENT,))
        ways += self.world.network.between([BOTH[0]], [BOTH[1]], (STORAGE,))
        what = f"{name} is an island, its power switch: {self.world.mood[name]}"
        self.kernel.at(self.dice.uniform(20.0, 60.0), lambda: self._begin(lambda: self._cut(what, ways), long=True))

    def _kinds(self) -> list[Callable[..., tuple[str, End]]]:
        return [
            self._host_down,
            self._host_down,
            self._reboot,
            self._host_paused,
            self._host_paused,
            self._daemon_crashes,
            self._daemon_crashes,
            self._daemon_down,
            self._daemon_paused,
            self._mirror_cut,
            self._mirror_cut,
            self._mirror_cut,
            self._host_cut,
            self._host_cut,
            self._site_cut,
            self._bad_line,
            self._leader,
            self._doubt,
            self._clock,
            self._switch,
            self._nfsd_dies,
            self._units_broken,
            self._no_address,
            self._hand_over,
        ]

    def _any_host(self) -> Host:
        """The members more often than the others, and of them the owner."""
        world, dice = self.world, self.dice
        kind = dice.random()
        if kind < 0.4:
            return world.hosts[world.owner[0]]
        return world.hosts[dice.choice(BOTH if kind < 0.75 else tuple(world.hosts))]

    def _reboot(self) -> tuple[str, End]:
        """Quicker than its lease ends, mostly."""
        host = self._any_host()
        host.power_off()
        host.power_on()
        return f"{host.name} boots", lambda: None

    def _cut_between(self, one: str, other: str, networks: tuple[str, ...]) -> tuple[str, End]:
        ways = self.world.network.between([one], [other], networks)
        return self._cut(f"{one} and {other} are cut off from each other in {', '.join(networks)}", ways)

    def _mirror_cut(self) -> tuple[str, End]:
        """Between the members; also one way only."""
        one, other = self.dice.sample(BOTH, 2)
        networks = self.dice.choice(((STORAGE,), (STORAGE,), ALL))
        if self.dice.random() < 0.6:
            return self._cut_between(one, other, networks)
        return self._cut(f"nothing gets from {one} to {other}", [(network, one, other) for network in networks])

    def _host_cut(self) -> tuple[str, End]:
        dice, host = self.dice, self._any_host()
        networks = dice.choice((ALL, (MANAGEMENT,), (MANAGEMENT,), (STORAGE,)))
        inwards, outwards = dice.choice(((True, True), (True, True), (True, False), (False, True)))
        which = "" if inwards and outwards else " inwards" if inwards else " outwards"
        ways = self.world.network.around(host.name, networks, inwards, outwards)
        return self._cut(f"{host.name} is cut off from {', '.join(networks)}{which}", ways)

    def _clock(self) -> tuple[str, End]:
        host, step = self._any_host(), self.dice.choice((-3600.0, 3600.0, -30.0, 30.0))
        host.clock_error += step
        self.world.clocks_stepped = True

        def end() -> None:
            host.clock_error -= step

        return f"{host.name}'s clock is stepped by {step:+.0f} s", end

    def _switch(self) -> tuple[str, End]:
        mood, host = self.world.mood, self.dice.choice(BOTH)
        mood[host] = self.dice.choice(("slow", "silent", "refusing", "lying", "lost answer"))

        def end() -> None:
            self.world.mood[host] = "works"

        return f"the power switch of {host} is {mood[host]}", end

    def _nfsd_dies(self) -> tuple[str, End]:
        host = self.world.owner[0]
        if self.world.sides[host].units:
            self.world.sides[host].units.clear()
            self.world.changed(f"{host} -units")
        return f"the NFS server of {host} dies", lambda: None

    def _units_broken(self) -> tuple[str, End]:
        host = self.dice.choice(BOTH)
        side = self.world.sides[host]
        side.broken = True

        def end() -> None:
            side.broken = False

        return f"units of {host} do not start", end

    def _no_address(self) -> tuple[str, End]:
        host = self.dice.choice(BOTH)
        side = self.world.sides[host]
        side.no_address = True

        def end() -> None:
            side.no_address = False
            self.world.follow(host)

        return f"keepalived on {host} does nothing", end

    def _hand_over(self) -> tuple[str, End]:
        self.world.hand_over()
        return "an operator hands it over", lambda: None

    # --- faults that strike at a step --------------------------------------------------------------------------

    def _wrote(self, key: str, value: dict[str, Any] | None) -> None:
        moment = key.split("/")[4]
        if value is None or self._over or moment not in ("takeover", "owner", "lock", "insync"):
            return
        if moment == "takeover" and value["steps"]:
            moment = str(value["steps"][-1]["name"])
        self._comes(moment)

    def _linked(self, what: str) -> None:
        """`what`: words of drbd.py."""
        if not self._over:
            self._comes(what if what == "in step" else what.split(",")[0].split(" ")[0])

    def _comes(self, moment: str) -> None:
        if self.kernel.now < DEPLOYED:
            return
        for strike in self._strikes:
            if strike.moment == moment and (strike.still or self.dice.random() < 0.5):
                self._strikes.remove(strike)
                act = functools.partial(self._sleeps, strike.still) if strike.still else self._strike
                self.kernel.after(strike.after, self._late if strike.late else act)
                return

    def _sleeps(self, seconds: float) -> None:
        """Between fence and `own`; the former owner is back with its old ownership."""
        owner = self.world.owner[0]
        partner = next(name for name in BOTH if name != owner)
        self._begin(self._daemon_halted, seconds=seconds, daemon=self.world.hosts[partner].daemons["monitor"])
        self._again(owner)
        if self.dice.random() < 0.6:
            # It serves by then, and loses its lease before the invoker goes on.
            ways = self.world.network.around(owner, (MANAGEMENT,))
            cut = functools.partial(self._cut, f"{owner} is cut off from {MANAGEMENT}", ways)
            self.kernel.after(max(1.0, seconds - 20.0), lambda: self._begin(cut, seconds=60.0))

    def _strike(self) -> None:
        world, dice = self.world, self.dice
        owner = world.owner[0]
        partner = next(name for name in BOTH if name != owner)
        choices: list[Callable[[], None]] = [
            lambda: self._begin(self._leader),
            lambda: self._begin(self._doubt),
            lambda: self._begin(self._mirror_cut),
            lambda: self._begin(self._mirror_cut),
            lambda: self._begin(self._host_down, victim=owner),
            lambda: self._begin(self._host_down, victim=partner),
            lambda: self._begin(self._host_paused, victim=owner),
            lambda: self._begin(self._host_paused, victim=partner),
            # Whoever was fenced has power again before anybody else owns the store.
            lambda: self._again(owner),
            lambda: self._again(owner),
            # Between a look at DRBD and a write of the set.
            self._late,
            self._late,
            self.world.operator_leaves,
            world.hosts[partner].daemons["monitor"].crash,
            world.hosts[dice.choice(BOTH)].daemons["agent"].crash,
        ]
        if not self._over:
            world.tell("scenario", "strikes")
            dice.choice(choices)()

    def _late(self) -> None:
        """The link first: who stands still for less than DRBD takes to notice has missed nothing."""
        agent, one, other = self.world.hosts[self.world.owner[0]].daemons["agent"], *BOTH
        self._begin(self._daemon_halted, seconds=self.dice.uniform(5.0, 25.0), daemon=agent)
        self._begin(self._cut_between, seconds=self.dice.uniform(5.0, 60.0), one=one, other=other, networks=(STORAGE,))

    def _again(self, host: str) -> None:
        self.world.hosts[host].go_on()
        self.world.hosts[host].power_on()


@dataclass(frozen=True)
class _Strike:
    """Something that happens some seconds behind a step of a takeover, or behind a change of the set."""

    MOMENTS = (
        *("lock", "candidate", "fence", "fence", "revoke", "own", "started", "verify"),
        *("insync", "insync", "linked", "in step", "looks"),
    )
    PLANNED = ("lock", "candidate", "prepare", "release", "own", "started", "insync")
    moment: str
    after: float
    still: float = 0.0  # seconds for which the invoker's monitor stands still
    late: bool = False  # the owner's agent stands still; else the dice say what happens

"""Faults that any deployment may meet: each begins, and says how it ends."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .hosts import Daemon, Host
from .kernel import Kernel
from .network import ALL, Way
from .stage import Event, Stage

End = Callable[[], None]
QUIET = 45.0  # seconds that all must be well before a run ends


@dataclass(frozen=True)
class Outcome:
    """What became of one seed. `seconds`: virtual ones."""

    seed: int
    violation: str | None
    seconds: float
    events: list[Event]
    takeovers: int


class Faults[W: Stage]:
    """Begins and ends faults in `world`. What they are is drawn from dice of their own, so that it does not hang on
    how the product has run so far.

    `PLAIN`: share of the seeds in which one thing is lost and nothing else; `LENGTH`: of the others, seconds at least
    and at most.
    """

    PLAIN: float
    LENGTH: tuple[float, float]

    def __init__(self, seed: int, kernel: Kernel, world: W) -> None:
        self.seed = seed
        self.dice = random.Random(f"{seed} faults")
        self.kernel = kernel
        self.world = world
        self.active: dict[int, tuple[str, End]] = {}
        self._number = 0
        self._over = False

    def run(self) -> Outcome:
        world, kernel, dice = self.world, self.kernel, self.dice
        try:
            if dice.random() < self.PLAIN:
                self._plain()
            else:
                length = dice.uniform(*self.LENGTH)
                self._schedule(length)
                self._until(length)
            if not kernel.stopped:
                self._mend()
                self._settle()
        finally:
            takeovers = self._takeovers()
            kernel.close()
        return Outcome(self.seed, world.judge.violation, kernel.now, world.events, takeovers)

    def _settle(self) -> None:
        """Until all is served again; an operator brings back what a run that was under way has fenced."""
        world, kernel, patience = self.world, self.kernel, self._patience()
        begin, good_since = kernel.now, None
        while not kernel.stopped:
            why = self._unserved()
            if why is None:
                good_since = kernel.now if good_since is None else good_since
                if kernel.now - good_since >= QUIET:
                    return
            else:
                good_since = None
                if kernel.now - begin > patience:
                    world.judge.violate("ends", f"{kernel.now - begin:.0f} s after everything was mended, {why}")
            for host in world.hosts.values():
                if not host.up and not host.booting:
                    kernel.after(60.0, host.power_on)
            self._until(kernel.now + 5.0)

    # What differs between the kinds of deployment.

    def _plain(self) -> None:
        """One thing is lost and nothing else."""
        raise NotImplementedError

    def _schedule(self, length: float) -> None:
        """Faults within the next `length` seconds."""
        raise NotImplementedError

    def _mend(self) -> None:
        """Nothing is broken any more."""
        raise NotImplementedError

    def _patience(self) -> float:
        """Seconds from mending until all must be well."""
        raise NotImplementedError

    def _unserved(self) -> str | None:
        """What is not as it must be when nothing is broken; None when all is well."""
        raise NotImplementedError

    def _takeovers(self) -> int:
        raise NotImplementedError

    def _any_host(self) -> Host:
        raise NotImplementedError

    def _look(self) -> None:
        """Every few seconds: what is overdue?"""

    def _until(self, end: float) -> None:
        """In slices, so that what is overdue is seen."""
        while self.kernel.now < end and not self.kernel.stopped:
            self.kernel.run(min(end, self.kernel.now + 5.0))
            self._look()

    def _begin(
        self, kind: Callable[..., tuple[str, End]], long: bool = False, seconds: float | None = None, **given: Any
    ) -> None:
        if self._over or self.kernel.stopped:
            return
        dice = self.dice
        if seconds is None:
            seconds = dice.uniform(100.0, 400.0) if long else min(500.0, 3.0 * 2.0 ** dice.uniform(0.0, 7.5))
        what, end = kind(**given)
        self._number += 1
        number = self._number
        self.active[number] = (what, end)
        self.world.tell("scenario", "fault", what=what, seconds=round(seconds, 1))
        self.kernel.after(seconds, lambda: self._end(number))

    def _end(self, number: int) -> None:
        if number in self.active and not self.kernel.stopped:
            what, end = self.active.pop(number)
            end()
            self.world.tell("scenario", "fault_over", what=what)

    def _end_all(self) -> None:
        """Nothing is broken any more, and nothing begins any more."""
        self._over = True
        for number in list(self.active):
            self._end(number)
        for host in self.world.hosts.values():
            host.go_on()
            host.power_on()
            for daemon in host.daemons.values():
                if daemon.held_down:
                    daemon.held_down = False
                    daemon.start()

    def _host_down(self, victim: str | None = None) -> tuple[str, End]:
        host = self._any_host() if victim is None else self.world.hosts[victim]
        host.power_off()
        return f"{host.name} loses power", host.power_on

    def _host_paused(self, victim: str | None = None) -> tuple[str, End]:
        host = self._any_host() if victim is None else self.world.hosts[victim]
        host.pause()
        return f"{host.name} stands still", host.go_on

    def _some_daemon(self) -> Daemon:
        return self.dice.choice([d for h in self.world.hosts.values() for d in h.daemons.values()])

    def _daemon_crashes(self) -> tuple[str, End]:
        daemon = self._some_daemon()
        daemon.crash()
        return f"{daemon.host.name}/{daemon.name} crashes", lambda: None

    def _daemon_down(self) -> tuple[str, End]:
        return self._daemon_held(self._some_daemon())

    def _daemon_held(self, daemon: Daemon) -> tuple[str, End]:
        daemon.held_down = True
        daemon.kill()

        def end() -> None:
            daemon.held_down = False
            daemon.start()

        return f"{daemon.host.name}/{daemon.name} is down", end

    def _daemon_paused(self) -> tuple[str, End]:
        return self._daemon_halted(self._some_daemon())

    def _daemon_halted(self, daemon: Daemon) -> tuple[str, End]:
        kernel, group = self.kernel, daemon.group
        if group is not None:
            kernel.halt(group)

        def end() -> None:
            if group is not None and daemon.group is group and not daemon.host.paused:
                kernel.go_on(group)

        return f"{daemon.host.name}/{daemon.name} stands still", end

    def _cut(self, what: str, ways: list[Way]) -> tuple[str, End]:
        world = self.world
        world.network.cut(ways)
        world.rewired()

        def end() -> None:
            world.network.mend(ways)
            world.rewired()

        return what, end

    def _link_cut(self) -> tuple[str, End]:
        one, other = self.dice.sample(tuple(self.world.hosts), 2)
        ways = self.world.network.between([one], [other], ALL)
        return self._cut(f"{one} and {other} are cut off from each other", ways)

    def _site_cut(self) -> tuple[str, End]:
        site = self.dice.choice(("dc1", "dc2", "third"))
        inside = [h.name for h in self.world.hosts.values() if h.site == site]
        outside = [name for name in self.world.network.hosts if name not in inside]
        return self._cut(f"{site} is cut off", self.world.network.between(inside, outside, ALL))

    def _bad_line(self) -> tuple[str, End]:
        network, host = self.world.network, self._any_host().name
        loss, slow = self.dice.uniform(0.02, 0.5), self.dice.uniform(0.0, 1.5)
        network.loss[host], network.slow[host] = loss, slow

        def end() -> None:
            network.loss.pop(host, None)
            network.slow.pop(host, None)

        return f"{host} has a bad line, {loss:.0%} lost, {slow:.1f} s slower", end

    def _leader(self) -> tuple[str, End]:
        self.world.cluster.depose()
        return "the coordinator's leader steps down", lambda: None

    def _doubt(self) -> tuple[str, End]:
        cluster, share = self.world.cluster, self.dice.uniform(0.05, 0.5)
        cluster.doubt = share

        def end() -> None:
            cluster.doubt = 0.0

        return f"{share:.0%} of the coordinator's answers are lost", end

"""Simulated machines: power, pauses, clocks, daemons, and what runs of an identity on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from holdfast.core.fencing import SOFTDOG

from .kernel import Group, Kernel

EPOCH = 1_800_000_000.0  # Unix seconds at the beginning
BOOT = (8.0, 30.0)  # seconds from power on to a running system
DAEMON_UP = (0.5, 4.0)  # seconds from there to a started daemon
RESTART = 2.0  # seconds after which systemd starts a daemon again


class HostClock:
    """Implements core.ports.Clock: a wall clock that may be wrong, and CLOCK_BOOTTIME, which goes on in a pause."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._kernel = host.kernel

    def now(self) -> float:
        return EPOCH + self._kernel.now + self._host.clock_error

    def boottime(self) -> float:
        return self._kernel.now - self._host.booted

    def sleep(self, seconds: float) -> None:
        self._kernel.sleep(seconds)


@dataclass
class Service:
    """An identity's parts on one host, as they are."""

    mounted: bool = False
    track: bool = False
    address: bool = False
    units: bool = False
    mark: int | None = None  # the epoch, in /run
    announced: int = 0  # the epoch that the routing daemon was told
    # Faults that outlive a boot:
    refusing: bool = False  # answers 4xx
    sick: bool = False  # does not come up, and what runs hangs
    no_address: bool = False  # keepalived does not do its work

    def power_lost(self) -> None:
        self.mounted = self.track = self.address = self.units = False
        self.mark, self.announced = None, 0

    @property
    def answers(self) -> bool:
        return self.address and self.units


class Daemon:
    """A unit with Restart=always. `body` is what one incarnation does; it is called in a process of its own."""

    def __init__(self, host: Host, name: str, body: Callable[[Group], None]) -> None:
        self.host = host
        self.name = name
        self.body = body
        self.group: Group | None = None
        self.since = 0.0  # when that incarnation began
        self.held_down = False  # a fault: it does not come up again

    def start(self) -> None:
        if self.group is not None or not self.host.up or self.held_down:
            return
        kernel = self.host.kernel
        group = kernel.group(f"{self.host.name}/{self.name}")
        group.halted = self.host.paused
        self.group, self.since = group, kernel.now

        def main() -> None:
            kernel.sleep(kernel.random.uniform(0.05, 0.5))
            self.body(group)

        kernel.spawn(group, self.name, main)

    def kill(self) -> None:
        if self.group is not None:
            group, self.group = self.group, None
            self.host.kernel.kill(group)

    def crash(self, again_after: float = RESTART) -> None:
        self.kill()
        self.host.kernel.after(again_after, self.start)

    def ended(self, group: Group) -> None:
        """By an exception of its own."""
        if self.group is group:
            self.group = None
            self.host.kernel.after(RESTART, self.start)


class Dog:
    """A machine's watchdog, as adapters.watchdog.Watchdog. Once opened it counts on, whatever becomes of who opened it.

    A softdog stands still with its kernel, any other one resets that, too.
    """

    def __init__(self, host: Host, kind: str, timeout: float) -> None:
        self.kind = kind
        self.timeout = timeout
        self._host = host
        self._pats = 0

    def pat(self) -> None:
        self._host.kernel.alive()
        self._pats += 1
        self._host.kernel.after(self.timeout, partial(self._bites, self._pats))

    def power_lost(self) -> None:
        self._pats += 1

    def _bites(self, pats: int) -> None:
        if pats != self._pats:
            return
        if self.kind == SOFTDOG and self._host.paused:
            self._host.kernel.after(1.0, partial(self._bites, pats))
        else:
            self._host.on_change(self._host, "reset")
            self._host.power_off()
            self._host.power_on()


class Host:
    """One machine."""

    def __init__(self, kernel: Kernel, name: str, site: str) -> None:
        self.kernel = kernel
        self.name = name
        self.site = site
        self.up = True
        self.paused = False
        self.booting = False
        self.booted = -kernel.random.uniform(100.0, 9000.0)
        self.boot_number = 1
        self.clock_error = 0.0
        self.clock = HostClock(self)
        self.services: dict[str, Service] = {}
        self.daemons: dict[str, Daemon] = {}
        self.dog: Dog | None = None
        self.on_change: Callable[[Host, str], None] = lambda host, what: None

    @property
    def acts(self) -> bool:
        return self.up and not self.paused

    @property
    def boot_id(self) -> str:
        return f"{self.name}-{self.boot_number}"

    def begin(self) -> None:
        """All daemons, as after a boot."""
        for daemon in self.daemons.values():
            self.kernel.after(self.kernel.random.uniform(*DAEMON_UP), daemon.start)

    def power_off(self) -> None:
        self.booting = False
        if not self.up:
            return
        self.up = self.paused = False
        for daemon in self.daemons.values():
            daemon.kill()
        for service in self.services.values():
            service.power_lost()
        if self.dog is not None:
            self.dog.power_lost()
        self.on_change(self, "off")

    def power_on(self) -> None:
        if self.up or self.booting:
            return
        self.booting = True
        self.kernel.after(self.kernel.random.uniform(*BOOT), self._booted)

    def _booted(self) -> None:
        if not self.booting:
            return
        self.booting, self.up = False, True
        self.booted = self.kernel.now - 5.0
        self.boot_number += 1
        self.on_change(self, "booted")
        self.begin()

    def pause(self) -> None:
        if not self.acts:
            return
        self.paused = True
        for daemon in self.daemons.values():
            if daemon.group is not None:
                self.kernel.halt(daemon.group)
        self.on_change(self, "paused")

    def go_on(self) -> None:
        if not self.paused:
            return
        self.paused = False
        self.on_change(self, "goes on")
        for daemon in self.daemons.values():
            if daemon.group is not None:
                self.kernel.go_on(daemon.group)

"""The ports of a store's member: /run, DRBD, file system, units, keepalived, and its NFS server as others see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.adapters.drbd import PROMOTE_TIMEOUT, State
from holdfast.core.model import Attempt, Identity, Method, Result, Route
from holdfast.core.ports import Unavailable

from .drbd import Member
from .hosts import Host
from .kernel import Kernel
from .network import STORAGE

if TYPE_CHECKING:
    from .pair_world import PairWorld

NFSD = "nfs-server.service"
UNMOUNT_WITHIN, MOUNT_WITHIN = 30.0, 60.0  # seconds, as adapters.disk
CONNECT = 2.0  # seconds that a probe waits (adapters.nfs_probe)


class Path:
    """As much of pathlib.Path as marks, epochs and track files need, on a tmpfs that a boot empties."""

    def __init__(self, files: Files, path: str) -> None:
        self._files = files
        self._path = path

    @property
    def name(self) -> str:
        return self._path.rpartition("/")[2]

    @property
    def parent(self) -> Path:
        return Path(self._files, self._path.rpartition("/")[0])

    def __truediv__(self, name: str) -> Path:
        return Path(self._files, f"{self._path}/{name}")

    def with_name(self, name: str) -> Path:
        return self.parent / name

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        self._files.kernel.alive()

    def exists(self) -> bool:
        self._files.kernel.alive()
        return self._path in self._files.texts

    def read_text(self) -> str:
        self._files.kernel.alive()
        if self._path not in self._files.texts:
            raise FileNotFoundError(self._path)
        return self._files.texts[self._path]

    def write_text(self, text: str) -> None:
        self._files.kernel.alive()
        self._files.texts[self._path] = text

    def replace(self, target: Path) -> None:
        self._files.kernel.alive()
        self._files.texts[target._path] = self._files.texts.pop(self._path)
        self._files.on_replace(target._path)

    def unlink(self, missing_ok: bool = False) -> None:
        self._files.kernel.alive()
        self._files.texts.pop(self._path, None)


class Files:
    """/run of one host."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.texts: dict[str, str] = {}
        self.on_replace: Callable[[str], None] = lambda path: None

    def folder(self, path: str) -> Path:
        return Path(self, path)


@dataclass
class Side:
    """A member's parts above DRBD, as they are."""

    files: Files
    mounted: bool = False
    address: bool = False
    units: set[str] = field(default_factory=set)
    broken: bool = False  # a fault: units do not come up
    no_address: bool = False  # a fault: keepalived does nothing

    @property
    def serves(self) -> bool:
        return NFSD in self.units

    @property
    def answers(self) -> bool:
        return self.address and self.serves

    def power_lost(self) -> None:
        self.mounted = self.address = False
        self.units.clear()
        self.files.texts.clear()


class _Edge:
    def __init__(self, world: PairWorld, host: Host) -> None:
        self._world = world
        self._host = host
        self._kernel: Kernel = world.kernel
        self._side: Side = world.sides[host.name]
        self._member: Member = world.pair.of(host)

    def _take(self, least: float, most: float) -> None:
        self._kernel.sleep(self._kernel.random.uniform(least, most))


class Drbd(_Edge):
    """As adapters.drbd.Drbd."""

    def up(self) -> None:
        self._take(0.05, 0.3)
        self._member.bring_up()

    def state(self) -> State:
        """It is old by as much as a program takes to say it."""
        self._kernel.alive()
        state = self._member.state()
        if state.primary and state.mirrored and self._member.peer.host.name not in self._world.insync:
            self._world.on_link("looks")  # and is about to let the partner join
        self._take(0.005, 0.1)
        return state

    def primary(self) -> None:
        end, done = self._host.clock.boottime() + PROMOTE_TIMEOUT, list[str]()
        self._kernel.alive()
        self._member.promote(done)
        while not done:
            if self._host.clock.boottime() >= end:
                raise Unavailable(f"drbdadm primary: no end within {PROMOTE_TIMEOUT:g} s")
            self._kernel.sleep(0.1)
        if done[0]:
            raise Unavailable(f"drbdadm primary: {done[0]}")

    def secondary(self) -> None:
        self._take(0.05, 0.3)
        if self._side.mounted:
            raise Unavailable("drbdadm secondary: Device is held open by someone")
        self._member.demote()


class Disk(_Edge):
    """As adapters.disk.DiskMount."""

    def is_mounted(self) -> bool:
        self._kernel.alive()
        return self._side.mounted

    def is_read_only(self) -> bool:
        return self.is_mounted() and self._member.errors

    def _within(self, seconds: float, ready: Callable[[], bool], what: str) -> None:
        end = self._host.clock.boottime() + seconds
        while not ready():
            if self._host.clock.boottime() >= end:
                raise Unavailable(f"{what}: no end within {seconds:g} s")
            self._kernel.sleep(0.5)

    def mount(self) -> None:
        if self.is_mounted():
            return
        self._take(0.2, 1.5)
        # The journal is replayed, which is a write.
        self._within(MOUNT_WITHIN, lambda: not self._member.frozen, "mount")
        if not self._member.primary:
            raise Unavailable("mount: /dev/drbd0 is write-protected")
        self._member.errors = False
        self._side.mounted = True
        self._world.changed(f"{self._host.name} +mount")

    def unmount(self) -> None:
        if not self.is_mounted():
            return
        self._take(0.1, 0.5)
        self._within(UNMOUNT_WITHIN, lambda: not self._member.frozen and not self._member.writing, "umount")
        self._side.mounted = False
        self._world.changed(f"{self._host.name} -mount")


class Units(_Edge):
    """As adapters.units.Units."""

    def start(self, units: Sequence[str]) -> None:
        self._take(0.2, 1.5)
        if self._side.broken:
            raise Unavailable(f"systemctl start {' '.join(units)}: failed")
        self._side.units |= set(units)
        self._world.changed(f"{self._host.name} +{' '.join(units)}")

    def stop(self, units: Sequence[str]) -> None:
        self._take(0.1, 1.0)
        self._side.units -= set(units)
        self._world.changed(f"{self._host.name} -units")

    def states(self, units: Sequence[str]) -> dict[str, str]:
        self._take(0.01, 0.1)
        return {u: "active" if u in self._side.units else "inactive" for u in units}


class Clients(_Edge):
    """As much of adapters.nfsd.Clients as a member asks."""

    def serving(self) -> bool:
        self._kernel.alive()
        return self._side.serves


def follow(world: PairWorld, host: Host, path: str) -> None:
    """keepalived follows the track file after a moment."""
    side, boot, kernel = world.sides[host.name], host.boot_number, world.kernel

    def act() -> None:
        if not host.up or host.boot_number != boot or side.no_address:
            return
        if host.paused:
            kernel.after(1.0, act)
            return
        wanted = side.files.texts.get(path, "").strip() == "1"
        if side.address is not wanted:
            side.address = wanted
            world.changed(f"{host.name} {'+' if wanted else '-'}address")

    kernel.after(kernel.random.uniform(0.2, 1.5), act)


class Prober:
    """Implements core.ports.Prober as adapters.nfs_probe.NfsProber: `target`, or whoever has the store's address."""

    def __init__(self, world: PairWorld, host: Host, target: str | None) -> None:
        self._world = world
        self._host = host
        self._target = target

    def probe(self, identity: Identity, route: Route) -> Attempt:
        world, clock, kernel = self._world, self._host.clock, self._world.kernel
        kernel.alive()
        start = clock.now()
        names = [n for n, side in world.sides.items() if side.address] if self._target is None else [self._target]
        reached = [n for n in names if world.hosts[n].acts and world.network.joined(STORAGE, self._host.name, n)]
        good = [n for n in reached if NFSD in world.sides[n].units]
        result = Result.OK if good else Result.DOWN
        if self._target is not None:
            world.judge.probed(self._host.name, result)
        kernel.sleep(0.01 if reached else CONNECT)
        return Attempt(Method.PROBE, route.name, result, start, clock.now(), "answers" if good else "no answer")

    def topology(self, identity: Identity, route: Route) -> Attempt:
        raise NotImplementedError("stores are probed only")

    def deliver(self, identity: Identity, route: Route) -> Attempt | None:
        return None

"""All guests of one lab, and what is known about it without asking its inventory again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from lab.errors import LabError
from lab.guest import State
from lab.inventory import Topology
from lab.network import Network
from lab.place import Place
from lab.ssh import Ssh
from lab.uml import UmlGuest


class Fleet:
    """Guests, network and ssh of a lab whose topology is known."""

    def __init__(self, place: Place, topology: Topology) -> None:
        """Look nothing up yet."""
        self.place = place
        self.topology = topology
        self.network = Network(place)
        self.ssh = Ssh(place)

    @classmethod
    def saved(cls, place: Place) -> Fleet:
        """Of the last `up`; raise LabError if there was none."""
        try:
            text = place.topology.read_text()
        except FileNotFoundError:
            raise LabError("no such lab", place.name, "bin/lab up INVENTORY") from None
        return cls(place, Topology.load(text))

    def save(self) -> None:
        """Keep the topology for the words to come."""
        self.place.state.mkdir(parents=True, exist_ok=True)
        self.place.topology.write_text(self.topology.dump())

    def guest(self, name: str) -> UmlGuest:
        """Return a guest with the kernel and image its disks belong to."""
        host = self.topology.host(name)
        base = self.base(name)
        if base is None:
            raise LabError("guest was never started", name, "bin/lab up INVENTORY")
        return UmlGuest(self.place, self.topology, host, *base)

    def base(self, name: str) -> tuple[Path, Path] | None:
        """Return kernel and image of a host; None for one that was never started."""
        try:
            kernel, image = json.loads((self.place.guest(name) / "base.json").read_text())
        except FileNotFoundError:
            return None
        return Path(kernel), Path(image)

    def set_base(self, name: str, kernel: Path, image: Path) -> bool:
        """Give a host without a disk its kernel and image; return False for one that has a disk over another."""
        folder = self.place.guest(name)
        if (folder / "root.cow").exists() and self.base(name) is not None:
            return False
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "root.cow").unlink(missing_ok=True)
        (folder / "base.json").write_text(json.dumps([str(kernel), str(image)]))
        return True

    def guests(self) -> list[UmlGuest]:
        """Return all that have been started once."""
        return [self.guest(name) for name in self.topology.hosts if (self.place.guest(name) / "base.json").exists()]

    def state(self, name: str) -> State:
        """Return OFF for a host that was never started, too."""
        if (self.place.guest(name) / "process.json").exists():
            return UmlGuest(self.place, self.topology, self.topology.host(name), Path(), Path()).state()
        return State.OFF

    def ended(self, name: str) -> str:
        """Return how a guest ended that was on, or ""."""
        return {State.LOST: "its kernel ended", State.OFF: "its power was cut"}.get(self.state(name), "")

    def address(self, name: str) -> str:
        """Return the address over which the lab reaches a host."""
        return self.topology.leg(name, self.topology.management)

    def reachable(self, names: list[str]) -> dict[str, str]:
        """Return the management addresses of those that can answer: on, not paused, with their cable plugged in."""
        pulled = {
            host for host, segment in self.network.unplugged(self.topology) if segment == self.topology.management
        }
        return {name: self.address(name) for name in names if name not in pulled and self.state(name) is State.ON}

    def require_on(self, name: str) -> None:
        """Raise LabError unless a host is on and plugged in, since a command to it would only hang."""
        self.topology.host(name)
        state = self.state(name)
        if state is State.ON:
            management = self.topology.management
            if (name, management) in self.network.unplugged(self.topology):
                raise LabError(f"{name} is unplugged from", management, f"bin/lab plug {name} {management}")
            return
        word = "resume" if state is State.PAUSED else "start"
        raise LabError(f"{name} is", state.value, f"bin/lab {word} {name}")

    def require_memory(self, names: list[str]) -> None:
        """Raise LabError if the machine can't hold these guests when each has touched all its memory."""
        wanted = sum(self.topology.hosts[name].memory_mb for name in names)
        shared = shutil.disk_usage("/dev/shm").free // 1024**2
        if shared < wanted:
            raise LabError(
                "no memory left",
                f"{wanted} MB wanted, /dev/shm has {shared} MB free",
                "mount -o remount,size=… /dev/shm",
            )
        available = available_mb()
        if available < wanted:
            raise LabError(
                "no memory left",
                f"{wanted} MB wanted for {len(names)} guests, {available} MB available",
                "lower lab_memory_mb or take a smaller inventory",
            )


def available_mb() -> int:
    """Return what the kernel thinks it can give away without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    raise LabError("/proc/meminfo", "no MemAvailable", "use Linux 3.14 or newer")

"""Where a lab keeps its things, and how it is told apart from others on the same machine."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lab.errors import LabError

ROOT = Path(__file__).resolve().parent.parent
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,15}")


def cache_folder() -> Path:
    """Kernels and images by the hash of their recipe, shared by all labs of a user."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "holdfast"


@dataclass(frozen=True)
class Place:
    """The folders of one lab. Two checkouts may each run a `default` lab: the identity includes the checkout."""

    name: str
    root: Path = ROOT

    def __post_init__(self) -> None:
        """Refuse names that would not survive as part of a path."""
        if not NAME_PATTERN.fullmatch(self.name):
            raise LabError("lab name", self.name, "use at most 16 of a-z 0-9 and -, beginning with a letter or digit")

    @cached_property
    def identity(self) -> str:
        """Unique on this machine."""
        return f"{self.name}-{hashlib.sha256(str(self.root).encode()).hexdigest()[:6]}"

    @property
    def state(self) -> Path:
        """What outlives a run: disks, keys, snapshots, consoles."""
        return self.root / ".lab" / self.name

    @property
    def runtime(self) -> Path:
        """Sockets and the network namespace: gone after `down`. Short, since a socket's path has at most 108 bytes."""
        return Path("/run/holdfast-lab") / self.identity

    @property
    def netns(self) -> Path:
        """The file that keeps the lab's network namespace alive."""
        return self.runtime / "net"

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`, Ansible and everything else that speaks ssh."""
        return self.state / "ssh_config"

    @property
    def topology(self) -> Path:
        """What the last `up` read from the inventory."""
        return self.state / "topology.json"

    def guest(self, host: str) -> Path:
        """Return the folder of one guest."""
        return self.state / "guests" / host

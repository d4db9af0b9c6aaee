"""What the lab wants of a back end for guests. User-mode Linux is the first; QEMU may be another."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Protocol


class State(enum.Enum):
    """Of one guest, as seen from outside."""

    ON = "on"
    PAUSED = "paused"
    OFF = "off"
    LOST = "lost"  # its processes vanished without the lab's doing: power-off from inside, panic, or a kill by hand


class Guest(Protocol):
    """One guest of any back end. Every method returns when what it says is certain, or raises LabError."""

    name: str

    def start(self) -> None:
        """Power on; nothing happens if it is on. Does not wait for the operating system."""

    def stop(self) -> None:
        """Press the power button and wait for the clean end; raise LabError if it does not come."""

    def kill(self) -> None:
        """Cut the power: memory and page cache are gone, every process of the guest is gone."""

    def pause(self) -> None:
        """Let it hang, as it is."""

    def resume(self) -> None:
        """End a pause."""

    def state(self) -> State:
        """Look now."""

    def memory_bytes(self) -> int:
        """Memory of the machine that it uses at present."""

    def disks(self) -> list[Path]:
        """Return the files that hold what it has on disk."""

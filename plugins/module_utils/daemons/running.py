"""What an identity and a store have in common as they come up and go down (instance.py, store_instance.py)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..adapters import machine
from ..core.ports import Clock, Unavailable

MARKS = Path("/run/holdfast/running")
LEAVING = Path("/run/holdfast/leaving")  # `1` while a planned run is about to take it away, for availability.py

# Seconds. A step that takes longer has failed; the agent begins anew after a while.
ADDRESS_WITHIN = 15.0
ADDRESS_GONE_WITHIN = 5.0  # keepalived is told before all else of a stop, which takes longer than keepalived does
VERIFY_WITHIN = 30.0
POLL = 0.25

DEAD = {"inactive", "failed"}  # any other state is on its way to one of them or to `active`

Cancel = Callable[[], bool]


class Cancelled(Exception):
    """The owner has changed while it was being started."""


class NotConfirmed(Unavailable):
    """Whether this host is (still) the owner could not be read. Nothing has been touched."""


@dataclass(frozen=True)
class Found:
    """How an identity or a store stands when the agent starts."""

    epoch: int | None  # at which it runs, None when it does not
    traces: tuple[str, ...]  # what is there although it does not run


def until(clock: Clock, what: Callable[[], str | None], within: float, cancel: Cancel) -> str | None:
    """Poll until `what` says something, None when it does not within so many seconds. Raises Cancelled."""
    end = clock.boottime() + within
    while True:
        if cancel():
            raise Cancelled
        said = what()
        if said is not None or clock.boottime() >= end:
            return said
        clock.sleep(POLL)


def until_address(
    clock: Clock, address: str, cancel: Cancel, has_address: Callable[[str], bool] = machine.has_address
) -> str:
    """Until keepalived, told by the track file, has put `address` on. Raises Cancelled, Unavailable."""
    said = until(clock, lambda: address if has_address(address) else None, ADDRESS_WITHIN, cancel)
    if said is None:
        raise Unavailable(f"keepalived did not put {address} on within {ADDRESS_WITHIN:g} s; see its journal")
    return said


def until_no_address(clock: Clock, address: str, has_address: Callable[[str], bool] = machine.has_address) -> None:
    """Until keepalived, told by the track file, has taken `address` off. Raises Unavailable."""
    gone = until(clock, lambda: None if has_address(address) else "gone", ADDRESS_GONE_WITHIN, lambda: False)
    if gone is None:
        within = f"within {ADDRESS_GONE_WITHIN:g} s"
        raise Unavailable(f"keepalived did not take {address} off {within}; restart it, and see its journal")


def dead(states: Mapping[str, str]) -> str | None:
    """Which of these units do not run, None when all do; `states` in systemd's words."""
    return ", ".join(f"{unit} is {state}" for unit, state in states.items() if state in DEAD) or None


def alive(states: Mapping[str, str]) -> list[str]:
    return [unit for unit, state in states.items() if state not in DEAD]


class Mark:
    """Remembers, until the next boot, that something runs here and since which epoch."""

    def __init__(self, name: str, folder: Path = MARKS) -> None:
        self._path = folder / name

    def write(self, epoch: int) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_name(f".{self._path.name}.new")
        new.write_text(json.dumps({"epoch": epoch}))
        new.replace(self._path)

    def read(self) -> int | None:
        """None when there is none that can be read."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return int(json.loads(self._path.read_text())["epoch"])
        return None

    def exists(self) -> bool:
        return self._path.exists()

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


class Attempts:
    """Everything is tried, even if something before it failed; `end` tells all that did."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def __call__(self, act: Callable[[], None]) -> bool:
        try:
            act()
        except (Unavailable, OSError) as why:
            self.errors.append(str(why))
            return False
        return True

    def end(self) -> None:
        """Raises Unavailable."""
        if self.errors:
            raise Unavailable("; ".join(self.errors))

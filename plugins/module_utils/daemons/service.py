"""What every daemon does around its work: the watchdog, signals, and a loop (sd_notify(3), systemd.service(5))."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType

EX_CONFIG = 78  # sysexits.h: a broken configuration, which no restart mends

# A call of `tick` that takes longer is taken for a hang: the watchdog is no longer told that all is well.
PATIENCE = 600.0


def notify(state: str) -> None:
    """Tell systemd, if it is listening. Never fails: a daemon does its work without being watched, too."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = f"\0{path[1:]}" if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
        s.connect(address)
        s.sendall(state.encode())


def watchdog_interval() -> float | None:
    """Seconds between signs of life: a third of what systemd waits, None when it does not."""
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 3_000_000
    except (KeyError, ValueError):
        return None


class _Beat(threading.Thread):
    """Signs of life while the loop goes round: a tick may take longer than the watchdog waits, a takeover does."""

    def __init__(self, interval: float, patience: float) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._interval = interval
        self._patience = patience
        self.last_turn = time.monotonic()

    def run(self) -> None:
        while True:
            if time.monotonic() - self.last_turn < self._patience:
                notify("WATCHDOG=1")
            time.sleep(self._interval)


def run(
    tick: Callable[[], None],
    interval: float,
    close: Callable[[], None] | None = None,
    patience: float = PATIENCE,
    wake: threading.Event | None = None,
) -> None:
    """Call `tick` every `interval` seconds, and sooner when `wake` is set, until SIGTERM or SIGINT, then `close`.

    What a daemon started goes on when it stops. An exception ends the daemon: systemd starts it again, and it
    finds out anew how things are. `patience`: seconds after which a tick that does not end is a hang.
    """
    wake = threading.Event() if wake is None else wake
    over = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal over
        over = True
        # A handler runs in the middle of whatever the main thread does, which may hold this very event's lock.
        threading.Thread(target=wake.set).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    beat = _Beat(watchdog_interval() or 3600.0, patience)
    notify("READY=1")
    beat.start()
    try:
        while not over:
            beat.last_turn = start = time.monotonic()
            # What changes from here on is seen by the next tick, if not by this one.
            wake.clear()
            tick()
            wake.wait(max(0.0, start + interval - time.monotonic()))
    finally:
        notify("STOPPING=1")
        if close is not None:
            close()

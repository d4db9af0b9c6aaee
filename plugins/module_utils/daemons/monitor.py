"""holdfast-monitor: watches identities, and the relays themselves, from a relay host (R1.3 to R1.6).

    python3 -m holdfast.daemons.monitor [--check] [FILE]

FILE is /etc/holdfast/monitor.yml; its keys are told in wiring.py. SIGUSR1: make an attempt for every identity now.

Each identity has a thread of its own: an attempt may take 45 s and a takeover minutes, and when a site is lost those of
the mail host and of the relay beside it are due at the same time.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import cast

from ..adapters.etcd_shared import SharedCoordinator, SharedReads
from ..adapters.log import LineLog
from ..core import keys
from ..core.model import RELAY_KIND
from ..core.pairing import Pairing
from ..core.ports import Coordinator
from ..core.watching import Watch
from . import service
from .config import main as config_main
from .fences import Invoker
from .wiring import build, load

FILE = "/etc/holdfast/monitor.yml"
TICK = 1.0  # seconds


class Hang(Exception):
    """A thread that does not come back; systemd starts the monitor anew."""


class Watcher(threading.Thread):
    """Calls `act` about once a second, in a thread that ends with the process: what it began is safe to be taken up."""

    def __init__(self, name: str, act: Callable[[], None], patience: float = service.PATIENCE) -> None:
        super().__init__(name=name, daemon=True)
        self._patience = patience
        self._act = act
        self._error: BaseException | None = None
        self._turn = time.monotonic()

    def run(self) -> None:
        try:
            while True:
                self._turn = time.monotonic()
                self._act()
                # All at the same moments, so that those whose look is due are served by one read.
                time.sleep(TICK - time.monotonic() % TICK)
        except BaseException as error:
            self._error = error
            raise

    def check(self) -> None:
        """Raises what ended it, and Hang."""
        if self._error is not None:
            raise self._error
        if (longer := time.monotonic() - self._turn) > self._patience:
            raise Hang(f"{self.name}: one look takes {longer:.0f} s")


def start(file: str) -> Callable[[], None]:
    """What runs the monitor of that configuration. Raises ConfigError."""
    config = load(file)

    def serve() -> None:
        log = LineLog()
        watches, watchers = [], []
        hosts = sorted({host for one in config.identities.values() for host in one.candidates})
        reads = SharedReads(config.coordinator.another(), (keys.IDENTITIES, keys.EVIDENCE, *map(keys.lease, hosts)))
        for name in config.identities:
            p = build(config, name, log)
            if p.identity.has_mailboxes:
                p.queue.use_route([p.identity], p.settings.routes[0])
            # Without the right to fence it asks another host's monitor (R1.11).
            takeover = p.takeover if config.invoker is Invoker.SELF else None
            shared = cast(Coordinator, SharedCoordinator(p.coordinator, reads))
            watch = Watch(p.identity, p.settings, shared, p.prober, p.queue, takeover, p.clock, log, p.returns)
            watches.append(watch)
            # This host may be the owner of a relay itself.
            act = Pairing(watch).tick if p.identity.kind == RELAY_KIND else watch.tick
            watchers.append(Watcher(name, act, p.takeover.timeouts.look))

        def now(number: int, frame: FrameType | None) -> None:
            for watch in watches:
                watch.try_now()

        def tick() -> None:
            for watcher in watchers:
                watcher.check()

        signal.signal(signal.SIGUSR1, now)
        for watcher in watchers:
            watcher.start()
        service.run(tick, TICK)

    return serve


def main(arguments: list[str]) -> int:
    return config_main(arguments, FILE, start)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

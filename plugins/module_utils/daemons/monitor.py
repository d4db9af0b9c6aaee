"""holdfast-monitor: watches identities from a relay (R1.3 to R1.6).

    python3 -m holdfast.daemons.monitor [--check] [FILE]

FILE is /etc/holdfast/monitor.yml; its keys are told in wiring.py. SIGUSR1: make an attempt for every identity now.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType

from ..adapters.log import LineLog
from ..core.watching import Watch
from . import service
from .config import main as config_main
from .fences import Invoker
from .wiring import build, load

FILE = "/etc/holdfast/monitor.yml"
TICK = 1.0  # seconds


def start(file: str) -> Callable[[], None]:
    """What runs the monitor of that configuration. Raises ConfigError."""
    config = load(file)

    def serve() -> None:
        log = LineLog()
        watches = []
        for name in config.identities:
            p = build(config, name, log)
            p.queue.use_route([p.identity], config.routes[0])
            # Without the right to fence it asks another host's monitor (R1.11).
            takeover = p.takeover if config.invoker is Invoker.SELF else None
            watches.append(
                Watch(p.identity, p.settings, p.coordinator, p.prober, p.queue, takeover, p.clock, log, p.returns)
            )

        def now(number: int, frame: FrameType | None) -> None:
            for watch in watches:
                watch.try_now()

        def tick() -> None:
            for watch in watches:
                watch.tick()

        signal.signal(signal.SIGUSR1, now)
        service.run(tick, TICK)

    return serve


def main(arguments: list[str]) -> int:
    return config_main(arguments, FILE, start)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""holdfast-monitor: watches identities from a relay (R1.3 to R1.6).

    python3 -m holdfast.daemons.monitor [--check] [FILE]

FILE is /etc/holdfast/monitor.yml; its keys are told in wiring.py. SIGUSR1: make an attempt for every identity now.
"""

from __future__ import annotations

import signal
import sys

from ..adapters.log import LineLog
from ..core.watching import Watch
from . import service
from .wiring import Config, ConfigError, build, load

FILE = "/etc/holdfast/monitor.yml"
TICK = 1.0  # seconds


def watches(config: Config) -> list[Watch]:
    log = LineLog()
    made = []
    for name in config.identities:
        p = build(config, name, log)
        p.queue.use_route([p.identity], config.routes[0])
        made.append(Watch(p.identity, p.settings, p.coordinator, p.prober, p.queue, p.takeover, p.clock, log))
    return made


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    files = [a for a in arguments if not a.startswith("-")]
    try:
        config = load(files[0] if files else FILE)
        if check:
            return 0
        all_watches = watches(config)
    except ConfigError as why:
        print(why, file=sys.stderr)
        return service.EX_CONFIG

    def now(number: int, frame: object) -> None:
        for watch in all_watches:
            watch.try_now()

    signal.signal(signal.SIGUSR1, now)

    def tick() -> None:
        for watch in all_watches:
            watch.tick()

    service.run(tick, TICK)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

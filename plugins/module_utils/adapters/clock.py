"""The machine's clock."""

from __future__ import annotations

import time


class SystemClock:
    """Implements `core.ports.Clock`."""

    def now(self) -> float:
        return time.time()

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

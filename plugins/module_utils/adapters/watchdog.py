"""The machine's watchdog (Linux, Documentation/watchdog/watchdog-api.rst): resets it unless it is told to wait.

Once open it counts on, whatever becomes of the program that opened it: only the magic letter before a close stops it.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from collections.abc import Callable

from ..core.fencing import SOFTDOG
from ..core.ports import Log, Unavailable

# <linux/watchdog.h>; the same numbers on every architecture with the generic ioctl encoding.
GETSUPPORT = 0x80285700
KEEPALIVE = 0x80045705
SETTIMEOUT = 0xC0045706
INFO = struct.Struct("=II32s")
SOFTWARE = "Software Watchdog"  # drivers/watchdog/softdog.c


class Watchdog:
    """An open and counting watchdog. Raises Unavailable where there is none, or where it wants another time.

    `timeout`: seconds after the last `pat` at which the machine is reset.
    """

    def __init__(self, device: str, timeout: int) -> None:
        try:
            self._file = os.open(device, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as why:
            raise Unavailable(f"{device}: {why.strerror}") from why
        try:
            raw = fcntl.ioctl(self._file, GETSUPPORT, bytes(INFO.size))
            set_to = fcntl.ioctl(self._file, SETTIMEOUT, struct.pack("=i", timeout))
        except OSError as why:
            self._close()
            raise Unavailable(f"{device}: is no watchdog: {why.strerror}") from why
        identity = INFO.unpack(raw)[2].partition(b"\0")[0].decode(errors="replace")
        self.kind = SOFTDOG if identity == SOFTWARE else identity
        # Some round up to what they can count.
        self.timeout = float(struct.unpack("=i", set_to)[0])
        if self.timeout > 2 * timeout:
            self._close()
            raise Unavailable(f"{device}: counts {self.timeout:g} s where {timeout} s were asked for")

    def pat(self) -> None:
        fcntl.ioctl(self._file, KEEPALIVE, bytes(4))

    def disarm(self) -> None:
        """Close it so that it stops counting."""
        self._close()

    def leave(self) -> None:
        """Close it and let it count on: whoever comes next must open it in time."""
        os.close(self._file)

    def _close(self) -> None:
        os.write(self._file, b"V")
        os.close(self._file)


class Guard(threading.Thread):
    """Pats the watchdog four times in its time, as long as `safe` says that nothing runs here that must not."""

    def __init__(self, watchdog: Watchdog, safe: Callable[[], bool], log: Log) -> None:
        super().__init__(name="guard", daemon=True)
        self._watchdog = watchdog
        self._safe = safe
        self._log = log
        self._over = threading.Event()

    def run(self) -> None:
        was_safe = True
        while not self._over.is_set():
            safe = self._safe()
            if safe:
                self._watchdog.pat()
            if safe != was_safe:
                level = "info" if safe else "alert"
                self._log("watchdog", patted=safe, seconds_to_reset=self._watchdog.timeout, level=level)
            was_safe = safe
            self._over.wait(self._watchdog.timeout / 4)

    def close(self, idle: bool) -> None:
        """`idle`: nothing of ours runs here, so nothing needs guarding."""
        self._over.set()
        self.join()
        if idle:
            self._watchdog.disarm()
        else:
            self._watchdog.leave()

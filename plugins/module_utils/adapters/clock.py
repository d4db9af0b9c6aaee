"""The machine's clock."""

from __future__ import annotations

import ctypes
import os
import time

STA_UNSYNC = 0x40  # linux/timex.h


class SystemClock:
    """Implements `core.ports.Clock`."""

    def now(self) -> float:
        return time.time()

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class _Timex(ctypes.Structure):
    """What struct timex begins with (adjtimex(2)); the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def synchronised() -> bool:
    """Does the kernel say that its wall clock is kept right by somebody (adjtimex(2), STA_UNSYNC)? Raises OSError.

    chrony tells the kernel so where its configuration has `rtcsync`, as Debian's has.
    """
    asked = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(asked)) < 0:
        raise OSError(ctypes.get_errno(), f"adjtimex: {os.strerror(ctypes.get_errno())}")
    return not asked.status & STA_UNSYNC

"""What the kernel says of its clock, by struct timex as adjtimex(2) lays it out."""

from __future__ import annotations

import ctypes
import struct

import pytest
from holdfast.adapters import clock

STATUS_AT = 40  # octets from the beginning, where `long` has eight


class Kernel:
    """Answers as libc's adjtimex does."""

    def __init__(self, status: int, result: int = 0) -> None:
        self.status, self.result = status, result

    def adjtimex(self, asked: object) -> int:
        own = asked._obj  # type: ignore[attr-defined]
        assert struct.unpack("i", bytes(own)[:4]) == (0,), "a mode would set the clock"
        ctypes.memmove(ctypes.addressof(own) + STATUS_AT, struct.pack("i", self.status), 4)
        return self.result


@pytest.mark.parametrize(("status", "so"), [(0x2001, True), (0x2001 | 0x40, False), (0x40, False), (0, True)])
def test_it_is_kept_right_unless_the_kernel_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, status: int, so: bool
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Kernel(status))
    assert clock.synchronised() is so


def test_a_kernel_that_does_not_say_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Kernel(0, -1))
    with pytest.raises(OSError, match="adjtimex"):
        clock.synchronised()


def test_this_machines_kernel_says() -> None:
    assert clock.synchronised() in (True, False)

"""Ctrl-C, SIGTERM and SIGHUP as one exception: for `bin/lab`, and for what runs it.

It may be held back where half a step would leave an orphan.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from lab.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_held = 0
_pending = 0  # the signal that is put off


def _arrived(number: int, frame: FrameType | None) -> None:
    global _pending
    if _held:
        _pending = number
        return
    _raise(number)


def _raise(number: int) -> None:
    # The clean-up that now begins is short and must come to its end.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted(number)


def install() -> None:
    """Begin to listen. Only in the main thread. The first signal raises Interrupted, later ones are ignored."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _arrived)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Put an interruption off until the end of the block."""
    global _held, _pending
    _held += 1
    try:
        yield
    finally:
        _held -= 1
        if _pending and not _held:
            number, _pending = _pending, 0
            _raise(number)

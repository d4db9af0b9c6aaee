"""The monitor's threads: one for each identity, and the daemon ends with the first that fails or hangs."""

from __future__ import annotations

import threading

import pytest
from holdfast.daemons.monitor import Hang, Watcher


def test_one_that_waits_holds_up_nobody() -> None:
    over, went = threading.Event(), threading.Event()
    slow, quick = Watcher("slow", over.wait), Watcher("quick", went.set)  # type: ignore[arg-type]
    for watcher in (slow, quick):
        watcher.start()
    assert went.wait(10)
    slow.check()
    quick.check()
    over.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_ends_one_ends_the_daemon() -> None:
    def broken() -> None:
        raise ValueError("no such key")

    watcher = Watcher("broken", broken)
    watcher.start()
    watcher.join(10)
    with pytest.raises(ValueError, match="no such key"):
        watcher.check()


def test_a_hang_is_seen() -> None:
    over, began = threading.Event(), threading.Event()

    def hangs() -> None:
        began.set()
        over.wait(30)

    patient, watcher = Watcher("patient", hangs), Watcher("hangs", hangs, patience=0.0)
    patient.start()
    watcher.start()
    assert began.wait(10)
    patient.check()
    with pytest.raises(Hang, match="hangs: one look takes"):
        watcher.check()
    over.set()

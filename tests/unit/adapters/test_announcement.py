"""What FRR is told of an owner's epoch, and when it is told again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from holdfast.adapters import command
from holdfast.adapters.announcement import STUCK, Announcement
from holdfast.core.model import first_owner

MX, IM = "mx.alpha.example", "im.alpha.example"


class Frr:
    """The program that talks to the daemon: what it was told, and whether it can."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.fails = ""
        self.now = 100.0
        self.freed = 0

    def __call__(self, argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        if self.fails:
            raise command.CommandError(self.fails)
        assert argv[0] == "vtysh" and argv[1::2] == ["-c"] * len(argv[1::2])
        self.told.append("; ".join(argv[2::2]))
        return ""


@pytest.fixture
def frr() -> Frr:
    return Frr()


@pytest.fixture
def pid(tmp_path: Path) -> Path:
    return tmp_path / "bgpd.pid"


@pytest.fixture
def announcement(frr: Frr, pid: Path) -> Announcement:
    def free() -> None:
        frr.freed += 1

    return Announcement((pid,), frr, free, lambda: frr.now)


def test_a_later_epoch_has_a_smaller_med(frr: Frr, announcement: Announcement) -> None:
    announcement.tell(MX, 1)
    announcement.tell(MX, 2)
    assert frr.told[0] == f"configure terminal; route-map {MX} permit 10; set metric 2147483647"
    meds = [int(line.split()[-1]) for line in frr.told]
    assert 0 < meds[1] < meds[0] < 4294967294, "which stands for a host that tells no epoch (roles/router)"


def test_a_first_owner_is_beyond_what_routers_know_and_has_its_med(frr: Frr, announcement: Announcement) -> None:
    in_2026, in_2100, without_a_clock = (first_owner("mail1", now) for now in (1.8e9, 4.1e9, 5.0))
    assert without_a_clock.epoch == 1 and in_2026.epoch == 30_000_000
    announcement.tell(MX, in_2100.epoch)
    assert frr.told[-1].endswith(f"set metric {2**31 - 68_333_333}")


def test_told_once_and_for_each_identity(frr: Frr, announcement: Announcement) -> None:
    for _ in range(3):
        announcement.tell(MX, 4)
        announcement.tell(IM, 4)
    assert [line.split()[3] for line in frr.told] == [MX, IM]


def test_told_again_after_a_start_of_the_daemon(frr: Frr, announcement: Announcement, pid: Path) -> None:
    announcement.tell(MX, 4)
    pid.write_text("1")
    announcement.tell(MX, 4)
    announcement.tell(MX, 4)
    assert len(frr.told) == 2


def test_what_failed_is_told_with_the_next_look(frr: Frr, announcement: Announcement) -> None:
    frr.fails = "vtysh: bgpd is not running"
    with pytest.raises(command.CommandError, match="not running"):
        announcement.tell(MX, 4)
    frr.fails = ""
    announcement.tell(MX, 4)
    assert len(frr.told) == 1


def test_two_identities_are_told_one_after_the_other(pid: Path) -> None:
    """At once, as behind a reload, one of them fails, and FRR 10.3 keeps its lock for good."""
    together = threading.Barrier(2)
    met: list[int] = []
    told: list[Sequence[str]] = []

    def run(argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        told.append(argv)
        with contextlib.suppress(threading.BrokenBarrierError):
            met.append(together.wait(0.2))
        together.reset()
        return ""

    announcement = Announcement((pid,), run)
    threads = [threading.Thread(target=announcement.tell, args=(name, 1)) for name in (MX, IM, "relay")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met == [] and len(told) == 3


def test_a_lock_that_stays_is_taken_away_once_in_a_while(frr: Frr, announcement: Announcement) -> None:
    def refused(seconds: float, words: str = "vtysh: status 1: % command failed, could not lock candidate DS") -> str:
        frr.fails = words
        frr.now += seconds
        with pytest.raises(command.CommandError) as error:
            announcement.tell(MX, 4)
        return str(error.value)

    refused(0)
    refused(STUCK / 2)
    assert frr.freed == 0
    assert "mgmtd is ended" in refused(STUCK / 2) and frr.freed == 1
    refused(1)
    refused(STUCK - 2)
    assert frr.freed == 1, "it has only begun anew"
    refused(1, "vtysh: bgpd is not running")
    refused(STUCK)
    assert frr.freed == 1, "it was not locked all the time"
    frr.fails = ""
    announcement.tell(IM, 4)
    refused(STUCK)
    assert frr.freed == 1 and len(frr.told) == 1

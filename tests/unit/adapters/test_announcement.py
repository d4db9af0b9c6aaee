"""What FRR is told of an owner's epoch, and when it is told again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from holdfast.adapters import command
from holdfast.adapters.announcement import Announcement

MX, IM = "mx.alpha.example", "im.alpha.example"


class Frr:
    """The program that talks to the daemon: what it was told, and whether it can."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.fails = False

    def __call__(self, argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        if self.fails:
            raise command.CommandError("vtysh: bgpd is not running")
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
    return Announcement((pid,), frr)


def test_a_later_epoch_has_a_smaller_med(frr: Frr, announcement: Announcement) -> None:
    announcement.tell(MX, 1)
    announcement.tell(MX, 2)
    assert frr.told[0] == f"configure terminal; route-map {MX} permit 10; set metric 2147483647"
    meds = [int(line.split()[-1]) for line in frr.told]
    assert 0 < meds[1] < meds[0] < 4294967294, "which stands for a host that tells no epoch (roles/router)"


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
    frr.fails = True
    with pytest.raises(command.CommandError, match="not running"):
        announcement.tell(MX, 4)
    frr.fails = False
    announcement.tell(MX, 4)
    assert len(frr.told) == 1

"""A store's file system: mended before it is mounted, never mounted with errors, and how much room is left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from holdfast.adapters.command import CommandError, Done
from holdfast.adapters.disk import DiskMount, room
from holdfast.adapters.mount import parse_mountinfo

LINE = "31 25 147:0 / /srv/store {mount},noatime - ext4 /dev/drbd0 {super},errors=remount-ro\n"


class Programs:
    """Notes what is started; e2fsck ends with `status`."""

    def __init__(self, status: int = 0) -> None:
        self.did: list[str] = []
        self.status = status

    def run(self, argv: Sequence[str], **how: Any) -> str:
        self.did.append(argv[0])
        return ""

    def attempt(self, argv: Sequence[str], **how: Any) -> Done:
        self.did.append(" ".join(argv))
        return Done(self.status, "holdfast-store: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.", "")


def disk(tmp_path: Path, programs: Programs, line: str = "") -> DiskMount:
    (tmp_path / "mountinfo").write_text(line)
    target = str(tmp_path / "store")
    return DiskMount("/dev/drbd0", target, tmp_path / "mountinfo", programs.run, programs.attempt)


@pytest.mark.parametrize("status", [0, 1, 2])
def test_it_is_looked_at_before_it_is_mounted(tmp_path: Path, status: int) -> None:
    programs = Programs(status)
    disk(tmp_path, programs).mount()
    assert programs.did == ["e2fsck -p /dev/drbd0", "mount"]


@pytest.mark.parametrize("status", [4, 8, 12, 32])
def test_one_with_errors_is_not_mounted(tmp_path: Path, status: int) -> None:
    programs = Programs(status)
    with pytest.raises(CommandError, match=r"RUN fsck MANUALLY.*docs/runbooks/store\.md"):
        disk(tmp_path, programs).mount()
    assert "mount" not in programs.did


def test_what_is_mounted_is_left_alone(tmp_path: Path) -> None:
    programs = Programs(4)
    line = LINE.format(mount="rw", super="rw").replace("/srv/store", str(tmp_path / "store"))
    disk(tmp_path, programs, line).mount()
    assert programs.did == []


@pytest.mark.parametrize(
    ("mount", "whole", "expected"),
    [
        ("rw", "rw", False),
        ("rw", "ro", True),
        ("ro", "rw", True),
        ("ro", "ro", True),
        ("rw", "rw,errors=remount-ro", False),
        ("rw", "rw,errors=remount-ro,emergency_ro", True),  # Linux 7.2, behind `echo > /sys/fs/ext4/…/trigger_fs_error`
    ],
)
def test_read_only_is_seen_of_the_mount_and_of_the_file_system(mount: str, whole: str, expected: bool) -> None:
    """An error makes the file system read-only, and the mount still says rw (proc_pid_mountinfo(5))."""
    (seen,) = parse_mountinfo(LINE.format(mount=mount, super=whole))
    assert (seen.source, seen.read_only) == ("/dev/drbd0", expected)


def test_room_of_a_real_file_system(tmp_path: Path) -> None:
    found = room(str(tmp_path))
    assert 0 <= found.free_mb <= found.size_mb and 0 <= found.free_percent <= 100 and found.size_mb > 0
    with pytest.raises(OSError, match="No such file"):
        room(str(tmp_path / "none"))

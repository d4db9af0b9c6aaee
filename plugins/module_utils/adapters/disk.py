"""A local file system (mount(8), mkfs.ext4(8), e2fsck(8)). systemd does not mount it at boot: the owner does."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import command
from .mount import MOUNTINFO, Mounted, parse_mountinfo

OPTIONS = "noatime,nodev,nosuid,noexec,errors=remount-ro"
MOUNT_TIMEOUT = 60.0  # replaying the journal of a large file system
UNMOUNT_TIMEOUT = 30.0
MAKE_TIMEOUT = 600.0
CHECK_TIMEOUT = 3600.0  # only a file system with errors is read as a whole
NOT_MENDED = 4  # e2fsck(8): the least status that says that errors are left, or that it could not look


def make_file_system(device: str, label: str, run: command.Run = command.run) -> bool:
    """ext4 on a blank device; whether there was none. Raises CommandError for one that carries something else.

    Small files in large number. What is kept back for root is not for identities, which write as other users: on a full
    disk nfsdcld still notes which clients may reclaim their files behind a takeover. No discard: through DRBD it would
    write the whole disk.
    """
    found = command.attempt(["blkid", "--probe", "--output", "export", device], timeout=MOUNT_TIMEOUT)
    if found.status == 2:  # blkid(8): nothing recognised
        run(["mkfs.ext4", "-q", "-E", "nodiscard", "-L", label, "-m", "1", "-i", "8192", device], timeout=MAKE_TIMEOUT)
        return True
    if found.status != 0 or f"LABEL={label}" not in found.stdout.splitlines():
        said = command.words(found.stdout or found.stderr)
        raise command.CommandError(f"{device} carries {said}; blank it by hand (wipefs --all)")
    return False


@dataclass(frozen=True)
class Room:
    """Of a file system, for users other than root: MB, and percent of whatever is scarcer, blocks or inodes."""

    size_mb: int
    free_mb: int
    free_percent: float


def room(path: str) -> Room:
    """Raises OSError. statvfs(3) reads nothing from the disk."""
    found = os.statvfs(path)
    used = found.f_blocks - found.f_bfree
    blocks = found.f_bavail / max(1, used + found.f_bavail)
    inodes = found.f_favail / max(1, found.f_files)
    mb = found.f_frsize / 2**20
    return Room(int(found.f_blocks * mb), int(found.f_bavail * mb), 100 * min(blocks, inodes))


class DiskMount:
    """`device` (ext4) at `target`. Raises CommandError."""

    def __init__(
        self,
        device: str,
        target: str,
        mountinfo: Path = MOUNTINFO,
        run: command.Run = command.run,
        attempt: Callable[..., command.Done] = command.attempt,
    ) -> None:
        self.device = device
        self.target = target
        self._mountinfo = mountinfo
        self._run = run
        self._attempt = attempt

    def _seen(self) -> Mounted | None:
        mine = [m for m in parse_mountinfo(self._mountinfo.read_text()) if m.target == self.target]
        return mine[-1] if mine else None

    def is_mounted(self) -> bool:
        seen = self._seen()
        return seen is not None and seen.source == self.device

    def is_read_only(self) -> bool:
        """ext4 makes itself so when it finds an error (`errors=remount-ro`)."""
        seen = self._seen()
        return seen is not None and seen.read_only

    def _check(self) -> None:
        """Replay the journal, and where ext4 has noted an error mend all that is safe to mend, as at any boot."""
        done = self._attempt(["e2fsck", "-p", self.device], timeout=CHECK_TIMEOUT)
        if done.status >= NOT_MENDED:
            said = command.words(done.stdout + done.stderr)
            raise command.CommandError(f"e2fsck -p {self.device}: status {done.status}: {said}; docs/runbooks/store.md")

    def mount(self) -> None:
        """Nothing to do when it is mounted. What else is mounted there is a mistake, not ours to take away."""
        seen = self._seen()
        if seen is not None and seen.source != self.device:
            raise command.CommandError(f"{self.target} carries {seen.source}; unmount it by hand")
        if seen is None:
            self._check()
            Path(self.target).mkdir(parents=True, exist_ok=True)
            self._run(["mount", "-t", "ext4", "-o", OPTIONS, self.device, self.target], timeout=MOUNT_TIMEOUT)

    def unmount(self) -> None:
        if self._seen() is not None:
            self._run(["umount", self.target], timeout=UNMOUNT_TIMEOUT)

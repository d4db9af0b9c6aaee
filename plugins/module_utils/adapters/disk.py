"""A local file system (mount(8), mkfs.ext4(8)). systemd would mount it at boot; here the store's owner does."""

from __future__ import annotations

from pathlib import Path

from . import command
from .mount import MOUNTINFO, Mounted, parse_mountinfo

OPTIONS = "noatime,nodev,nosuid,noexec,errors=remount-ro"
MOUNT_TIMEOUT = 60.0  # replaying the journal of a large file system
UNMOUNT_TIMEOUT = 30.0
MAKE_TIMEOUT = 600.0


def make_file_system(device: str, label: str, run: command.Run = command.run) -> bool:
    """ext4 on a blank device; whether there was none. Raises CommandError for one that carries something else.

    Small files in large number; nothing kept back for root, since only identities write here. No discard: through DRBD
    it would write the whole disk.
    """
    found = command.attempt(["blkid", "--probe", "--output", "export", device], timeout=MOUNT_TIMEOUT)
    if found.status == 2:  # blkid(8): nothing recognised
        run(["mkfs.ext4", "-q", "-E", "nodiscard", "-L", label, "-m", "0", "-i", "8192", device], timeout=MAKE_TIMEOUT)
        return True
    if found.status != 0 or f"LABEL={label}" not in found.stdout.splitlines():
        said = command.words(found.stdout or found.stderr)
        raise command.CommandError(f"{device} carries {said}; blank it by hand (wipefs --all)")
    return False


class DiskMount:
    """`device` (ext4) at `target`. Raises CommandError."""

    def __init__(self, device: str, target: str, mountinfo: Path = MOUNTINFO, run: command.Run = command.run) -> None:
        self.device = device
        self.target = target
        self._mountinfo = mountinfo
        self._run = run

    def _seen(self) -> Mounted | None:
        mine = [m for m in parse_mountinfo(self._mountinfo.read_text()) if m.target == self.target]
        return mine[-1] if mine else None

    def is_mounted(self) -> bool:
        seen = self._seen()
        return seen is not None and seen.source == self.device

    def mount(self) -> None:
        """Nothing to do when it is mounted. What else is mounted there is a mistake, not ours to take away."""
        seen = self._seen()
        if seen is not None and seen.source != self.device:
            raise command.CommandError(f"{self.target} carries {seen.source}; unmount it by hand")
        if seen is None:
            Path(self.target).mkdir(parents=True, exist_ok=True)
            self._run(["mount", "-t", "ext4", "-o", OPTIONS, self.device, self.target], timeout=MOUNT_TIMEOUT)

    def unmount(self) -> None:
        if self._seen() is not None:
            self._run(["umount", self.target], timeout=UNMOUNT_TIMEOUT)

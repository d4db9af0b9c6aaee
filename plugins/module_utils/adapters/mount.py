"""An identity's store, mounted from its NFS server (nfs(5), umount(8))."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import command
from .nfsd import unescape

MOUNTINFO = Path("/proc/self/mountinfo")

# `hard`: a request is repeated for good; an error in the middle of a queue would be a lost message. `retry=0`: mount
# itself does not repeat, its caller does. Attributes are cached as usual: there is one writer.
OPTIONS = "vers=4.2,proto=tcp,hard,timeo=50,retrans=2,retry=0,noatime,nodev,nosuid,noexec"
MOUNT_TIMEOUT = 25.0
UNMOUNT_TIMEOUT = 8.0
# What says that nothing is written any more: the mount, the file system, and what ext4 says of itself behind an error
# (`errors=remount-ro`) since Linux 6.15, where both go on to say rw.
READ_ONLY = {"ro", "emergency_ro", "shutdown"}


@dataclass(frozen=True)
class Mounted:
    """One line of mountinfo (proc(5))."""

    target: str
    kind: str
    source: str
    read_only: bool = False  # the mount, or the file system itself


def parse_mountinfo(text: str) -> list[Mounted]:
    """In the order in which they were mounted: the last one of a target is the one that is seen."""
    found = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        place, rest = left.split(), right.split()
        if len(place) >= 5 and len(rest) >= 2:
            options = {o for some in (*place[5:6], *rest[2:3]) for o in some.split(",")}
            found.append(Mounted(unescape(place[4]), rest[0], unescape(rest[1]), bool(options & READ_ONLY)))
    return found


class NfsMount:
    """`source` (SERVER:/PATH) at `target`. Raises CommandError."""

    def __init__(self, source: str, target: str, mountinfo: Path = MOUNTINFO, run: command.Run = command.run) -> None:
        self.source = source
        self.target = target
        self._mountinfo = mountinfo
        self._run = run

    def _seen(self) -> Mounted | None:
        mine = [m for m in parse_mountinfo(self._mountinfo.read_text()) if m.target == self.target]
        return mine[-1] if mine else None

    def is_mounted(self) -> bool:
        """From the kernel's table: a look at the folder itself would block while the server is away."""
        seen = self._seen()
        return seen is not None and seen.kind in ("nfs", "nfs4") and seen.source == self.source

    def mount(self) -> None:
        """Nothing to do when it is mounted. Something else at the target is taken away first."""
        if self.is_mounted():
            return
        self.unmount()
        Path(self.target).mkdir(parents=True, exist_ok=True)
        self._run(["mount", "-t", "nfs4", "-o", OPTIONS, self.source, self.target], timeout=MOUNT_TIMEOUT)
        if not self.is_mounted():
            raise command.CommandError(f"mount said yes, but {self.target} is not {self.source}")

    def unmount(self) -> None:
        """Also when the server is away: then requests that wait are given up and the mount is detached."""
        for _ in range(3):
            if self._seen() is None:
                return
            try:
                self._run(["umount", "--no-canonicalize", self.target], timeout=UNMOUNT_TIMEOUT)
            except command.CommandError:
                forced = ["umount", "--no-canonicalize", "--internal-only", "--force", "--lazy", self.target]
                try:
                    self._run(forced, timeout=UNMOUNT_TIMEOUT)
                except command.CommandError:
                    # The first one was late, and took it away after all.
                    if self._seen() is not None:
                        raise
        if self._seen() is not None:
            raise command.CommandError(f"{self.target} stays mounted")

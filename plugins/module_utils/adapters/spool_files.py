"""Files of spools, archive and log on NFS: every change is durable when its method returns.

A change of a name is durable once its folder is synced (fsync(2), "Notes"); a new file once it is written, synced and
renamed. Where a name moves, the folder that gets it is synced before the one that loses it: a server that dies in
between may leave both names, and never none. An NFS server that answers an old request once more (RFC 1813, 4.5) says
EEXIST to a link, or ENOENT to a rename, that it has carried out: both are taken for what is there.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..core.spool import Octets

FILE_MODE, FOLDER_MODE = 0o640, 0o750
PIECE = 262144  # octets of a large file in memory at a time


@dataclass(frozen=True, order=True)
class Found:
    """A file in a folder; times are Unix seconds by the file server's clock.

    `time`: of its last writing. `changed`: when it got its name, or its rights (st_ctime): a rename leaves the former
    as it is. Not known, it is never old.
    """

    time: float
    name: str
    changed: float = field(default=math.inf, compare=False)


class Disk(Protocol):
    """Single calls of the system, and so the moments at which a machine can die. Each raises OSError."""

    def names(self, folder: Path) -> Sequence[Found]: ...

    def exists(self, file: Path) -> bool: ...

    def read(self, file: Path, most: int) -> bytes:
        """At most so many octets from its beginning; -1: all."""
        ...

    def write(self, file: Path, *pieces: Octets) -> None:
        """A new file of that content, synced; its name is not. Raises FileExistsError."""
        ...

    def append(self, file: Path, data: bytes) -> None:
        """At the end of a file, which may be new, on a line of its own; synced, its name is not."""
        ...

    def link(self, source: Path, target: Path) -> None: ...

    def rename(self, source: Path, target: Path) -> None: ...

    def unlink(self, file: Path) -> None: ...

    def mkdir(self, folder: Path) -> None:
        """No error when it is there; those above it have to be."""
        ...

    def sync(self, folder: Path) -> None: ...

    def pieces(self, file: Path, start: int) -> Iterator[bytes]:
        """What stands from that octet on."""
        ...

    def pour(self, file: Path, pieces: Iterable[bytes]) -> None:
        """As `write`. Raises what making the pieces raises, and leaves what was written by then."""
        ...


class SystemDisk:
    """Implements `Disk`."""

    def names(self, folder: Path) -> Sequence[Found]:
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # it went meanwhile
                    status = entry.stat(follow_symlinks=False)
                    found.append(Found(status.st_mtime, entry.name, status.st_ctime))
        return found

    def exists(self, file: Path) -> bool:
        """Only a certain no is one: another error than ENOENT is raised."""
        try:
            file.lstat()
        except FileNotFoundError:
            return False
        return True

    def read(self, file: Path, most: int) -> bytes:
        with file.open("rb") as opened:
            return opened.read(most)

    def write(self, file: Path, *pieces: Octets) -> None:
        self._put(file, os.O_EXCL, *pieces)

    def append(self, file: Path, data: bytes) -> None:
        torn = False
        with contextlib.suppress(FileNotFoundError), file.open("rb") as opened:
            # Whoever died while writing left half a line, which must not become the beginning of this one.
            if opened.seek(0, os.SEEK_END):
                opened.seek(-1, os.SEEK_END)
                torn = opened.read(1) != b"\n"
        self._put(file, os.O_APPEND, b"\n" + data if torn else data)

    @staticmethod
    def _put(file: Path, how: int, *pieces: Octets) -> None:
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | how, FILE_MODE)
        with open(number, "wb") as opened:  # noqa: PTH123 - of a descriptor
            opened.writelines(pieces)
            opened.flush()
            os.fsync(number)

    def link(self, source: Path, target: Path) -> None:
        os.link(source, target, follow_symlinks=False)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def unlink(self, file: Path) -> None:
        file.unlink()

    def mkdir(self, folder: Path) -> None:
        folder.mkdir(FOLDER_MODE, exist_ok=True)

    def sync(self, folder: Path) -> None:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(number)
        finally:
            os.close(number)

    def pieces(self, file: Path, start: int) -> Iterator[bytes]:
        with file.open("rb", buffering=0) as opened:
            opened.seek(start)
            while piece := opened.read(PIECE):
                yield piece

    def pour(self, file: Path, pieces: Iterable[bytes]) -> None:
        how = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_EXCL
        with open(os.open(file, how, FILE_MODE), "wb") as opened:  # noqa: PTH123 - of a descriptor
            opened.writelines(pieces)
            opened.flush()
            os.fsync(opened.fileno())


class SpoolFiles:
    """What the transfer does with files. Methods raise OSError, and may be repeated after one and after a crash."""

    def __init__(self, disk: Disk | None = None) -> None:
        self._disk = SystemDisk() if disk is None else disk

    def names(self, folder: Path) -> list[Found]:
        """Oldest first, without those that begin with a dot. No such folder: none."""
        try:
            # NFS may list a name twice while the folder changes, and a file may be in one thread's hands only.
            found = {f.name: f for f in self._disk.names(folder) if not f.name.startswith(".")}
        except FileNotFoundError:
            return []
        return sorted(found.values())

    def exists(self, file: Path) -> bool:
        return self._disk.exists(file)

    def read(self, file: Path, most: int = -1) -> bytes | None:
        """None when it is not there."""
        try:
            return self._disk.read(file, most)
        except FileNotFoundError:
            return None

    def write(self, file: Path, data: bytes, scratch: Path) -> None:
        """That content under that name, in one step. `scratch`: a name on that file system that nobody else uses."""
        self._rename(file, scratch, lambda: self._disk.write(scratch, data))

    def hand(self, file: Path, data: Octets, scratch: Path, head: bytes = b"") -> bool:
        """A new file, `head` and `data`, under a name that must not be taken; whether it was not."""
        return self._link(file, scratch, lambda: self._disk.write(scratch, head, data))

    def move(self, source: Path, target: Path) -> bool:
        """Whether it was there to be moved."""
        try:
            self._disk.rename(source, target)
        except FileNotFoundError:
            return False
        self._disk.sync(target.parent)
        # Two names of one file: rename(2) does nothing, and says that all is well.
        if self._disk.exists(source):
            self._disk.unlink(source)
        self._disk.sync(source.parent)
        return True

    def remove(self, file: Path) -> None:
        try:
            self._disk.unlink(file)
        except FileNotFoundError:
            return
        self._disk.sync(file.parent)

    def append(self, file: Path, line: str) -> None:
        """One line at the end of a file that only this host writes (over NFS two writers overwrite each other)."""
        self._disk.append(file, line.encode() + b"\n")
        # Each time: whether its name lies on the disk, whoever made it and died does not say.
        self._disk.sync(file.parent)

    def pieces(self, file: Path, start: int = 0) -> Iterator[bytes]:
        """A large file, from that octet on. Raises FileNotFoundError, with the first piece."""
        return self._disk.pieces(file, start)

    def write_pieces(self, file: Path, pieces: Iterable[bytes], scratch: Path) -> None:
        """As `write`. Raises what making the pieces raises, too, and then there is no such file."""
        self._rename(file, scratch, lambda: self._disk.pour(scratch, pieces))

    def hand_pieces(self, file: Path, pieces: Iterable[bytes], scratch: Path) -> bool:
        """As `hand`. Raises what making the pieces raises, too, and then there is no such file."""
        return self._link(file, scratch, lambda: self._disk.pour(scratch, pieces))

    def _rename(self, file: Path, scratch: Path, make: Callable[[], None]) -> None:
        with self._fresh(scratch, make):
            self._disk.rename(scratch, file)
            self._disk.sync(file.parent)

    def _link(self, file: Path, scratch: Path, make: Callable[[], None]) -> bool:
        with self._fresh(scratch, make):
            try:
                self._disk.link(scratch, file)
                new = True
            except FileExistsError:
                new = False
            self._disk.sync(file.parent)
            self._disk.unlink(scratch)
        return new

    def folder(self, folder: Path) -> None:
        """It is there, and those above it."""
        if self._disk.exists(folder):
            return
        if folder.parent != folder:
            self.folder(folder.parent)
        self._disk.mkdir(folder)
        self._disk.sync(folder.parent)

    def sweep(self, folder: Path, last: float, held: Callable[[], None] = lambda: None, keep: str | None = None) -> int:
        """Removes what has had its name since before `last`; how many files. `keep`: how those begin that stay.

        `held` raises what ends it.
        """
        gone = 0
        for found in self.names(folder):
            if found.changed < last and not (keep and found.name.startswith(keep)):
                held()
                self.remove(folder / found.name)
                gone += 1
        return gone

    def server_time(self, scratch: Path) -> float:
        """What time it is by the file server's clock: that of a file just written."""
        with self._fresh(scratch, lambda: self._disk.write(scratch)):
            found = next((f for f in self._disk.names(scratch.parent) if f.name == scratch.name), None)
            if found is None:
                raise FileNotFoundError(errno.ENOENT, "Another one has removed it", str(scratch))
            self._disk.unlink(scratch)
        return found.time

    @contextlib.contextmanager
    def _fresh(self, scratch: Path, make: Callable[[], None]) -> Iterator[None]:
        """What somebody left who died may have a second name by now: written to, it would change there, too.

        What fails leaves nothing: a full file system would be kept full by the halves of what it has no room for.
        """
        with contextlib.suppress(FileNotFoundError):
            self._disk.unlink(scratch)
        try:
            make()
            yield
        except Exception:
            with contextlib.suppress(OSError):
                self._disk.unlink(scratch)
            raise

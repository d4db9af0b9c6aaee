"""A disk that answers, if only by saying that it does not.

A spool is mounted `hard` (nfs(5)): a call to a server that is away ends when that is back, and never before. Whoever
makes it hangs with it. Here each call has a thread of its own, which may hang, and the caller gets an error in time. A
call that was given up may still be carried out, later: all that is written to spools is safe against a host that
sleeps in the middle and goes on.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ..core.spool import Octets
from .spool_files import Disk, Found

MOST = 60.0  # seconds
LOOK = 0.5  # seconds in which a change of `most` is seen


class PatientDisk:
    """Implements `Disk`. `mounts`: what hangs each by itself; while a call to one hangs, others are refused.

    `most`: seconds. Raises OSError with ETIMEDOUT.
    """

    def __init__(self, disk: Disk, mounts: Sequence[Path], most: float = MOST) -> None:
        self._disk = disk
        self._mounts = frozenset(mounts)
        self._most = most
        self._hanging: dict[Path, list[threading.Event]] = {}  # set when the call has ended after all
        self._lock = threading.Lock()

    def hurry(self, most: float) -> None:
        """From now on, calls that have begun as well, none is waited for any longer."""
        self._most = most

    def _do[T](self, file: Path, call: Callable[[], T], moving: Moving | None = None) -> T:
        mount = next((m for m in (file, *file.parents) if m in self._mounts), file.parent)
        silent = TimeoutError(errno.ETIMEDOUT, "Its server does not answer", str(mount))
        with self._lock:
            self._hanging[mount] = left = [one for one in self._hanging.get(mount, ()) if not one.is_set()]
        if left:
            raise silent
        moving = moving or Moving()
        value: list[T] = []
        errors: list[BaseException] = []
        ended = threading.Event()

        def run() -> None:
            try:
                value.append(call())
            except BaseException as error:  # noqa: BLE001 - it is its caller's
                errors.append(error)
            ended.set()

        threading.Thread(target=run, name=f"disk {mount}", daemon=True).start()
        while not ended.wait(min(LOOK, self._most)):
            if time.monotonic() - moving.time > self._most + moving.more:
                with self._lock:
                    self._hanging[mount].append(ended)
                raise silent
        if errors:
            raise errors[0]
        return value[0]

    def names(self, folder: Path) -> Sequence[Found]:
        return self._do(folder, lambda: self._disk.names(folder))

    def exists(self, file: Path) -> bool:
        return self._do(file, lambda: self._disk.exists(file))

    def read(self, file: Path, most: int) -> bytes:
        return self._do(file, lambda: self._disk.read(file, most))

    def pieces(self, file: Path, start: int) -> Iterator[bytes]:
        read = iter(self._disk.pieces(file, start))
        while piece := self._do(file, lambda: next(read, b"")):
            yield piece

    def write(self, file: Path, *pieces: Octets) -> None:
        self._do(file, lambda: self._disk.write(file, *pieces))

    def pour(self, file: Path, pieces: Iterable[bytes]) -> None:
        # The pieces may come from another mount that hangs: the call to that one has to be given up first.
        moving = Moving(2 * LOOK)
        self._do(file, lambda: self._disk.pour(file, moving.along(pieces)), moving)

    def append(self, file: Path, data: bytes) -> None:
        self._do(file, lambda: self._disk.append(file, data))

    def link(self, source: Path, target: Path) -> None:
        self._do(target, lambda: self._disk.link(source, target))

    def rename(self, source: Path, target: Path) -> None:
        self._do(target, lambda: self._disk.rename(source, target))

    def unlink(self, file: Path) -> None:
        self._do(file, lambda: self._disk.unlink(file))

    def mkdir(self, folder: Path) -> None:
        self._do(folder, lambda: self._disk.mkdir(folder))

    def sync(self, folder: Path) -> None:
        self._do(folder, lambda: self._disk.sync(folder))


class Moving:
    """`time`: when something of a call was done last; a large file on a slow line is no hang."""

    def __init__(self, more: float = 0.0) -> None:
        self.time = time.monotonic()
        self.more = more

    def along(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.time = time.monotonic()
            yield piece
            self.time = time.monotonic()

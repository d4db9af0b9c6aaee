"""Files of spools on a real file system; tests/unit/daemons/test_carrying.py has the crashes."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from holdfast.adapters.spool_files import Found, SpoolFiles, SystemDisk
from holdfast.core.spool import Octets

DAY = 86400.0


@pytest.fixture
def files(tmp_path: Path) -> SpoolFiles:
    made = SpoolFiles()
    for name in ("tmp", "in", "out", "done"):
        made.folder(tmp_path / "spool" / name)
    return made


def test_a_file_is_new_or_it_is_not(files: SpoolFiles, tmp_path: Path) -> None:
    target, scratch = tmp_path / "spool/in/a", tmp_path / "spool/tmp/a"
    assert files.hand(target, b"one", scratch) and not files.hand(target, b"two", scratch)
    assert target.read_bytes() == b"one" and not scratch.exists() and target.stat().st_nlink == 1


def test_a_second_name_that_a_crash_left_is_never_written_to(files: SpoolFiles, tmp_path: Path) -> None:
    """Behind link(2) and before unlink(2): scratch and target are one file."""
    target, scratch = tmp_path / "spool/in/a", tmp_path / "spool/tmp/a"
    scratch.write_bytes(b"one")
    os.link(scratch, target)
    assert not files.hand(target, b"other", scratch)
    assert target.read_bytes() == b"one"
    scratch.write_bytes(b"x")
    files.write(target, b"two", scratch)
    assert target.read_bytes() == b"two"


def test_a_move_leaves_one_name(files: SpoolFiles, tmp_path: Path) -> None:
    source, target = tmp_path / "spool/out/a", tmp_path / "spool/done/a"
    assert not files.move(source, target)
    source.write_bytes(b"one")
    os.link(source, target)  # rename(2) does nothing then
    assert files.move(source, target) and not source.exists() and target.read_bytes() == b"one"


def test_half_a_line_is_no_beginning_of_the_next(files: SpoolFiles, tmp_path: Path) -> None:
    file = tmp_path / "log"
    files.append(file, "one")
    with file.open("ab") as torn:
        torn.write(b'{"half')
    files.append(file, "two")
    files.append(file, "three")
    assert file.read_text() == 'one\n{"half\ntwo\nthree\n'


def test_oldest_first_and_nothing_hidden(files: SpoolFiles, tmp_path: Path) -> None:
    for name, written in (("b", 10), ("a", 20), (".c", 5)):
        (tmp_path / "spool/in" / name).write_bytes(b"")
        os.utime(tmp_path / "spool/in" / name, (written, written))
    assert [f.name for f in files.names(tmp_path / "spool/in")] == ["b", "a"]
    assert files.names(tmp_path / "none") == [] and files.read(tmp_path / "none") is None
    assert not files.exists(tmp_path / "none") and files.exists(tmp_path / "spool/in")
    files.remove(tmp_path / "none")


class Twice(SystemDisk):
    """As NFS, of a folder that changes while it is listed."""

    def names(self, folder: Path) -> Sequence[Found]:
        first = super().names(folder)
        return [*first, *first]


def test_what_is_listed_twice_is_one_file(files: SpoolFiles, tmp_path: Path) -> None:
    for name in "ab":
        files.hand(tmp_path / "spool/in" / name, b"", tmp_path / "spool/tmp/x")
    assert sorted(f.name for f in SpoolFiles(Twice()).names(tmp_path / "spool/in")) == ["a", "b"]


def test_not_knowing_is_no_no(files: SpoolFiles, tmp_path: Path) -> None:
    """A message that cannot be looked for is not taken for one that is not there."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        files.exists(tmp_path / "file" / "a")


def test_the_servers_time_and_the_rights(files: SpoolFiles, tmp_path: Path) -> None:
    now = files.server_time(tmp_path / "spool/tmp/t")
    assert abs(now - (tmp_path / "spool/tmp").stat().st_mtime) < 5 and not (tmp_path / "spool/tmp/t").exists()
    files.write(tmp_path / "spool/in/a", b"", tmp_path / "spool/tmp/a")
    assert (tmp_path / "spool/in/a").stat().st_mode & 0o007 == 0 and (tmp_path / "spool").stat().st_mode & 0o007 == 0


class Full(SystemDisk):
    """A file system that has room for ten octets of a file, or for no name more."""

    def __init__(self, call: str) -> None:
        self.call = call

    def write(self, file: Path, *pieces: Octets) -> None:
        super().write(file, b"".join(pieces)[:10])
        if self.call == "write":
            raise OSError(errno.ENOSPC, "No space left on device")

    def link(self, source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def rename(self, source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["write", "name"])
@pytest.mark.parametrize(
    "act",
    [
        lambda files, target, scratch: files.hand(target, b"x" * 1000, scratch),
        lambda files, target, scratch: files.write(target, b"x" * 1000, scratch),
    ],
)
def test_what_has_no_room_takes_none(
    files: SpoolFiles, tmp_path: Path, call: str, act: Callable[[SpoolFiles, Path, Path], None]
) -> None:
    """Each try has a scratch file of its own: their halves would keep a full file system full."""
    with pytest.raises(OSError, match="No space left"):
        act(SpoolFiles(Full(call)), tmp_path / "spool/out/a", tmp_path / "spool/tmp/spool.a.1")
    assert list((tmp_path / "spool/tmp").iterdir()) == list((tmp_path / "spool/out").iterdir()) == []


def test_a_file_of_two_pieces(files: SpoolFiles, tmp_path: Path) -> None:
    assert files.hand(tmp_path / "spool/out/a", bytearray(b"message"), tmp_path / "spool/tmp/a", b"head ")
    assert (tmp_path / "spool/out/a").read_bytes() == b"head message"


def test_a_file_is_as_old_as_its_place(files: SpoolFiles, tmp_path: Path) -> None:
    """What has waited for longer than it is remembered is remembered from when it was carried."""
    source, target = tmp_path / "spool/out/a", tmp_path / "spool/done/a"
    source.write_bytes(b"one")
    os.utime(source, (time.time() - 20 * DAY, time.time() - 20 * DAY))
    files.move(source, target)
    (found,) = files.names(target.parent)
    assert found.time < time.time() - 19 * DAY and abs(found.changed - time.time()) < 60
    assert files.sweep(target.parent, time.time() - 14 * DAY) == 0 and target.exists()
    assert files.sweep(target.parent, time.time() + 60) == 1 and not target.exists()


def test_what_was_left_is_swept_and_notes_stay(files: SpoolFiles, tmp_path: Path) -> None:
    for name in ("restore.a", "spool.b.1f", "transfer.t2.c", "try.d"):
        (tmp_path / "spool/tmp" / name).write_bytes(b"")
    assert files.sweep(tmp_path / "spool/tmp", time.time() + 60, keep="try.") == 3
    assert [p.name for p in (tmp_path / "spool/tmp").iterdir()] == ["try.d"]
    assert files.sweep(tmp_path / "none", time.time() + 60) == 0

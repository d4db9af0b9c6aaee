"""Files of spools on a real file system; tests/unit/daemons/test_carrying.py has the crashes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from holdfast.adapters.spool_files import SpoolFiles


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
    for name, time in (("b", 10), ("a", 20), (".c", 5)):
        (tmp_path / "spool/in" / name).write_bytes(b"")
        os.utime(tmp_path / "spool/in" / name, (time, time))
    assert [f.name for f in files.names(tmp_path / "spool/in")] == ["b", "a"]
    assert files.names(tmp_path / "none") == [] and files.read(tmp_path / "none") is None
    assert not files.exists(tmp_path / "none") and files.exists(tmp_path / "spool/in")
    files.remove(tmp_path / "none")


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

"""Large files in pieces: whole, or not there; and with no more memory than a small one."""

from __future__ import annotations

import errno
import gzip
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from holdfast.adapters.spool_files import PIECE, SpoolFiles
from holdfast.adapters.transfer_records import compressed


@pytest.fixture
def files(tmp_path: Path) -> SpoolFiles:
    (tmp_path / "tmp").mkdir()
    return SpoolFiles()


def ends(error: Exception) -> Iterator[bytes]:
    yield b"x" * PIECE
    raise error


def test_what_comes_in_pieces_goes_in_pieces(files: SpoolFiles, tmp_path: Path) -> None:
    data, scratch = os.urandom(2 * PIECE + 100), tmp_path / "tmp" / "x"
    (tmp_path / "a").write_bytes(data)
    files.write_pieces(tmp_path / "b", files.pieces(tmp_path / "a", 50), scratch)
    assert (tmp_path / "b").read_bytes() == data[50:]
    assert max(map(len, files.pieces(tmp_path / "a"))) == PIECE
    assert files.hand_pieces(tmp_path / "c", [b"1", b"2"], scratch)
    assert not files.hand_pieces(tmp_path / "c", [b"3"], scratch) and (tmp_path / "c").read_bytes() == b"12"
    files.write_pieces(tmp_path / "c", [b"4"], scratch)
    assert (tmp_path / "c").read_bytes() == b"4" and list((tmp_path / "tmp").iterdir()) == []
    assert (tmp_path / "c").stat().st_mode & 0o007 == 0


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("damaged")])
def test_what_ends_in_the_middle_leaves_nothing(files: SpoolFiles, tmp_path: Path, error: Exception) -> None:
    """Halves of messages that a full file system has no room for would keep it full."""
    for way in (files.write_pieces, files.hand_pieces):
        with pytest.raises(type(error)):
            way(tmp_path / "a", ends(error), tmp_path / "tmp" / "x")
        assert not (tmp_path / "a").exists() and list((tmp_path / "tmp").iterdir()) == []


def test_a_second_name_that_a_crash_left_is_never_written_to(files: SpoolFiles, tmp_path: Path) -> None:
    target, scratch = tmp_path / "a", tmp_path / "tmp" / "x"
    scratch.write_bytes(b"one")
    os.link(scratch, target)
    assert not files.hand_pieces(target, [b"two"], scratch) and target.read_bytes() == b"one"


def test_gzip_of_the_same_is_the_same(tmp_path: Path) -> None:
    pieces = [b"abc" * 1000, b"", b"d" * 1000]
    packed = b"".join(compressed(pieces, 1))
    assert gzip.decompress(packed) == b"".join(pieces) and packed == b"".join(compressed([b"".join(pieces)], 1))
    assert len(b"".join(compressed(itertools.repeat(b"x" * PIECE, 4), 1))) < PIECE

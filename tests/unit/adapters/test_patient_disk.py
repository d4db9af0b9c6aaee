"""A server that is away costs an error, and no thread of those that carry."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from holdfast.adapters.patient_disk import PatientDisk
from holdfast.adapters.spool_files import PIECE, SpoolFiles, SystemDisk

MOST = 0.3  # seconds


class Nfs(SystemDisk):
    """Calls below `away` do not end until `back` is set."""

    def __init__(self) -> None:
        self.away: Path | None = None
        self.back = threading.Event()
        self.calls = 0

    def _enter(self, file: Path) -> None:
        self.calls += 1
        if self.away is not None and self.away in (file, *file.parents):
            assert self.back.wait(30)

    def exists(self, file: Path) -> bool:
        self._enter(file)
        return super().exists(file)

    def rename(self, source: Path, target: Path) -> None:
        self._enter(target)
        super().rename(source, target)

    def pieces(self, file: Path, start: int) -> Iterator[bytes]:
        for piece in super().pieces(file, start):
            self._enter(file)
            yield piece

    def pour(self, file: Path, pieces: object) -> None:
        self._enter(file)
        super().pour(file, pieces)  # type: ignore[arg-type]


class Place:
    def __init__(self, root: Path) -> None:
        self.one, self.two, self.nfs = root / "one", root / "two", Nfs()
        for mount in (self.one, self.two):
            mount.mkdir()
        self.disk = PatientDisk(self.nfs, [self.one, self.two], MOST)
        self.files = SpoolFiles(self.disk)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.nfs.back.set()


def silent(call: Callable[[], object], mount: Path, at_least: float = 0.0, at_most: float = 10.0) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        call()
    assert at_least <= time.monotonic() - began < at_most
    assert caught.value.errno == errno.ETIMEDOUT and caught.value.filename == str(mount)


def test_all_that_a_disk_does_and_what_it_refuses(place: Place) -> None:
    a, b = place.one / "a", place.one / "b"
    place.files.write(a, b"1", place.one / "x")
    assert place.files.hand(b, b"2", place.one / "x") and not place.files.hand(b, b"3", place.one / "x")
    place.files.append(b, "4")
    place.files.folder(place.one / "c" / "d")
    assert place.files.move(a, place.one / "c" / "d" / "a") and place.files.read(b) == b"2\n4\n"
    place.files.remove(b)
    assert [f.name for f in place.files.names(place.one)] == ["c"] and place.files.read(b) is None
    assert abs(place.files.server_time(place.one / "t") - time.time()) < 60


def test_a_mount_that_hangs_is_an_error_and_no_other_one_hangs_with_it(place: Place) -> None:
    place.nfs.away = place.one
    silent(lambda: place.files.exists(place.one / "a"), place.one, at_least=MOST)
    calls = place.nfs.calls
    silent(lambda: place.files.exists(place.one / "b"), place.one, at_most=MOST)
    assert place.nfs.calls == calls, "nothing more is asked of it"
    assert not place.files.exists(place.two / "a")
    place.nfs.back.set()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            assert not place.files.exists(place.one / "a")
            return
        except TimeoutError:
            time.sleep(0.01)
    pytest.fail("it is back, and still refused")


def test_what_was_given_up_is_done_when_its_server_is_back(place: Place) -> None:
    (place.one / "a").write_bytes(b"1")
    place.nfs.away = place.one
    silent(lambda: place.files.move(place.one / "a", place.one / "b"), place.one)
    place.nfs.back.set()
    end = time.monotonic() + 10
    while not (place.one / "b").exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_large_file_on_a_slow_line_is_no_hang(place: Place) -> None:
    def slow() -> Iterator[bytes]:
        for _ in range(8):
            time.sleep(MOST / 3)
            yield b"x"

    place.files.write_pieces(place.one / "a", slow(), place.one / "x")
    assert (place.one / "a").read_bytes() == b"x" * 8


def test_of_a_copy_it_is_the_source_that_is_told_when_that_hangs(place: Place) -> None:
    source, target, scratch = place.one / "a", place.two / "a", place.two / "x"
    source.write_bytes(b"x" * (2 * PIECE))
    place.nfs.away = place.one
    silent(lambda: place.files.write_pieces(target, place.files.pieces(source), scratch), place.one)
    assert not target.exists() and not place.files.exists(scratch)


def test_whoever_stops_waits_for_nothing(place: Place, tmp_path: Path) -> None:
    disk = PatientDisk(place.nfs, [place.one], 60.0)
    place.nfs.away = place.one
    threading.Timer(0.1, lambda: disk.hurry(0.1)).start()
    silent(lambda: disk.exists(place.one / "a"), place.one)

"""The archive of what has crossed, and the log of it (R3.2, R3.4)."""

from __future__ import annotations

import errno
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from clocks import Clock
from holdfast.adapters.spool_files import SpoolFiles
from holdfast.adapters.transfer_records import DAY_SECONDS, Records, day
from holdfast.core.spool import Damaged, Envelope, Header, Recipient, pack

MX, NOW = "mx.alpha.example", 1_796_000_000.0  # 2026-11-30 00:53:20


class Files(SpoolFiles):
    """`behind`: seconds by which the file server's clock is behind this host's, None: it goes right."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.server: float | None = None

    def server_time(self, scratch: Path) -> float:
        super().server_time(scratch)
        return self.clock.time if self.server is None else self.server


class Place:
    def __init__(self, root: Path) -> None:
        self.root, self.clock = root, Clock(NOW)
        self.files = Files(self.clock)
        self.records = self.of("t1")
        self.records.prepare()

    def of(self, host: str) -> Records:
        return Records(self.root, host, self.files, self.clock)

    def keep(self, name: str) -> bytes:
        envelope = Envelope("s@out.example", (Recipient("a@one.example"),))
        data = pack(Header(name, MX, "mail1", 1, self.clock.time, envelope, 0, ""), b"Subject: x\r\n\r\nbody\r\n")
        self.records.archive(MX, name, self.clock.time, [data[:100], data[100:]])
        file = self.root / "archive" / day(self.clock.time) / MX / f"{name}.gz"
        os.utime(file, (self.clock.time, self.clock.time))
        return data

    def days(self) -> list[str]:
        return sorted(p.name for p in (self.root / "archive").iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_by_day_and_readable_with_zcat(place: Place) -> None:
    data = place.keep("a" * 32)
    (file,) = place.root.glob("archive/*/*/*")
    assert file == place.root / "archive" / "2026-11-30" / MX / f"{'a' * 32}.gz"
    assert gzip.decompress(file.read_bytes()) == data
    assert place.records.is_archived(MX, "a" * 32, NOW) and not place.records.is_archived(MX, "b" * 32, NOW)
    place.clock.sleep(DAY_SECONDS)
    assert place.records.is_archived(MX, "a" * 32, NOW), "once, however long it waits"
    assert list((place.root / "tmp").iterdir()) == []


def test_what_is_kept_is_found_by_id_and_from_a_day_on(place: Place) -> None:
    for n in range(3):
        place.keep(f"{n}" * 32)
        place.clock.sleep(DAY_SECONDS)
    assert [k.id[0] for k in place.records.kept()] == ["0", "1", "2"]
    assert [k.id[0] for k in place.records.kept(begin=NOW + DAY_SECONDS)] == ["1", "2"]
    (kept,) = place.records.kept("1" * 32)
    assert kept.source == MX and place.records.open(kept)[1] == b"Subject: x\r\n\r\nbody\r\n"


@pytest.mark.parametrize("damage", [lambda d: d[:-9], lambda d: b"x" + d, lambda d: b"", lambda d: gzip.compress(b"x")])
def test_a_damaged_one_is_told(place: Place, damage: object) -> None:
    place.keep("a" * 32)
    (kept,) = place.records.kept()
    kept.file.write_bytes(damage(kept.file.read_bytes()))  # type: ignore[operator]
    with pytest.raises(Damaged):
        place.records.open(kept)


def test_after_so_many_whole_days_it_goes(place: Place) -> None:
    for _ in range(4):
        place.keep("a" * 32)
        place.clock.sleep(DAY_SECONDS)
    first = place.days()[0]
    place.clock.time = NOW + 15 * DAY_SECONDS
    assert place.records.expire(15, None) == []
    place.clock.sleep(DAY_SECONDS)
    assert place.records.expire(15, None) == [first] and first not in place.days() and len(place.days()) == 3


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another file system."""
    made = tmp_path / "elsewhere"
    made.mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda self: self == made)
    return made


def test_or_is_moved_also_where_a_crash_left_half_of_it(place: Place, other: Path) -> None:
    data = place.keep("a" * 32)
    (name,) = place.days()
    half = other / name / MX / f"{'a' * 32}.gz"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    place.clock.sleep(40 * DAY_SECONDS)
    assert place.records.expire(30, other) == [name] and place.days() == []
    assert gzip.decompress(half.read_bytes()) == data and list(half.parent.iterdir()) == [half]


def test_nothing_is_moved_to_where_nothing_is_mounted(place: Place, tmp_path: Path) -> None:
    place.keep("a" * 32)
    place.clock.sleep(40 * DAY_SECONDS)
    with pytest.raises(OSError, match="Nothing is mounted there"):
        place.records.expire(30, tmp_path / "elsewhere")
    assert len(place.days()) == 1 and not (tmp_path / "elsewhere").exists()


def test_what_reads_otherwise_than_it_was_written_stays(
    place: Place, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.keep("a" * 32)
    place.clock.sleep(40 * DAY_SECONDS)
    whole = place.files.pieces

    def pieces(file: Path, start: int = 0) -> Iterator[bytes]:
        return iter([b"other"]) if other in file.parents else whole(file, start)

    monkeypatch.setattr(place.files, "pieces", pieces)
    with pytest.raises(OSError, match="does not read as it was written"):
        place.records.expire(30, other)
    assert len(place.days()) == 1


def test_what_goes_while_it_is_copied_leaves_the_other_hosts_whole_copy(place: Place, other: Path) -> None:
    """Both hosts believe for a moment that they are the one: the slower one must not cut what the quicker one made."""
    data = place.keep("a" * 32)
    place.clock.sleep(40 * DAY_SECONDS)
    (name,) = place.days()
    file = other / name / MX / f"{'a' * 32}.gz"
    looks = 0

    def held() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            assert place.of("t2").expire(30, other) == [name]

    with pytest.raises(FileNotFoundError):
        place.records.expire(30, other, held)
    assert gzip.decompress(file.read_bytes()) == data and place.records.expire(30, other) == []


def test_two_hosts_that_delete_the_same_day_do_not_fail(place: Place) -> None:
    place.keep("a" * 32)
    place.clock.sleep(40 * DAY_SECONDS)
    assert len(place.records.expire(30, None, lambda: place.of("t2").expire(30, None) and None)) == 1
    assert place.days() == []


def test_who_is_told_apart_no_more_ends_at_once(place: Place, other: Path) -> None:
    place.keep("a" * 32)
    place.clock.sleep(40 * DAY_SECONDS)

    def held() -> None:
        raise InterruptedError

    for move_to in (None, other):
        with pytest.raises(InterruptedError):
            place.records.expire(30, move_to, held)
    assert len(place.days()) == 1 and list(other.iterdir()) == []


def test_what_crossed_today_stays_whatever_day_it_was_spooled_on(place: Place) -> None:
    """Its source's clock was 40 days behind at boot: by that it lies in a day long over."""
    now = place.clock.time
    place.clock.time = now - 40 * DAY_SECONDS
    place.keep("a" * 32)
    (file,) = place.root.glob("archive/*/*/*")
    place.clock.time = now
    os.utime(file, (now - 60, now - 60))
    assert place.records.expire(15, None) == []
    place.clock.sleep(15 * DAY_SECONDS)
    assert len(place.records.expire(15, None)) == 1


def test_a_clock_that_is_wrong_empties_no_archive(place: Place) -> None:
    """This host believes that it is a year later: the file server does not."""
    place.keep("a" * 32)
    place.clock.sleep(365 * DAY_SECONDS)
    place.files.server = NOW
    assert place.records.expire(15, None) == [] and len(place.days()) == 1
    place.files.server, place.clock.time = NOW + 365 * DAY_SECONDS, NOW
    assert place.records.expire(15, None) == []


def test_each_host_has_a_log_of_its_own_and_half_a_line_is_passed_over(place: Place) -> None:
    place.records.log({"id": 1})
    place.of("t2").log({"id": 2})
    file = place.root / "log" / f"{day(NOW)}.t1.jsonl"
    with file.open("ab") as torn:
        torn.write(b'{"id":')
    place.records.log({"id": 3})
    assert [e["id"] for e in place.records.logged()] == [1, 3, 2]
    assert sorted(os.listdir(place.root / "log")) == [f"{day(NOW)}.t{n}.jsonl" for n in (1, 2)]  # noqa: PTH208 - names


def test_days_of_the_log_that_are_over_are_compressed_by_their_host(place: Place) -> None:
    for _ in range(3):
        place.records.log({"id": day(place.clock.time)})
        place.of("t2").log({"id": "other"})
        place.clock.sleep(DAY_SECONDS)
    before = list(place.records.logged())
    place.records.pack_logs()
    first, second, third = (day(NOW + n * DAY_SECONDS) for n in range(3))
    names = sorted(p.name for p in (place.root / "log").glob("*t1*"))
    assert names == [f"{first}.t1.jsonl.gz", f"{second}.t1.jsonl.gz", f"{third}.t1.jsonl"]
    assert len(list((place.root / "log").glob("*.t2.jsonl"))) == 3, "which may write to its own at any time"
    assert list(place.records.logged()) == before
    # The clock is set back: what is there already stays.
    place.clock.time = NOW
    place.records.log({"id": "again"})
    place.records.pack_logs()
    assert (place.root / "log" / f"{first}.t1.jsonl").exists(), "it is today"
    place.clock.time = NOW + 3 * DAY_SECONDS
    place.records.pack_logs()
    packed = gzip.decompress((place.root / "log" / f"{first}.t1.jsonl.gz").read_bytes())
    assert [e["id"] for e in map(json.loads, packed.splitlines())] == [first, "again"]
    assert not (place.root / "log" / f"{first}.t1.jsonl").exists() and list((place.root / "tmp").iterdir()) == []


def test_a_log_has_an_age(place: Place) -> None:
    for host in ("t1", "t2"):
        place.of(host).log({"id": 1})
    place.clock.sleep(5 * DAY_SECONDS)
    place.records.log({"id": 2})
    place.records.pack_logs()
    (place.root / "log" / "notes").write_text("of somebody")
    for file in (place.root / "log").iterdir():
        os.utime(file, (NOW, NOW))
    place.clock.time = NOW + 90 * DAY_SECONDS
    assert place.records.expire_logs(90) == []
    place.clock.sleep(DAY_SECONDS)
    young = place.root / "log" / f"{day(NOW)}.t2.jsonl"
    os.utime(young, (place.clock.time, place.clock.time))
    assert place.records.expire_logs(90) == [f"{day(NOW)}.t1.jsonl.gz"], "and what was written to of late stays"
    assert {p.name for p in (place.root / "log").iterdir()} == {
        "notes",
        young.name,
        f"{day(NOW + 5 * DAY_SECONDS)}.t1.jsonl",
    }


def test_who_asks_is_heard_by_both_hosts(place: Place) -> None:
    assert place.records.asked() is None
    place.of("t2").ask()
    first = place.records.asked()
    assert first is not None and first == place.of("t2").asked()
    place.records.ask()
    assert place.of("t2").asked() not in (None, first)


def test_records_that_are_not_there_are_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.records.away() is None
    (place.root / "archive").rename(place.root / "gone")
    assert place.records.away() == f"{place.root / 'archive'} is missing"

    def stale(file: Path) -> bool:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(place.files, "exists", stale)
    assert "Stale file handle" in str(place.records.away())


def test_what_was_half_written_long_ago_goes(place: Place) -> None:
    for name, age in (("old", 2.0), ("young", 0.5)):
        (place.root / "tmp" / name).write_bytes(b"")
        os.utime(place.root / "tmp" / name, (NOW - age * DAY_SECONDS,) * 2)
    place.records.tidy()
    assert [p.name for p in (place.root / "tmp").iterdir()] == ["young"]


def test_attempts_are_counted_until_one_ends(place: Place) -> None:
    assert place.records.begun(MX, "a") == 0
    place.records.begin(MX, "a", 1)
    place.of("t2").begin(MX, "a", 2)
    assert place.records.begun(MX, "a") == 2
    place.records.ended(MX, "a")
    assert place.records.begun(MX, "a") == 0
    place.records.ended(MX, "a")

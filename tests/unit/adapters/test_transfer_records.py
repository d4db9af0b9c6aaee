"""The archive of what has crossed, and the log of it (R3.2, R3.4)."""

from __future__ import annotations

import gzip
import os
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
        self.records.archive(MX, name, data)
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
    assert place.records.is_archived(MX, "a" * 32) and not place.records.is_archived(MX, "b" * 32)
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


def test_or_is_moved_also_where_a_crash_left_half_of_it(place: Place, tmp_path: Path) -> None:
    data = place.keep("a" * 32)
    (name,) = place.days()
    other = tmp_path / "elsewhere"
    half = other / name / MX / f"{'a' * 32}.gz"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    place.clock.sleep(40 * DAY_SECONDS)
    assert place.records.expire(30, other) == [name] and place.days() == []
    assert gzip.decompress(half.read_bytes()) == data


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


def test_attempts_are_counted_until_one_ends(place: Place) -> None:
    assert place.records.begun(MX, "a") == 0
    place.records.begin(MX, "a", 1)
    place.of("t2").begin(MX, "a", 2)
    assert place.records.begun(MX, "a") == 2
    place.records.ended(MX, "a")
    assert place.records.begun(MX, "a") == 0
    place.records.ended(MX, "a")

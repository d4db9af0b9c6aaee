"""What crossed before crosses once more, once for each time it is asked for (R3.4)."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from holdfast.adapters.clock import SystemClock
from holdfast.adapters.spool_files import SpoolFiles
from holdfast.adapters.transfer_records import Records
from holdfast.core.spool import FOLDERS, Header, pack, unpack
from holdfast.daemons import restore
from holdfast.daemons.carrying import Carrier
from holdfast.daemons.spooling import Spooler
from spools import EPOCH, IM1, MX, TABLE, Lines, letter
from test_transfer import TRANSFER

SIDES = {MX: "internet", IM1: "intranet"}


class Place:
    """Spools and archive on this machine's own disk."""

    def __init__(self, folder: Path) -> None:
        self.root, self.files, self.clock, self.log = folder / "spools", SpoolFiles(), SystemClock(), Lines()
        for identity in TABLE.sides:
            for name in FOLDERS:
                self.files.folder(self.root / identity / name)
        self.records_root = folder / "records" / "archive"
        self.records = Records(folder / "records", "t1", self.files, self.clock)
        self.records.prepare()
        self.adopt(EPOCH)
        self.moved = folder / "moved"
        data: dict[str, Any] = {**TRANSFER, "host": "t1", "root": str(self.root), "records": str(folder / "records")}
        data["archive"] = {"move_to": str(self.moved)}
        (folder / "transfer.yml").write_text(yaml.safe_dump(data))
        self.config = str(folder / "transfer.yml")

    def adopt(self, epoch: int) -> None:
        self.spooler = Spooler(MX, "mail1", epoch, self.root / MX, TABLE, self.files, self.clock, self.log)
        self.spooler.adopt()

    def spool(self, text: str) -> str:
        return self.spooler.message(*letter("a@one.example", text=text))[1].split()[1]

    def carry(self) -> None:
        limits = restore.transfer.load(self.config).limits
        carrier = Carrier("t1", self.root, TABLE, limits, self.files, self.records, self.clock, self.log)
        carrier.round(MX, None, lambda: None, float("inf"))

    def archived(self, one: str) -> Path:
        (file,) = self.records_root.rglob(f"{one}.gz")
        return file

    def lies(self, identity: str, folder: str) -> set[str]:
        return {p.name for p in (self.root / identity / folder).iterdir()}

    def restore(self, *arguments: str) -> int:
        return restore.main(["--config", self.config, *arguments])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_one_by_its_id_crosses_again_and_only_once_a_day(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    one = place.spool("first")
    place.carry()
    place.adopt(EPOCH + 1)
    assert place.restore("--label", "x", one) == 0 and one in capsys.readouterr().out
    assert place.restore("--label", "x", one) == 0
    (again,) = place.lies(MX, "out")
    header, message = unpack((place.root / MX / "out" / again).read_bytes())
    assert (header.id, header.epoch, header.restored_from) == (again, EPOCH + 1, one) and again != one
    assert message == letter("a@one.example", text="first")[1]
    place.carry()
    assert place.lies(IM1, "in") == {one, again}
    assert place.restore("--label", "x", one) == 0 and place.lies(MX, "out") == set()
    assert place.restore("--label", "y", one) == 0 and len(place.lies(MX, "out")) == 1


def test_a_span_of_time_into_files(place: Place, tmp_path: Path) -> None:
    ids = [place.spool(text) for text in ("first", "second")]
    place.carry()
    assert place.restore("--to-folder", str(tmp_path), "--from", "2020-01-01T00:00", "--to", "2099-01-01T00:00Z") == 0
    assert {p.stem for p in tmp_path.glob("*.eml")} == set(ids) and place.lies(MX, "out") == set()
    assert (tmp_path / f"{ids[0]}.eml").read_bytes() == letter("a@one.example", text="first")[1]


def test_nothing_found_is_no_success(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.spool("first")
    place.carry()
    assert place.restore("--from", "2020-01-01T00:00", "--to", "2020-01-02T00:00") == 1
    assert place.restore("0" * 32) == 1 and "restore: nothing" in capsys.readouterr().err
    for arguments in ([], ["--from", "2020-01-01"], ["x", "--from", "2020-01-01", "--to", "2020-01-02"]):
        with pytest.raises(SystemExit):
            place.restore(*arguments)


def test_out_of_quarantine_by_its_own_id_or_by_a_new_one(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    one = place.spool("first")
    place.files.move(place.root / MX / "out" / one, place.root / MX / "quarantine" / one)
    place.records.begin(MX, one, 3)
    assert place.restore("--quarantine", MX, one) == 0 and place.lies(MX, "out") == {one}
    place.carry()
    assert place.lies(IM1, "in") == {one}
    place.files.move(place.root / IM1 / "in" / one, place.root / IM1 / "quarantine" / one)
    assert place.restore("--quarantine", IM1, one) == 0 and place.lies(IM1, "in") == {one}
    # Written by an owner that was shut out: under its old name it would be refused again.
    late = place.spooler
    place.adopt(EPOCH + 1)
    two = late.message(*letter("a@one.example", text="late"))[1].split()[1]
    place.carry()
    assert place.lies(MX, "quarantine") == {two}
    assert place.restore("--quarantine", MX, two) == 0
    place.carry()
    assert len(place.lies(IM1, "in")) == 2 and place.lies(MX, "quarantine") == set()
    assert place.restore("--quarantine", MX, two) == 1 and "is not there" in capsys.readouterr().err


# --- what is damaged, or lies elsewhere -----------------------------------------------------------------------------

EVER = ("--from", "2020-01-01T00:00", "--to", "2099-01-01T00:00")


@pytest.mark.parametrize(
    "junk",
    [b"junk", b"", gzip.compress(b"HOLDFAST-SPOOL 1 no more", mtime=0), None],
    ids=["text", "empty", "gzip", "disk"],
)
def test_a_damaged_file_of_the_archive_is_named_and_the_rest_restored(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], junk: bytes | None
) -> None:
    ids = sorted(place.spool(text) for text in ("first", "second", "third"))
    place.carry()
    bad = place.archived(ids[0])
    if junk is None:  # a disk that cannot read it
        bad.unlink()
        bad.mkdir()
    else:
        bad.write_bytes(junk)
    assert place.restore("--to-folder", str(tmp_path), *EVER) == 1
    said = capsys.readouterr()
    assert {p.stem for p in tmp_path.glob("*.eml")} == set(ids[1:])
    assert said.err.count(str(bad)) == 1 and len(said.err.splitlines()) == 1 and len(said.out.splitlines()) == 2
    assert place.restore(*EVER) == 1 and len(place.lies(MX, "out")) == 2
    assert place.restore(ids[0]) == 1 and str(bad) in capsys.readouterr().err


@pytest.mark.parametrize("day", ["2026-01-01", "2999-01-01"])
def test_what_is_whole_on_another_day_is_not_missed(place: Place, capsys: pytest.CaptureFixture[str], day: str) -> None:
    """What waits over midnight is archived once more."""
    one = place.spool("first")
    place.carry()
    other = place.records_root / day / MX / f"{one}.gz"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"junk")
    assert place.restore(one) == 0 and len(place.lies(MX, "out")) == 1
    assert place.restore(*EVER) == 0 and capsys.readouterr().err == ""


def test_one_that_nobody_can_send_keeps_no_other_back(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Its identity is gone; and there what says whose it is may be damaged."""
    one = place.spool("first")
    place.carry()
    place.files.move(place.root / MX / "epoch", place.root / MX / "gone")
    envelope, message = letter("a@mx.example", text="back")
    header = Header("1" * 32, IM1, "mail2", EPOCH, place.clock.now(), envelope, 0, "")
    place.files.write(place.root / IM1 / "epoch", (place.root / MX / "gone").read_bytes(), place.root / IM1 / "x")
    (day,) = place.records_root.iterdir()
    (day / IM1).mkdir()
    (day / IM1 / f"{header.id}.gz").write_bytes(gzip.compress(pack(header, message)))
    assert place.restore(*EVER) == 1
    said = capsys.readouterr()
    assert len(place.lies(IM1, "out")) == 1 and header.id in said.out and f"nobody owns {MX}" in said.err
    assert said.err.startswith(f"restore: {one}: ")
    (place.root / MX / "epoch").write_text("{}")
    assert place.restore(one) == 1 and str(place.root / MX / "epoch") in capsys.readouterr().err


def test_days_that_were_moved_are_looked_into(place: Place, tmp_path: Path) -> None:
    ids = [place.spool(text) for text in ("first", "second")]
    place.carry()
    (day,) = place.records_root.iterdir()
    shutil.copytree(day, place.moved / day.name)
    place.archived(ids[0]).unlink()
    assert place.restore(ids[0]) == 0 and len(place.lies(MX, "out")) == 1
    assert place.restore("--to-folder", str(tmp_path), *EVER) == 0
    assert {p.stem for p in tmp_path.glob("*.eml")} == set(ids)


def test_a_folder_that_cannot_be_written_to_is_said_before_anything_is_done(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = place.spool("first")
    place.carry()
    # Not even root makes a file in the last one.
    for folder in (tmp_path / "none", place.archived(one), Path("/proc")):
        assert place.restore("--to-folder", str(folder), *EVER) == 1
        said = capsys.readouterr()
        assert said.out == "" and len(said.err.splitlines()) == 1
        assert str(folder) in said.err and "install -d -o holdfast-transfer -m 0700" in said.err


# --- out of quarantine, into a file ----------------------------------------------------------------------------------


def test_out_of_quarantine_into_a_file_and_nothing_is_sent(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = place.spool("loop")
    place.files.move(place.root / MX / "out" / one, place.root / MX / "quarantine" / one)
    place.records.begin(MX, one, 3)
    assert place.restore("--quarantine", MX, one, "--to-folder", str(tmp_path)) == 0
    assert (tmp_path / f"{one}.eml").read_bytes() == letter("a@one.example", text="loop")[1]
    assert place.lies(MX, "out") == set() and place.lies(MX, "quarantine") == {one}
    assert place.records.begun(MX, one) == 3 and str(tmp_path / f"{one}.eml") in capsys.readouterr().out
    file = place.root / MX / "quarantine" / one
    file.write_bytes(b"junk")
    for words in (["--to-folder", str(tmp_path)], []):
        assert place.restore("--quarantine", MX, one, *words) == 1 and str(file) in capsys.readouterr().err
    assert place.lies(MX, "quarantine") == {one}


def test_quarantine_goes_with_one_id(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (EVER, (), ("../out/" + "1" * 32,)):
        with pytest.raises(SystemExit):
            place.restore("--quarantine", MX, *words)

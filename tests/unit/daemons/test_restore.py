"""What crossed before crosses once more, once for each time it is asked for (R3.4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from holdfast.adapters.clock import SystemClock
from holdfast.adapters.spool_files import SpoolFiles
from holdfast.adapters.transfer_records import Records
from holdfast.core.spool import FOLDERS, unpack
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
        self.records = Records(folder / "records", "t1", self.files, self.clock)
        self.records.prepare()
        self.adopt(EPOCH)
        data: dict[str, Any] = {**TRANSFER, "host": "t1", "root": str(self.root), "records": str(folder / "records")}
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

"""What a transfer host says of its site's spools, by what lies there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from edges import Clock
from holdfast.adapters.command import CommandError
from holdfast.adapters.spool_files import SpoolFiles
from holdfast.adapters.transfer_records import last_carried
from holdfast.adapters.units import Units
from holdfast.core.spool import FOLDERS
from holdfast.daemons import transfer, transfer_status
from test_transfer import IM1, MX, TRANSFER, written

ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Two spools, with one message that waits and one that was set aside, and a log of both hosts."""
    for name in (MX, IM1):
        for folder in FOLDERS:
            (tmp_path / "spools" / name / folder).mkdir(parents=True)
    (tmp_path / "spools" / MX / "out" / ONE).write_text("x")
    (tmp_path / "spools" / MX / "out" / ".half").write_text("x")
    (tmp_path / "spools" / IM1 / "quarantine" / TWO).write_text("x")
    log = tmp_path / "records" / "log"
    log.mkdir(parents=True)
    lines = [{"event": "transfer", "from": MX, "time": t} for t in (100.0, 300.0)] + [
        {"event": "quarantine", "from": IM1}
    ]
    (log / "2026-11-28.t1.jsonl").write_text(json.dumps({"event": "transfer", "from": IM1, "time": 900.0}) + "\n")
    (log / "2026-11-29.t1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"event": "tra')
    (log / "2026-11-29.t2.jsonl").write_text(json.dumps({"event": "transfer", "from": MX, "time": 200.0}) + "\n")
    places = {"root": str(tmp_path / "spools"), "records": str(tmp_path / "records")}
    return written(tmp_path, {**TRANSFER, **places, "directions": {"outward": {"enabled": False}}})


def look(file: str) -> dict[str, Any]:
    clock = Clock()
    settings = transfer.load(file)
    made = (settings.root / MX / "out" / ONE).stat().st_mtime
    clock.ahead = made + 90.0 - clock.now()
    return transfer_status.look(settings, SpoolFiles(), clock)


def test_what_waits_what_was_set_aside_and_what_was_carried_last(file: str) -> None:
    found = look(file)
    assert found[MX]["out"] == {"count": 1, "oldest": pytest.approx(90.0)} and found[MX]["in"]["count"] == 0
    assert (found[MX]["direction"], found[MX]["enabled"], found[MX]["carried"]) == ("inward", True, 300.0)
    assert (found[IM1]["quarantine"], found[IM1]["enabled"], found[IM1]["carried"]) == (1, False, None)


def test_a_spool_that_is_away_hides_no_other(file: str, tmp_path: Path) -> None:
    (tmp_path / "spools" / MX / "tmp").rmdir()
    found = look(file)
    assert found[MX]["error"] == f"{tmp_path}/spools/{MX}/tmp is missing" and found[IM1]["error"] is None
    assert transfer_status.unserved("failed", found) == [
        "holdfast-transfer is failed",
        f"the spool of {MX} is away: {tmp_path}/spools/{MX}/tmp is missing",
    ]


def test_for_playbooks_and_for_people(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transfer_status, "running", lambda units: "active")
    assert transfer_status.main(["--json", file]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["active"] == "active" and said["unserved"] == [] and said["limit"] == {"count": 1000, "seconds": 600.0}
    assert transfer_status.main([file]) == 0
    assert capsys.readouterr().out.startswith("SPOOL")
    assert transfer_status.main(["/none/transfer.yml"]) == 78


def test_a_host_without_systemd_is_told_as_it_is() -> None:
    def gone(argv: object, **more: object) -> str:
        raise CommandError("systemctl: No such file or directory")

    assert transfer_status.running(Units(run=gone)) == "not to be asked for: systemctl: No such file or directory"


def test_no_log_is_nothing_of_late(tmp_path: Path) -> None:
    assert last_carried(tmp_path) == {}

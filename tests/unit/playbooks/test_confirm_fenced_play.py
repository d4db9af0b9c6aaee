"""An operator's word is about the boot that was seen off when the playbook was called: playbooks/confirm_fenced.yml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relays import Answers, Said, asked, asked_with, play

WORDS = ("-e", "host=mail1", "-e", "by=anna", "-e", "reason=plugs")


def seen(boot: str) -> Said:
    said = f"anna confirms that mail1 is off (plugs), for mx at epoch 3, boot {boot}"
    return {"changed": True, "said": said, "word": {"boot_id": boot}}


def refused(why: str) -> Said:
    return {"failed": True, "msg": why}


def confirm(folder: Path, relays: list[Answers], *words: str) -> tuple[int, str]:
    return play("confirm_fenced.yml", folder, relays, *WORDS, *words, module="confirm_fenced")


def recorded(folder: Path) -> list[dict[str, Any]]:
    return [call for call in asked_with(folder) if not call["check"]]


def test_recorded_by_one_for_the_boot_that_was_seen(tmp_path: Path) -> None:
    """relay1 does not answer; what relay2 says the second time, of a later boot, is not what is recorded."""
    status, said = confirm(tmp_path, [None, [seen("first"), seen("second")], seen("first")])
    assert status == 0, said
    assert sorted(asked(tmp_path)) == ["relay2", "relay2", "relay3"]
    (call,) = recorded(tmp_path)
    assert (call["relay"], call["host"], call["by"], call["reason"], call["boot_id"]) == (
        "relay2",
        "mail1",
        "anna",
        "plugs",
        "first",
    )


def test_refused_with_the_reasons_of_all(tmp_path: Path) -> None:
    status, said = confirm(tmp_path, [None, refused("mail1 has a live lease")])
    assert status != 0 and recorded(tmp_path) == []
    assert "mail1 is not confirmed as off: relay1: " in said
    assert "; relay2: mail1 has a live lease. Nothing was recorded" in said


def test_check_records_nothing(tmp_path: Path) -> None:
    status, said = confirm(tmp_path, [seen("first")], "--check")
    assert status == 0 and "anna confirms that mail1 is off (plugs)" in said
    assert recorded(tmp_path) == []


def test_a_relay_that_takes_long_is_not_believed(tmp_path: Path) -> None:
    """It may have stood still while the host was started again."""
    slow = {**seen("second"), "takes": 20.0}
    status, said = confirm(tmp_path, [slow], "-e", "confirm_fenced_within=2")
    assert status != 0 and recorded(tmp_path) == []
    assert "relay1: Task failed: Timed out after 2 second(s)" in said

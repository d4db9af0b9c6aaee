"""What the module `files` tells of a role's units: standing only if nothing at all is to be done about them."""

from __future__ import annotations

from pathlib import Path

import pytest
from trial import Module, file
from units import Units

AGENT, PATH = "holdfast-agent.service", "holdfast-return.path"
ASKED = [f"is-enabled {AGENT} {PATH}", f"is-active {AGENT} {PATH}"]


@pytest.fixture
def files(capsys: pytest.CaptureFixture[str]) -> Module:
    return Module(capsys)


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Units:
    host = Units(tmp_path / "units")
    for name, value in host.environment.items():
        monkeypatch.setenv(name, value)
    host.put(AGENT)
    host.put(PATH)
    return host


@pytest.mark.parametrize("check", [False, True])
def test_units_that_are_enabled_and_active_stand(files: Module, units: Units, check: bool) -> None:
    result = files(units=[AGENT, PATH], check=check)
    assert (result["standing"], result["changed"], units.said()) == (True, False, ASKED)


@pytest.mark.parametrize("spoiled", [AGENT, PATH])
@pytest.mark.parametrize(
    ("enabled", "active"),
    [
        ("disabled", "active"),
        ("enabled-runtime", "active"),
        ("static", "active"),
        ("masked", "active"),
        ("not-found", "active"),
        (None, "active"),
        (None, None),
        ("enabled", None),
        ("enabled", "inactive"),
        ("enabled", "activating"),
        ("enabled", "deactivating"),
        ("enabled", "reloading"),
        ("enabled", "failed"),
    ],
)
def test_one_that_is_anything_else_does_not(
    files: Module, units: Units, spoiled: str, enabled: str | None, active: str | None
) -> None:
    units.put(spoiled, enabled, active)
    for check in (False, True):
        assert files(units=[AGENT, PATH], check=check)["standing"] is False


def test_behind_a_change_nobody_is_asked(files: Module, units: Units, tmp_path: Path) -> None:
    """A unit's own file may be what has changed, and handlers that restart it are still to come."""
    item, stamp = file(tmp_path / "f"), tmp_path / "pending"
    for check in (True, False):
        assert files(item, units=[AGENT, PATH], check=check, pending=str(stamp))["standing"] is False
    again = files(item, units=[AGENT, PATH], pending=str(stamp))
    assert (again["standing"], again["changed_files"]) == (False, [str(tmp_path / "f")])
    assert units.said() == []
    stamp.unlink()  # as the last handler does
    assert files(item, units=[AGENT, PATH], pending=str(stamp))["standing"] is True


def test_of_no_units_nobody_is_asked(files: Module, units: Units) -> None:
    assert files()["standing"] is False
    assert units.said() == []


def test_a_systemctl_that_is_missing_or_knows_nothing(
    files: Module, units: Units, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = units.folder / "bin/systemctl"
    program.write_text("#!/bin/sh\necho 'Failed to connect to bus: Connection refused' >&2\nexit 1\n")
    assert files(units=[AGENT])["standing"] is False
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    result = files(units=[AGENT])
    assert (result["standing"], result.get("failed", False)) == (False, False)

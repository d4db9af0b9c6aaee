"""What the module `files` tells systemd of the unit files that it has replaced: as much as it must."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from trial import Module, file, folder

PROGRAM = """#!/bin/sh
echo "$*" >> "$SAID"
case $1 in
show) cat "$SAID.needs";;
daemon-reload) [ ! -e "$SAID.broken" ] || { echo 'Failed to reload daemon: no space' >&2; exit 1; };;
--no-reload) ;;
is-enabled|is-active) echo "not asked here" >&2; exit 1;;
*) echo "$1: not known here" >&2; exit 1;;
esac
"""


class Systemd:
    """A systemctl, the folder with unit files, and whether systemd knows them as they were."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.units = place / "system"
        self.units.mkdir()
        program = place / "bin/systemctl"
        program.parent.mkdir()
        program.write_text(PROGRAM)
        program.chmod(0o755)
        self.needs("no")

    def needs(self, *words: str) -> None:
        (self.place / "said.needs").write_text("\n\n".join(words) + "\n")

    def breaks(self) -> None:
        (self.place / "said.broken").touch()

    def said(self) -> list[str]:
        path = self.place / "said"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    host = Systemd(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    module = importlib.import_module("ansible_collections.holdfast.mail.plugins.modules.files")
    monkeypatch.setattr(module, "UNITS", host.units)
    return host


@pytest.fixture
def files(capsys: pytest.CaptureFixture[str]) -> Module:
    return Module(capsys)


def asked(*names: str) -> str:
    return " ".join(["show", "--property=NeedDaemonReload", "--value", *names])


def test_units_that_nobody_has_loaded_need_no_reading(files: Module, systemd: Systemd) -> None:
    at = systemd.units
    dropin = [folder(at / "b.service.d"), file(at / "b.service.d/holdfast.conf")]
    result = files(file(at / "a.service"), *dropin, file(at / "c@.timer"), units=["a.service", "b.service"])
    assert result["changed"] is True
    assert systemd.said() == ["--no-reload enable a.service", asked("a.service", "b.service", "c@*.timer")]


def test_one_that_is_known_as_it_was_is_read_anew(files: Module, systemd: Systemd) -> None:
    systemd.needs("no", "yes")
    files(file(systemd.units / "a.service"), file(systemd.units / "c@.service"))
    assert systemd.said() == [asked("a.service", "c@*.service"), "daemon-reload"]


def test_links_of_targets_and_other_files_are_no_units(files: Module, systemd: Systemd) -> None:
    at, wants = systemd.units, systemd.units / "multi-user.target.wants"
    link = {"dest": str(wants / "a.service"), "state": "link", "target": "../a.service"}
    (at / "a.service").touch()
    assert files(folder(wants), link, file(systemd.place / "main.cf"))["changed"] is True
    assert systemd.said() == []


def test_what_is_removed_is_left_to_who_stops_it(files: Module, systemd: Systemd) -> None:
    (systemd.units / "a.service").touch()
    result = files({"dest": str(systemd.units / "a.service"), "state": "absent"}, units=["a.service"])
    assert result["changed_files"] == [str(systemd.units / "a.service")]
    assert systemd.said() == []


def test_without_a_change_and_in_check_mode_nothing_is_asked(files: Module, systemd: Systemd) -> None:
    unit = file(systemd.units / "a.service")
    assert files(unit, check=True, units=["a.service"])["changed"] is True
    assert systemd.said() == []
    files(unit)
    systemd.said()
    assert files(unit)["changed"] is False
    assert systemd.said() == []


def test_what_an_ended_run_has_left_is_read_by_the_next(files: Module, systemd: Systemd) -> None:
    unit, stamp = file(systemd.units / "a.service"), str(systemd.place / "pending")
    systemd.needs("yes")
    systemd.breaks()
    result = files(unit, pending=stamp)
    assert (result["failed"], result["changed_files"]) == (True, [str(systemd.units / "a.service")])
    assert result["msg"] == "systemctl daemon-reload: Failed to reload daemon: no space; mend it, deploy again"
    (systemd.place / "said.broken").unlink()
    systemd.said()
    assert files(unit, pending=stamp)["changed"] is True
    assert systemd.said() == [asked("a.service"), "daemon-reload"]

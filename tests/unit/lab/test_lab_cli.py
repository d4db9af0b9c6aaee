"""How words are read, and what a user sees when something is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab import cli, command, fleet, lifecycle
from lab.errors import LabError
from lab.fleet import Fleet
from lab.inventory import Host, Segment, Topology
from lab.place import Place


def test_what_follows_the_dashes_is_not_read() -> None:
    assert cli.split(["exec", "a", "--", "ls", "--", "-l"]) == (["exec", "a"], ["ls", "--", "-l"])
    assert cli.split(["status"]) == (["status"], None)
    assert cli.split(["deploy", "x", "--"]) == (["deploy", "x"], [])


def test_the_name_of_the_lab_may_stand_before_or_after_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_LAB", "third")
    parse = cli.parser().parse_args
    assert parse(["status"]).name == "third"
    assert parse(["--name", "one", "status"]).name == "one"
    assert parse(["status", "--name", "two"]).name == "two"


def test_a_user_error_is_one_line_and_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.interrupt.install", lambda: None)
    assert cli.main(["--name", "never-was", "status"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "lab: no such lab: never-was; bin/lab up INVENTORY\n"


def test_an_error_names_thing_value_and_remedy_in_one_line() -> None:
    assert str(LabError("disk", "full\nvery full", "free some")) == "disk: full very full; free some"
    assert str(LabError("no command", "", "give one")) == "no command; give one"
    assert str(LabError("delay", "-1 ms")) == "delay: -1 ms"


def test_names_that_would_not_do_as_a_path_are_refused() -> None:
    for name in ("", "../x", "UPPER", "a" * 17, "-a"):
        with pytest.raises(LabError, match="lab name"):
            Place(name)


def test_two_checkouts_do_not_share_a_lab(tmp_path: Path) -> None:
    assert Place("a", tmp_path / "x").identity != Place("a", tmp_path / "y").identity


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"missing program: ip, mkfs.ext4; apt-get install e2fsprogs iproute2"):
        command.require("ip", "mkfs.ext4")


def test_without_root_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="not root: uid 1000; run as root"):
        lifecycle.require_machine()


def test_memory_is_counted_before_guests_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hosts = {name: Host(name, {"mgmt": address}, 200) for name, address in (("a", "10.0.0.1"), ("b", "10.0.0.2"))}
    topology = Topology("x", hosts, {"mgmt": Segment("mgmt", "10.0.0.0/24")}, None)
    crowd = Fleet(Place("x", tmp_path), topology)
    monkeypatch.setattr(fleet, "available_mb", lambda: 399)
    crowd.require_memory(["a"])
    with pytest.raises(LabError, match="no memory left: 400 MB wanted for 2 guests, 399 MB available"):
        crowd.require_memory(["a", "b"])


def test_a_failing_program_is_quoted_with_its_last_words(tmp_path: Path) -> None:
    script = "echo fine; echo first >&2; echo last >&2; exit 3"
    with pytest.raises(LabError, match="can't do it: last; try again"):
        command.run(["sh", "-c", script], thing="can't do it", remedy="try again")
    log = tmp_path / "log"
    with pytest.raises(LabError, match=f"can't do it: last; see {log}"):
        command.run(["sh", "-c", script], thing="can't do it", log=log)
    assert log.read_text() == "fine\nfirst\nlast\n"

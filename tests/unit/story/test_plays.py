"""Whether a scenario has passed three times in a row is read from a file, not from somebody's memory."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.story import plays
from tests.story.plays import Play


@pytest.mark.parametrize(
    ("nodeid", "name"),
    [
        ("a.py::test_x", "a.py::test_x"),
        ("a.py::test_x[2of3]", "a.py::test_x"),
        ("a.py::test_x[owner-1-2of3]", "a.py::test_x[owner-1]"),
        ("a.py::test_x[2of3-owner]", "a.py::test_x[owner]"),
        ("a.py::test_x[one-of-2]", "a.py::test_x[one-of-2]"),
    ],
)
def test_which_of_the_times_it_was_is_no_part_of_its_name(nodeid: str, name: str) -> None:
    assert plays.named(nodeid) == name


def play(minute: int, scenario: str, result: str) -> Play:
    return Play(f"2026-11-28T12:{minute:02}:00Z", "abc", scenario, result, 90, 1.5)


def test_a_failure_begins_the_row_anew_and_order_is_that_of_time() -> None:
    told = [play(4, "x", "passed"), play(1, "x", "passed"), play(2, "x", "failed"), play(3, "y", "failed")]
    assert {name: [p.time[14:16] for p in row] for name, row in plays.in_a_row(told).items()} == {"x": ["04"], "y": []}


def test_a_line_is_read_as_it_was_written_and_names_the_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = ("git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example")
    for name in plays.PRODUCT:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("1")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "all")):
        subprocess.run((*git, *words), check=True)
    clean = plays.product(tmp_path)
    (tmp_path / "roles" / "file").write_text("2")
    assert not clean.endswith("+") and plays.product(tmp_path) == f"{clean}+"
    monkeypatch.setattr(plays, "product", lambda: clean)
    file = tmp_path / "plays.tsv"
    plays.record(file, "a.py::test_x[1of3]", True, 12.6)
    plays.record(file, "a.py::test_x[2of3]", False, 12.6)
    read = [Play.from_line(line) for line in file.read_text().splitlines()]
    assert [(p.scenario, p.result, p.seconds, p.product) for p in read] == [
        ("a.py::test_x", "passed", 13, clean),
        ("a.py::test_x", "failed", 13, clean),
    ]

"""Whether a scenario has passed three times in a row is read from a file, not from somebody's memory."""

from __future__ import annotations

import argparse
import datetime
import subprocess
from pathlib import Path

import pytest

from tests.story import playing, plays
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
    assert [(p.scenario, p.result, p.seconds, p.product) for p in plays.noted(file)] == [
        ("a.py::test_x", "passed", 13, clean),
        ("a.py::test_x", "failed", 13, clean),
    ]


@pytest.mark.parametrize(
    ("rows", "begun", "failed", "chosen"),
    [
        ({"x": 3, "y": 1, "z": 2}, {}, {}, "z"),  # lacks least
        ({"x": 3, "y": 1}, {}, {}, "z"),  # never passed
        ({"x": 3, "y": 1, "z": 2}, {"z": 1}, {}, "y"),  # the other one first, that none waits for all of one's plays
        ({"x": 3, "y": 1, "z": 2}, {"y": 1, "z": 1}, {"z": 2}, "y"),
        ({"x": 3, "y": 3, "z": 3}, {}, {}, None),
        ({"x": 3, "y": 3}, {"z": 2}, {"z": 2}, None),  # somebody must look at it
    ],
)
def test_what_is_played_next(
    rows: dict[str, int], begun: dict[str, int], failed: dict[str, int], chosen: str | None
) -> None:
    told = {name: [play(n, name, "passed") for n in range(count)] for name, count in rows.items()}
    assert playing.pick("xyz", told, begun, failed) == chosen


def test_one_run_of_pytest_plays_several_and_none_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [play(n, name, "passed") for name, count in (("e", 2), ("c", 2), ("d", 3)) for n in range(count)]
    monkeypatch.setattr(playing, "noted", lambda: told)
    later = datetime.datetime.now() + datetime.timedelta(hours=1)  # noqa: DTZ005 - as the program itself
    players = playing.Players(dict.fromkeys("abcdef", ""), later)
    assert [players._next(), players._next(), players._next()] == [list("abfc"), list("eabf"), list("ceab")]
    assert playing.Players(dict.fromkeys("cd", ""), later)._next() == ["c"]
    assert playing.Players(dict.fromkeys("ab", ""), later - datetime.timedelta(hours=2))._next() == []


def test_a_time_of_the_day_is_the_next_one() -> None:
    now = datetime.datetime.now()  # noqa: DTZ005 - as the program itself
    for minutes in (-90, 90):
        at = playing.behind(f"{now + datetime.timedelta(minutes=minutes):%H:%M}")
        assert now < at <= now + datetime.timedelta(days=1)
    with pytest.raises(argparse.ArgumentTypeError, match="25:00"):
        playing.behind("25:00")

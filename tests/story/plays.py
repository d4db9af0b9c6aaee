"""Which scenario was played when, on which product, and how it ended: "three times in a row" is counted here.

    HOLDFAST_PLAYS=docs/plays.tsv HOLDFAST_LAB=name python -m pytest tests/full    appends a line a scenario
    python -m tests.story.plays                                                    how often each has passed in a row

A line holds, between tabs: when it ended (UTC, ISO 8601), the product (hash of the trees that are deployed, `+` with
changes that were not committed), the scenario (pytest's node id without TIMES), the result (passed, failed), how long
it took with the stage's way back (seconds), and the load average of the machine at its end.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .machines import ROOT

FILE = ROOT / "docs" / "plays.tsv"
PRODUCT = ("plugins", "roles", "playbooks", "inventories")
WANTED = 3


@dataclass(frozen=True)
class Play:
    time: str
    product: str
    scenario: str
    result: str
    seconds: int
    load: float

    def line(self) -> str:
        return "\t".join((self.time, self.product, self.scenario, self.result, str(self.seconds), f"{self.load:.1f}"))

    @classmethod
    def from_line(cls, line: str) -> Play:
        """Raises ValueError for what is no line of this file."""
        time, product, scenario, result, seconds, load = line.split("\t")
        return cls(time, product, scenario, result, int(seconds), float(load))


def product(root: Path = ROOT) -> str:
    """Of the trees that a deploy reads; the commit alone would change with every word in a document."""

    def git(*words: str) -> str:
        return subprocess.run(("git", "-C", str(root), *words), capture_output=True, text=True, check=True).stdout

    trees = git("rev-parse", *(f"HEAD:{name}" for name in PRODUCT))
    changed = git("status", "--porcelain", "--", *PRODUCT)
    return hashlib.sha256(trees.encode()).hexdigest()[:8] + ("+" if changed else "")


def named(nodeid: str) -> str:
    """Without which of the TIMES it was."""
    inner = re.sub(r"(?<=[\[-])\d+of\d+-?(?=[^\[]*\]$)", "", nodeid)
    return re.sub(r"-?\]$", "]", inner).removesuffix("[]")


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def noted(file: Path = FILE) -> list[Play]:
    return [Play.from_line(line) for line in file.read_text().splitlines()]


def record(file: Path, nodeid: str, passed: bool, seconds: float) -> None:
    play = Play(now(), product(), named(nodeid), "passed" if passed else "failed", round(seconds), os.getloadavg()[0])
    with file.open("a") as to:  # a line is written at once: several labs may append
        to.write(play.line() + "\n")


def in_a_row(plays: list[Play]) -> dict[str, list[Play]]:
    """For each scenario those at its end that passed one after the other, the oldest first."""
    found: dict[str, list[Play]] = {}
    for play in sorted(plays, key=lambda p: p.time):
        row = found.setdefault(play.scenario, [])
        row.append(play) if play.result == "passed" else row.clear()
    return found


def main() -> int:
    rows = in_a_row(noted())
    for scenario, row in sorted(rows.items()):
        trees = " ".join(dict.fromkeys(p.product for p in row))
        print(f"{len(row):3} in a row  {scenario}  {'last ' + row[-1].time[:10] if row else 'failed last'}  {trees}")
    enough = sum(len(row) >= WANTED for row in rows.values())
    print(f"{enough} of {len(rows)} scenarios have passed {WANTED} times in a row")
    return 0


if __name__ == "__main__":
    sys.exit(main())

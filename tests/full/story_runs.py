"""The story of 100 letters again and again, with the power cut at a random moment of each.

    python -m tests.full.story_runs [--runs 20] [--seed N] [--lab NAME] [--add]

The owner moves with each run, so runs away from home (store beyond the line) and at home take turns. Prints a line a
run and the sum of all; build/story-runs.json holds everything, build/story-runs.md the table of docs/performance.md.
A run that fails ends nothing: the next one begins as if nothing had been. Ctrl-C ends after what was done so far.
Run K of seed N cuts where `--seed N+K --runs 1` does.

Without --lab (or HOLDFAST_LAB) a lab is made and ended. One that is given must be deployed with
`-- -e monitor_hourly_limit=1000`, since every run is an automatic takeover.

Exit status: 0 all as it must be, 1 not, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from holdfast.core.model import Run

from lab import interrupt
from lab.errors import Interrupted
from tests.full.figures import percentile
from tests.story.coordinator import Records
from tests.story.machines import ROOT, Lab, StoryError
from tests.story.outage import Outage, Post, Result, users
from tests.story.pair import PAIRS, Pair
from tests.story.stage import Stage

INVENTORY = ROOT / "inventories" / "compact"
BUILD = ROOT / "build"
HOME = "mail1"
COUNT, RATE = 100, 2.0
AIM = 10.0  # seconds from the threshold to the first accepted mail, p95 (issue 4)

# Steps of a run that end a part of it. The new host's own dialogue and login is a step `verify` too, the first one.
PARTS = ("fence", "revoke", "own", "store", "address", "start", "verify", "dns", "flush")
FIRST_VERIFY = "dialogue"


@dataclass
class One:
    """One run. `cut`: seconds after the first letter; the times: seconds from the threshold."""

    seed: int
    cut: float
    killed: str = ""
    to: str = ""
    sent: int = 0
    lost: list[str] = field(default_factory=list)
    bounced: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    window: list[str] = field(default_factory=list)  # twice, but a 250 was cut off (RFC 1047)
    accepted: float | None = None
    ends: dict[str, float] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0
    load: float = 0.0

    @property
    def good(self) -> bool:
        return not (self.error or self.lost or self.bounced or self.changed or self.twice)

    def line(self, number: int) -> str:
        where = "home" if self.killed == HOME else "away"
        head = f"{number:3} seed {self.seed}, cut at {self.cut:.1f} s, {self.killed or '?'} ({where})"
        if self.error:
            return f"{head}: FAILED: {self.error}"
        took = "no letter accepted" if self.accepted is None else f"{self.accepted:.1f} s"
        ends = ", ".join(f"{name} +{at:.1f}" for name, at in self.ends.items())
        words = (
            f"{head}: {len(self.lost)} lost, {len(self.bounced)} bounced, {len(self.changed)} changed,"
            f" {len(self.twice)} twice, {len(self.window)} in the window; threshold to first accepted mail {took}"
            f" ({ends}); load {self.load:.0f}"
        )
        bad = [*self.lost, *self.bounced, *self.changed, *self.twice]
        return words + "".join(f"\n      {x}" for x in bad)


def ends(run: Run, threshold: float) -> dict[str, float]:
    """When each part was over, in seconds from the threshold, the first one first."""
    found: dict[str, float] = {}
    for step in sorted((s for s in run.steps if s.end is not None and s.name in PARTS), key=lambda s: s.end or 0.0):
        name = FIRST_VERIFY if step.name == "verify" and FIRST_VERIFY not in found else step.name
        found[name] = (step.end or 0.0) - threshold
    return found


def judged(one: One, result: Result) -> None:
    v = result.verdict
    one.killed, one.to, one.sent = result.owner_before.host, result.run.to_host or "", v.sent
    one.lost, one.bounced, one.changed = v.lost, v.bounced, v.changed
    one.window = v.twice_excused
    one.twice = [f"{x}{' (one queue entry)' if x in v.twice_from_one else ''}" for x in v.twice if x not in one.window]
    if result.threshold is not None:
        one.ends = ends(result.run, result.threshold)
        if result.accepted is not None:
            one.accepted = result.accepted - result.threshold
            # A sender's own next try may come before the relay is told to flush.
            one.ends = dict(sorted({**one.ends, "accepted": one.accepted}.items(), key=lambda e: e[1]))


def moment(seed: int, count: int = COUNT, rate: float = RATE) -> float:
    """Seconds after the first letter: somewhere between the first and the last of them."""
    return random.Random(seed).uniform(0.0, (count - 1) / rate)


def figures(values: Sequence[float]) -> str:
    if not values:
        return "none"
    return f"p50 {percentile(values, 0.5):.1f}, p95 {percentile(values, 0.95):.1f}, max {max(values):.1f} s"


def places(runs: Sequence[One]) -> dict[str, list[One]]:
    """By where the new owner is: beside the store or beyond the line."""
    done = [r for r in runs if not r.error]
    return {
        "beside the store": [r for r in done if r.to == HOME],
        "beyond 30 ms": [r for r in done if r.to and r.to != HOME],
        "all": done,
    }


def spans(run: One) -> dict[str, float]:
    """Seconds of each part by itself."""
    last, found = 0.0, {}
    for name, at in run.ends.items():
        found[name], last = at - last, at
    return found


def summary(runs: Sequence[One], wanted: int) -> str:
    def count(pick: Callable[[One], Sequence[str]]) -> int:
        return sum(len(pick(r)) for r in runs)

    failed = [r for r in runs if not r.good]
    total = (
        f"{len(runs)} of {wanted} runs, {len(runs) - len(failed)} good; {sum(r.sent for r in runs)} letters:"
        f" {count(lambda r: r.lost)} lost, {count(lambda r: r.bounced)} bounced, {count(lambda r: r.changed)} changed,"
        f" {count(lambda r: r.twice)} twice, {count(lambda r: r.window)} twice by a 250 cut off (RFC 1047)"
    )
    out = [total]
    out += [f"  bad: seed {r.seed}: {r.error or 'see above'}" for r in failed]
    for place, some in places(runs).items():
        values = [r.accepted for r in some if r.accepted is not None]
        out.append(f"threshold to first accepted mail, {place} ({len(values)}): {figures(values)}")
        for name in dict.fromkeys(n for r in some for n in r.ends):
            out.append(f"    {name:9} {figures([spans(r)[name] for r in some if name in r.ends])}")
    return "\n".join(out)


def table(runs: Sequence[One]) -> str:
    """As docs/performance.md has it."""
    some = places(runs)
    names = dict.fromkeys(n for r in some["all"] for n in r.ends)
    rows = [
        f"| seconds, p50 / p95 / max | {' | '.join(f'{p} ({len(rs)} runs)' for p, rs in some.items())} |",
        f"|---|{'---|' * len(some)}",
    ]

    def cell(values: Sequence[float]) -> str:
        if not values:
            return ""
        return f"{percentile(values, 0.5):.1f} / {percentile(values, 0.95):.1f} / {max(values):.1f}"

    def row(head: str, pick: Callable[[One], float | None]) -> str:
        found = ([v for r in rs if (v := pick(r)) is not None] for rs in some.values())
        return f"| {head} | {' | '.join(map(cell, found))} |"

    rows += [row(name, lambda r, name=name: spans(r).get(name)) for name in names if name != "accepted"]  # type: ignore[misc]
    rows.append(row("**threshold to first accepted mail**", lambda r: r.accepted))
    return "\n".join(rows) + "\n"


def play(lab: Lab, stage: Stage, seed: int, say: Callable[[str], None]) -> One:
    one = One(seed, moment(seed))
    start = time.monotonic()
    try:
        stage.tidy()
        for store in PAIRS:
            pair = Pair(lab, stage.records, store)
            pair.wait_running()
            pair.wait_whole()
        stage.set_up()
        one.killed = stage.owner().host
        judged(one, Outage(lab, INVENTORY, COUNT, RATE, say, one.cut).play())
    except (StoryError, subprocess.TimeoutExpired) as why:
        one.error = " ".join(str(why).split())[:500]
    one.seconds, one.load = time.monotonic() - start, os.getloadavg()[1]
    return one


def keep(runs: Sequence[One]) -> None:
    BUILD.mkdir(exist_ok=True)
    (BUILD / "story-runs.json").write_text(json.dumps([asdict(r) for r in runs], indent=2) + "\n")
    (BUILD / "story-runs.md").write_text(table(runs))


def kept(file: Path = BUILD / "story-runs.json") -> list[One]:
    found: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    return [One(**one) for one in found]


def made(lab: Lab) -> None:
    limits = ("--", "-e", "monitor_hourly_limit=1000", "-e", "store_hourly_limit=1000")
    lab.word("down", "--purge")
    lab.word("up", "compact", timeout=1800)
    lab.word("deploy", "compact", *limits, timeout=1800)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="story_runs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--lab", default=os.environ.get("HOLDFAST_LAB"))
    parser.add_argument("--add", action="store_true", help="to the runs that build/story-runs.json holds")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell how each run goes on")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f"--runs {arguments.runs}: give at least 1")
    interrupt.install()
    lab = Lab(arguments.lab or "runs")
    runs = kept() if arguments.add else []
    wanted, code = len(runs) + arguments.runs, 0
    print(f"seed {arguments.seed}; {arguments.runs} runs of {COUNT} letters at {RATE:g} a second", flush=True)
    try:
        if arguments.lab is None:
            made(lab)
        stage = Stage(lab, Records(lab), Post(lab, users(INVENTORY)), INVENTORY)
        for number in range(arguments.runs):
            say = (lambda text: print(f"      {text}", flush=True)) if arguments.verbose else (lambda text: None)
            one = play(lab, stage, arguments.seed + number, say)
            runs.append(one)
            keep(runs)
            print(one.line(len(runs)), flush=True)
    except StoryError as why:
        print(f"story_runs: {why}", file=sys.stderr)
        code = 1
    except Interrupted:
        print("story_runs: interrupted", file=sys.stderr)
        code = 130
    finally:
        if arguments.lab is None:
            subprocess.run(lab.command("down", "--purge"), cwd=ROOT, check=False)
    if runs:
        print(f"\n{summary(runs, wanted)}\nfigures: {BUILD / 'story-runs.json'}, {BUILD / 'story-runs.md'}")
        values = [r.accepted for r in runs if r.accepted is not None]
        if values and percentile(values, 0.95) > AIM:
            print(f"the aim, p95 of {AIM:g} s, is not met")
    return code or (0 if all(r.good for r in runs) else 1)


if __name__ == "__main__":
    sys.exit(main())

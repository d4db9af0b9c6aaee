"""Plays what has not yet passed three times in a row, on labs side by side, and notes it (plays.py).

    python -m tests.story.playing --until HH:MM [--skip REGEX] LAB…

Each lab must be up, and deployed as fixtures.py says. Several scenarios make one run of pytest, since a beginning costs
some 25 s; none is begun behind that time (of the day, as date(1) has it). Left out: those that make a lab of their own,
whose node id REGEX finds, or that have failed twice meanwhile. What pytest said lies below build/plays. Ctrl-C ends
what is under way, unnoted.

Exit status: 0 all that was played passed, 1 not all, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from lab import interrupt
from lab.errors import Interrupted

from .machines import ROOT, Lab, StoryError
from .plays import FILE, WANTED, Play, in_a_row, named, noted, now

FOLDERS = ("tests/full", "tests/outages")
OWN_LABS = r"/test_(single_site|external_store|stock_strategy)\.py::"
SAID = ROOT / "build" / "plays"
TOGETHER = 4  # scenarios in one run of pytest
TRIES = 2  # a scenario that has failed so often here is for somebody to look at
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")


def pick(
    scenarios: Iterable[str], rows: Mapping[str, Sequence[Play]], begun: Mapping[str, int], failed: Mapping[str, int]
) -> str | None:
    """First what has not been played here yet; then what never passed, then what lacks least."""
    found = None
    for scenario in scenarios:
        passed = len(rows.get(scenario, ()))
        if passed < WANTED and failed.get(scenario, 0) < TRIES:
            key = (begun.get(scenario, 0), passed > 0, -passed, scenario)
            found = key if found is None else min(found, key)
    return None if found is None else found[-1]


def expression(text: str) -> str:
    """Raises ArgumentTypeError."""
    try:
        re.compile(text)
    except re.error as why:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {why}") from None
    return text


def collected(skip: str | None) -> dict[str, str]:
    """Pytest's node ids by scenario. Raises StoryError."""
    done = subprocess.run((*PYTEST, "--collect-only", *FOLDERS), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StoryError(f"pytest collects nothing: {done.stdout[-300:]}{done.stderr[-300:]}")
    found = {named(line): line for line in done.stdout.splitlines() if "::" in line}
    left_out = "|".join((OWN_LABS, *([skip] if skip else [])))
    return {name: node for name, node in found.items() if not re.search(left_out, name)}


class Players:
    """One for each lab, in a thread of its own."""

    def __init__(self, nodes: Mapping[str, str], until: datetime.datetime) -> None:
        self._nodes = nodes
        self._until = until
        self._choosing = threading.Lock()
        self._begun: Counter[str] = Counter()
        self._ended = threading.Event()
        self._running: dict[str, subprocess.Popen[str]] = {}
        self.failed: Counter[str] = Counter()

    def play(self, labs: Sequence[str]) -> None:
        threads = [threading.Thread(target=self._on, args=(lab,)) for lab in labs]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except Interrupted:
            self._ended.set()
            for process in list(self._running.values()):
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.killpg(process.pid, signal.SIGTERM)
            for thread in threads:
                thread.join()
            raise

    def _next(self) -> list[str]:
        """None is left, or it is time to end: empty."""
        if self._ended.is_set() or datetime.datetime.now() >= self._until:  # noqa: DTZ005 - the machine's own time
            return []
        with self._choosing:
            rows = in_a_row(noted())
            taken: list[str] = []
            while len(taken) < TOGETHER:
                scenario = pick(self._nodes, rows, self._begun, self.failed)
                if scenario is None or scenario in taken:
                    break
                self._begun[scenario] += 1
                taken.append(scenario)
            return taken

    def _on(self, lab: str) -> None:
        environment = {**os.environ, "HOLDFAST_LAB": lab, "HOLDFAST_PLAYS": str(FILE.relative_to(ROOT))}
        while scenarios := self._next():
            begun, command = now(), (*PYTEST, "-s", *(self._nodes[scenario] for scenario in scenarios))
            with subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,  # Ctrl-C is this program's to tell: pytest would note a failure
            ) as process:
                self._running[lab] = process
                said, _ = process.communicate()
                del self._running[lab]
            if self._ended.is_set():
                return
            SAID.mkdir(parents=True, exist_ok=True)
            file = SAID / f"{lab}-{time.time():.0f}.log"
            file.write_text(said)
            ended = {play.scenario: play for play in noted() if play.time >= begun}
            for scenario in scenarios:
                play = ended.get(scenario)  # none: pytest itself came to nothing
                if play is None or play.result != "passed":
                    self.failed[scenario] += 1
                    word = f"FAILED ({file.relative_to(ROOT)})"
                else:
                    word = f"passed in {play.seconds} s"
                print(f"{time.strftime('%T')} {lab}: {word}: {scenario}", flush=True)


def behind(text: str) -> datetime.datetime:
    """The next moment at which a clock shows HH:MM. Raises ArgumentTypeError."""
    try:
        at = datetime.datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time of the day; give HH:MM") from None
    now = datetime.datetime.now()  # noqa: DTZ005
    moment = datetime.datetime.combine(now.date(), at)
    return moment if moment > now else moment + datetime.timedelta(days=1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.story.playing", description=__doc__.split("\n")[0])
    parser.add_argument("--until", type=behind, required=True, metavar="HH:MM")
    parser.add_argument("--skip", type=expression, metavar="REGEX")
    parser.add_argument("labs", nargs="+", metavar="LAB")
    arguments = parser.parse_args()
    interrupt.install()
    try:
        for name in arguments.labs:  # else each scenario would be noted as failed
            if (state := json.loads(Lab(name).word("status", "--json"))["state"]) != "up":
                raise StoryError(f"lab {name} is {state}; bin/lab --name {name} up compact, and deploy it")
        players = Players(collected(arguments.skip), arguments.until)
        players.play(arguments.labs)
    except Interrupted:
        return 130
    except StoryError as why:
        print(f"playing: {why}", file=sys.stderr)
        return 1
    return 1 if players.failed else 0


if __name__ == "__main__":
    sys.exit(main())

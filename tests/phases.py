"""Runs the phases of `make test` one after the other, prints how long each took, and ends with pytest's kind of line.

python -m tests.phases lint unit simulate lab scenario
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from lab import interrupt
from lab.errors import Interrupted

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "tests.xml"  # of the last pytest; molecule.yml and side_effect.yml name it, too
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={RESULTS}"]
LOG = ROOT / "build" / "ansible.log"
OUTAGES = ROOT / "build" / "outages.log"  # side_effect.yml writes it: Ansible shows nothing before its end
RECORD = r"^\d{4}-\d\d-\d\d \S+ p=\d+ u=\S+ n=\S+ [A-Z]+\| "
HOST_FAILED = "UNREACHABLE!|FAILED!"
END_WITHIN = 120  # seconds
SHOWN = 40  # lines, of both ends of a complaint
OUTAGES_SHOWN = 250  # lines of the outages' log; of an interrupted run no more than OUTAGES_LAST
OUTAGES_LAST = 15
# Who reads of a failed run may get no more than its last twenty lines.
WHY_LINES = 9
WHY_WIDTH = 300  # of a longer one its beginning, which names the test or host, and its end, which is the cause
WHY_HEAD = 120
LINTED = ["plugins", "lab", "tests", "molecule"]

# Of molecule's scenarios: those of molecule.yml.
LABS = {"scenario": "molecule", "fig3": "fig3", "full": "network"}

PHASES: dict[str, list[list[str]]] = {
    "lint": [
        ["ruff", "check", *LINTED],
        ["ruff", "format", "--check", *LINTED],
        [
            "mypy",
            "-p",
            "holdfast.core",
            "-p",
            "holdfast.adapters",
            "-p",
            "holdfast.daemons",
            "-p",
            "lab",
            "-p",
            "tests.story",
            "-p",
            "tests.simulation",
            "-p",
            "tests.reachability",
        ],
        ["mypy", "tests/full", "tests/full_network", "tests/outages"],
        ["mypy", "plugins/plugin_utils/network_picture"],
        ["yamllint", "--strict", "."],
        ["ansible-lint", "--offline", "-q"],
    ],
    # Two at a time; what a module prepares is prepared once.
    "unit": [["tests/programs.sh"], [*PYTEST, "-n", "2", "--dist", "loadfile", "tests/unit"]],
    "simulate": [[*PYTEST, "tests/simulation"], [sys.executable, "-m", "tests.simulation"]],
    "lab": [[*PYTEST, "tests/lab"]],
    "scenario": [["molecule", "test", "-s", "default"]],
    "fig3": [["molecule", "test", "-s", "fig3"]],
    "full": [
        [*PYTEST, "tests/full"],
        [*PYTEST, "-m", "full", "tests/outages"],
        ["molecule", "test", "-s", "full"],
        ["env", "HOLDFAST_HALF=paths", "molecule", "test", "-s", "full"],
    ],
}


def strategy_plugins() -> str:
    """Where mitogen's strategy lies, which molecule.yml names: with it a task costs a guest a quarter."""
    found = find_spec("ansible_mitogen")
    if found is None or found.origin is None:
        raise SystemExit("phases: the Python package mitogen is missing; run make setup")
    return str(Path(found.origin).parent / "plugins" / "strategy")


def interrupted(name: str) -> int:
    """Leave no machine behind: molecule, interrupted, leaves its own. pytest's fixtures end theirs by themselves."""
    print(f"\nphases: interrupted in {name}; ending its machines", file=sys.stderr)
    if name in LABS:
        subprocess.run([ROOT / "bin/lab", "--name", LABS[name], "down", "--purge"], check=False)
    if name == "scenario":
        print("== the outages so far", *last(OUTAGES, OUTAGES_LAST), sep="\n", flush=True)
    return 130


def last(log: Path, count: int) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-count:] if log.exists() else []


def call(command: list[str], env: dict[str, str]) -> int:
    """Its status. Interrupted, it gets time to end the machines that it has begun; then Interrupted is raised."""
    child = subprocess.Popen(command, cwd=ROOT, env=env)
    try:
        return child.wait()
    except Interrupted as why:
        if why.number != signal.SIGINT:  # Ctrl-C has reached it already; a second one would cut its end short
            child.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(END_WITHIN)
        child.kill()
        child.wait()
        raise


def records(log: Path, pattern: str) -> list[list[str]]:
    """The lines of each of Ansible's records in whose first two lines the pattern is."""
    text = log.read_text(errors="replace") if log.exists() else ""
    every = [record.rstrip().splitlines() for record in re.split(RECORD, text, flags=re.MULTILINE)]
    return [r for r in every if r and re.search(pattern, "\n".join(r[:2]), re.MULTILINE)]


def complaints(log: Path) -> list[str]:
    """What Ansible said of hosts that failed and of machines before they went; the end of a long log does not."""
    told = records(log, rf"{HOST_FAILED}|^ *cleanup_lab")
    return [line for r in told for line in (r if len(r) <= 2 * SHOWN else [*r[:SHOWN], "…", *r[-SHOWN:]])]


def why(results: Path, log: Path) -> list[str]:
    """The tests that failed with what they said, or else the hosts that failed: the first few, a line or two each."""
    cases = ElementTree.parse(results).iter("testcase") if results.exists() else ()  # noqa: S314  our own pytest's
    told = [
        f"{case.get('classname')}::{case.get('name')}: {' '.join((fault.get('message') or '').split())}"
        for case in cases
        for fault in (*case.iter("failure"), *case.iter("error"))
    ]
    if not told:
        told = [" ".join(line.strip() for line in record) for record in records(log, HOST_FAILED)]
    return [_shortened(line) for line in told[:WHY_LINES]]


def _shortened(line: str) -> str:
    return line if len(line) <= WHY_WIDTH else f"{line[:WHY_HEAD]} … {line[WHY_HEAD + 3 - WHY_WIDTH :]}"


def main(names: list[str]) -> int:
    interrupt.install()
    unknown = [n for n in names if n not in PHASES]
    if unknown:
        print(f"phases: {unknown[0]} is no phase; known: {', '.join(PHASES)}", file=sys.stderr)
        return 2
    env = {
        **os.environ,
        "MYPYPATH": "build/python:.",
        "ANSIBLE_STRATEGY_PLUGINS": strategy_plugins(),
        "PATH": f"{ROOT / 'build/programs/bin'}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_LOG_PATH": str(LOG),
    }
    for log in (LOG, OUTAGES):
        log.unlink(missing_ok=True)
    took: list[tuple[str, float, str]] = []
    failed = 0
    for name in names:
        start = time.monotonic()
        print(f"== {name} (load {os.getloadavg()[0]:.1f})", flush=True)
        bad = None
        for command in PHASES[name]:
            RESULTS.unlink(missing_ok=True)
            try:
                code = call(command, env)
            except Interrupted:
                return interrupted(name)
            if code != 0:
                bad = " ".join(command)
                break
        if outages := last(OUTAGES, OUTAGES_SHOWN):
            print("\n== the outages", *outages, sep="\n")
            OUTAGES.unlink()
        failed += bad is not None
        took.append((name, time.monotonic() - start, "passed" if bad is None else f"FAILED: {bad}"))
        if bad is not None:
            break
    if failed and (told := complaints(LOG)):
        print("\n== what Ansible complained of", *told, sep="\n")
    if failed and (reasons := why(RESULTS, LOG)):
        print("\n== why", *reasons, sep="\n")
    print("\n== phases")
    for name, seconds, result in took:
        print(f"{name:10} {seconds:6.0f} s  {result}")
    print(f"{len(took) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

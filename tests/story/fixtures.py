"""pytest's fixtures of all that is played on machines: a lab, and a stage that is tidy before and after.

A conftest.py takes them by `from tests.story.fixtures import *`. HOLDFAST_LAB names a lab that is up and deployed with
`monitor_hourly_limit` and `store_hourly_limit` raised; without it one is made and ended. TIMES: how often each test on
the stage is played in a row. HOLDFAST_PLAYS names a file, from the project's root, in which each play is noted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from . import plays
from .coordinator import Records
from .machines import ROOT, Lab
from .outage import RELAYS, Post, users
from .pair import PAIRS, Pair
from .stage import Stage

__all__ = ["lab", "pair", "post", "pytest_generate_tests", "pytest_runtest_makereport", "records", "stage", "time_over"]

INVENTORY = ROOT / "inventories" / "compact"
LIMIT = 60  # automatic takeovers within an hour: outages are played one after the other
LIMITS = ("-e", f"monitor_hourly_limit={LIMIT}", "-e", f"store_hourly_limit={LIMIT}")
TIMES = int(os.environ.get("TIMES") or 1)
PARTS = pytest.StashKey[list[tuple[bool, float]]]()


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    given = os.environ.get("HOLDFAST_LAB")
    made = Lab(given or "full")
    if given is not None:
        yield made
        return
    made.word("down", "--purge")
    try:
        made.word("up", "compact", timeout=1800)
        site = ("ansible-playbook", "-i", str(INVENTORY), str(ROOT / "playbooks" / "site.yml"), *LIMITS)
        made.word("run", "--", *site, timeout=1800)
        yield made
    finally:
        made.word("down", "--purge")


@pytest.fixture(scope="session")
def records(lab: Lab) -> Records:
    return Records(lab)


@pytest.fixture(scope="session")
def post(lab: Lab) -> Post:
    return Post(lab, users(INVENTORY))


@pytest.fixture
def pair(lab: Lab, records: Records) -> Pair:
    return Pair(lab, records)


@pytest.fixture
def stage(lab: Lab, records: Records, post: Post) -> Iterator[Stage]:
    """All hosts up, one owner that runs, empty mailboxes; on failure the journals that tell why."""
    made = Stage(lab, records, post, INVENTORY)
    made.tidy()
    for store in PAIRS:
        one = Pair(lab, records, store)
        one.wait_running()
        one.wait_whole()
    made.set_up()
    yield made
    made.tidy()


@pytest.fixture
def time_over(request: pytest.FixtureRequest) -> int:
    """Which of the TIMES this is."""
    return int(request.param)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if TIMES > 1 and "stage" in metafunc.fixturenames:
        metafunc.fixturenames.append("time_over")
        metafunc.parametrize("time_over", range(1, TIMES + 1), indirect=True, ids=lambda n: f"{n}of{TIMES}")


def _record(item: pytest.Item, report: pytest.TestReport) -> None:
    """All three parts of a test count: a stage that does not come back to its beginning is no scenario that passed."""
    parts = item.stash.setdefault(PARTS, [])
    parts.append((report.passed, report.duration))
    file = os.environ.get("HOLDFAST_PLAYS")
    if report.when == "teardown" and file and not report.skipped:
        plays.record(ROOT / file, item.nodeid, all(passed for passed, _ in parts), sum(took for _, took in parts))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    lab = getattr(item, "funcargs", {}).get("lab")
    _record(item, report)
    if report.when == "call" and report.failed and lab is not None:
        asked = [(relay, "holdfast-monitor") for relay in RELAYS]
        asked += [("mail1", "holdfast-agent"), ("mail2", "holdfast-agent")]
        members = [host for pair in PAIRS.values() for host in pair]
        asked += [(host, f"holdfast-{unit}") for host in members for unit in ("agent", "store-monitor")]
        for host, unit in asked:
            said = lab.shell(host, f"journalctl --no-pager -q -n 40 -u {unit}", check=False)
            report.sections.append((f"{host}: {unit}", said))

"""The lab of the scenario, with a way back to the state in which the next outage begins."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.story.coordinator import Records
from tests.story.machines import ROOT, Lab
from tests.story.outage import RELAYS, Post, users
from tests.story.pair import PAIRS, Pair
from tests.story.stage import Stage

INVENTORY = ROOT / "inventories" / "compact"


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab(os.environ.get("HOLDFAST_LAB", "molecule"))


@pytest.fixture(scope="session")
def records(lab: Lab) -> Records:
    return Records(lab)


@pytest.fixture(scope="session")
def post(lab: Lab) -> Post:
    return Post(lab, users(INVENTORY))


@pytest.fixture
def stage(lab: Lab, records: Records, post: Post) -> Iterator[Stage]:
    """All hosts up, one owner that runs, empty mailboxes; on failure the journals that tell why."""
    made = Stage(lab, records, post, INVENTORY)
    made.tidy()
    for store in PAIRS:
        pair = Pair(lab, records, store)
        pair.wait_running()
        pair.wait_whole()
    made.set_up()
    yield made
    made.tidy()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The story first: it is about the home host, which owns the identity after a deploy; the others move it."""
    items.sort(key=lambda item: item.name != "test_the_story")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call" and report.failed:
        lab = Lab(os.environ.get("HOLDFAST_LAB", "molecule"))
        asked = [(relay, "holdfast-monitor") for relay in RELAYS]
        asked += [("mail1", "holdfast-agent"), ("mail2", "holdfast-agent")]
        members = [host for pair in PAIRS.values() for host in pair]
        asked += [(host, f"holdfast-{unit}") for host in members for unit in ("agent", "store-monitor")]
        for host, unit in asked:
            said = lab.shell(host, f"journalctl --no-pager -q -n 40 -u {unit}", check=False)
            report.sections.append((f"{host}: {unit}", said))

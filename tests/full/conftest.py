"""A lab for the outages that take several minutes.

HOLDFAST_LAB names one that is up and deployed with `-e store_hourly_limit=1000`; without it one is made and ended.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.story.coordinator import Records
from tests.story.machines import ROOT, Lab
from tests.story.outage import Post, users
from tests.story.pair import PAIRS, Pair
from tests.story.stage import Stage

INVENTORY = ROOT / "inventories" / "compact"


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    given = os.environ.get("HOLDFAST_LAB")
    made = Lab(given or "full")
    if given is None:
        made.word("down", "--purge")
        made.word("up", "compact", timeout=1800)
        made.word("deploy", "compact", "--", "-e", "store_hourly_limit=1000", timeout=1800)
    yield made
    if given is None:
        made.word("down", "--purge")


@pytest.fixture
def stage(lab: Lab) -> Iterator[Stage]:
    made = Stage(lab, Records(lab), Post(lab, users(INVENTORY)), INVENTORY)
    made.tidy()
    for store in PAIRS:
        Pair(lab, made.records, store).wait_running()
        Pair(lab, made.records, store).wait_whole()
    made.set_up()
    yield made
    made.tidy()

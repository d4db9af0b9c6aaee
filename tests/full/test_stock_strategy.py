"""The product deploys with Ansible's own strategy too; mitogen only makes the lab faster."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.story.machines import Lab, recap


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab("stock")
    made.word("down", "--purge")
    made.word("up", "compact", timeout=1800)
    yield made
    made.word("down", "--purge")


def test_two_deploys_with_the_stock_strategy(lab: Lab) -> None:
    lab.word("deploy", "--stock", "compact", timeout=1800)
    hosts = recap(lab.word("deploy", "--stock", "compact", timeout=1800))
    assert set(hosts) == {h["name"] for h in json.loads(lab.word("status", "--json"))["hosts"]}
    assert set(hosts.values()) == {(0, 0)}, hosts

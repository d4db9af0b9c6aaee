"""The product deploys with Ansible's own strategy too; mitogen only makes the lab faster."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.story.machines import Lab


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab("stock")
    made.word("down", "--purge")
    made.word("up", "compact", timeout=1800)
    yield made
    made.word("down", "--purge")


def test_two_deploys_with_the_stock_strategy(lab: Lab) -> None:
    lab.word("deploy", "--stock", "compact", timeout=1800)
    said = lab.word("deploy", "--stock", "compact", timeout=1800)
    recap = re.findall(r"^(\w+) .*changed=(\d+) .*failed=(\d+)", said, re.MULTILINE)
    assert {host for host, _, _ in recap} == {h["name"] for h in json.loads(lab.word("status", "--json"))["hosts"]}
    assert {(changed, failed) for _, changed, failed in recap} == {("0", "0")}, recap

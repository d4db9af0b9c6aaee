"""Whether a host that was away may be a candidate again."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from holdfast.core.rejoining import CLOCK_WITHIN, Facts, obstacles

FACTS = Facts(
    host="mail1",
    time=1000.0,
    traces={},
    versions={"postfix": "3.10.5-1", "dovecot-core": "1:2.4.1-1"},
    package="abc",
    drained=None,
    units={"holdfast-agent.service": "active"},
)
PEER = dataclasses.replace(FACTS, host="mail2", time=0.0)


def test_none_when_all_is_well() -> None:
    assert obstacles(FACTS, [], [PEER, FACTS], (999.0, 1001.0)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"traces": {"mx": ("holdfast-postfix@mx.service", "address 203.0.113.10")}},
            "mx is not its own, but there are",
        ),
        ({"units": {"holdfast-agent.service": "failed"}}, "holdfast-agent.service is failed"),
        ({"package": "abd"}, "another one than that of mail2"),
        ({"versions": {"postfix": "3.10.5-1"}}, "dovecot-core is not installed, on mail2 it is 1:2.4.1-1"),
        ({"time": 999.0 - CLOCK_WITHIN - 0.1}, "its clock is -2.1 s off"),
        ({"time": 1001.0 + CLOCK_WITHIN + 3}, "its clock is +5.0 s off"),
    ],
)
def test_each_obstacle(changes: dict[str, Any], said: str) -> None:
    found = obstacles(dataclasses.replace(FACTS, **changes), [], [PEER], (999.0, 1001.0))
    assert len(found) == 1 and said in found[0], found


def test_an_owner_may_run_what_is_its_own() -> None:
    facts = dataclasses.replace(FACTS, traces={"mx": ("holdfast-postfix@mx.service",)})
    assert obstacles(facts, ["mx"]) == []
    assert len(obstacles(facts, ["other"])) == 1


def test_a_clock_is_not_blamed_for_a_slow_question() -> None:
    assert obstacles(FACTS, [], asked=(900.0, 1100.0)) == []


def test_facts_travel_as_json() -> None:
    facts = dataclasses.replace(FACTS, traces={"mx": ("a", "b")}, drained="new disk")
    assert Facts.from_json(facts.to_json()) == facts

"""Asymmetric partitions: one direction of the owner's cables is dead."""

from __future__ import annotations

import time

import pytest
from holdfast.core import keys
from holdfast.core.model import Result, RunState

from tests.story.faults import all_once, dropped, one_way, sending
from tests.story.machines import wait_for
from tests.story.outage import RELAY
from tests.story.service import watched
from tests.story.stage import Stage


@pytest.mark.parametrize(
    ("direction", "name"),
    [("output", "mute"), ("input", "deaf")],
    ids=["hears_and_is_not_heard", "is_heard_and_does_not_hear"],
)
def test_an_owner_with_one_direction_only_is_taken_over(stage: Stage, direction: str, name: str) -> None:
    before, since = stage.owner(), time.time()
    with watched(stage.lab) as service, sending(stage, 30, 1.0, name) as written:
        with one_way(stage.lab, before.host, direction, "internet", "isolated", "storage"):
            held = stage.send_to_relay(3, f"{name}-relay")
            run = stage.wait_run(since, RunState.DONE, 300, hurry=True)
            assert run.proof is not None and (run.proof.level, run.proof.host) == ("power", before.host)
        print(all_once(stage, [*written, *held]))
    print(service)
    after = stage.owner()
    assert (after.host, after.epoch) == (run.to_host, before.epoch + 1) and after.host != before.host


def test_one_direction_of_one_mail_route_moves_nothing(stage: Stage) -> None:
    before, runs = stage.owner(), stage.runs()
    with sending(stage, 30, 1.0, "half") as written:
        with one_way(stage.lab, before.host, "output", "internet"):
            held = stage.send_to_relay(3, "half-relay")
            stage.wait_rounds(6)
            words = stage.evidence(RELAY)["words"]
            assert (words["internet"], words["isolated"]) == (Result.DOWN, Result.OK)
            assert stage.owner() == before
        print(all_once(stage, [*written, *held]))
    assert stage.runs() == runs and stage.wait_running() == before


def test_an_owner_that_cannot_tell_the_coordinator_goes_on(stage: Stage) -> None:
    """Its lease ends, nobody misses its mail service: nothing moves, and the same lease-holder is back afterwards."""
    before, runs = stage.owner(), stage.runs()
    host = before.host
    with watched(stage.lab) as service, sending(stage, 40, 1.0, "untold") as written:
        with dropped(stage.lab, host, ("output", "tcp dport 2379")):
            wait_for("a lost lease", lambda: not stage.records.get(keys.lease(host)), 90)
            held = stage.send_to_relay(3, "untold-relay")
            stage.wait_rounds(6)
            assert stage.owner() == before
        print(all_once(stage, [*written, *held]))
    print(service)
    # On a crowded machine a connection may wait for longer than its second; without a service it is refused.
    assert set(service.failed) <= {"timed out"} and service.longest_gap() < 5, service
    wait_for("a lease", lambda: stage.records.get(keys.lease(host)), 60)
    assert stage.runs() == runs

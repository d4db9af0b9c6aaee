"""The store and the mail service fail together."""

from __future__ import annotations

import time

from holdfast.core.model import RunState

from tests.story.faults import AtStep, all_once, sending
from tests.story.machines import wait_for
from tests.story.pair import Pair
from tests.story.service import watched
from tests.story.stage import Stage


def test_the_owners_of_store_and_identity_lose_power_at_once(stage: Stage, pair: Pair) -> None:
    before, stored, since = stage.owner(), pair.owner(), time.time()
    with watched(stage.lab) as service, sending(stage, 40, 1.0, "twice") as written:
        held = stage.send_to_relay(3, "twice-relay")
        for host in (before.host, stored.host):
            stage.lab.word("kill", host)
        run = stage.wait_run(since, RunState.DONE, 400, hurry=True)
        print(all_once(stage, [*written, *held]))
    print(service)
    after, serves = stage.owner(), pair.wait_running()
    assert (after.host, after.epoch) == (run.to_host, before.epoch + 1) and after.host != before.host
    assert serves.host != stored.host and serves.epoch == stored.epoch + 1
    stage.lab.word("start", stored.host)
    pair.wait_whole()


def test_the_store_fails_in_the_midst_of_a_takeover(stage: Stage, pair: Pair) -> None:
    """Right behind `own`: the new owner has nothing mounted yet."""
    before, stored, since = stage.owner(), pair.owner(), time.time()
    with watched(stage.lab) as service, sending(stage, 40, 1.0, "midst") as written:
        held = stage.send_to_relay(3, "midst-relay")
        stage.lab.word("kill", before.host)
        step = AtStep(stage.lab, "own", "CONT")  # a signal that changes nothing: the moment is what counts
        wait_for("a new owner", lambda: stage.hurried() and step.sent(), 240)
        step.wait(5)
        stage.lab.word("kill", stored.host)
        run = stage.wait_run(since, RunState.DONE, 400, hurry=True)
        print(all_once(stage, [*written, *held]))
    print(service)
    after, serves = stage.owner(), pair.wait_running()
    assert (after.host, after.epoch) == (run.to_host, before.epoch + 1)
    assert serves.host != stored.host and serves.epoch == stored.epoch + 1
    stage.lab.word("start", stored.host)
    pair.wait_whole()

"""Fence devices: fence_virsh, a program of the distribution that knows nothing of this project, and a silent one."""

from __future__ import annotations

import contextlib
import time

from holdfast.core.model import RunState

from tests.story.faults import all_once, dropped, monitor_with, sending
from tests.story.outage import IDENTITY, RELAYS
from tests.story.stage import Stage

SWITCH = "10.10.0.254"  # the lab's
PLAN = {"default": [{"level": "power", "device": "lab-virsh"}]}


def test_what_the_agent_refuses_is_no_fence_and_what_it_does_is_one(stage: Stage) -> None:
    """The owner hangs, so that only its power's end makes sure; first the device refuses, then it obeys."""
    before, since = stage.owner(), time.time()
    host = before.host
    stage.lab.word("switch", "deny", host)
    with monitor_with(stage.lab, fence_plan=PLAN), sending(stage, 40, 1.0, "agent") as written:
        stage.lab.word("pause", host)
        held = stage.wait_run(since, RunState.HELD, 300, hurry=True)
        assert [s.result for s in held.steps if s.name == "fence"] == ["unknown"], held
        assert stage.owner() == before and stage.state(host) == "paused"
        stage.lab.word("switch", "allow", host)
        run = stage.wait_run(since, RunState.DONE, 300, hurry=True)
        print(all_once(stage, written))
    assert run.proof is not None
    assert (run.proof.level, run.proof.method, run.proof.host) == ("power", "lab-virsh", host)
    detail = next(s.detail for s in run.steps if s.name == "fence")
    assert f"fence_virsh off {host}: status 0; asked again: off" in detail, detail
    assert stage.state(host) == "off"
    assert stage.owner().epoch == before.epoch + 1 and stage.owner(IDENTITY).host != host


def test_a_device_that_says_nothing_is_no_fence_and_the_run_goes_on_when_it_speaks(stage: Stage) -> None:
    """Its answer may take longer than any lock lives: whoever waits for it must not lose what protects the run."""
    before, since = stage.owner(), time.time()
    with sending(stage, 40, 1.0, "silent") as written:
        with contextlib.ExitStack() as deaf:
            for relay in RELAYS:
                # From port 22 the relay answers those who play this.
                deaf.enter_context(dropped(stage.lab, relay, ("output", f"ip daddr {SWITCH} tcp sport != 22")))
            stage.lab.word("pause", before.host)
            held = stage.wait_run(since, RunState.HELD, 400, hurry=True)
            # The switch, and an operator who was not asked.
            assert [s.result for s in held.steps if s.name == "fence"] == ["unknown", "unknown"], held
            assert held.proof is None and stage.owner() == before and stage.state(before.host) == "paused"
        run = stage.wait_run(since, RunState.DONE, 300, hurry=True)
        print(all_once(stage, written))
    assert run.proof is not None and (run.proof.level, run.proof.host) == ("power", before.host)
    assert stage.state(before.host) == "off" and stage.owner().epoch == before.epoch + 1

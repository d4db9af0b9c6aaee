"""A wall clock is stepped by an hour."""

from __future__ import annotations

import contextlib

import pytest
from holdfast.core.model import RunState

from tests.story.faults import HOUR, all_once, sending, stepped
from tests.story.machines import wait_for
from tests.story.outage import IDENTITY, RELAY, RELAYS
from tests.story.pair import Pair
from tests.story.service import watched
from tests.story.stage import Stage


@pytest.mark.parametrize("hours", [1, -1])
@pytest.mark.parametrize("who", ["owner", "standby", "relay", "store owner"])
def test_a_stepped_clock_moves_nothing(stage: Stage, pair: Pair, who: str, hours: int) -> None:
    before, stored, runs = stage.owner(), pair.owner(), stage.runs()
    host = {"owner": before.host, "standby": stage.standby(), "relay": RELAY, "store owner": stored.host}[who]
    with watched(stage.lab) as service, sending(stage, 20, 1.0, "clock") as written:
        with stepped(stage.lab, host, hours * HOUR):
            held = stage.send_to_relay(2, "clock-relay")
            stage.wait_rounds(5)
            assert stage.wait_running() == before
        stage.wait_rounds(5)
        print(all_once(stage, [*written, *held]))
    print(service)
    assert stage.wait_running() == before and pair.owner() == stored
    assert stage.runs() == runs


@pytest.mark.parametrize("hours", [1, -1])
@pytest.mark.parametrize("who", ["standby", "relays"])
def test_a_takeover_in_spite_of_a_stepped_clock(stage: Stage, who: str, hours: int) -> None:
    """The owner dies while the clock of who must act is wrong."""
    before = stage.owner()
    wrong = {"standby": (stage.standby(),), "relays": tuple(RELAYS)}[who]
    with watched(stage.lab) as service, contextlib.ExitStack() as clocks:
        for host in wrong:
            clocks.enter_context(stepped(stage.lab, host, hours * HOUR))
        stage.lab.word("kill", before.host)
        written = stage.send_to_relay(3, "clock-cut")

        def moved() -> bool:
            stage.hurried()
            return stage.owner().epoch == before.epoch + 1

        wait_for("a new owner", moved, 240)
        run = stage.records.run(IDENTITY)
        assert run is not None and run.proof is not None
        stage.wait_running()
        print(all_once(stage, written))

    def done() -> bool:
        run = stage.records.run(IDENTITY)
        return run is not None and (run.epoch, run.state) == (before.epoch + 1, RunState.DONE)

    wait_for("the end of the run", done, 60)
    print(service)

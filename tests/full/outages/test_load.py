"""Three minutes without processor time are no outage."""

from __future__ import annotations

import time

from tests.story.faults import all_once, busy, sending
from tests.story.outage import RELAY
from tests.story.pair import Pair
from tests.story.service import watched
from tests.story.stage import Stage

SECONDS = 180


def test_three_minutes_of_starvation_move_nothing(stage: Stage, pair: Pair) -> None:
    """Each of these hosts has one processor, and three programs that want all of it; the machine has two for all."""
    before, stored, runs = stage.owner(), pair.owner(), stage.runs()
    hosts = {before.host: 3, RELAY: 3, stored.host: 3, pair.standby(): 3}
    end = time.monotonic() + SECONDS
    with watched(stage.lab) as service, sending(stage, 60, 0.5, "load") as written:
        with busy(stage.lab, hosts, SECONDS):
            held = stage.send_to_relay(3, "load-relay")
            while time.monotonic() < end:
                assert stage.owner() == before and pair.owner() == stored
                time.sleep(5)  # the load's own time passes
        print(all_once(stage, [*written, *held]))
    print(service)
    assert stage.wait_running() == before and pair.owner() == stored
    assert stage.runs() == runs

"""Each component is lost while mail flows on all six ways: nothing lost, nothing bounced, and it comes back by itself.

What is printed for each, and kept in build/network-losses.{json,md}: the longest time in which nobody took a letter on
a way, from a moment before the fault until letters flow with it again, and the longest delay of a letter that was begun
then. A stock sender with a letter in its queue is told to try again when the component is back (its own next try is up
to five minutes away).

HOLDFAST_LOSSES=WORDS plays those alone whose name has the words.
"""

from __future__ import annotations

import os
import time

import pytest

from tests.full_network.flow import PERIOD, Flow, flowing
from tests.full_network.letters import Window, came_meanwhile, keep_losses, loss_in, losses_table
from tests.full_network.losses import Make, all_losses, named
from tests.full_network.network import Network, Way
from tests.full_network.stage import NetworkStage, Phases
from tests.story.machines import ROOT

KEPT = ROOT / "build" / "network-losses.json"
PATHS = ("routers and redirectors", "lines")  # what leads to servers
WORDS = os.environ.get("HOLDFAST_LOSSES", "")
LOSSES = {
    group: {name: make for name, make in some.items() if WORDS in name}
    for group, some in all_losses(Network.load()).items()
}


def play(stage: NetworkStage, ways: list[Way], flow: Flow, component: str, make: Make) -> Window:
    """Everything is on, and in rotation, before it and behind it."""
    loss, phases = make(stage), Phases()
    print(f"\n{component}: {', '.join(loss.hosts)}")
    fault = time.time()
    try:
        loss.cut()
        quiet = (*loss.still, *loss.held, *loss.unseen)
        if len(quiet) < len(ways):
            flow.wait_flowing(fault, 600, named(ways, quiet))
        flow.wait_accepted(fault, named(ways, (*loss.held, *loss.unseen)), 600)
        phases.ended("letters flow without it")
        loss.settled()
        phases.ended("settled")
        time.sleep(max(0.0, fault + loss.least - time.time()))  # for so long it is away: a time here, no condition
    finally:
        phases.ended("away for long enough")
        mending = time.time()
        loss.mend()
    mended = time.time()
    phases.ended("mended")
    loss.returned()
    back = time.time()
    phases.ended("back in rotation")
    stage.retry_of_senders()
    flow.wait_flowing(mended)
    stage.all_at_home()
    phases.ended("letters flow with it, all at home")
    unseen = named(ways, loss.unseen)
    return Window(component, ", ".join(loss.hosts), fault, mending, back, time.time(), unseen, os.getloadavg()[0])


@pytest.mark.parametrize(
    "group",
    [
        pytest.param(g, id=f"{g}: {WORDS}" if WORDS else g, marks=[pytest.mark.paths] if g in PATHS else [])
        for g, some in LOSSES.items()
        if some
    ],
)
def test_nothing_is_lost_with(stage: NetworkStage, ways: list[Way], group: str) -> None:
    phases = Phases()
    with flowing(stage, ways) as flow:
        flow.wait_flowing(flow.begun)
        phases.ended("letters flow")
        windows = [play(stage, ways, flow, component, make) for component, make in LOSSES[group].items()]
    phases.ended("all of them")
    report = flow.report()
    phases.ended("judged")
    sent = flow.sent()
    rows = [loss_in(window, sent, report, PERIOD) for window in windows]
    KEPT.with_suffix(".md").write_text(losses_table(keep_losses(rows, KEPT)))
    print(f"\n{losses_table(rows)}")
    assert report.mistakes == []
    for window in windows:
        for way in window.unseen:
            came = came_meanwhile(sent, way, report.arrived[way], window.fault, window.mending)
            assert came, f"{window.component}: {way}: nothing arrived before it was back"

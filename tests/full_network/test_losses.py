"""Each component is lost while mail flows on all six ways: nothing lost, nothing bounced, and it comes back by itself.

What is printed for each, and kept in build/network-losses.{json,md}: the longest time in which nobody took a letter on
a way, from a moment before the fault to the flow's end, and the longest delay of a letter. A stock sender with a letter
in its queue is told to try again when the component is back (its own next try is up to five minutes away).
"""

from __future__ import annotations

import os
import time

import pytest

from tests.full_network.flow import PERIOD, flowing
from tests.full_network.letters import Loss, came_meanwhile, keep_loss, losses_table
from tests.full_network.losses import all_losses, named
from tests.full_network.network import Network, Way
from tests.full_network.stage import NetworkStage
from tests.story.machines import ROOT

KEPT = ROOT / "build" / "network-losses.json"
LOSSES = all_losses(Network.load())


class Phases:
    """Where a play's time goes."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._took: list[str] = []

    def ended(self, what: str) -> None:
        now = time.monotonic()
        self._took.append(f"{what} {now - self._at:.0f} s")
        self._at = now

    def __str__(self) -> str:
        return ", ".join(self._took)


@pytest.mark.parametrize("component", LOSSES)
def test_the_loss_of(stage: NetworkStage, ways: list[Way], component: str) -> None:
    loss = LOSSES[component](stage)
    phases = Phases()
    with flowing(stage, ways) as flow:
        flow.wait_flowing(flow.begun)
        phases.ended("letters flow")
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
        phases.ended("letters flow with it")
    report = flow.report(begin=fault - PERIOD, end=flow.ended)
    phases.ended("judged")
    way, gap = report.longest_gap
    slow, delay = report.longest_delay
    excused = len(report.verdict.twice_excused)
    load = os.getloadavg()[0]
    row = Loss(
        component, ", ".join(loss.hosts), report.verdict.sent, gap, way, delay, slow, excused, back - fault, load
    )
    rows = keep_loss(row, KEPT)
    KEPT.with_suffix(".md").write_text(losses_table(rows))
    print(f"\n{losses_table([row])}{phases}")
    for name, seconds in report.gaps.items():
        delays = report.delays[name]
        print(f"{name:28} {seconds:5.1f} s without a letter taken, {max(delays, default=0.0):5.1f} s the longest delay")
    assert report.mistakes == []
    for name in named(ways, loss.unseen):
        came = came_meanwhile(flow.sent(), name, report.arrived[name], fault, mending)
        assert came, f"{name}: nothing arrived before it was back"

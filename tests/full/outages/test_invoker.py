"""Whoever runs a takeover dies: what it had begun is finished or undone by the next one, and one host owns it."""

from __future__ import annotations

import time

import pytest
from holdfast.core.model import RunState

from tests.story.faults import AtStep, all_once
from tests.story.machines import wait_for
from tests.story.outage import IDENTITY, RELAYS
from tests.story.pair import Pair, Writer
from tests.story.service import watched
from tests.story.stage import Stage

# Something that takes a while follows: the signal must meet a run that is under way.
LONG_BEFORE_THE_NEXT = ("candidate", "fence", "own", "started")
STEPS = ("candidate", "fence", "revoke", "own", "started", "verify", "dns", "flush")


def ask_for_it(stage: Stage) -> float:
    """The threshold is not the matter here. When it was asked for, Unix seconds."""
    stage.records.flag_inoperable(IDENTITY, "invoker")
    return time.time()


def judge(stage: Stage, begun: float, epoch: int, host: str) -> None:
    run = stage.wait_run(begun - 2, RunState.DONE, 240)
    after = stage.wait_running()
    assert (after.epoch, after.host) == (epoch + 1, run.to_host) and after.host != host
    for other in {"mail1", "mail2"} - {after.host}:
        state = stage.state(other)
        assert state == "off" or not stage.runs_here(other), f"{other} has something of it, too"


@pytest.mark.parametrize("step", STEPS)
def test_a_monitor_that_is_killed_behind_a_step(stage: Stage, step: str) -> None:
    before = stage.owner()
    with watched(stage.lab) as service:
        written = stage.send_to_relay(3, f"step-{step}")
        killer = AtStep(stage.lab, step, "KILL")
        begun = ask_for_it(stage)
        relay, killed = killer.wait(150), time.time()
        run = stage.records.run(IDENTITY)
        assert run is not None
        print(f"{relay} was killed; the record is {run.state} behind {run.steps[-1].name}")
        assert step not in LONG_BEFORE_THE_NEXT or run.state is RunState.RUNNING
        judge(stage, begun, before.epoch, before.host)
        print(f"{relay}: done {time.time() - killed:.1f} s behind the kill")
        print(all_once(stage, written))
    print(service)


@pytest.mark.parametrize("step", ["fence", "own"])
def test_a_relay_that_loses_power_behind_a_step(stage: Stage, step: str) -> None:
    """Halted by a signal at that step or the next one (the journal tells of it a moment later), then cut."""
    before = stage.owner()
    written = stage.send_to_relay(3, f"cut-{step}")
    killer = AtStep(stage.lab, step, "STOP")
    begun = ask_for_it(stage)
    relay = killer.wait(150)
    stage.lab.word("kill", relay)
    run = stage.records.run(IDENTITY)
    assert run is not None and run.state is RunState.RUNNING, run
    print(f"{relay} lost its power behind {run.steps[-1].name}")
    assert step in {s.name for s in run.steps}
    judge(stage, begun, before.epoch, before.host)
    stage.start_relay_host(relay)
    print(all_once(stage, written))


@pytest.mark.parametrize("step", ["fence", "own"])
def test_an_invoker_that_wakes_behind_the_end_of_its_lock_does_nothing_more(stage: Stage, step: str) -> None:
    """The other relay has gone on meanwhile; what the sleeper was about to do would be the next step of an old run."""
    before = stage.owner()
    for relay in RELAYS:  # else systemd starts the sleeper anew
        stage.lab.shell(relay, "systemctl service-watchdogs no")
    try:
        written = stage.send_to_relay(3, f"sleep-{step}")
        killer = AtStep(stage.lab, step, "STOP")
        begun = ask_for_it(stage)
        sleeper = killer.wait(150)
        judge(stage, begun, before.epoch, before.host)
        after, run = stage.owner(), stage.records.run(IDENTITY)
        assert run is not None and run.invoker != sleeper
        states = {h["name"]: h["state"] for h in stage.status()}
        woken = int(stage.lab.shell(sleeper, "date +%s"))
        stage.lab.shell(sleeper, "systemctl kill --kill-whom=main --signal=CONT holdfast-monitor")

        def lost() -> bool:
            words = ("-u", "holdfast-monitor", "--since", f"@{woken}")
            return "lock_lost identity=" in stage.lab.run(sleeper, "journalctl", "-q", "--no-pager", *words)

        wait_for("its lock is lost", lost, 60)
        stage.wait_rounds(4)
        assert (stage.owner(), stage.records.run(IDENTITY)) == (after, run)
        assert {h["name"]: h["state"] for h in stage.status()} == states, "nobody's power was cut once more"
        print(all_once(stage, written))
    finally:
        for relay in RELAYS:
            stage.lab.shell(relay, "systemctl service-watchdogs yes")


@pytest.mark.parametrize("step", ["candidate", "fence", "own", "started"])
def test_a_stores_monitor_that_is_killed_behind_a_step(stage: Stage, pair: Pair, step: str) -> None:
    """It runs on the very host that takes the store over; started again, it goes on, and clients only wait."""
    mail, partner = stage.owner(), pair.standby()
    writer = Writer(stage.lab, mail.host, f"killed{int(time.time())}", 90)
    killer = AtStep(stage.lab, step, "KILL", [partner], "holdfast-store-monitor")
    before, cut = pair.cut_owner()
    killer.wait(60)
    run = pair.run()
    assert run is not None and (step != "own" or run.state is RunState.RUNNING), run
    print(f"the record is {run.state} behind {run.steps[-1].name}")
    taken = pair.wait_taken(before, 180)
    after = pair.wait_running()
    assert (after.host, after.epoch) == (partner, before.epoch + 1) and taken.proof is not None
    done = writer.end()
    assert done.error == "" and pair.missing(done) == []
    print(f"stalled for {done.stall().seconds:.1f} s, {done.stall().time - cut:.1f} s behind the cut")
    assert stage.owner() == mail, "a store that moves moves no identity"
    stage.lab.word("start", before.host)
    pair.wait_whole()

"""Two relays, two monitors: evidence of one alone is not enough, and one goes on where the other died in a takeover.

Each takes several minutes, so not in CI.
"""

from __future__ import annotations

import contextlib
import subprocess
import time

from holdfast.core.model import Run, RunState

from tests.story.faults import dropped, halted
from tests.story.machines import StoryError, wait_for
from tests.story.outage import IDENTITY, RELAYS
from tests.story.pair import Pair
from tests.story.stage import ADDRESSES, Stage


def other(relay: str) -> str:
    return next(name for name in RELAYS if name != relay)


def test_a_relay_that_alone_sees_an_outage_moves_nothing(stage: Stage) -> None:
    """It is cut off from the identity on both routes, beyond every limit; owner and other relay are well."""
    before, begun, alone = stage.owner(), time.time(), next(iter(RELAYS))
    with dropped(stage.lab, alone, ("output", f"ip daddr {ADDRESSES[IDENTITY]}")):
        wait_for("its threshold", lambda: stage.evidence(alone).get("passed"), 200, every=3)
        said = f"journalctl -q --no-pager -u holdfast-monitor --since @{begun:.0f}"
        wait_for("its word", lambda: "second_evidence_missing" in stage.lab.shell(alone, said), 60, every=3)
        # Time for what must not happen: two of its rounds.
        downs = stage.evidence(alone)["downs"]
        wait_for("two rounds more", lambda: stage.evidence(alone)["downs"] >= downs + 2, 120, every=3)
        assert not stage.evidence(other(alone))["passed"]
        run = stage.records.run(IDENTITY)
        assert stage.owner() == before and (run is None or run.time < begun)
    written = stage.send_to_relay(2, "alone")
    assert stage.mistakes(written, stage.wait_letters(written)) == []


def running(stage: Stage, since: float) -> Run | None:
    run = stage.records.run(IDENTITY)
    return run if run is not None and run.time >= since and run.state is RunState.RUNNING else None


def test_an_invoker_that_dies_with_the_proof_in_hand_is_followed_by_the_other_relay(stage: Stage) -> None:
    """It waits for the store's word, behind the fence and before a new owner, when its power fails."""
    before = stage.owner()
    server = Pair(stage.lab, stage.records).owner().host
    with halted(stage.lab, server, "holdfast-store"):
        _, fault = stage.kill_owner()
        written = stage.send_to_relay(3, "proof")

        def fenced() -> Run | None:
            run = running(stage, fault)
            return run if run is not None and run.proof is not None and run.revoke_epoch == before.epoch else None

        first = wait_for("a run with a proof", fenced, 240, every=0.5)
        stage.lab.word("kill", first.invoker)
        assert stage.owner() == before
    done = stage.wait_run(fault, RunState.DONE, 240)
    assert done.invoker == other(first.invoker) and done.run != first.run
    assert stage.owner().epoch == before.epoch + 1 and stage.owner().host != before.host
    stage.start_relay_host(first.invoker)
    boxes = stage.wait_letters(written, 240)
    assert stage.mistakes(written, boxes) == []


def test_an_invoker_that_dies_behind_the_change_of_owner_is_finished_by_the_other_relay(stage: Stage) -> None:
    before, standby = stage.owner(), stage.standby()
    _, fault = stage.kill_owner()
    written = stage.send_to_relay(3, "owned")

    def owned() -> Run | None:
        run = running(stage, fault)
        return run if run is not None and stage.owner().run == run.run else None

    first = wait_for("a new owner", owned, 240, every=0.3)
    stage.lab.word("kill", first.invoker)
    still = stage.records.run(IDENTITY)
    assert still is not None and still.state is RunState.RUNNING, "it had ended before it was killed: nothing was tried"
    done = stage.wait_run(fault, RunState.DONE, 240)
    assert (done.run, done.invoker) == (first.run, other(first.invoker))
    assert (stage.owner().host, stage.owner().epoch) == (standby, before.epoch + 1)
    stage.start_relay_host(first.invoker)
    boxes = stage.wait_letters(written, 240)
    assert stage.mistakes(written, boxes) == []


def wake_together(stage: Stage) -> None:
    """Both go on in the same moment: the guests have the clock of the machine."""
    when = time.time() + 5
    wake = f"while [ $(date +%s) -lt {when:.0f} ]; do sleep 0.02; done; systemctl kill --signal=CONT holdfast-monitor"
    waking = [subprocess.Popen(stage.lab.command("exec", relay, "--", "sh", "-c", wake)) for relay in RELAYS]
    assert [one.wait(60) for one in waking] == [0] * len(RELAYS)


def test_both_relays_race_and_one_of_them_takes_over(stage: Stage) -> None:
    """They stand still, are asked at once and wake together; again until both have gone for the lock in one run."""
    for number in range(1, 6):
        before, begun = stage.wait_running(), time.time()
        wait_for("a standby", lambda: stage.ready(stage.standby()), 120, every=2)
        with contextlib.ExitStack() as still:
            for relay in RELAYS:
                still.enter_context(halted(stage.lab, relay, "holdfast-monitor"))
            stage.records.flag_inoperable(IDENTITY, "race")
            woken = {relay: int(stage.lab.shell(relay, "date +%s")) for relay in RELAYS}
            wake_together(stage)
        written = stage.send_to_relay(2, f"race{number}")
        done = stage.wait_run(begun, RunState.DONE, 240)
        after = stage.wait_running()
        assert (after.host, after.epoch, after.run) == (done.to_host, before.epoch + 1, done.run)
        assert stage.mistakes(written, stage.wait_letters(written, 240)) == []
        asked = f"takeover_asked identity={IDENTITY} "
        runs = {
            relay: stage.lab.shell(relay, f"journalctl -q --no-pager -u holdfast-monitor --since @{when}")
            for relay, when in woken.items()
        }
        begun_by = [line for said in runs.values() for line in said.splitlines() if asked in line]
        print(f"race {number}: {done.invoker} won, {len(begun_by)} of 2 went for it")
        stage.lab.word("start", before.host)
        if len(begun_by) == len(RELAYS):
            return
    raise StoryError("no race in five tries: nothing was tried")

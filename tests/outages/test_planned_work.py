"""Planned work: identities change hands between living hosts while letters arrive, and nobody notices."""

from __future__ import annotations

import json
import time

import pytest
from holdfast.core.model import RunState

from tests.story.machines import wait_for
from tests.story.messages import letters
from tests.story.outage import IDENTITY
from tests.story.service import watched
from tests.story.stage import Stage

HOME = "mail1"
# Two cores may carry several labs at once: 31 s were seen at a load of 20, 7 s at 10 (docs/performance.md).
LONGEST_GAP = 60.0


def hand_over(stage: Stage, *words: str, check: bool = True) -> str:
    return stage.playbook("failback.yml", "-e", f"identity={IDENTITY}", *words, check=check)


def away(stage: Stage) -> None:
    """Let another host than the home host own it."""
    if stage.owner().host == HOME:
        hand_over(stage, "-e", f"to={stage.standby()}")
    stage.wait_running()


def test_failback_while_letters_are_sent(stage: Stage) -> None:
    """2 letters a second; home and nowhere else, none lost, none bounced, nobody fenced."""
    away(stage)
    before = stage.owner()
    said = hand_over(stage, "--check")
    assert f"{HOME} owns it at {before.epoch + 1}" in said and stage.owner() == before
    name = f"home{int(time.time())}"
    written, folder = letters(70, name), f"/var/tmp/story/{name}"
    stage.post.hand_over(written, folder)
    with watched(stage.lab) as service:
        sender = stage.post.send(folder, 2.0)
        hand_over(stage, "-e", "reason=test")
        _, error = sender.communicate(timeout=300)
        assert sender.returncode == 0, error.decode()[-500:]
        boxes = stage.wait_letters(written, 300)
    run = stage.records.run(IDENTITY)
    assert run is not None and run.state is RunState.DONE and run.planned
    for step in run.steps:
        print(f"{step.name:10} {step.end - step.start:6.2f} s  {step.result} {step.detail}" if step.end else step.name)
    print(f"{service.longest_gap():.1f} s without service at most; {service.failed or 'no connection failed'}")
    after = stage.owner()
    assert (after.host, after.epoch) == (HOME, before.epoch + 1)
    assert run.proof is not None and (run.proof.level, run.proof.host) == ("handover", before.host)
    assert stage.mistakes(written, boxes) == []
    assert service.longest_gap() < LONGEST_GAP
    assert not stage.runs_here(before.host)
    status = json.loads(stage.lab.word("status", "--json"))
    assert {h["state"] for h in status["hosts"]} == {"on"}, "nobody's power was cut"


@pytest.mark.full
def test_a_fenced_home_host_is_refused_then_rejoins_then_gets_it_back(stage: Stage) -> None:
    if stage.owner().host != HOME:
        hand_over(stage)
    stage.playbook("takeover.yml", "-e", f"identity={IDENTITY}", "-e", "reason=test")
    before = stage.owner()
    assert before.host != HOME
    wait_for("the end of the lease", lambda: not stage.ready(HOME), 60)
    said = hand_over(stage, check=False)
    assert f"{HOME}: fenced for {IDENTITY} by power" in said and "Nothing was changed" in said
    assert stage.owner() == before
    said = stage.playbook("status.yml", "-e", "strict=true", check=False)
    assert f"nobody could take it over: {HOME}: no live lease" in said and "failed=1" in said
    said = stage.playbook("rejoin.yml", "-e", f"host={HOME}", "--check")
    assert f"switch {HOME} on" in said and not stage.ready(HOME)
    stage.playbook("rejoin.yml", "-e", f"host={HOME}")
    assert stage.ready(HOME) and not stage.runs_here(HOME) and stage.owner() == before
    hand_over(stage)
    assert stage.owner().host == HOME
    said = stage.playbook("status.yml", "-e", "strict=true")
    assert IDENTITY in said and "failed=0" in said
    written = stage.send_to_relay(2, "rejoin")
    assert stage.mistakes(written, stage.wait_letters(written)) == []


@pytest.mark.full
def test_an_evacuated_host_owns_nothing_and_takes_nothing_until_that_is_undone(stage: Stage) -> None:
    before = stage.owner()
    said = stage.playbook("evacuate_host.yml", "-e", f"host={before.host}", "-e", "reason='new disk'")
    assert "phase 2: drain" in said and f"{before.host} stops it at epoch {before.epoch}" in said
    after = stage.owner()
    assert after.host != before.host and after.epoch == before.epoch + 1
    said = hand_over(stage, "-e", f"to={before.host}", check=False)
    assert "drained: new disk" in said and stage.owner() == after
    said = stage.playbook("evacuate_host.yml", "-e", f"host={after.host}", check=False)
    assert "refused" in said and stage.ready(before.host) is False
    stage.playbook("evacuate_host.yml", "-e", f"host={before.host}", "-e", "undo=true")
    assert stage.ready(before.host) and stage.owner() == after

"""Fence levels beyond power, on machines."""

from __future__ import annotations

import subprocess
import time

import pytest
from holdfast.core import keys
from holdfast.core.fencing import ConfirmedOff
from holdfast.core.model import RunState

from tests.story.machines import wait_for
from tests.story.outage import IDENTITY, RELAY
from tests.story.stage import Stage

MONITOR = "/etc/holdfast/monitor.yml"


def take_over(stage: Stage, config: str = MONITOR) -> str:
    """By hand, with the plan of that configuration. What Ansible says."""
    words = f"identity={IDENTITY} config={config} reason=trial"
    command = ["ansible", "-i", str(stage.inventory), RELAY, "-m", "holdfast.mail.takeover", "-a", words]
    done = subprocess.run(
        stage.lab.command("run", "--stock", "--", *command),
        capture_output=True,
        text=True,
        check=False,
        cwd=stage.inventory.parent.parent,
    )
    return done.stdout + done.stderr


@pytest.mark.full
def test_an_operators_word_is_a_proof_only_for_a_host_that_is_heard_no_more(stage: Stage) -> None:
    before = stage.owner()
    words = ("-e", f"host={before.host}", "-e", "by=anna", "-e", "reason='pulled both plugs'")
    stage.lab.word("switch", "deny", before.host)
    assert "has a live lease, so it is not off" in stage.playbook("confirm_fenced.yml", *words, check=False)
    stage.kill_owner()
    wait_for("a lost lease", lambda: not stage.records.get(keys.lease(before.host)), 60)
    stage.playbook("confirm_fenced.yml", *words)
    word = ConfirmedOff.from_json(stage.records.get(keys.confirmed_off(before.host))[keys.confirmed_off(before.host)])
    assert (word.by, dict(word.epochs)) == ("anna", {IDENTITY: before.epoch})
    begun = time.time() - 5
    said = take_over(stage)
    run = stage.wait_run(begun, RunState.DONE, 60)
    assert run.proof is not None and (run.proof.level, run.proof.method) == ("operator", "anna"), said
    assert [s.result for s in run.steps if s.name == "fence"] == ["unknown", "proved"]

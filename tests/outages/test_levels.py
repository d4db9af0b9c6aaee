"""Fence levels beyond power, on machines."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

from holdfast.core import keys
from holdfast.core.fencing import ConfirmedOff, MarkState
from holdfast.core.model import RunState

from tests.story.machines import Lab, wait_for
from tests.story.outage import IDENTITY, RELAY
from tests.story.stage import Stage

STORE = "store1"
MONITOR, TRIAL = "/etc/holdfast/monitor.yml", "/etc/holdfast/trial.yml"
CHANGE = """
import json, sys, yaml
source, target, changes = sys.argv[1:]
data = {**yaml.safe_load(open(source)), **json.loads(changes)}
open(target, "w").write(yaml.safe_dump(data))
"""


def changed(lab: Lab, source: str, target: str, **changes: Any) -> None:
    """A configuration of the relay with other values, as `target`."""
    lab.run(RELAY, "python3", "-c", CHANGE, source, target, json.dumps(changes))


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


def dropped(lab: Lab) -> str:
    return lab.shell(STORE, "nft list table inet holdfast_store 2>/dev/null | grep elements; true").strip()


def test_a_living_owner_is_shut_out_by_store_and_agent_until_it_has_been_started_anew(stage: Stage) -> None:
    before = stage.owner()
    level = {"level": "store_revocation", "address_withdrawal": "agent", "timeout": 40}
    changed(stage.lab, MONITOR, TRIAL, fence_plan={"default": [level]})
    begun = time.time() - 5
    said = take_over(stage, TRIAL)
    run = stage.wait_run(begun, RunState.DONE, 30)
    assert run.proof is not None and run.proof.level == "store_revocation", said
    assert f"{before.host} expired and dropped; the agent on {before.host} has stopped it" in run.proof.detail
    assert not stage.runs_here(before.host) and stage.wait_running().host != before.host
    assert "elements" in dropped(stage.lab), "it has not been started anew"
    mark = stage.records.get(keys.fence(before.host, IDENTITY))[keys.fence(before.host, IDENTITY)]
    assert (mark["state"], mark["epoch"]) == (MarkState.PROVED, before.epoch)
    plan = stage.playbook("takeover.yml", "-e", f"identity={IDENTITY}", "--check")
    assert f"{before.host}: fenced for {IDENTITY} by store_revocation" in " ".join(plan.split())
    stage.lab.word("kill", before.host)
    stage.lab.word("start", before.host)
    wait_for(f"{before.host} being ready", lambda: stage.ready(before.host), 120)
    wait_for("a store that drops nobody", lambda: not dropped(stage.lab), 30)


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

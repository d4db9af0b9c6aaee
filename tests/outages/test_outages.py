"""The story and its variants, one after the other on one lab. Each begins with a running owner and empty mailboxes."""

from __future__ import annotations

import json
import time

import pytest
from holdfast.core import keys
from holdfast.core.model import Run, RunState

from tests.story.machines import ROOT, wait_for
from tests.story.outage import IDENTITY, RELAY, RELAY_NAME, RELAYS, Outage
from tests.story.stage import Stage
from tests.story.timeline import as_json, as_svg, as_text

OTHERS = [relay for relay in RELAYS if relay != RELAY]


def test_the_story(stage: Stage) -> None:
    """100 letters at 2 a second, the owner loses power in the middle: all arrive, none bounced, none changed."""
    result = Outage(stage.lab, stage.inventory).play()
    print(as_text(result.events, result.fault))
    report = {**result.report(), "timeline": as_json(result.events, result.fault)}
    (ROOT / "build" / "story.json").write_text(json.dumps(report, indent=2) + "\n")
    (ROOT / "build" / "timeline.svg").write_text(as_svg(result.events, result.fault, "The story"))
    assert result.verdict.mistakes == []
    assert result.verdict.sent == 100 and result.verdict.lost == []
    assert result.owner_after.host != result.owner_before.host
    assert result.owner_after.epoch == result.owner_before.epoch + 1
    runs = [Run.from_json(value) for value in stage.records.get(keys.runs(IDENTITY)).values()]
    assert [r.run for r in runs if r.time >= result.fault] == [result.run.run], "two relays, one invocation"
    assert result.run.proof is not None and result.run.proof.host == result.owner_before.host
    routes = [str(e["text"]).split()[2] for e in as_json(result.events, 0) if e["kind"] == "attempt"]
    assert {"internet", "isolated"} <= set(routes), routes
    assert result.threshold_to_delivery is not None
    print(f"{result.threshold_to_delivery:.1f} s from the threshold to the first delivery")


@pytest.mark.full
def test_a_dead_host_that_comes_back_starts_nothing_and_is_ready_to_take_over(stage: Stage) -> None:
    before = stage.owner()
    standby = stage.standby()
    stage.lab.word("kill", standby)
    stage.lab.word("start", standby)
    wait_for(f"{standby} being ready", lambda: stage.ready(standby), 120)
    assert not stage.runs_here(standby)
    assert stage.owner() == before


@pytest.mark.full
def test_back_before_the_threshold_it_gets_the_held_mail_and_nothing_else_happens(stage: Stage) -> None:
    before = stage.owner()
    host, fault = stage.kill_owner()
    written = stage.send_to_relay(5, "back")
    stage.wait_downs(1)  # three intervals are left for its boot, on a crowded machine too
    assert stage.held() == len(written)
    stage.lab.word("start", host)
    stage.wait_running()
    boxes = stage.wait_letters(written)
    assert stage.mistakes(written, boxes) == []
    assert stage.owner() == before
    run = stage.records.run(IDENTITY)
    assert run is None or run.time < fault


@pytest.mark.full
def test_a_refused_fence_holds_the_mail_until_it_works(stage: Stage) -> None:
    before = stage.owner()
    stage.lab.word("switch", "deny", before.host)
    _, fault = stage.kill_owner()
    written = stage.send_to_relay(5, "fence")
    run = stage.wait_run(fault, RunState.HELD, 240)
    assert run.proof is None and "refused" in run.steps[-1].detail
    assert stage.owner() == before and stage.held() == len(written)
    assert not stage.runs_here(stage.standby())
    stage.lab.word("switch", "allow", before.host)
    done = stage.wait_run(fault, RunState.DONE, 150)
    assert done.proof is not None and stage.owner().epoch == before.epoch + 1
    boxes = stage.wait_letters(written)
    assert stage.mistakes(written, boxes) == []


@pytest.mark.full
def test_a_relay_that_is_restarted_amid_holding_loses_neither_mail_nor_count(stage: Stage) -> None:
    before = stage.owner()
    _, fault = stage.kill_owner()
    written = stage.send_to_relay(5, "relay")
    # The other relay would not have to remember anything.
    for other in OTHERS:
        stage.lab.shell(other, "systemctl stop holdfast-monitor")
    try:
        stage.wait_downs(2, relays=[RELAY])
        stage.lab.word("kill", RELAY)
        stage.lab.word("start", RELAY)
        done = stage.wait_run(fault, RunState.DONE, 240)
    finally:
        for other in OTHERS:
            stage.lab.shell(other, "systemctl start holdfast-monitor")
    assert stage.owner().epoch == before.epoch + 1 and done.proof is not None and done.invoker == RELAY
    boxes = stage.wait_letters(written)
    assert stage.mistakes(written, boxes) == []
    # Two attempts were counted before the restart: a count that begins anew would need four more, 90 s and longer.
    assert done.time - fault < 60 + 3 * 30


@pytest.mark.full
def test_treat_as_inoperable_skips_the_wait_but_not_the_fence(stage: Stage) -> None:
    before = stage.owner()
    start = time.time()
    arguments = f"name={IDENTITY} inoperable=true reason=test"
    stage.lab.word(
        "run", "--", "ansible", "-i", str(stage.inventory), RELAY, "-m", "holdfast.mail.identity", "-a", arguments
    )
    done = stage.wait_run(start - 1, RunState.DONE, 90)
    assert done.proof is not None and done.proof.host == before.host
    status = json.loads(stage.lab.word("status", "--json"))
    assert {h["name"]: h["state"] for h in status["hosts"]}[before.host] == "off"
    written = stage.send_to_relay(2, "flag")
    assert stage.mistakes(written, stage.wait_letters(written)) == []
    assert stage.owner().epoch == before.epoch + 1
    assert keys.inoperable(IDENTITY) in stage.records.get(keys.inoperable(IDENTITY))


@pytest.mark.full
def test_a_takeover_by_hand_says_what_it_would_do_and_then_does_it(stage: Stage) -> None:
    before = stage.owner()
    words = ("-e", f"identity={IDENTITY}", "-e", "reason=test")
    said = stage.playbook("takeover.yml", *words, "--check", "-v")
    assert f"fence {before.host}" in said and stage.owner() == before
    said = stage.playbook("takeover.yml", *words)
    assert stage.owner().epoch == before.epoch + 1 and "changed=1" in said
    stage.wait_running()
    written = stage.send_to_relay(2, "hand")
    assert stage.mistakes(written, stage.wait_letters(written)) == []
    said = stage.playbook("takeover.yml", "-e", "identity=mx.nobody.example", check=False)
    assert "mx.nobody.example" in said and IDENTITY in said, "an unknown identity is refused with the known ones"


def test_without_the_coordinator_the_relay_holds(stage: Stage) -> None:
    before = stage.owner()
    for host in ("relay1", "witness1"):
        stage.lab.shell(host, "systemctl stop etcd")
    try:
        written = stage.send_to_relay(2, "etcd")
        boxes = stage.wait_letters(written)  # a coordinator outage is no mail outage
        assert stage.mistakes(written, boxes, before.host) == []
        stage.lab.word("kill", before.host)
        wait_for(
            "the monitor's word",
            lambda: (
                "coordinator_unreachable"
                in stage.lab.shell(RELAY, f"journalctl -q --no-pager -u holdfast-monitor --since @{stage.begun:.0f}")
            ),
            120,
        )
        held = stage.send_to_relay(2, "etcd-held")
        assert stage.held() == len(held)
    finally:
        for host in ("relay1", "witness1"):
            stage.lab.shell(host, "systemctl start etcd")
    assert stage.owner() == before
    stage.lab.word("start", before.host)
    stage.wait_running()
    stage.wait_letters(held)


@pytest.mark.full
def test_a_full_store_of_the_relay_answers_4xx_and_loses_nothing(stage: Stage) -> None:
    """Room for less than one and a half messages of the largest size is too little to promise anything."""
    server = stage.records.owner("store2")  # where the queue of that relay is
    assert server is not None
    free = int(stage.lab.shell(server.host, "df --output=avail -B1M /srv/store | tail -1"))
    stage.lab.shell(server.host, f"fallocate -l {free - 40}M /srv/store/full")
    try:
        said = stage.lab.shell(
            "client1",
            f"swaks --server {RELAY_NAME} --helo client1.outside.example --from x@outside.example"
            " --to alice@alpha.example 2>&1 || true",
        )
        assert "452 4.3.1" in said, said
    finally:
        stage.lab.shell(server.host, "rm -f /srv/store/full")
    written = stage.send_to_relay(2, "full")
    assert stage.mistakes(written, stage.wait_letters(written)) == []

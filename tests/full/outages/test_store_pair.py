"""A pair of store servers without a fault: no room left, and handed over while it is written to."""

from __future__ import annotations

import time

from holdfast.core.model import RunState

from tests.story.machines import wait_for
from tests.story.outage import CLIENT, IDENTITY, RELAY
from tests.story.pair import STORE, Pair, Writer
from tests.story.stage import Stage


def test_a_full_store_makes_senders_try_later_alarms_and_loses_nothing(stage: Stage, pair: Pair) -> None:
    """Less room than one and a half messages of the largest size: nothing new is promised, and nobody is to blame."""
    before, mail = pair.owner(), stage.owner()
    pair.fill(0)
    try:
        said = stage.lab.shell(
            CLIENT,
            f"swaks --server {IDENTITY} --helo client1.outside.example --from x@outside.example"
            " --to alice@alpha.example 2>&1 || true",
        )
        assert "452 4.3.1" in said, said
        written = stage.send_to_relay(2, "full")

        def alarmed() -> bool:
            words = ("-u", "holdfast-agent", "--since", f"@{stage.begun:.0f}")
            return "store_room store=" in stage.lab.run(before.host, "journalctl", "-q", "--no-pager", *words)

        wait_for("the alarm", alarmed, 40)
        said = stage.playbook("status.yml", "-e", "strict=true", check=False)
        assert f"{STORE}: nearly full: 0 of " in said and "failed=1" in said
        wait_for("an attempt", lambda: stage.evidence(RELAY).get("time", 0) > stage.begun + 40, 90)
        assert stage.evidence(RELAY)["downs"] == 0, "a server that says 452 lives"
        assert stage.held() == len(written)
    finally:
        pair.empty()
    assert stage.mistakes(written, stage.wait_letters(written, 180)) == []
    assert (pair.owner(), stage.owner()) == (before, mail)


def test_an_owner_that_dies_while_its_store_is_full_is_taken_over_and_users_are_let_in(
    stage: Stage, pair: Pair
) -> None:
    """Who would make room in a mailbox must be able to log in, and senders are told to try later."""
    before, stored, since = stage.owner(), pair.owner(), time.time()
    written = stage.send_to_relay(2, "room")
    stage.wait_letters(written)
    pair.fill(0)
    try:
        stage.kill_owner()
        held = stage.send_to_relay(2, "full")
        run = stage.wait_run(since, RunState.DONE, 300, hurry=True)
        after = stage.wait_running()
        assert (after.host, after.epoch) == (run.to_host, before.epoch + 1) and after.host != before.host
        verify = run.step("verify")
        print(verify)
        assert verify is not None and "452" in verify.detail
        have = {m["id"] for box in stage.post.boxes().values() for m in box}
        assert {w.id for w in written} <= have
        assert stage.held() == len(held)
        stage.wait_rounds(6)
        assert stage.owner() == after and pair.owner() == stored, "a server that says 452 lives"
    finally:
        pair.empty()
    stage.lab.word("start", before.host)
    everything = [*written, *held]
    assert stage.mistakes(everything, stage.wait_letters(everything, 240)) == []


def test_a_store_is_handed_over_while_its_clients_write(stage: Stage, pair: Pair) -> None:
    before, mail = pair.owner(), stage.owner()
    writer = Writer(stage.lab, mail.host, f"hand{int(time.time())}", 120)
    stage.playbook("evacuate_host.yml", "-e", f"host={before.host}", "-e", "reason='new disk'")
    run = pair.run()
    assert run is not None and run.state is RunState.DONE and run.planned
    assert run.proof is not None and (run.proof.level, run.proof.host) == ("handover", before.host)
    after = pair.wait_running()
    assert after.epoch == before.epoch + 1 and after.host != before.host and not pair.serves(before.host)
    assert set(pair.insync().members) == set(pair.members), "no write was missed by anybody"
    done = writer.end()
    assert done.error == "" and pair.missing(done) == []
    assert done.replayed() == 0, "a server that leaves has answered all that it did"
    times = {step.name: step for step in run.steps}
    first, last = done.records[0].time, done.records[-1].time
    assert first < times["release"].start and (times["started"].end or 0) < last, "it was written all the time"
    for step in run.steps:
        print(f"{step.name:10} {step.end - step.start:6.2f} s  {step.result} {step.detail}" if step.end else step.name)
    print(f"stalled for {done.stall().seconds:.1f} s")
    said = stage.playbook("failback.yml", "-e", f"identity={STORE}", "-e", f"to={before.host}", check=False)
    assert "drained: new disk" in said and pair.owner() == after
    stage.playbook("rejoin.yml", "-e", f"host={before.host}")
    stage.playbook("failback.yml", "-e", f"identity={STORE}", "-e", f"to={before.host}")
    assert pair.wait_running().host == before.host and stage.owner() == mail
    written = stage.send_to_relay(2, "hand")
    assert stage.mistakes(written, stage.wait_letters(written)) == []

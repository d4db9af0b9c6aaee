"""The pair of store servers: power cuts under write load, a partner that lacks writes, exports that stay."""

from __future__ import annotations

import time

import pytest
from holdfast.core.model import RunState

from tests.story.machines import wait_for
from tests.story.outage import CLIENT, IDENTITY
from tests.story.pair import STORE, Pair, Writer
from tests.story.stage import Stage


@pytest.fixture
def pair(stage: Stage) -> Pair:
    return Pair(stage.lab, stage.records)


def test_a_power_cut_of_the_active_server_stalls_clients_and_loses_nothing(stage: Stage, pair: Pair) -> None:
    mail = stage.owner()
    writer = Writer(stage.lab, mail.host, f"cut{int(time.time())}", 75)
    written_before = stage.send_to_relay(2, "before")
    before, cut = pair.cut_owner()
    letters = stage.send_to_relay(3, "cut")
    run = pair.wait_taken(before)
    after = pair.wait_running()
    assert (after.host, after.epoch) == (run.to_host, before.epoch + 1) and after.host != before.host
    assert run.proof is not None and run.proof.host == before.host
    done = writer.end()
    assert done.error == "", "an error reached a program; a hard mount only stalls"
    stall = done.stall()
    assert stall.time - stall.seconds < cut < stall.time, "the stall is the cut's"
    assert [r for r in done.records if r.time > stall.time], "nothing was written afterwards"
    assert pair.missing(done) == []
    print(f"{len(done.records)} records, stalled for {stall.seconds:.1f} s, {stall.time - cut:.1f} s behind the cut")

    # Exports outlive the server: the owner of the identity, and nobody else.
    etab = stage.lab.shell(after.host, "cat /var/lib/nfs/etab")
    assert etab.count("\n") == 1 and etab.startswith(f"/srv/store/{IDENTITY}\t"), etab
    standby = stage.standby()
    refused = stage.lab.shell(
        standby,
        f"mkdir -p /mnt/t; timeout 20 mount -t nfs4 -o retry=0 10.255.3.1:/srv/store/{IDENTITY} /mnt/t"
        " && echo IN; true",
    )
    assert "IN" not in refused
    assert stage.owner() == mail, "a store that moves moves no identity"
    everything = [*written_before, *letters]
    assert stage.mistakes(everything, stage.wait_letters(everything)) == []

    stage.lab.word("start", before.host)
    pair.wait_whole()
    assert not pair.serves(before.host), "a host that comes back serves nothing"
    assert pair.owner() == after and pair.drbd(after.host).mirrored
    assert pair.missing(done) == []


def test_a_dead_standby_stalls_writes_for_seconds_and_joins_again(stage: Stage, pair: Pair) -> None:
    before, standby = pair.owner(), pair.standby()
    writer = Writer(stage.lab, stage.owner().host, f"standby{int(time.time())}", 45)
    time.sleep(5)  # writes are under way: a time in the middle of them, not a condition
    stage.lab.word("kill", standby)
    wait_for("the standby out of the set", lambda: pair.insync().members == (before.host,), 60)
    done = writer.end()
    assert done.error == "" and pair.missing(done) == []
    assert done.stall().seconds < 20
    print(f"stalled for {done.stall().seconds:.1f} s")
    assert pair.owner() == before
    stage.lab.word("start", standby)
    pair.wait_whole()
    assert pair.owner() == before


def test_a_partner_that_lacks_writes_is_not_promoted_and_the_mail_is_held(stage: Stage, pair: Pair) -> None:
    """The link between the members is cut, writes go on for more than 60 s, then the primary loses power."""
    before, standby = pair.owner(), pair.standby()
    writer = Writer(stage.lab, stage.owner().host, f"link{int(time.time())}", 75)
    cut_link(stage, pair, standby)
    try:
        done = writer.end()
        assert done.error == "" and len([r for r in done.records if r.time > done.stall().time]) > 50
        assert pair.insync().members == (before.host,) and pair.owner() == before
        _, fault = pair.cut_owner()
        held = stage.send_to_relay(3, "link")

        def refused() -> str | None:
            run = pair.run()
            found = run is not None and run.time >= fault and run.state is RunState.HELD
            return run.steps[0].detail if run is not None and found else None

        why = wait_for("a takeover that is held", refused, 90)
        assert f"not in the in-sync set of {STORE} ({before.host})" in why
        run = pair.run()
        assert run is not None and run.proof is None, "nobody is fenced without a way forward"
        assert not pair.serves(standby) and pair.owner() == before
        assert stage.held() == len(held)
        said = stage.lab.shell(standby, f"journalctl -q --no-pager -u holdfast-store-monitor --since @{fault:.0f}")
        assert "takeover_held" in said and "in-sync set" in said
    finally:
        mend_link(stage, standby)
    stage.lab.word("start", before.host)
    assert pair.wait_running() == before
    assert pair.missing(done) == []
    assert stage.mistakes(held, stage.wait_letters(held, 180)) == []
    pair.wait_whole()


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
            return "event=store_room" in stage.lab.run(before.host, "journalctl", "-q", "--no-pager", *words)

        wait_for("the alarm", alarmed, 40)
        said = stage.playbook("status.yml", "-e", "strict=true", check=False)
        assert f"{STORE}: nearly full: 0 of " in said and "failed=1" in said
        wait_for("an attempt", lambda: stage.evidence().get("time", 0) > stage.begun + 40, 90)
        assert stage.evidence()["downs"] == 0, "a server that says 452 lives"
        assert stage.held() == len(written)
    finally:
        pair.empty()
    assert stage.mistakes(written, stage.wait_letters(written, 180)) == []
    assert (pair.owner(), stage.owner()) == (before, mail)


def test_a_store_is_handed_over_while_its_clients_write(stage: Stage, pair: Pair) -> None:
    before, mail = pair.owner(), stage.owner()
    writer = Writer(stage.lab, mail.host, f"hand{int(time.time())}", 45)
    stage.playbook("evacuate_host.yml", "-e", f"host={before.host}", "-e", "reason='new disk'")
    run = pair.run()
    assert run is not None and run.state is RunState.DONE and run.planned
    assert run.proof is not None and (run.proof.level, run.proof.host) == ("handover", before.host)
    after = pair.wait_running()
    assert after.epoch == before.epoch + 1 and after.host != before.host and not pair.serves(before.host)
    assert set(pair.insync().members) == set(pair.members), "no write was missed by anybody"
    done = writer.end()
    assert done.error == "" and pair.missing(done) == []
    for step in run.steps:
        print(f"{step.name:10} {step.end - step.start:6.2f} s  {step.result} {step.detail}" if step.end else step.name)
    print(f"stalled for {done.stall().seconds:.1f} s")
    said = stage.playbook("failback.yml", "-e", f"identity={STORE}", check=False)
    assert "drained: new disk" in said and pair.owner() == after
    stage.playbook("rejoin.yml", "-e", f"host={before.host}")
    stage.playbook("failback.yml", "-e", f"identity={STORE}", "-e", f"to={before.host}")
    assert pair.wait_running().host == before.host and stage.owner() == mail
    written = stage.send_to_relay(2, "hand")
    assert stage.mistakes(written, stage.wait_letters(written)) == []


def cut_link(stage: Stage, pair: Pair, standby: str) -> None:
    """Nothing passes between the members; both reach everybody else."""
    other = {"store1a": "10.1.3.21", "store1b": "10.1.3.22"}[pair.owner().host]
    stage.lab.shell(
        standby,
        "nft -f - <<'END'\ntable inet cut {\n"
        f" chain in {{ type filter hook input priority 0; ip saddr {other} drop; }}\n"
        f" chain out {{ type filter hook output priority 0; ip daddr {other} drop; }}\n}}\nEND",
    )


def mend_link(stage: Stage, standby: str) -> None:
    stage.lab.shell(standby, "nft delete table inet cut 2>/dev/null || true")

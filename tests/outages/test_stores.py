"""The pair of store servers: power cuts under write load, a partner that lacks writes, exports that stay."""

from __future__ import annotations

import time

import pytest
from holdfast.core.model import RunState

from tests.story.faults import dropped, legs
from tests.story.machines import wait_for
from tests.story.outage import IDENTITY
from tests.story.pair import STORE, Pair, Writer
from tests.story.stage import STORE_OF, Stage

STORAGE_LEGS = {"mail1": "10.1.3.11", "mail2": "10.2.3.11", "relay1": "10.1.3.31", "relay2": "10.2.3.31"}


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
    print(f"{done.replayed()} calls were done before the cut and answered behind it")

    # Exports outlive the server: to the owner of each identity, and to nobody else.
    etab = stage.lab.shell(after.host, "cat /var/lib/nfs/etab")
    exports = [line.split("(")[0].split("\t") for line in etab.splitlines()]
    owners = {name: stage.owner(name).host for name in (IDENTITY, *(n for n, s in STORE_OF.items() if s == STORE))}
    assert sorted(exports) == sorted([f"/srv/store/{n}", STORAGE_LEGS[host]] for n, host in owners.items()), etab
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


@pytest.mark.full
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


@pytest.mark.full
def test_a_partner_that_lacks_writes_is_not_promoted_and_the_mail_is_held(stage: Stage, pair: Pair) -> None:
    """The link between the members is cut, writes go on for more than 60 s, then the primary loses power."""
    before, standby = pair.owner(), pair.standby()
    writer = Writer(stage.lab, stage.owner().host, f"link{int(time.time())}", 75)
    other = legs(stage.lab, before.host)["storage"]
    # Nothing passes between the members; both reach everybody else.
    with dropped(stage.lab, standby, ("input", f"ip saddr {other}"), ("output", f"ip daddr {other}")):
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
    stage.lab.word("start", before.host)
    assert pair.wait_running() == before
    assert pair.missing(done) == []
    assert stage.mistakes(held, stage.wait_letters(held, 180)) == []
    pair.wait_whole()

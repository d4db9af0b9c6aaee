"""A cable is pulled: what must move moves, what needn't stays, and every letter is there once."""

from __future__ import annotations

import dataclasses
import time

import pytest
from holdfast.core.model import Result, RunState

from tests.story.coordinator import MEMBER, Records
from tests.story.faults import GATEWAY, all_once, sending, unplugged
from tests.story.machines import wait_for
from tests.story.outage import IDENTITY, RELAY, RELAY_NAME, RELAYS
from tests.story.pair import Pair
from tests.story.service import watched
from tests.story.stage import Stage

HOME = "mail1"  # in the site of the identity's store
ROUNDS = 6  # attempts of the relay; four of them that are `down` are a threshold


@pytest.mark.parametrize(
    ("who", "use"),
    [
        ("owner", "mgmt"),
        ("owner", "internet"),
        ("owner", "isolated"),
        ("standby", "storage"),
        ("relay", "mgmt"),
        ("relay", "internet"),
        ("store owner", "mgmt"),
        ("store standby", "storage"),
        ("witness", "third"),
        # A site without the coordinator: its hosts lose their leases, and serve.
        ("gateway", "first site's storage"),
    ],
)
def test_one_cable_moves_nothing(stage: Stage, pair: Pair, who: str, use: str) -> None:
    if who == "gateway" and stage.owner().host != HOME:
        # Away from the site of its store it would be cut off from that.
        stage.playbook("failback.yml", "-e", f"identity={IDENTITY}")
        stage.wait_running()
    if who == "witness":
        # The member that is asked by the tests, but for this one.
        records = Records(stage.lab, RELAY)
        stage, pair = dataclasses.replace(stage, records=records), dataclasses.replace(pair, records=records)
    before, stored = stage.owner(), pair.owner()
    everybody = {"owner": before.host, "standby": stage.standby(), "relay": RELAY, "gateway": GATEWAY}
    everybody |= {"witness": MEMBER, "store owner": stored.host, "store standby": pair.standby()}
    host = everybody[who]
    runs = stage.runs()
    with watched(stage.lab) as service, sending(stage, 30, 1.0, "cable") as written:
        held = stage.send_to_relay(3, "cable-relay")
        with unplugged(stage.lab, host, use):
            if host == RELAY and use == "mgmt":
                # Nobody can hurry it then; its own evidence says that it goes on.
                seen = stage.evidence(RELAY)["time"]
                wait_for("a round of its own", lambda: stage.evidence(RELAY)["time"] > seen + 30, 120, 5)
            else:
                stage.wait_rounds(ROUNDS)
            assert stage.owner() == before and pair.owner() == stored
            assert stage.runs() == runs
            if who == "owner" and use in ("internet", "isolated"):
                words = stage.evidence(RELAY)["words"]
                other = {"internet": "isolated", "isolated": "internet"}[use]
                assert (words[use], words[other]) == (Result.DOWN, Result.OK)
        if who == "witness":  # which is the lab's name server, too
            stage.sender_tries_again()
        print(all_once(stage, [*written, *held]))
    print(service)
    # Who is outside has no other way to the owner than its Internet cable; the others are no business of his.
    assert (who, use) == ("owner", "internet") or service.longest_gap() < 5
    assert stage.wait_running() == before
    assert stage.runs() == runs


def test_the_owners_way_to_its_store_is_cut(stage: Stage, pair: Pair) -> None:
    """Mail service without files is none: another host takes it over, and the old one is off."""
    before, stored = stage.owner(), pair.owner()
    since = time.time()
    with watched(stage.lab) as service, sending(stage, 30, 1.0, "storage") as written:
        held = stage.send_to_relay(3, "storage-relay")
        with unplugged(stage.lab, before.host, "storage"):
            run = stage.wait_run(since, RunState.DONE, 300, hurry=True)
            assert run.proof is not None and (run.proof.level, run.proof.host) == ("power", before.host)
            after = stage.owner()
            assert (after.host, after.epoch) == (run.to_host, before.epoch + 1) and after.host != before.host
        print(all_once(stage, [*written, *held]))
    print(service, f"taken over {run.time - since:.1f} s behind the cut")
    assert pair.owner() == stored


def test_both_mail_routes_of_the_owner_are_cut(stage: Stage) -> None:
    """Nobody reaches it, while it keeps its lease: both relays say so."""
    before, since = stage.owner(), time.time()
    with watched(stage.lab) as service, unplugged(stage.lab, before.host, "internet", "isolated"):
        written = stage.send_to_relay(5, "both")
        run = stage.wait_run(since, RunState.DONE, 300, hurry=True)
        assert "agrees" in run.reason, "not the lease: it lives"
        assert run.proof is not None and (run.proof.level, run.proof.host) == ("power", before.host)
        print(all_once(stage, written))
    print(service)
    after = stage.owner()
    assert (after.host, after.epoch) == (run.to_host, before.epoch + 1) and after.host != before.host


@pytest.mark.parametrize("cables", [("storage",), ("internet", "isolated", "storage")], ids=["store", "all"])
def test_a_relay_host_that_is_cut_off_loses_its_relay_and_moves_nothing_else(
    stage: Stage, cables: tuple[str, ...]
) -> None:
    """It sees outages wherever it looks, and has no lease: what it says moves nobody, but it is no relay itself."""
    before, relay, runs, since = stage.owner(), stage.owner(RELAY_NAME), stage.runs(), time.time()
    there = [name for name in RELAYS.values() if stage.owner(name).host == relay.host]  # one of two, or both
    with watched(stage.lab) as service, sending(stage, 30, 1.0, "deaf") as written:
        with unplugged(stage.lab, relay.host, *cables):
            run = stage.wait_run(since, RunState.DONE, 300, RELAY_NAME, hurry=True)
            assert run.proof is not None and (run.proof.level, run.proof.host) == ("power", relay.host)
        stage.start_relay_host(relay.host)  # its journal is read for the count of copies
        print(all_once(stage, written))
    print(service)
    moved = {name: stage.wait_run(since, RunState.DONE, 120, name) for name in there}
    after = {name: stage.wait_running(identity=name) for name in there}
    assert {owner.host for owner in after.values()} == {run.to_host} and run.to_host != relay.host
    assert after[RELAY_NAME].epoch == relay.epoch + 1
    stage.wait_rounds(3)
    assert stage.owner() == before and {name: stage.owner(name) for name in there} == after
    assert stage.runs() == {**runs, **{name: one.run for name, one in moved.items()}}


def test_the_store_owners_cable_to_its_clients_is_cut(stage: Stage, pair: Pair) -> None:
    before, mail = pair.owner(), stage.owner()
    since = time.time()
    with watched(stage.lab) as service, sending(stage, 30, 1.0, "store") as written:
        with unplugged(stage.lab, before.host, "storage"):
            run = pair.wait_taken(before, 180)
            assert run.proof is not None and run.proof.host == before.host
            after = pair.wait_running()
            assert after.host != before.host and after.epoch == before.epoch + 1
        print(all_once(stage, written))
    print(service, f"own {next(s.start for s in run.steps if s.name == 'own') - since:.1f} s behind the cut")
    assert stage.owner() == mail, "a store that moves moves no identity"
    stage.lab.word("start", before.host)
    pair.wait_whole()
    assert not pair.serves(before.host) and pair.owner() == after

"""The coordinator loses members."""

from __future__ import annotations

import dataclasses
import time

from holdfast.core import keys
from holdfast.core.model import Result, RunState

from tests.story.coordinator import Records
from tests.story.faults import all_once, sending
from tests.story.machines import wait_for
from tests.story.outage import ADDRESS, RELAY, RELAY_NAME
from tests.story.pair import Pair
from tests.story.service import watched
from tests.story.stage import ADDRESSES, Stage

MAJORITY = ("relay1", "witness1")
TEN_MINUTES = 600


def test_without_a_majority_mail_goes_on_and_nothing_moves(stage: Stage, pair: Pair) -> None:
    """For ten minutes, so that every lease is lost; afterwards everybody takes up where he was."""
    before, stored, runs = stage.owner(), pair.owner(), stage.runs()
    with watched(stage.lab) as service, sending(stage, 60, 0.1, "majority") as written:
        for host in MAJORITY:
            stage.lab.shell(host, "systemctl kill -s KILL etcd; systemctl stop etcd")
        try:
            since = time.monotonic()
            held = stage.send_to_relay(3, "majority-relay")
            stage.wait_rounds(8, 400)
            wait_for("ten minutes", lambda: time.monotonic() - since > TEN_MINUTES, TEN_MINUTES + 60, 5)
            assert stage.runs_here(before.host) and pair.serves(stored.host)
            assert not stage.runs_here("mail1" if before.host == "mail2" else "mail2")
            print(all_once(stage, [*written, *held], owner=before.host))
        finally:
            for host in MAJORITY:
                stage.lab.shell(host, "systemctl start etcd")
    print(service)
    assert service.longest_gap() < 5
    assert stage.wait_running() == before and pair.wait_running() == stored
    for host in (before.host, stage.standby(), stored.host, pair.standby()):
        wait_for(f"a lease of {host}", lambda host=host: stage.records.get(keys.lease(host)), 90)  # type: ignore[misc]
    stage.wait_rounds(4)
    assert stage.runs() == runs
    assert stage.owner() == before and pair.owner() == stored


def test_a_lost_witness_keeps_nobody_from_taking_over(stage: Stage) -> None:
    """It also serves names here: those who ask for them wait for it, mail that is held does not."""
    records = Records(stage.lab, RELAY)
    stage = dataclasses.replace(stage, records=records)
    before, since = stage.owner(), time.time()
    stage.lab.word("kill", "witness1")
    written = stage.send_to_relay(5, "witness", ADDRESSES[RELAY_NAME])
    wait_for("those letters", lambda: stage.held() == 0, 120)
    stage.lab.word("kill", before.host)
    held = stage.send_to_relay(5, "witness-held", ADDRESSES[RELAY_NAME])

    def owned() -> bool:
        stage.hurried()
        return stage.owner().epoch == before.epoch + 1

    wait_for("a new owner", owned, 240, 2)
    print(f"own {time.time() - since:.1f} s behind the witness's end")
    after = stage.owner()
    assert after.host != before.host
    wait_for("the held letters", lambda: stage.hurried() and stage.held() == 0, 240, 3)
    said = stage.lab.shell("client1", f"nc -N -w 5 {ADDRESS} 25 </dev/null || true")
    assert said.startswith("220 mx.alpha.example")
    stage.lab.word("start", "witness1")
    run = stage.wait_run(since, RunState.DONE, 240)
    assert [s.result for s in run.steps if s.name == "dns"][-1] == "ok", "names are told once somebody serves them"
    assert stage.owner() == after and stage.evidence(RELAY)["verdict"] == Result.OK
    print(all_once(stage, [*written, *held]))

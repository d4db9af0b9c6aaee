"""Files on an NFS service from elsewhere: the same takeovers, with the operator's program for a door (R2.8)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from holdfast.adapters.external_nfs import LIST_EVERY
from holdfast.core import keys
from holdfast.core.model import Access, Owner, Run, RunState

from tests.story.coordinator import Records
from tests.story.faults import legs
from tests.story.machines import ROOT, Lab, wait_for
from tests.story.outage import IDENTITY, RELAYS, Outage, Post, users

INVENTORY = ROOT / "inventories" / "external"
STORE, NAS = "nas1", "nas1"
ON_NAS = Path(__file__).parent.parent / "story" / "on_nas"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Its own, unless HOLDFAST_LAB_EXTERNAL names one that is up and deployed."""
    if given := os.environ.get("HOLDFAST_LAB_EXTERNAL"):
        yield Lab(given)
        return
    made = Lab("external")
    made.word("down", "--purge")
    try:
        made.word("up", "external", timeout=1800)
        set_up(made)
        made.word("deploy", "external", "--", "-e", "monitor_hourly_limit=60", timeout=1800)
        yield made
    finally:
        made.word("down", "--purge")


def set_up(lab: Lab) -> None:
    """The service itself, which is no part of the product."""
    lab.run(NAS, "install", "-m", "0755", "/dev/stdin", "/usr/local/sbin/nas", stdin=(ON_NAS / "nas.sh").read_text())
    script = (ON_NAS / "set_up.sh").read_text()
    lab.run(NAS, "sh", "-s", "-", IDENTITY, " ".join(RELAYS.values()), stdin=script)


@pytest.fixture
def records(lab: Lab) -> Records:
    return Records(lab)  # with the secrets of compact, which this inventory shares


def access(records: Records) -> Access:
    key = keys.access(STORE, IDENTITY)
    return Access.from_json(records.get(key)[key])


def opened(lab: Lab) -> set[tuple[str, str]]:
    """Who may mount what, by the service's own word."""
    words = [line.split() for line in lab.run(NAS, "/usr/local/sbin/nas", "list").splitlines()]
    return {(name, address) for name, address in words}


def new_run(records: Records, before: Owner, state: RunState) -> Run | None:
    """The last run, if it is not that which made this owner, and is in that state."""
    run = records.run(IDENTITY)
    return run if run is not None and run.run != before.run and run.state is state else None


def test_a_power_cut_under_load_and_only_the_new_owner_is_let_in(lab: Lab, records: Records) -> None:
    before = records.owner(IDENTITY)
    assert before is not None
    assert {a for name, a in opened(lab) if name == IDENTITY} == {legs(lab, before.host)["storage"]}
    result = Outage(lab, INVENTORY, count=40).play()
    assert result.verdict.mistakes == []
    assert result.owner_after.host != before.host and result.owner_after.epoch == before.epoch + 1
    assert {a for name, a in opened(lab) if name == IDENTITY} == {legs(lab, result.owner_after.host)["storage"]}
    print(result.verdict, f"{result.threshold_to_delivery} s behind the threshold")
    lab.word("start", before.host)


def test_while_the_door_does_not_answer_a_takeover_is_held_and_goes_on_when_it_does(lab: Lab, records: Records) -> None:
    before = records.owner(IDENTITY)
    assert before is not None
    other = next(h for h in ("mail1", "mail2") if h != before.host)
    key = keys.ready(other, IDENTITY)
    wait_for("another host that is ready", lambda: records.get(key).get(key, {}).get("ready"), 120, every=2)
    lab.shell(NAS, "systemctl stop holdfast-store")
    wait_for("its word's end", lambda: not records.get(keys.door(STORE)), 60, every=2)
    try:
        lab.word("kill", before.host)
        records.flag_inoperable(IDENTITY, "door")
        run = wait_for("a held run", lambda: new_run(records, before, RunState.HELD), 180, every=2)
        assert "its manager nas1 is not heard" in run.steps[-1].detail and run.proof is None, "held before a fence"
        assert records.owner(IDENTITY) == before and access(records).admitted == before.host
    finally:
        lab.shell(NAS, "systemctl start holdfast-store")
    wait_for("the takeover", lambda: new_run(records, before, RunState.DONE), 180, every=2)
    after = records.owner(IDENTITY)
    assert after is not None and (after.host, after.epoch) == (other, before.epoch + 1)
    assert Post(lab, users(INVENTORY)).boxes()
    lab.word("start", before.host)


def test_what_somebody_opens_by_hand_is_closed_again(lab: Lab, records: Records) -> None:
    owner = records.owner(IDENTITY)
    assert owner is not None
    other = next(h for h in ("mail1", "mail2") if h != owner.host)
    lab.run(NAS, "/usr/local/sbin/nas", "admit", IDENTITY, legs(lab, other)["storage"])
    assert (IDENTITY, legs(lab, other)["storage"]) in opened(lab)
    wait_for("the door", lambda: (IDENTITY, legs(lab, other)["storage"]) not in opened(lab), 2 * LIST_EVERY, every=2)
    assert (IDENTITY, legs(lab, owner.host)["storage"]) in opened(lab)


def test_a_service_that_is_not_fit_stops_the_deploy_with_its_reason(lab: Lab) -> None:
    broken = (ON_NAS / "nas.sh").read_text().replace("    check)\n", "    check)\n        say 'sync is off'\n")
    lab.run(NAS, "install", "-m", "0755", "/dev/stdin", "/usr/local/sbin/nas", stdin=broken)
    try:
        command = lab.command(
            "run", "--", "ansible-playbook", "-i", str(INVENTORY), "playbooks/site.yml", "--limit", NAS
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=600)
        assert done.returncode != 0
        assert "/usr/local/sbin/nas check: status 1, sync is off" in done.stdout + done.stderr
    finally:
        set_up(lab)

"""Deploys and upgrades that do not go smoothly: a host is off, or dies in its turn, or its certificate ends."""

from __future__ import annotations

import datetime
import json
import subprocess

from cryptography import x509
from holdfast.adapters.pki import Authority, Leaf
from holdfast.core import keys

from tests.story.faults import all_once, sending
from tests.story.fixtures import LIMITS
from tests.story.machines import recap, wait_for
from tests.story.outage import IDENTITY, RELAY
from tests.story.service import watched
from tests.story.stage import Stage

WITNESS = "witness1"


def unready(stage: Stage, host: str) -> str:
    """Why it could not take over, by its own word; nothing if it could or has not spoken."""
    key = keys.ready(host, IDENTITY)
    return "; ".join((stage.records.get(key).get(key) or {}).get("reasons", ()))


def needs(said: str) -> str:
    """What the status says that an operator is to do."""
    return said.partition("What needs an operator")[2]


def test_a_deploy_while_a_member_of_the_coordinator_is_off(stage: Stage) -> None:
    """docs/runbooks/rejoin.md: the others are deployed without it, and it gets what it has missed when it is back."""
    before, runs = stage.owner(), stage.runs()
    stage.lab.word("kill", WITNESS)
    with watched(stage.lab) as service, sending(stage, 60, 1.0, "member") as written:
        hosts = recap(stage.playbook("site.yml", *LIMITS, "--limit", f"all:!{WITNESS}"))
        stage.lab.word("start", WITNESS)
        stage.sender_tries_again()  # it is the sender's name server, too
        print(all_once(stage, written))
    print(service)
    assert WITNESS not in hosts and set(hosts.values()) == {(0, 0)}, hosts
    assert service.longest_gap() < 5 and stage.wait_running() == before and stage.runs() == runs
    hosts = recap(stage.playbook("site.yml", *LIMITS))
    assert WITNESS in hosts and set(hosts.values()) == {(0, 0)}, hosts


def test_a_host_that_has_missed_a_deploy_takes_nothing_over_until_it_has_had_it(stage: Stage) -> None:
    before, standby, runs = stage.owner(), stage.standby(), stage.runs()
    # What decides which mail is taken, or for how long it is kept, is told of; times between tries are not.
    change = ("-e", "mail_queue_lifetime=13d")
    stage.lab.word("kill", standby)
    try:
        stage.playbook("site.yml", *LIMITS, *change, "--limit", f"all:!{standby}")
        stage.lab.word("start", standby)
        remedy = f"deploy it: playbooks/site.yml --limit {standby}"
        word = f"its configuration is older than that of {before.host} ({remedy})"
        wait_for("the word of the host that missed it", lambda: word in unready(stage, standby), 120)
        said = " ".join(stage.playbook("takeover.yml", "-e", f"identity={IDENTITY}", "--check", check=False).split())
        assert word in said and stage.runs() == runs, said[-2000:]
        stage.playbook("site.yml", *LIMITS, *change, "--limit", standby)
        wait_for("its being ready", lambda: stage.ready(standby), 120)
    finally:
        stage.tidy()
        stage.playbook("site.yml", *LIMITS)  # as it was
    assert stage.wait_running() == before


def test_a_deploy_that_does_not_reach_an_owner_says_so_and_fails(stage: Stage) -> None:
    """It would refuse for good what the others accept: docs/runbooks/customers.md."""
    before, runs, change = stage.owner(), stage.runs(), ("-e", "mail_queue_lifetime=12d")
    words = (*LIMITS, *change, "-e", "serving_retries=3", "--limit", f"all:!{before.host}")
    said = " ".join(stage.playbook("site.yml", *words, check=False).split())
    assert f"{IDENTITY}: its owner {before.host} has missed a deploy" in said and "failed=1" in said, said[-3000:]
    stage.playbook("site.yml", *LIMITS, *change, "--limit", before.host)
    stage.playbook("site.yml", *LIMITS)  # as it was
    assert stage.wait_running() == before and stage.runs() == runs


def test_an_upgrade_whose_host_dies_in_its_turn_begins_again_with_it(stage: Stage) -> None:
    before, standby = stage.owner(), stage.standby()
    words = ("run", "--", "ansible-playbook", "-i", str(stage.inventory), "playbooks/rolling_upgrade.yml", *LIMITS)
    with watched(stage.lab) as service, sending(stage, 60, 1.0, "upgrade") as written:
        upgrade = subprocess.Popen(
            stage.lab.command(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=stage.inventory.parent.parent,
        )
        wait_for("its turn", lambda: standby in stage.drained(), 300)
        stage.lab.word("kill", standby)
        said, _ = upgrade.communicate(timeout=900)
        print(all_once(stage, written))
    print(service)
    assert upgrade.returncode != 0 and service.longest_gap() < 5, said[-2000:]
    assert stage.owner() == before, "the next host's turn has not come"
    stage.lab.word("start", standby)
    said = stage.playbook("rolling_upgrade.yml", *LIMITS)
    assert f"1. {standby}: evacuate, deploy, rejoin (an upgrade that stopped has drained it)" in said, said[:3000]
    assert stage.drained() == [] and stage.ready(before.host)
    assert stage.wait_running().host == standby, "the owner had its turn, too"


def grown_old(stage: Stage, host: str, days_left: int) -> None:
    """Its certificate as time makes it, on the controller and on the host: no deploy makes one that ends soon."""
    folder, valid = stage.inventory / "pki", 365
    now = datetime.datetime.now(datetime.UTC)
    found = x509.load_pem_x509_certificate((folder / f"{host}.pem").read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    leaf = Leaf(host, (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))))
    # One hour more: the alarm counts whole days.
    made_at = now - datetime.timedelta(days=valid - days_left) + datetime.timedelta(hours=1)
    Authority(folder, "", valid, days_left, made_at).make(leaf)
    for kind in ("key", "pem"):
        carried = (folder / f"{host}.{kind}").read_bytes()
        stage.lab.run(host, "sh", "-c", f"cat >/etc/holdfast/tls/{host}.{kind}", stdin=carried)


def test_a_certificate_that_ends_is_told_and_made_anew(stage: Stage) -> None:
    standby, before = stage.standby(), stage.owner()
    grown_old(stage, standby, 14)
    told = f"{standby}: its certificate {standby} ends in 14 days"
    wait_for("the status telling it", lambda: told in needs(stage.playbook("status.yml")), 180)
    stage.playbook("site.yml", *LIMITS, "--limit", standby)
    wait_for("nothing to be told", lambda: told not in needs(stage.playbook("status.yml")), 180)
    assert stage.wait_running() == before


def test_an_operator_asks_the_coordinator_by_hand(stage: Stage) -> None:
    owner = stage.owner()
    health = stage.lab.shell(RELAY, "holdfast-etcdctl endpoint health -w json")
    assert [one["health"] for one in json.loads(health)] == [True] * 3, health
    key = keys.owner(IDENTITY)
    said = json.loads(stage.lab.shell(RELAY, f"holdfast-etcdctl get --print-value-only {key}"))
    assert (said["host"], said["epoch"]) == (owner.host, owner.epoch)
    # Who is not root is told so in one line, and no mail host has the operator's password.
    refused = stage.lab.shell(RELAY, "su -s /bin/sh nobody -c 'holdfast-etcdctl get /' 2>&1; echo status $?")
    assert "run it as root on a relay" in refused and "status 1" in refused, refused
    assert "absent" in stage.lab.shell(owner.host, "ls /etc/holdfast/operator.password 2>/dev/null || echo absent")

"""One data centre alone: deployed, mail over all of its ways, and the loss of the mail host (R2.1)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest
from holdfast.core import keys

from tests.story.coordinator import Records
from tests.story.machines import ROOT, Lab, recap, wait_for
from tests.story.messages import ALICE, BOB, ID_HEADER, SENDER, Letter, letters
from tests.story.outage import CLIENT, IDENTITY, Outage, Post, arrived, judge, users

INVENTORY = ROOT / "inventories" / "single"
MEMBER = "ns1"
RELAYS = ("relay1.alpha.example", "relay2.alpha.example")
MAIL_HOSTS = ("mail1", "mail2")
DEPLOY = 1800  # seconds


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Its own, unless HOLDFAST_LAB_SINGLE names one that is up."""
    if given := os.environ.get("HOLDFAST_LAB_SINGLE"):
        yield Lab(given)
        return
    made = Lab("single")
    made.word("down", "--purge")
    try:
        made.word("up", "single", timeout=DEPLOY)
        yield made
    finally:
        made.word("down", "--purge")


@pytest.fixture(scope="module")
def deployed(lab: Lab) -> dict[str, tuple[int, int]]:
    """What the first deploy changed, and what failed, by host."""
    return recap(lab.word("deploy", "single", timeout=DEPLOY))


@pytest.fixture
def records(lab: Lab) -> Records:
    return Records(lab, MEMBER)  # with the secrets of compact, which this inventory shares


@pytest.fixture
def post(lab: Lab) -> Post:
    return Post(lab, users(INVENTORY))


@pytest.fixture(autouse=True)
def told(request: pytest.FixtureRequest, lab: Lab) -> Iterator[None]:
    """Behind a failed test, what daemons said: the report shows it as the test's own output."""
    before = request.session.testsfailed
    yield
    if request.session.testsfailed > before:
        for host in (*MAIL_HOSTS, "relay1", "relay2"):
            units = "-u holdfast-agent -u holdfast-monitor"
            print(f"== {host}", lab.shell(host, f"journalctl -q --no-pager -n 40 {units}", check=False), sep="\n")


def ready(records: Records, host: str) -> bool:
    key = keys.ready(host, IDENTITY)
    return bool(records.get(key).get(key, {}).get("ready"))


def wait_all(post: Post, written: list[Letter]) -> dict[str, list[dict[str, object]]]:
    boxes: dict[str, list[dict[str, object]]] = {}

    def look() -> bool:
        boxes.update(post.boxes())
        have, want = arrived(written, boxes)
        return have == want

    wait_for(f"{len(written)} letters", look, 180, every=3)
    return boxes


def test_a_second_deploy_changes_nothing(lab: Lab, deployed: dict[str, tuple[int, int]]) -> None:
    hosts = {h["name"] for h in json.loads(lab.word("status", "--json"))["hosts"]}
    assert set(deployed) == hosts
    assert {host: failed for host, (_, failed) in deployed.items() if failed} == {}
    again = recap(lab.word("deploy", "single", timeout=DEPLOY))
    assert set(again) == hosts and set(again.values()) == {(0, 0)}, again


@pytest.mark.usefixtures("deployed")
def test_the_domain_names_its_server_and_both_relays(lab: Lab) -> None:
    answer = lab.run(CLIENT, "dig", "+short", "MX", "alpha.example").split("\n")
    assert sorted(filter(None, answer)) == [f"10 {IDENTITY}.", f"20 {RELAYS[1]}.", f"30 {RELAYS[0]}."]


@pytest.mark.usefixtures("deployed")
def test_every_kind_of_letter_from_outside_is_read_by_imap(post: Post) -> None:
    written = letters(100, f"kinds{int(time.time())}")
    chosen = list({w.kind: w for w in reversed(written)}.values())
    folder = f"/var/tmp/story/{chosen[0].id}"
    post.hand_over(chosen, folder)
    process = post.send(folder, 5)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert judge(chosen, wait_all(post, chosen), []).mistakes == []


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("relay", RELAYS)
def test_a_letter_to_a_relay_is_passed_on(lab: Lab, post: Post, relay: str) -> None:
    written = [w for w in letters(6, f"by-{relay.split('.')[0]}{int(time.time())}") if w.kind == "plain"][:4]
    for letter in written:
        words = ("swaks", "--server", relay, "--helo", "client1.outside.example", "--silent", "2")
        lab.run(CLIENT, *words, "--from", SENDER, "--to", letter.recipients[0], "--data", "-", stdin=letter.data)
    assert judge(written, wait_all(post, written), []).mistakes == []


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("port", [("--port", "587", "--tls"), ("--port", "465", "--tls-on-connect")])
def test_a_user_writes_to_another_and_to_somebody_outside(lab: Lab, post: Post, port: tuple[str, ...]) -> None:
    ident = f"sub{port[1]}-{int(time.time())}"
    head = f"{ID_HEADER}: {ident}\nMessage-ID: <{ident}@alpha.example>\nFrom: {ALICE}\nTo: {BOB}\nSubject: {ident}\n\n"
    letter = Letter(ident, "plain", ALICE, (BOB,), f"{head}hello\n".encode())
    login = ("--auth", "PLAIN", "--auth-user", ALICE, "--auth-password", post.passwords[ALICE])
    to = f"{BOB},reader@outside.example"
    words = ("swaks", "--server", IDENTITY, *port, "--helo", "client1.outside.example", "--silent", "2", *login)
    lab.run(CLIENT, *words, "--from", ALICE, "--to", to, "--data", "-", stdin=letter.data)
    assert judge([letter], wait_all(post, [letter]), []).mistakes == []
    look = f"grep -lr 'Subject: {ident}' /home/reader/Maildir/new || true"
    wait_for("the letter to outside", lambda: lab.shell(CLIENT, look).strip(), 90, every=2)


@pytest.mark.usefixtures("deployed")
def test_the_mail_host_loses_power_and_the_other_one_delivers(lab: Lab, records: Records) -> None:
    before = records.owner(IDENTITY)
    assert before is not None
    other = next(host for host in MAIL_HOSTS if host != before.host)
    wait_for(f"{other} being ready", lambda: ready(records, other), 120, every=2)
    result = Outage(lab, INVENTORY, count=40, records=records).play()
    assert result.verdict.mistakes == []
    assert (result.owner_after.host, result.owner_after.epoch) == (other, before.epoch + 1)
    assert result.run.proof is not None and result.run.proof.host == before.host
    assert result.accepted is not None and result.accepted > result.fault, "the standby took the letters"
    print(result.verdict, f"{result.threshold_to_delivery} s behind the threshold")
    # The dead host comes back as the standby, and runs nothing.
    lab.word("start", before.host)
    wait_for(f"{before.host} being ready", lambda: ready(records, before.host), 180, every=2)
    assert records.owner(IDENTITY) == result.owner_after
    running = lab.shell(before.host, f"systemctl is-active holdfast-postfix@{IDENTITY}; true")
    assert running.strip() != "active"

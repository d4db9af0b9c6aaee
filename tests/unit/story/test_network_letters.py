"""What became of a flow's letters is judged without machines: gaps, delays, copies, what their senders were told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from holdfast.core.model import Owner

from tests.full_network import letters
from tests.full_network.letters import Loss, Report, Sent, Window
from tests.full_network.losses import all_losses, gateways, not_established
from tests.full_network.network import (
    ELSEWHERE,
    INBOUND,
    INTERNET,
    INTRANET,
    OTHER_SITE,
    OUTBOUND,
    SAME_SITE,
    STRANGER,
    Network,
    Way,
    isolated_relay,
    six_ways,
)
from tests.full_network.stage import NetworkStage
from tests.story.coordinator import Records
from tests.story.journal import Line
from tests.story.machines import Lab
from tests.story.messages import body_hash

NETWORK = Network.load()


class Owned(Records):
    """Everything is owned by somebody."""

    def owner(self, identity: str) -> Owner:
        return Owner("somebody", 1, "", 0.0)


WAYS = six_ways(NETWORK)
HERE = WAYS[SAME_SITE]


def sent(n: int, way: Way = HERE, begun: float = 100.0, accepted: float | None = 101.0, **more: Any) -> Sent:
    return Sent(f"run-{n}", way.name, begun, accepted, 1, **more)


def copy(one: Sent, way: Way = HERE, time: float = 105.0, **more: Any) -> dict[str, Any]:
    found = {"id": one.id, "hash": body_hash(letters.text(one.id, way)), "queue": "Q1", "bounce": False, "time": time}
    return {**found, **more}


def judged(some: list[Sent], boxes: dict[str, list[dict[str, Any]]], logs: list[Line] | None = None) -> Report:
    return letters.judged(some, WAYS, boxes, logs or [], 100.0, 110.0)


def test_the_ways_are_six_and_differ_in_what_they_pass() -> None:
    assert len({way.name for way in WAYS}) == 6
    near, far = NETWORK.homes()[:2]
    homes = [way.recipient if way.recipient == STRANGER else NETWORK.server_of(way.recipient).site for way in WAYS]
    assert homes == [near, STRANGER, near, far, near, near]
    assert WAYS[ELSEWHERE].reader != WAYS[ELSEWHERE].host == WAYS[SAME_SITE].reader
    sites = {NETWORK.server_of(way.recipient).site for way in (WAYS[SAME_SITE], WAYS[OTHER_SITE])}
    assert len(sites) == 2, "the other site's is another site's"
    recipients = [way.recipient for way in (*WAYS, isolated_relay(NETWORK))]
    assert len(set(recipients)) == len(recipients), "each way has a mailbox of its own"
    assert not {way.sender for way in WAYS} & set(recipients) - {STRANGER}


def test_an_inventory_with_too_few_users_is_told() -> None:
    few = Network(
        **{**NETWORK.__dict__, "users": dict(list(NETWORK.users.items())[:3] + list(NETWORK.users.items())[5:])}
    )
    with pytest.raises(ValueError, match="sjc is the home of 3 users; give it 5"):
        six_ways(few)


def test_pairs_identities_and_stores_are_those_of_the_inventory() -> None:
    site = NETWORK.mailer(INTERNET, NETWORK.domains()[0]).site
    for kind in (INTERNET, INTRANET):
        pair = NETWORK.pair(kind, site)
        assert len(pair.hosts) == len(pair.addresses) == 2
        assert all(NETWORK.sites[host] == site for host in pair.hosts)
    assert set(NETWORK.identities) == {m.name for m in NETWORK.mailers} | set(NETWORK.relays)
    assert len(NETWORK.isolated_relays()) == len(NETWORK.relays) / 2
    relays = {kind: NETWORK.relays_of(NETWORK.mailer(kind, NETWORK.domains()[0])) for kind in (INTERNET, INTRANET)}
    assert relays[INTERNET][0] == "relay1.rly.alpha.example", "letters are with the other site's relay first"
    assert relays[INTRANET][0] == "relay1.rly.iso.alpha.example"
    assert len({*relays[INTERNET], *relays[INTRANET]}) == len(NETWORK.relays)
    assert not set(NETWORK.routers("internet")) & set(NETWORK.routers("isolated"))
    for ports in NETWORK.cards.values():
        assert all(segment in NETWORK.legs[host] for host, segments in ports.items() for segment in segments)


def test_gateways_of_a_pair_are_no_routers_own_address() -> None:
    assert gateways(NETWORK, "sjc-rin1") == ["10.1.1.1"]
    assert gateways(NETWORK, "sjc-ris1") == ["10.1.2.1", "10.1.3.1"]


def test_each_of_the_nine_kinds_can_be_lost() -> None:
    names = " ".join(name for some in all_losses(NETWORK).values() for name in some)
    for kind in (
        "router, I",
        "router, i",
        "redirector",
        "Internet mail",
        "intranet mail",
        "relay",
        "transfer",
        "store",
        "card",
    ):
        assert kind in names


def test_what_stands_still_for_a_loss_is_of_the_six_ways_and_named_once() -> None:
    """The isolated network's lines and its provider are lost, too; some letters are taken during each."""
    stage = NetworkStage(Lab("none"), Owned(Lab("none")), NETWORK)
    found = {name: make(stage) for name, make in all_losses(NETWORK)["lines"].items()}
    assert {host for loss in found.values() for host in loss.hosts} == {
        "core-inet: sjc-inet",
        "core-iso: sjc-iso",
        "core-iso: sjc-wan",
        "core-iso",
    }
    for name, loss in found.items():
        quiet = [*loss.still, *loss.held, *loss.unseen]
        assert len(set(quiet)) == len(quiet) and set(quiet) <= set(range(6)), name
        assert len(loss.still) < 6, name


def test_what_came_meanwhile_is_what_was_begun_and_had_arrived_within() -> None:
    some = [sent(n, begun=100.0 + n) for n in range(4)] + [sent(9, way=WAYS[OTHER_SITE], begun=103.0)]
    arrived = {"run-0": 101.0, "run-1": 109.0, "run-2": 121.0, "run-9": 104.0}
    assert letters.came_meanwhile(some, HERE.name, arrived, 101.0, 120.0) == ["run-1"]
    one = sent(1)
    assert judged([one], {HERE.recipient: [copy(one)]}).arrived[HERE.name] == {one.id: 105.0}


def test_sessions_are_read_from_what_frr_says() -> None:
    up, down = {"state": "Established"}, {"state": "Active"}
    said = {
        "default": {"ipv4Unicast": {"peers": {"10.1.1.11": up}}},
        "isolated": {"ipv4Unicast": {"peers": {"10.1.2.3": down}}},
    }
    assert not_established(json.dumps(said)) == ["10.1.2.3"]
    assert not_established(json.dumps({"ipv4Unicast": {"peers": {"10.1.1.11": up}}})) == []
    assert not_established("vtysh: no daemon") == not_established("{}") == ["FRR is silent"]


@pytest.mark.parametrize(
    ("times", "gap"),
    [((102, 104, 106, 108), 2.0), ((101, 109), 8.0), ((), 10.0), ((90, 103, 140), 7.0), ((100, 110), 10.0)],
)
def test_the_longest_gap_is_within_its_edges(times: tuple[int, ...], gap: float) -> None:
    some = [sent(n, accepted=float(t)) for n, t in enumerate(times)]
    others = [sent(n, way=WAYS[OTHER_SITE], accepted=105.0) for n in range(90, 95)]
    assert letters.longest_gap([*some, *others, sent(99, accepted=None)], HERE.name, 100.0, 110.0) == gap


def test_a_way_flows_when_letters_begun_since_were_taken() -> None:
    some = [sent(n, begun=100.0 + n) for n in range(4)] + [sent(9, way=WAYS[OTHER_SITE], begun=104.0, accepted=None)]
    names = [HERE.name, WAYS[OTHER_SITE].name]
    assert letters.flows(some, names, 101.0) == [WAYS[OTHER_SITE].name]
    assert letters.flows(some, names, 102.0) == names


def test_a_stock_senders_queue_is_its_outbox() -> None:
    one, two = sent(1, way=WAYS[INBOUND]), sent(2, way=WAYS[INBOUND])
    log = [
        Line(101.0, "postfix/cleanup", "4Abc: message-id=<run-1@outside.example>"),
        Line(101.0, "postfix/cleanup", "4Abd: message-id=<run-2@outside.example>"),
        Line(
            103.0, "postfix/smtp", "4Abc: to=<a@b>, relay=mx[10.1.1.7]:25, delay=2, dsn=4.4.2, status=deferred (lost)"
        ),
        Line(107.0, "postfix/smtp", "4Abc: to=<a@b>, relay=mx[10.1.1.8]:25, delay=6, dsn=2.0.0, status=sent (250 Ok)"),
    ]
    found = letters.by_stock_sender([one, two, sent(3)], WAYS[INBOUND].name, log)
    assert [s.accepted for s in found] == [107.0, None, 101.0]


def test_one_copy_each_is_no_mistake_and_its_delay_is_from_the_outbox_on() -> None:
    one = sent(1)
    report = judged([one], {HERE.recipient: [copy(one)]})
    assert report.mistakes == [] and report.delays[HERE.name] == [5.0] and report.longest_delay == (HERE.name, 5.0)


@pytest.mark.parametrize(
    ("some", "boxes", "words"),
    [
        ([sent(1)], {}, "lost: run-1"),
        ([sent(1, accepted=None)], {}, "never taken: run-1"),
        (
            [sent(1, faults=("554 5.7.1 Relay access denied",))],
            {HERE.recipient: [copy(sent(1))]},
            "was told: run-1: 554",
        ),
        ([sent(1)], {HERE.recipient: [copy(sent(1)), copy(sent(1), queue="Q2")]}, "2 copies of run-1"),
        ([sent(1)], {HERE.recipient: [copy(sent(1), hash="other")]}, "changed: run-1"),
        ([], {HERE.sender: [{"id": None, "hash": "x", "queue": "Q", "bounce": True, "time": 1.0}]}, "notice in"),
    ],
)
def test_what_is_wrong_is_told(some: list[Sent], boxes: dict[str, list[dict[str, Any]]], words: str) -> None:
    assert any(words in mistake for mistake in judged(some, boxes).mistakes)


def test_a_lost_answer_excuses_a_second_copy_but_not_two_of_one_queue_entry() -> None:
    one = sent(1, cut=True)
    twice = [copy(one), copy(one, queue="Q2")]
    report = judged([one], {HERE.recipient: twice})
    assert report.mistakes == [] and report.verdict.twice_excused == [one.id]
    assert judged([one], {HERE.recipient: [copy(one), copy(one)]}).mistakes


def test_intakes_doubts_excuse_as_many_copies_on_the_outside_and_none_in_our_mailboxes() -> None:
    out = WAYS[OUTBOUND]
    some = [sent(1, way=out), sent(2, way=out)]
    boxes = {STRANGER: [copy(s, way=out, queue=q) for s in some for q in ("Q1", "Q2")]}
    doubt = Line(103.0, "holdfast-spool", "maybe_second_copy identity=mx.alpha.example message=f0 count=1")
    assert len(judged(some, boxes).mistakes) == 2
    assert judged(some, boxes, [doubt]).mistakes == ["2 copies of run-2, and no 250 was cut off"]
    inside = sent(1)
    ours = {HERE.recipient: [copy(inside), copy(inside, queue="Q2")]}
    assert judged([inside], ours, [doubt]).mistakes


def test_a_loss_is_told_by_letters_of_its_own_window() -> None:
    """Copies, gaps and delays of another one in the same flow are not its."""
    other = WAYS[OTHER_SITE]
    some = [sent(n, begun=100.0 + n, accepted=100.5 + n) for n in range(0, 60, 2)]
    some += [sent(100 + n, way=other, begun=100.0 + n, accepted=100.5 + n) for n in range(0, 60, 2) if not 6 < n < 14]
    late, twice = some[10], some[2]
    box = [copy(one, time=one.begun + (20.0 if one is late else 3.0)) for one in some if one.way == HERE.name]
    box += [copy(twice, queue="Q2")]
    far = [copy(one, other, time=one.begun + 4.0) for one in some if one.way == other.name]
    boxes = {HERE.recipient: box, other.recipient: far}
    report = letters.judged([replace(one, cut=one is twice) for one in some], [HERE, other], boxes, [], 100.0, 160.0)
    assert report.mistakes == []
    first = letters.loss_in(Window("a", "x", 102.0, 110.0, 112.0, 118.0, (), 3.0), some, report, 2.0)
    second = letters.loss_in(Window("b", "y", 120.0, 130.0, 135.0, 140.0, (), 3.0), some, report, 2.0)
    assert (first.gap, first.gap_way, first.delay, first.twice, first.away) == (8.0, other.name, 4.0, 1, 10.0)
    assert (second.gap, second.delay, second.delay_way, second.twice) == (2.0, 20.0, HERE.name, 0)
    assert first.letters == 10 + 7 and second.letters == 12 + 12


def test_rows_take_the_place_of_earlier_ones(tmp_path: Path) -> None:
    file = tmp_path / "build" / "losses.json"
    row = Loss("relay server", "sjc-relay1", 300, 4.0, HERE.name, 41.0, HERE.name, 0, 190.0, 12.0)
    letters.keep_losses([row, replace(row, component="witness")], file)
    rows = letters.keep_losses([replace(row, gap=9.0)], file)
    assert [(r.component, r.gap) for r in rows] == [("witness", 4.0), ("relay server", 9.0)]
    assert "| relay server | sjc-relay1 | 300 | 9 s (user to user, same site) |" in letters.losses_table(rows)

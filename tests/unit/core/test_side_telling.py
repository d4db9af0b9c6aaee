"""What redirectors and transfer hosts say, as lines: one for each thing, and an alarm where one is due."""

from __future__ import annotations

import json
from typing import Any

import pytest
from holdfast.core.side_telling import (
    Word,
    redirector_needs,
    redirector_table,
    transfer_needs,
    transfer_table,
    unserved,
)

MX, MX2, IM = "mx.alpha.example", "mx.beta.example", "im.alpha.example"
A, B = "10.1.1.71", "10.1.1.72"
PAIRS = {"front1": {"side": "internet", "site": "dc1", "hosts": ["red1", "red2"], "addresses": [A, B]}}
Said = dict[str, Any]


def server(name: str = MX, protocol: str = "smtp", **changes: Any) -> Said:
    usual = {"status": "UP", "share": 80, "connected": 3, "backup": False, "agent": "L7OK"}
    return {"protocol": protocol, "name": name, **usual, **changes}


def redirector(*addresses: str, servers: list[Said] | None = None, error: str = "") -> Word:
    said = {
        "addresses": ["10.1.1.61", *addresses],
        "servers": [server()] if servers is None else servers,
        "error": error,
    }
    return Word.of({"out": json.dumps(said)})


def both(*servers: Said) -> dict[str, Word]:
    return {"red1": redirector(A, servers=list(servers)), "red2": redirector(B, servers=list(servers))}


# --- redirectors ------------------------------------------------------------------------------------------------


def test_each_address_and_each_server_has_a_line() -> None:
    words = both(server(), server(protocol="imap"), server(MX2, share=0, backup=True, status="DOWN (agent)"))
    lines = redirector_table(PAIRS, words)
    rows = [line.split() for line in lines]
    assert ["front1", A, "red1", "red1"] in rows and ["front1", B, "red2", "red2"] in rows
    assert ["red1", MX, "UP", "80", "%", "L7OK", "6", "smtp", "imap"] in rows, "what is the same of all stands once"
    assert ["red2", MX2, "DOWN", "(agent)", "0", "%", "L7OK", "3", "smtp"] in rows
    assert len(rows) == 2 + 1 + 1 + 4 + 1


def test_those_that_were_not_asked_are_not_told_of() -> None:
    assert redirector_table(PAIRS, {}) == [] and redirector_needs(PAIRS, {}) == []
    assert transfer_table({}, {}) == [] and transfer_needs({}, {}) == []


def test_a_pair_that_is_well_needs_nobody() -> None:
    assert redirector_needs(PAIRS, both(server(), server(MX2, backup=True))) == []
    assert redirector_needs(PAIRS, both(server(status="UP 1/3"), server(MX2, status="no check", agent=""))) == []


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        ((), (A, B), f"front1: {A} lies on red2 and not at home on red1"),
        ((A,), (), f"front1: {B} lies on none of its hosts: nobody is reached there"),
        ((A, B), (B,), f"front1: {B} lies on red1 and red2: they do not hear each other"),
    ],
)
def test_an_address_that_is_not_where_it_belongs(first: tuple[str, ...], second: tuple[str, ...], line: str) -> None:
    assert redirector_needs(PAIRS, {"red1": redirector(*first), "red2": redirector(*second)}) == [line]


def test_one_that_gives_no_answer_is_told_and_what_its_partner_lacks() -> None:
    silent = Word.of({"out": "", "why": "no route\nto host"})
    assert redirector_needs(PAIRS, {"red1": redirector(A, B), "red2": silent}) == ["red2: no answer: no route to host"]
    assert redirector_needs(PAIRS, {"red1": redirector(A), "red2": silent}) == [
        "red2: no answer: no route to host",
        f"front1: {B} does not lie on red1, which answers",
    ]
    assert any(
        line.split() == ["front1", B, "red2", "?"]
        for line in redirector_table(PAIRS, {"red1": redirector(A), "red2": silent})
    )


def test_of_one_in_planned_work_nothing_is_expected_and_its_partner_has_both() -> None:
    gone = redirector(error="HAProxy: /run/haproxy/admin.sock: Connection refused", servers=[])
    assert redirector_needs(PAIRS, {"red1": redirector(A, B), "red2": gone}, ["red2"]) == []
    assert redirector_needs(PAIRS, {"red1": redirector(A, B), "red2": redirector()}, ["red2"]) == []
    assert redirector_needs(PAIRS, {"red1": redirector(A, B), "red2": gone})[0].startswith("red2: HAProxy: /run")


def test_one_that_an_operator_has_set_aside_is_one_line_with_the_reason() -> None:
    said = {"addresses": [], "servers": [server(status="DOWN")], "error": "", "aside": "new disk"}
    words = {"red1": redirector(A, B), "red2": Word.of({"out": json.dumps(said)})}
    assert redirector_needs(PAIRS, words) == ["red2: set aside: new disk"]
    assert redirector_needs(PAIRS, words, ["red2"]) == []
    stopped = Word.of({"out": json.dumps({**carrier("inactive").said, "aside": "new disk"})})
    assert transfer_needs({"t1": stopped, "t2": carrier()}, {MX: "t2"}) == ["t1: set aside: new disk"]


@pytest.mark.parametrize(
    ("other", "line"),
    [
        (server(MX2, status="DOWN 1/2"), f"front1: {MX2} (smtp) is DOWN 1/2 on red1, red2"),
        (server(MX2, status="DRAIN"), f"front1: {MX2} (smtp) is drained by an operator on red1, red2"),
        (server(MX2, agent="L4CON"), f"front1: {MX2} (smtp) does not say how available it is (L4CON) on red1, red2"),
        (server(MX2, protocol="imap", share=0), "front1: no server is left for imap on red1, red2"),
    ],
)
def test_a_server_that_is_not_sent_to_is_one_line_for_all_who_say_it(other: Said, line: str) -> None:
    assert redirector_needs(PAIRS, both(server(), other)) == [line]


def test_a_protocol_is_served_while_one_server_takes_connections() -> None:
    assert unserved([server(status="DOWN"), server(MX2, backup=True)]) == []
    assert unserved([server(status="DOWN"), server(MX2, share=0), server(protocol="imap")]) == ["smtp"]
    assert unserved([server(status="no check", share=0)]) == []


# --- transfer hosts ---------------------------------------------------------------------------------------------

NOTHING = {"count": 0, "oldest": 0.0}


def spool(**changes: Any) -> Said:
    usual = {"direction": "inward", "enabled": True, "error": None, "out": NOTHING, "in": NOTHING}
    return {**usual, "quarantine": 0, "carried": 1_700_000_000.0, **changes}


def carrier(active: str = "active", **spools: Said) -> Word:
    said = {"active": active, "limit": {"count": 10, "seconds": 600.0}, "spools": {MX: spool(), **spools}}
    return Word.of({"out": json.dumps(said)})


def test_each_spool_has_a_line() -> None:
    waits = spool(direction="outward", enabled=False, out={"count": 3, "oldest": 61.4}, quarantine=2, carried=None)
    away = spool(error="/srv/x/out is missing")
    rows = [line.split() for line in transfer_table({"t1": carrier(**{IM: waits, MX2: away})}, {MX: "t1"})]
    assert [MX, "inward", "yes", "t1", "0", "-", "0", "-", "0", "2023-11-14", "22:13:20"] in rows
    assert [IM, "outward", "no", "nobody", "3", "61", "s", "0", "-", "2", "not", "of", "late"] in rows
    assert [MX2, "inward", "yes", "nobody", *"??????"] in rows


def test_what_one_host_cannot_see_the_other_one_tells() -> None:
    words = {"t1": carrier(**{MX: spool(error="stale")}), "t2": carrier(**{MX: spool(quarantine=1)})}
    assert transfer_needs(words, {MX: "t2"}) == [
        f"t1: the spool of {MX} is away: stale",
        f"{MX}: 1 set aside in quarantine",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"out": {"count": 11, "oldest": 5.0}}, f"{MX}: 11 wait, the oldest for 5 s, to be carried"),
        ({"out": {"count": 1, "oldest": 601.0}}, f"{MX}: 1 wait, the oldest for 601 s, to be carried"),
        (
            {"in": {"count": 11, "oldest": 5.0}},
            f"{MX}: 11 wait, the oldest for 5 s, for its own server to take what has crossed",
        ),
    ],
)
def test_too_much_or_for_too_long(changes: Said, line: str) -> None:
    assert transfer_needs({"t1": carrier(**{MX: spool(**changes)})}, {MX: "t1"}) == [line]


def test_a_switch_that_is_off_is_no_alarm_until_mail_waits() -> None:
    off = spool(enabled=False)
    assert transfer_needs({"t1": carrier(**{MX: off})}, {}) == []
    (line,) = transfer_needs({"t1": carrier(**{MX: {**off, "out": {"count": 11, "oldest": 5.0}}})}, {})
    assert line.endswith("to be carried; inward is switched off")


def test_nobody_carries_and_a_daemon_that_does_not_run() -> None:
    words = {"t1": carrier("failed"), "t2": Word.of({"out": "Traceback", "why": "no such file"})}
    assert transfer_needs(words, {}) == [
        "t1: holdfast-transfer is failed",
        "t2: no answer: no such file",
        f"{MX}: no transfer host carries from its spool",
    ]
    assert transfer_needs(words, {MX: "t1"}, ["t1", "t2"]) == []

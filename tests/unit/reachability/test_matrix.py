"""What a table says of cells, and what the prober finds on loopback, which filters nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.reachability import play
from tests.reachability.matrix import Table, again, differences

ON_HOST = Path(play.__file__).with_name("on_host.py")


def table() -> Table:
    hosts = {
        "mail1": {"legs": {"dmz": "10.1.1.11"}, "group_names": ["mail"]},
        "relay1": {"legs": {"dmz": "10.1.1.31", "iso": "10.1.2.31"}, "group_names": ["relay"]},
        "client1": {"legs": {"dmz": "10.1.1.99"}, "group_names": ["client"]},
    }
    segments = {
        "dmz": {"network": "internet", "prefix": "10.1.1.0/24", "gateway": "10.1.1.1"},
        "iso": {"network": "isolated", "prefix": "10.1.2.0/24"},
    }
    identities = {"mx": {"address": "203.0.113.10", "candidates": ["mail1"]}}
    facts = {
        "hosts": hosts,
        "segments": segments,
        "identities": identities,
        "redirectors": {"pair": {"addresses": ["10.1.1.7"]}},
        "mail_routes": ["internet", "isolated"],
        "ours": ["10.1.0.0/16", "203.0.113.0/24"],
    }

    def flow(sources: list[str], destinations: list[str], protocol: str, *ports: int) -> dict[str, Any]:
        return {"sources": sources, "destinations": destinations, "protocol": protocol, "ports": list(ports)}

    flows = [
        flow(["10.1.1.31"], ["203.0.113.10"], "tcp", 25),
        flow(["any"], ["203.0.113.10"], "tcp", 993),
        flow(["10.1.1.0/24"], ["10.1.1.11"], "icmp"),
    ]
    return Table({"facts": facts, "flows": flows})


def test_addresses_protocols_and_ports_decide() -> None:
    one = table()
    assert one.passes("10.1.1.31", "203.0.113.10", "tcp", 25)
    assert not one.passes("10.1.2.31", "203.0.113.10", "tcp", 25)
    assert not one.passes("10.1.1.31", "203.0.113.10", "udp", 25)
    assert not one.passes("10.1.1.31", "203.0.113.10", "tcp", 993), "any means none of ours"
    assert one.passes("192.0.2.1", "203.0.113.10", "tcp", 993)
    assert one.passes("10.1.1.99", "10.1.1.11", "icmp", None) and not one.passes("10.1.1.99", "10.1.1.11", "tcp", 22)
    assert set(one.ports("tcp")) > {25, 993, 23}


def test_everybody_is_a_target_and_identities_by_each_route() -> None:
    some = table().targets("relay1")
    assert {t["address"] for t in some} == {"10.1.1.1", "10.1.1.7", "10.1.1.11", "10.1.1.99", "203.0.113.10"}
    assert [t.get("source") for t in some if t["address"] == "203.0.113.10"] == [None, "10.1.1.31", "10.1.2.31"]


def test_identities_speak_with_each_other_with_redirectors_and_with_a_stranger() -> None:
    """From wherever they may be; their answers take other ways than those of the hosts that hold them."""
    one = table()
    one.facts["segments"]["dmz"]["clients"] = "any"
    one.facts["identities"]["relay"] = {"address": "203.0.113.31", "candidates": ["relay1"]}
    held = {h: [t for t in one.targets(h) if t.get("held")] for h in one.hosts}
    spoken = {"203.0.113.10", "203.0.113.31", "10.1.1.7", "10.1.1.99"}
    assert held["client1"] == []
    for host, source in (("mail1", "203.0.113.10"), ("relay1", "203.0.113.31")):
        assert {t["address"] for t in held[host]} == spoken - {source}
        assert {t["source"] for t in held[host]} == {source}


def answer(**row: Any) -> dict[str, Any]:
    empty: dict[str, list[int]] = {"open": [], "refused": []}
    whole = {"address": "203.0.113.10", "source": "10.1.1.31", "tcp": empty, "udp": empty, "echo": False, "tried": {}}
    return {"found": [whole | row], "listening": {"tcp": [], "udp": []}, "addresses": ["10.1.1.31"]}


def mail(*listening: str) -> dict[str, Any]:
    return {"found": [], "listening": {"tcp": list(listening), "udp": []}, "addresses": ["203.0.113.10"]}


def said(answers: dict[str, Any]) -> list[str]:
    return [str(cell) for cell in differences(table(), answers)]


def test_what_differs_is_named_by_who_whom_and_port() -> None:
    good = answer(tcp={"open": [25], "refused": []})
    assert said({"relay1": good, "mail1": mail("203.0.113.10:25", "0.0.0.0:22")}) == []
    # A leak, a filter that drops what it should not, a service that does not run.
    leak = answer(tcp={"open": [25, 22], "refused": []})
    assert said({"relay1": leak, "mail1": mail("*:25")}) == []  # 22 is no port of this table's flows: not tried
    leak = answer(tcp={"open": [25, 993], "refused": [23]})
    assert said({"relay1": leak, "mail1": mail("*:25")}) == [
        "relay1 (10.1.1.31) to mx (203.0.113.10) tcp 23: expected nothing, found refused",
        "relay1 (10.1.1.31) to mx (203.0.113.10) tcp 993: expected nothing, found open",
    ]
    assert said({"relay1": answer(), "mail1": mail("[::]:25")}) == [
        "relay1 (10.1.1.31) to mx (203.0.113.10) tcp 25: expected open, found nothing"
    ]
    closed = answer(tcp={"open": [], "refused": [25]})
    assert said({"relay1": closed, "mail1": mail("*:25")})[0].endswith("expected open, found refused")
    assert said({"relay1": closed, "mail1": mail()}) == []
    assert said({"relay1": answer(echo=True, tcp={"open": [25], "refused": []}), "mail1": mail("*:25")})[0].endswith(
        "icmp: expected nothing, found an answer"
    )


def test_no_way_is_no_leak_and_ipv6_reaches_nobody() -> None:
    assert said({"relay1": answer(source=None, address="10.9.9.9"), "mail1": mail()}) == []
    over = answer(source="fe80::2", address="fe80::1", tcp={"open": [25], "refused": []})
    assert len(said({"relay1": over, "mail1": mail()})) == 1


def test_hosts_that_are_no_part_of_the_product_filter_nothing() -> None:
    row = answer(address="10.1.1.99", tcp={"open": [], "refused": table().ports("tcp")}, echo=True)
    other = {"found": [], "listening": {"tcp": [], "udp": []}, "addresses": ["10.1.1.99"]}
    assert said({"relay1": row, "client1": other}) == []


def test_who_was_not_asked_what_listens_there_may_have_it_open_or_closed() -> None:
    """Only some hosts were asked; a host that filters nothing says of a closed port of UDP that it is closed."""
    empty: dict[str, list[int]] = {"open": [], "refused": []}
    closed = {p: {"open": [], "refused": table().ports(p)} for p in ("tcp", "udp")}
    assert said({"relay1": answer(address="10.1.1.99", echo=True, **closed)}) == []
    assert said({"relay1": answer(address="10.1.1.99", echo=True, tcp=closed["tcp"], udp=empty)}) == []
    assert said({"relay1": answer(address="10.1.1.99", echo=True, tcp=empty, udp=closed["udp"])}) != []


def test_what_differed_is_tried_once_more_and_nothing_else() -> None:
    targets = {"relay1": table().targets("relay1"), "mail1": []}
    cells = differences(table(), {"relay1": answer(), "mail1": mail("*:25")})
    assert again(cells, targets) == {
        "relay1": [{**t, "tcp": [25], "udp": []} for t in targets["relay1"] if t["address"] == "203.0.113.10"]
    }


def test_a_second_look_forgives_what_was_lost_on_the_way() -> None:
    asked: list[dict[str, Any]] = []

    def ask(host: str, wanted: str) -> Any:
        asked.append(json.loads(wanted))
        if host == "mail1":
            return mail("*:25")
        return answer(tcp={"open": [25] if len(asked) > 2 else [], "refused": []}, tried={"tcp": [25]})

    one = table()
    targets = {"relay1": [{"address": "203.0.113.10"}], "mail1": []}
    assert play.play(one, ask, targets) == []
    assert asked[2]["targets"] == [{"address": "203.0.113.10", "tcp": [25], "udp": []}]
    assert asked[2]["timeout"] > asked[0]["timeout"]


def test_the_address_that_an_interface_gives_itself() -> None:
    assert play.link_local("02:00:5e:10:00:01") == "fe80::5eff:fe10:1"


@pytest.fixture
def found() -> dict[str, Any]:
    """One open port of TCP and one of UDP that answers nobody, one closed of each."""
    server, mute = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    mute.bind(("127.0.0.1", 0))
    with server, mute, socket.create_server(("127.0.0.1", 0)) as gone:
        closed = gone.getsockname()[1]
        gone.close()
        tcp, udp = [server.getsockname()[1], closed], [mute.getsockname()[1], closed]
        wanted = {
            "targets": [
                {"address": "127.0.0.1"},
                {"address": "127.0.0.1", "source": "203.0.113.31", "held": True},  # by another host
                {"address": "127.0.0.1", "source": "127.0.0.5"},
                {"address": "127.0.0.1", "source": "127.0.0.1", "held": True},
            ],
            "tcp": tcp,
            "udp": udp,
            "timeout": 0.5,
            "at_once": 3,
        }
        done = subprocess.run(
            [sys.executable, str(ON_HOST), json.dumps(wanted)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return {**json.loads(done.stdout), "tcp": tcp, "udp": udp}


def test_the_prober_tells_open_closed_and_silent(found: dict[str, Any]) -> None:
    for row, source in zip(found["found"], ("127.0.0.1", "127.0.0.5", "127.0.0.1"), strict=True):
        assert row["source"] == source
        assert row["tcp"] == {"open": found["tcp"][:1], "refused": found["tcp"][1:]}
        assert row["udp"] == {"open": [], "refused": found["udp"][1:]}
    assert "127.0.0.1" in found["addresses"]
    assert f"127.0.0.1:{found['tcp'][0]}" in found["listening"]["tcp"]

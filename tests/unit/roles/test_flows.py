"""Which flows follow from an inventory, and that each thing the product's own files speak with is among them (R2.4)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.holdfast.mail.plugins.plugin_utils import flow_checks
from ansible_collections.holdfast.mail.plugins.plugin_utils.network_map import NetworkMap, texts
from flow_plans import Allowed, Facts, plan, written
from holdfast.core.checks import Inventory
from rendering import Host, inventory

from tests.reachability.matrix import Table

INVENTORIES = ("compact", "external", "fig3", "full", "single")
USERS = (25, 465, 587, 143, 993, 110, 995, 4190)


@pytest.fixture(scope="module")
def full() -> Allowed:
    return Allowed(plan("full"))


@pytest.fixture(scope="module")
def compact() -> Allowed:
    return Allowed(plan("compact"))


@pytest.mark.parametrize("name", INVENTORIES)
def test_every_inventory_has_its_flows(name: str) -> None:
    table = Allowed(plan(name))
    whys = {f.why for f in table.flows}
    assert {"ssh", "fence", "names", "coordinator", "files", "routes", "smtp", "imaps", "echo"} <= whys
    assert ("replication" in whys) is (name != "external")
    assert ({"redirected", "availability", "redundancy"} <= whys) is (name in ("fig3", "full"))
    for flow in table.flows:
        texts(e for e in (*flow.sources, *flow.destinations) if e != "any")  # addresses or prefixes, all of them
        assert flow.ports or flow.protocol in ("icmp", "vrrp") or flow.why == "fence"


def test_strangers_reach_redirectors_and_relays_and_a_name_server_alone(full: Allowed) -> None:
    reached = {
        (d, p)
        for f in full.flows
        if "any" in f.sources and f.protocol == "tcp"
        for d in f.destinations
        for p in f.ports
    }
    pairs = {(a, 25) for n in (1, 2) for a in (f"10.{n}.1.7", f"10.{n}.1.8")}
    assert reached == pairs | {(f"203.0.113.2{n}", 25) for n in (1, 2, 3, 4)} | {("198.51.100.53", 53)}


def test_users_of_the_isolated_side_reach_its_redirectors_and_relays_alone(full: Allowed) -> None:
    sources = {"10.8.1.0/24", "10.8.2.0/24"}
    reached = {
        (d, p)
        for f in full.flows
        if sources & set(f.sources) and f.protocol == "tcp"
        for d in f.destinations
        for p in f.ports
    }
    pairs = {(a, p) for n in (1, 2) for a in (f"10.{n}.2.7", f"10.{n}.2.8") for p in USERS}
    assert reached == pairs | {(f"203.0.113.3{n}", 25) for n in (1, 2, 3, 4)} | {("10.8.1.53", 53)}


def test_no_flow_leads_from_side_to_side(full: Allowed) -> None:
    """Neither by addresses of segments nor by those that move; management and stores are no side."""
    side = {"internet": "internet", "intranet": "isolated"}
    of: dict[str, str] = {"any": "internet"}
    for name, segment in full.plan.segments.items():
        of[segment["prefix"]] = segment["network"]
        of |= {h.legs[name]: segment["network"] for h in full.plan.hosts.values() if name in h.legs}
    for identity in full.plan.identities.values():
        of[identity["address"]] = side.get(identity["kind"], identity["networks"][0])
    for pair in full.plan.redirectors.values():
        of |= dict.fromkeys(pair["addresses"], pair["side"])
    for flow in full.flows:
        if flow.protocol == "vrrp":
            continue
        between = {of.get(e, "") for e in (*flow.sources, *flow.destinations)} & {"internet", "isolated"}
        assert len(between) < 2 or (flow.protocol == "icmp" and "10.1.3.0/24" in flow.sources), flow


def test_one_of_a_pair_of_routers_is_asked_on_its_own_wire_alone() -> None:
    """From elsewhere it is a matter of the moment by which of the two a packet comes, and whether it looks forged."""
    table, alone = Table(written("full")), Table(written("fig3"))
    for address in ("10.1.1.1", "10.1.1.2", "10.1.1.3"):  # the gateway, and both routers
        assert table.passes("10.1.1.11", address, "icmp", None), address
        assert not table.passes("10.2.1.11", address, "icmp", None), address
        assert not table.passes("10.1.10.1", address, "icmp", None), address
    assert not table.passes("10.1.1.11", "10.1.10.3", "icmp", None)
    for address in ("10.1.10.1", "10.1.1.7", "203.0.113.10", "10.1.1.11"):
        assert table.passes("10.2.1.11", address, "icmp", None), address
    assert alone.passes("10.2.1.11", "10.1.1.2", "icmp", None)


def test_only_redirectors_come_to_the_ports_of_the_proxy_protocol(full: Allowed) -> None:
    for flow in full.flows:
        if set(flow.ports) & {10025, 10143, 14190, 10100}:
            assert set(flow.sources) <= {f"10.{n}.{s}.{h}" for n in (1, 2) for s in (1, 2) for h in (5, 6)}, flow
    assert full("10.1.2.5", "203.0.113.13", 14190) and full("10.2.1.6", "203.0.113.10", 10100)
    assert not full("10.1.1.5", "203.0.113.12", 10025) and not full("10.1.1.5", "203.0.113.10", 10143)


def test_a_relay_comes_by_each_of_its_routes_and_by_none_of_the_other_side(full: Allowed) -> None:
    for leg in ("10.1.1.31", "10.1.3.31"):
        assert full(leg, "203.0.113.11", 25)
    assert not full("10.1.2.31", "203.0.113.11", 25) and not full("10.1.1.31", "203.0.113.13", 25)
    assert full("10.1.2.31", "203.0.113.13", 25)


def test_what_mail_servers_send_by_themselves(full: Allowed) -> None:
    """An Internet one to anybody, an isolated one to its own side alone."""
    outward = {s for f in full.flows if "any" in f.destinations for s in f.sources}
    assert outward == {f"203.0.113.{n}" for n in (10, 11, 14, 15, 21, 22, 23, 24)}
    assert full("203.0.113.12", "10.2.2.8", 25) and not full("203.0.113.12", "10.2.1.8", 25)


def test_identities_of_a_side_pass_on_to_each_others_homes(full: Allowed, compact: Allowed) -> None:
    """Mail on both sides, sessions on the isolated one (docs/decisions/0038-customers-and-homes.md)."""
    for port in (25, 143, 110, 4190):
        assert full("203.0.113.12", "203.0.113.16", port) and full("203.0.113.17", "203.0.113.12", port), port
        assert full("203.0.113.10", "203.0.113.15", port) is (port == 25)
        assert not full("203.0.113.12", "203.0.113.10", port) and not full("203.0.113.10", "203.0.113.12", port)
    assert full("203.0.113.12", "203.0.113.34", 25) and not full("203.0.113.12", "203.0.113.24", 25)
    assert not full("203.0.113.12", "203.0.113.16", 993) and not full("203.0.113.31", "203.0.113.12", 143)
    assert not compact.of("home")  # one identity, nobody beside it


def test_stores_transfer_and_coordinator(full: Allowed) -> None:
    assert full("10.1.3.41", "10.255.3.1", 2049) and not full("10.1.3.41", "10.255.3.2", 2049)
    assert full("10.2.3.11", "10.255.3.1", 2049) and not full("10.3.3.41", "10.255.3.1", 2049)
    assert full("10.1.3.22", "10.1.3.21", 7789) and not full("10.2.3.21", "10.1.3.21", 7789)
    assert full("10.1.3.41", "10.3.3.41", 2379) and not full("10.1.3.41", "10.3.3.41", 2380)
    assert full("10.3.3.41", "10.2.3.32", 2380)
    assert not any(full(address, "10.3.3.41", 2379) for address in ("10.1.1.5", "10.8.1.10", "198.51.100.10"))


def test_ssh_is_for_who_deploys(full: Allowed, compact: Allowed) -> None:
    assert [f.sources for f in full.of("ssh")] == [("10.10.0.254",)]
    assert [f.sources for f in compact.of("ssh")] == [("10.10.0.0/24",)]  # it names nobody
    assert full("10.10.2.31", "10.10.0.254", 22) and full("10.10.1.21", "10.10.0.254", 22)  # a relay, a store's member
    assert not full("10.10.1.11", "10.10.0.254", 22)


def test_without_redirectors_identities_are_reached_themselves(compact: Allowed) -> None:
    for port in (25, 587, 465, 143, 993, 110, 995):
        assert compact("any", "203.0.113.10", port)
    assert not compact("any", "203.0.113.10", 4190) and not compact("any", "203.0.113.21", 993)
    assert compact("any", "10.3.3.41", 53, "udp")


def test_another_host_is_a_change_of_the_inventory_alone() -> None:
    def grow(facts: Facts) -> None:
        legs = {"mgmt": "10.10.1.15", "sjc-intra": "10.1.2.15", "sjc-storage": "10.1.3.15"}
        facts["hosts"]["sjc-mis3"] = {**facts["hosts"]["sjc-mis2"], "legs": legs}
        facts["identities"]["mail.alpha.example"]["candidates"].append("sjc-mis3")
        facts["coordinator_users"].append("sjc-mis3")

    before, after = Allowed(plan("full")), Allowed(plan("full", grow))
    assert not before("10.1.3.15", "10.255.3.1", 2049)
    for address, port in (
        ("10.255.3.1", 2049),
        ("10.255.3.2", 2049),
        ("10.1.3.31", 2379),
        ("10.1.2.2", 179),
        ("10.8.1.53", 53),
    ):
        source = "10.1.3.15" if address.startswith(("10.255", "10.1.3")) else "10.1.2.15"
        assert after(source, address, port), (address, port)
    assert after("10.10.0.254", "10.10.1.15", 22) and after("10.1.3.21", "10.1.3.15", 179)
    # Nothing that was allowed is not any more, and nothing new is but what concerns it.
    new = {"10.10.1.15", "10.1.2.15", "10.1.3.15"}
    assert single(after) - single(before) == {s for s in single(after) if new & set(s[:2])}
    assert single(before) <= single(after)


def single(table: Allowed) -> set[tuple[Any, ...]]:
    return {
        (s, d, f.protocol, p) for f in table.flows for s in f.sources for d in f.destinations for p in f.ports or (0,)
    }


def test_what_the_inventory_adds() -> None:
    def more(facts: Facts) -> None:
        facts["flows_besides"] = [
            {"why": "time", "from": ["mail"], "to": ["192.0.2.123"], "protocol": "udp", "ports": [123]},
            {"why": "backup", "from": ["10.1.3.77"], "to": ["store"], "ports": [22]},
        ]

    table = Allowed(plan("full", more))
    assert table("10.1.1.11", "192.0.2.123", 123, "udp") and table("10.1.3.77", "10.1.3.21", 22)


def test_mistakes_in_what_the_inventory_adds_are_named() -> None:
    facts: Facts = {
        "segments": {"dmz": {"network": "internet", "prefix": "10.1.1.0/24", "clients": "all"}},
        "controllers": ["10.10.0.0/33"],
        "flows_besides": [
            {"why": "a word too many", "from": ["mail7"], "to": ["any"], "protocol": "sctp", "ports": [0]},
            "x",
        ],
    }
    said = [str(m) for m in flow_checks.check(Inventory({"mail1": {"groups": ["mail"]}}, facts))]
    assert [line.split(" is ")[0].split(": ")[1] for line in said] == [
        "segments.dmz.clients", "controllers[0]", "flows_besides[0].why", "flows_besides[0].protocol",
        "flows_besides[0].ports", "flows_besides[0].from", "flows_besides[1]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("clients", "on", "served", "right"),
    [
        (None, None, "identities", False),
        (None, True, "redirectors", False),
        (None, "true", "identities", False),
        (None, False, "identities", True),
        (None, "false", "identities", True),
        (None, None, None, True),
        ("any", None, "identities", True),
        ("prefix", True, "identities", True),
    ],
)
def test_who_filters_says_where_clients_are(clients: object, on: object, served: str | None, right: bool) -> None:
    """Else the filters drop every client, and the deploy says that all is well."""
    segment = {"network": "internet", "prefix": "10.1.1.0/24"} | ({"clients": clients} if clients else {})
    settings = {"segments": {"dmz": segment}} | ({served: {"one": {}}} if served else {})
    hosts = {"mail1": {"groups": [], "packet_filter": on}, "relay1": {"groups": [], "packet_filter": False}}
    said = [str(m) for m in flow_checks.check(Inventory(hosts, settings, {"packet_filter": "all/network.yml"}))]
    assert len(said) == (not right)
    assert all(line.startswith("all/network.yml: packet_filter is True: say in `segments` where") for line in said)


@pytest.mark.parametrize(
    ("name", "right"),
    # {}: not resolvable, which inventory_check has said
    [("admin", True), (None, True), ({}, True), ("mgmt", False), ("", False), (["admin"], False)],
)
def test_hosts_are_managed_over_a_segment_of_the_inventory(name: object, right: bool) -> None:
    settings = {"segments": {"admin": {}, "dmz": {}}, "topology_management": name}
    given = {"topology_management": "group_vars/all/network.yml"}
    said = [str(mistake) for mistake in flow_checks.check(Inventory({}, settings, given))]
    remedy = "name the one over which hosts are managed: admin, dmz; or leave it out for mgmt"
    wrong = f"group_vars/all/network.yml: topology_management is {name!r}: {remedy}"
    assert said == ([] if right else [wrong])


# --- against what roles write --------------------------------------------------------------------------------------


def neighbours(plan_of: NetworkMap, host: str) -> set[tuple[str, str]]:
    """As role router derives them, told by a template of its own: (own address, the other's)."""
    found = set()
    for flow in Allowed(plan_of).of("routes"):
        mine = set(flow.destinations) & set(plan_of.hosts[host].legs.values())
        found |= {(m, s) for m in mine for s in flow.sources if flow.ports == (179,)}
    return found


@pytest.mark.parametrize("name", ["full", "compact"])
def test_bgp_is_allowed_exactly_between_neighbours(name: str) -> None:
    values, plan_of = inventory(name), plan(name)
    asn = {"router": 1, "host": 2}
    for host, known in plan_of.hosts.items():
        if not known.groups & {"router", "mail", "relay", "store", "transfer"}:
            continue
        peers = Host("router", host, values, bgp_asn=asn).value("__router_peers")
        assert {p["address"] for p in peers} == {other for _, other in neighbours(plan_of, host)}, host


def test_every_kind_of_file_names_addresses_that_may_be_spoken_with(full: Allowed) -> None:
    """Servers that HAProxy is told, and what monitors tell names to."""
    values = inventory("full")
    host = Host("redirector", "sjc-dis1", values)
    for server in host.value("__redirector_servers").values():
        for protocol in host.value("__redirector_pair")["protocols"]:
            port = host.value("topology_protocols")[protocol]["proxy"]
            assert full("10.1.2.5", server["address"], port), (server, protocol)
    for member in Host("store", "sjc-store1", values).value("topology_members"):
        assert full("10.1.3.21", member, 2379)


def test_the_table_on_paper_is_the_table(full: Allowed) -> None:
    """What playbooks/flows.yml writes is what filters are made of."""
    assert [f["why"] for f in written("full")["flows"]] == [f.why for f in full.flows]


def test_no_address_stands_in_the_roles() -> None:
    root = Path(__file__).resolve().parents[3]
    # Of the inventory, that is; beside the flows' own files there are others, whose messages give examples.
    for path in [*(root / "roles/packet_filter").rglob("*.*"), *(root / "plugins/plugin_utils").glob("*.py")]:
        found = re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", path.read_text()) if path.suffix != ".pyc" else []
        assert set(found) <= {"224.0.0.18"}, path

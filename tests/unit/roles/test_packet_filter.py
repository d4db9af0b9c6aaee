"""Packet filters as the role writes them: nft(8) takes all, and a kernel that has them lets through the flows alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.holdfast.mail.plugins.plugin_utils import flows, packet_rules
from ansible_collections.holdfast.mail.plugins.plugin_utils.network_map import NetworkMap
from flow_plans import plan, written
from rendering import Host

from tests.reachability.matrix import Table, differences

ROOT = Path(__file__).resolve().parents[3]
NAMESPACE = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
INVENTORIES = ("compact", "external", "fig3", "full", "single")


def rendered(plan_of: NetworkMap) -> dict[str, str]:
    """{host: its file}."""
    known = flows.allowed(plan_of)
    found = {}
    for name, host in plan_of.hosts.items():
        if "client" not in host.groups:
            rules = asdict(packet_rules.rules(plan_of, known, name))
            values = {"hostvars": {name: {}}, "groups": {}}
            role = Host("packet_filter", name, values, __packet_filter_rules=rules)
            found[name] = role.text({"src": "packet_filter.nft.j2"})
    return found


def nft_here() -> bool:
    if shutil.which("nft") is None:
        return False
    done = subprocess.run([*NAMESPACE, "nft", "list", "ruleset"], capture_output=True, check=False)
    return done.returncode == 0


needs_nft = pytest.mark.skipif(not nft_here(), reason="no nft, or no network of its own for it")


@needs_nft
@pytest.mark.parametrize("name", INVENTORIES)
def test_nft_takes_every_file(name: str, tmp_path: Path) -> None:
    for host, text in rendered(plan(name)).items():
        (tmp_path / f"{host}.nft").write_text(text)
    script = 'for f in "$0"/*.nft; do nft -c -f "$f" || { echo "$f"; exit 1; }; done; echo all'
    done = subprocess.run([*NAMESPACE, "sh", "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout == "all\n", done.stdout + done.stderr


@needs_nft
def test_other_tables_stay_and_loading_twice_is_the_same() -> None:
    """A store drops in a table of its own whom it has shut out."""
    text = rendered(plan("full"))["sjc-store1"]
    script = """
      mount -t tmpfs none /mnt; cat >/mnt/f; nft add table inet holdfast_store
      nft -f /mnt/f; nft -s list table inet holdfast_filter >/mnt/1; nft -f /mnt/f
      nft -s list table inet holdfast_filter >/mnt/2; cmp /mnt/1 /mnt/2; nft list table inet holdfast_store"""
    done = subprocess.run([*NAMESPACE, "sh", "-ec", script], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "table inet holdfast_store" in done.stdout, done.stderr


@needs_nft
def test_rules_that_cannot_be_loaded_leave_no_host_open(tmp_path: Path) -> None:
    """At boot; where rules are in force they stay, and good ones take the place of what was closed."""
    confirmed, good, program = (tmp_path / n for n in ("confirmed", "good", "program"))
    (tmp_path / "sysctl").touch()
    good.write_text(rendered(plan("full"))["sjc-rin1"])
    paths = {"__packet_filter_confirmed": str(confirmed), "__packet_filter_sysctl": str(tmp_path / "sysctl")}
    values = {"hostvars": {"sjc-rin1": {"devices": {"mgmt": "eno1"}}}, "groups": {}}
    program.write_text(Host("packet_filter", "sjc-rin1", values, **paths).text({"src": "packet-filter.sh.j2"}))
    script = f"""
      list() {{ echo "--"; nft -s list table inet holdfast_filter; }}
      cp {good} {confirmed}; echo "table inet holdfast_filter {{ chain no" >>{confirmed}
      if sh {program} load; then exit 3; fi; list
      cp {good} {confirmed}; sh {program} load; list
      echo nonsense >{confirmed}; if sh {program} load; then exit 4; fi; list"""
    done = subprocess.run([*NAMESPACE, "sh", "-ec", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, closed, loaded, kept = done.stdout.split("--\n")
    assert closed.count("policy drop") == 2 and 'iifname "eno1" tcp dport 22 accept' in closed
    assert 'iifname "lo" accept' in closed and closed.count("accept") == 2
    assert "set ours" in loaded and kept == loaded


def test_a_shutdown_stops_no_filter() -> None:
    """Of all units a target of systemd's stops those that conflict with it, by default or by their own word."""
    values = {"hostvars": {"sjc-rin1": {}}, "groups": {}}
    unit = Host("packet_filter", "sjc-rin1", values).text({"src": "holdfast-packet-filter.service.j2"})
    assert "DefaultDependencies=no" in unit.splitlines() and "Conflicts=" not in unit


def test_only_routers_forward_and_keep_no_state() -> None:
    plan_of = plan("full")
    for host, text in rendered(plan_of).items():
        router = "router" in plan_of.hosts[host].groups
        assert ("ct state" in text) is not router
        forward = text.split("chain forward")[1]
        assert (" accept" in forward.split("policy drop", 1)[1]) is router, host
        assert (
            text.count("policy drop") == 2 and "policy accept" in text.split("chain source")[1].split("chain input")[0]
        )


def test_a_leg_takes_in_what_is_behind_it() -> None:
    plan_of = plan("full")
    known = flows.allowed(plan_of)
    legs = {line.split('"')[1]: line for line in packet_rules.rules(plan_of, known, "sjc-rin1").source[:-1]}
    assert "@ours" not in legs["sjc-dmz"] and "10.1.1.0/24" in legs["sjc-dmz"]
    # From the lines to the provider comes the Internet, but nobody who says that he is from here.
    assert "ip saddr @ours ip saddr !=" in legs["sjc-inet"] and "10.1.1.0/24" not in legs["sjc-inet"]
    assert "10.2.1.0/24" in legs["sjc-inet"] and "203.0.113.12" not in legs["sjc-inet"]
    both = packet_rules.rules(plan_of, known, "sjc-ris1").source
    assert all(line for line in both if "@ours" not in line)
    assert plan_of.behind(plan_of.hosts["sjc-ris1"], "sjc-wan") == {"sjc-wan", "rly-wan", "rly-storage", "third"}


def test_who_stands_by_for_an_identity_takes_what_it_sends_from_elsewhere() -> None:
    """sjc-mis2 may get .12 one day; until then .12 passes users on to .16 there."""
    plan_of = plan("full")
    rules = packet_rules.rules(plan_of, flows.allowed(plan_of), "sjc-mis2").input
    sources, _, destinations = next(line for line in rules if line.endswith('"home"')).partition(" ip daddr ")
    assert "203.0.113.12" in sources and "203.0.113.16" in destinations


# --- in a kernel ---------------------------------------------------------------------------------------------------

PART = (
    "outside1", "ns-inet", "core-inet", "sjc-rin1", "sjc-din1", "sjc-min1", "sjc-relay1",
    "core-iso", "sjc-ris1", "corp1", "corp2", "sjc-dis1", "sjc-mis1", "sjc-store1",
)  # fmt: skip
HELD = {
    "203.0.113.10": "sjc-min1",
    "203.0.113.12": "sjc-mis1",
    "203.0.113.21": "sjc-relay1",
    "203.0.113.31": "sjc-relay1",
    "10.255.3.1": "sjc-store1",
    "10.1.1.7": "sjc-din1",
    "10.1.1.8": "sjc-din1",
    "10.1.2.7": "sjc-dis1",
    "10.1.2.8": "sjc-dis1",
}
ISOLATED = 1001


class Wires:
    """Routes as base, FRR and the lab set them, for the hosts of PART."""

    def __init__(self, plan_of: NetworkMap) -> None:
        self.plan = plan_of
        self.part = {name: plan_of.hosts[name] for name in PART}
        self.routers = [h for h in self.part.values() if "router" in h.groups]

    def gateway(self, segment: str) -> str | None:
        """The one router of a pair that is here has its address, or nobody has."""
        return self.plan.gateway(segment) if any(segment in r.legs for r in self.routers) else None

    def lines(self, name: str) -> list[str]:
        host = self.part[name]
        lines = [f"address add {a}/32 dev lo" for a, who in HELD.items() if who == name]
        if host in self.routers:
            for segment in host.legs:
                if self.plan.is_virtual(segment):
                    lines.append(f"address add {self.plan.gateway(segment)}/24 dev {segment}")
                if self.plan.domain(segment) == "isolated":
                    # Where a kernel has no VRF: what comes in there, and what the router answers by its address there.
                    lines.append(f"rule add iif {segment} lookup {ISOLATED} priority 900")
                    lines.append(f"rule add from {host.legs[segment]} lookup {ISOLATED} priority 901")
                    lines.append(f"route add {self.plan.segments[segment]['prefix']} dev {segment} table {ISOLATED}")
            return lines + self.of_router(name)
        ways = [s for s in host.legs if s != self.plan.management and self.gateway(s)]
        for segment in ways:
            for other, values in self.plan.segments.items():
                if values["network"] == self.plan.network(segment) and other not in host.legs:
                    lines.append(f"route add {values['prefix']} via {self.gateway(segment)}")
        lines += [f"route add default via {self.gateway(ways[0])}"] if ways else []
        routes = [s for n in self.plan.mail_routes for s in ways if self.plan.network(s) == n]
        lines += [f"route add 203.0.113.0/24 via {self.gateway(routes[0])}"] if routes else []
        if len(routes) > 1:
            lines.append("rule add to 10.255.3.0/24 lookup main priority 1100")
            for n, segment in enumerate(routes, 101):
                lines.append(f"route add {self.plan.segments[segment]['prefix']} dev {segment} table {n}")
                lines.append(f"route add default via {self.gateway(segment)} table {n}")
                lines.append(f"rule add from {host.legs[segment]} lookup {n} priority {1000 + n}")
            networks = [self.plan.network(s) for s in routes]
            for identity in self.plan.identities.values():
                first = next((n for n in self.plan.networks_of(identity) if n in networks), networks[0])
                if name in identity["candidates"] and first != networks[0]:
                    way = f"lookup {101 + networks.index(first)}"
                    lines.append(f"rule add from {identity['address']} to 203.0.113.0/24 {way} priority 1100")
        if host.groups & {"mail", "relay"}:
            lines.append(f"route add 10.255.3.1 via {self.part['sjc-store1'].legs['sjc-storage']}")
        return lines

    def of_router(self, name: str) -> list[str]:
        """By the neighbour through which it is nearest, in each domain for itself."""
        host, lines = self.part[name], []
        for domain in {self.plan.domain(s) for s in host.legs if s != self.plan.management}:
            table = f" table {ISOLATED}" if domain == "isolated" else ""
            reached = {s: "" for s in host.legs if self.plan.domain(s) == domain}
            queue = list(reached)
            while queue:
                segment = queue.pop(0)
                for router in self.routers:
                    if router is host or segment not in router.legs:
                        continue
                    for other in router.legs:
                        if other not in reached and self.plan.domain(other) == domain:
                            reached[other] = reached[segment] or router.legs[segment]
                            queue.append(other)
            lines += [
                f"route add {self.plan.segments[s]['prefix']} via {via}{table}" for s, via in reached.items() if via
            ]
            for address, who in HELD.items():
                for segment, own in self.part[who].legs.items():
                    if self.plan.movable(address) and segment in reached and segment in self.plan.places(address):
                        lines.append(f"route add {address} via {reached[segment] or own}{table}")
                        break
        return lines


def listening(table: Table, name: str) -> list[tuple[str, int]]:
    """On every address that it has, one port that flows lead to and one that none does."""
    own = [*table.hosts[name]["legs"].values(), *(a for a, who in HELD.items() if who == name)]
    return [(a, p) for a in own for p in (22, 25, 53, 143, 179, 2049, 2379, 7789, 10025, 10100, 111)]


@pytest.fixture(scope="module")
def played() -> list[dict[str, Any]]:
    if not nft_here():
        pytest.skip("no nft, or no network of its own for it")
    plan_of, table = plan("full"), Table(written("full"))
    wires, rules = Wires(plan_of), rendered(plan_of)
    known = {a for name in PART for a in plan_of.hosts[name].legs.values()} | set(HELD)
    known |= {
        g for s in plan_of.segments if plan_of.is_virtual(s) and s.startswith("sjc") and (g := plan_of.gateway(s))
    }
    ports = {"tcp": table.ports("tcp"), "udp": table.ports("udp"), "timeout": 2.5, "at_once": 4000}

    def wanted(name: str) -> dict[str, Any]:
        targets = [t for t in table.targets(name) if t["address"] in known]
        for segment in plan_of.hosts[name].legs:
            targets += [
                {"address": f"@{other}/{segment}", "device": segment, "tcp": [22, 25, 179], "udp": [53]}
                for other in PART
                if other != name and segment in plan_of.hosts[other].legs and other not in table.clients()
            ]
        return {**ports, "targets": targets}

    leak = "nft insert rule inet holdfast_filter forward ip saddr 10.8.0.0/16 ip daddr 10.8.0.0/16 accept"
    # A stranger with the address of a relay, which may send to this identity.
    spoof = [{"address": "203.0.113.10", "source": "10.1.1.31", "tcp": [25], "udp": []}]
    spec = {
        "segments": sorted({s for name in PART for s in plan_of.hosts[name].legs}),
        "hosts": {
            name: {
                "legs": {
                    s: f"{a}/{plan_of.segments[s]['prefix'].split('/')[1]}" for s, a in plan_of.hosts[name].legs.items()
                },
                "ip": wires.lines(name),
                "forward": "router" in plan_of.hosts[name].groups,
                "rules": rules.get(name, ""),
                "listen": listening(table, name),
            }
            for name in PART
        },
        "steps": [
            {"run": {name: wanted(name) for name in PART}},
            {"do": {"core-iso": leak}},
            {"run": {"corp1": {**wanted("corp1"), "targets": [{"address": "10.8.2.10"}]}}},
            {"do": {"outside1": "ip address add 10.1.1.31/32 dev lo"}},
            {"run": {"outside1": {**ports, "targets": spoof}}},
            {"do": {"core-inet": "nft -j list chain inet holdfast_filter spoofed"}},
        ],
    }
    done = subprocess.run(
        [*NAMESPACE, sys.executable, "-m", "tests.reachability.namespaces"],
        cwd=ROOT, input=json.dumps(spec), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


@pytest.mark.slow
def test_the_matrix_is_the_table(played: list[dict[str, Any]]) -> None:
    found = differences(Table(written("full")), played[0])
    assert not found, "\n".join(map(str, found[:60]))
    # And it is no empty one.
    rows = {(h, r["address"]): r for h, a in played[0].items() for r in a["found"] if not r["tried"]}
    assert 25 in rows["outside1", "10.1.1.7"]["tcp"]["open"] and rows["outside1", "10.1.1.7"]["echo"]
    assert not rows["outside1", "203.0.113.10"]["tcp"]["open"]
    assert 143 in rows["corp1", "10.1.2.8"]["tcp"]["open"] and 587 in rows["corp1", "10.1.2.8"]["tcp"]["refused"]
    assert 2049 in rows["sjc-mis1", "10.255.3.1"]["tcp"]["open"]


def test_the_partner_that_has_the_shared_address_answers() -> None:
    """A router of a pair may have it itself, and asks the other one while it has not."""
    before_forward = rendered(plan("full"))["sjc-rin2"].partition("chain forward")[0]
    answers = [line for line in before_forward.splitlines() if "icmp type echo-reply" in line]
    assert any("10.1.1.1," in line.partition("ip daddr")[0] for line in answers), answers


@pytest.mark.slow
def test_a_planted_leak_is_found(played: list[dict[str, Any]]) -> None:
    quiet = {host: answer | {"found": []} for host, answer in played[0].items()}
    found = differences(Table(written("full")), quiet | played[2])
    assert {(c.host, c.whom, c.found) for c in found if c.port == 22} == {("corp1", "corp2", "open")}


@pytest.mark.slow
def test_a_stranger_with_one_of_our_addresses_is_dropped_at_the_border(played: list[dict[str, Any]]) -> None:
    assert played[4]["outside1"]["found"][0]["tcp"] == {"open": [], "refused": []}
    rules = [r["rule"]["expr"] for r in json.loads(played[5]["core-inet"])["nftables"] if "rule" in r]
    assert next(e["counter"]["packets"] for expr in rules for e in expr if "counter" in e) > 0

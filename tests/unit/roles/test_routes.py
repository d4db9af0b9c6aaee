"""The program that sets a host's routes, run in a network namespace of its own; skipped where nobody may make one."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROLE = Path(__file__).parents[3] / "roles" / "base"
# The second interface is there and has no link: what goes over it cannot be set.
BENCH = """
set -eu
ip link add dmz1 type veth peer name far1; ip link set far1 up
ip address add 10.1.1.31/24 dev dmz1; ip link set dmz1 up
ip link add iso1 type veth peer name far2; ip link set far2 up
ip address add 10.1.2.31/24 dev iso1
ip link add svc0 type dummy 2>/dev/null || ip link add svc0 type bridge
ip address add 203.0.113.21/32 dev svc0; ip address add 203.0.113.31/32 dev svc0; ip link set svc0 up
"""
SHOW = "ip -4 route show table all protocol 98; ip -4 rule show | sed -n 's, proto 98,,p'"
ALL = {
    "10.2.1.0/24 via 10.1.1.1 dev dmz1",
    "10.2.2.0/24 via 10.1.2.1 dev iso1",
    "203.0.113.0/24 via 10.1.1.1 dev dmz1",
    "10.1.1.0/24 dev dmz1 table 101 scope link src 10.1.1.31",
    "10.1.2.0/24 dev iso1 table 102 scope link src 10.1.2.31",
    "default via 10.1.1.1 dev dmz1 table 101",
    "default via 10.1.2.1 dev iso1 table 102",
    "1101: from 10.1.1.31 lookup 101",
    "1102: from 10.1.2.31 lookup 102",
    "1102: from 203.0.113.31 to 203.0.113.0/24 lookup 102",
}
OVER_ISO1 = {line for line in ALL if "iso1" in line}
OLD = "10.9.9.0/24 via 10.1.1.1 dev dmz1"


def script(folder: Path) -> Path:
    """What a relay gets: two networks, each with a gateway."""
    values: dict[str, Any] = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    segments = {
        name: {"network": name[:3], "prefix": f"10.{name[3]}.{1 if name[:3] == 'dmz' else 2}.0/24"}
        for name in ("dmz1", "iso1", "dmz2", "iso2")
    }
    for segment in segments.values():
        segment["gateway"] = segment["prefix"].replace("0/24", "1")
    legs = {"dmz1": "10.1.1.31", "iso1": "10.1.2.31"}
    values |= {
        "ansible_managed": "Ansible managed",
        "segments": segments,
        "legs": legs,
        "topology_legs": legs,
        "topology_storage": {},
        "__base_routes_by_bgp": False,
        "mail_routes": ["internet", "isolated"],
        "inventory_hostname": "relay1",
        "service_prefix": "203.0.113.0/24",
        "topology_routes": [
            {"name": network, "segment": s, "bind_address": legs[s], "gateway": segments[s]["gateway"]}
            for network, s in (("internet", "dmz1"), ("isolated", "iso1"))
        ],
        # A relay of each side; and one that names no network, nor one that this host has not, is of the first.
        "topology_identities": {
            "relay1": {"address": "203.0.113.21", "networks": ["internet", "storage"]},
            "relay1.iso": {"address": "203.0.113.31", "networks": ["isolated", "internet"]},
            "relay2": {"address": "203.0.113.22"},
            "relay3": {"address": "203.0.113.23", "networks": ["storage", "internet"]},
        },
    }
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701
    tables = environment.from_string(values["__base_identity_tables"]).render(values)
    values["__base_identity_tables"] = ast.literal_eval(tables)
    path = folder / "routes"
    path.write_text(environment.from_string((ROLE / "templates" / "routes.sh.j2").read_text()).render(values))
    return path


def bench(commands: str) -> subprocess.CompletedProcess[str]:
    argv = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", BENCH + commands]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", autouse=True)
def _namespaces() -> None:
    if bench("").returncode != 0:
        pytest.skip("no network namespace with veth here")


def after(commands: str) -> set[str]:
    done = bench(f"{commands}\n{SHOW}")
    assert done.returncode == 0, done.stderr
    lines = (re.sub(r"\s+", " ", line.replace(" linkdown", "")).strip() for line in done.stdout.splitlines())
    return set(lines)


def test_what_is_wanted_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    routes = script(tmp_path)
    assert after(f"ip link set iso1 up; ip route add {OLD} proto 98; sh {routes}; sh {routes}") == ALL


def test_a_missing_interface_costs_its_own_routes_only_and_is_told(tmp_path: Path) -> None:
    routes = script(tmp_path)
    tried = f"if sh {routes} 2>/dev/null; then exit 3; fi"
    assert after(tried) == ALL - OVER_ISO1
    # Nothing that was there is taken away for it, and the next try sets all.
    assert after(f"ip route add {OLD} proto 98; {tried}") == ALL - OVER_ISO1 | {OLD}
    assert after(f"ip route add {OLD} proto 98; {tried}; ip link set iso1 up; sh {routes}") == ALL


def test_who_is_asked_on_a_side_answers_there(tmp_path: Path) -> None:
    """Identities of the second network are not answered over the first one, whose routers drop them as spoofed; nor are
    probes over another route answered anywhere but there."""
    ways = [("203.0.113.31", "203.0.113.13"), ("203.0.113.21", "203.0.113.10"), ("203.0.113.31", "10.1.1.77")]
    asked = "; ".join(f"ip -o route get {whom} from {source}" for source, whom in ways)
    done = bench(f"ip link set iso1 up; sh {script(tmp_path)}; {asked}")
    assert done.returncode == 0, done.stderr
    assert re.findall(r" dev (\w+)", done.stdout) == ["iso1", "dmz1", "dmz1"]

"""What routers take from whom and tell to whom, and who of a pair has the gateway's address."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.holdfast.mail.plugins.plugin_utils import flow_checks
from holdfast.core.checks import Inventory
from rendering import Host, Values, inventory


@pytest.fixture(scope="module")
def full() -> Values:
    return inventory("full")


def text(values: Values, host: str, file: str = "frr.conf.j2", **changes: Any) -> str:
    return Host("router", host, values, bgp_asn={"router": 64501, "host": 64512}, **changes).text({"src": file})


def by_the_providers_wire(values: Values) -> Values:
    """As `full`, but the pair has the provider's wire for itself, where it is one gateway, too."""
    hosts = {h: {**v, "legs": dict(v["legs"])} for h, v in values["hostvars"].items()}
    del hosts["core-inet"]["legs"]["sjc-inet"]
    return {**values, "hostvars": hosts}


def of_map(frr: str, name: str) -> list[str]:
    """Its entries, each on one line."""
    found = re.findall(rf"^route-map {name} (\S+ \d+)\n((?: .*\n)*)exit$", frr, re.MULTILINE)
    return [f"{entry}: {'; '.join(line.strip() for line in lines.splitlines())}" for entry, lines in found]


def run_loaded(
    tmp_path: Path, values: Values, given: str, times: int, seconds: int = 2, hangs: str = "nothing"
) -> subprocess.CompletedProcess[str]:
    """The script with an FRR that shows `given` at first, and its whole file once that was handed over so often.

    `hangs`: the first word of a question that FRR does not answer the first time.
    """
    script = text(values, "sjc-rin1", "frr-loaded.sh.j2").replace("/etc/frr/frr.conf", str(tmp_path / "frr.conf"))
    assert "seconds=70" in script and "timeout 20 " in script
    (tmp_path / "frr.conf").write_text(text(values, "sjc-rin1"))
    (tmp_path / "running").write_text(given)
    (tmp_path / "vtysh").write_text(f"""#!/bin/sh
cd {tmp_path}
[ "$1" != {hangs} ] || [ -e hung ] || {{ touch hung; exec sleep 25; }}
[ "$1" = -b ] || exec cat running
echo >>handed
[ $(wc -l <handed) -lt {times} ] || cp frr.conf running
""")
    (tmp_path / "vtysh").chmod(0o755)
    script = script.replace("seconds=70", f"seconds={seconds}").replace("timeout 20 ", "timeout 1 ")
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    return subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.parametrize("given", ["", "whole but a neighbour", "whole"])
def test_frr_that_came_up_without_its_file_gets_it_again(tmp_path: Path, full: Values, given: str) -> None:
    whole = text(full, "sjc-rin1")
    some = "\n".join(line for line in whole.splitlines() if not line.startswith(" neighbor 10.1.1.11 "))
    done = run_loaded(tmp_path, full, {"whole": whole, "": ""}.get(given, some), 2)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "handed").exists() == (given != "whole")


@pytest.mark.parametrize("hangs", ["-c", "-b"])
def test_a_question_that_hangs_holds_up_no_start(tmp_path: Path, full: Values, hangs: str) -> None:
    begun = time.monotonic()
    done = run_loaded(tmp_path, full, "", 1, seconds=15, hangs=hangs)
    assert (done.returncode, done.stderr) == (0, "") and (tmp_path / "hung").exists()
    assert time.monotonic() - begun < 15


def test_frr_that_never_takes_its_file_is_no_start(tmp_path: Path, full: Values) -> None:
    done = run_loaded(tmp_path, full, "", 10**9)
    assert done.returncode == 1 and "FRR does not run" in done.stderr and "frr.conf" in done.stderr


def test_a_line_that_frr_shows_in_other_words_stops_nobody(tmp_path: Path, full: Values) -> None:
    whole = text(full, "sjc-rin1").replace(" ge 32\n", " ge 32 le 32\n")
    done = run_loaded(tmp_path, full, whole, 10**9)
    assert done.returncode == 0 and "FRR does not run" in done.stderr
    assert len((tmp_path / "handed").read_text().splitlines()) == 3


def test_every_host_with_frr_looks_whether_it_has_its_file(full: Values) -> None:
    for host in ("core-inet", "sjc-rin1", "sjc-transfer1", "sjc-store1", "sjc-min1"):
        unit = text(full, host, "frr.service.conf.j2")
        assert "ExecStartPost=/usr/lib/holdfast/frr-loaded\n" in unit and "After=\n" not in unit


def test_what_came_by_the_partner_is_told_to_no_line(full: Values) -> None:
    """A provider that sends strangers to a router without a session with the owner has them dropped by the partner."""
    frr = text(full, "sjc-rin1")
    assert "neighbor pair route-map from-pair in" in frr and "neighbor line route-map to-line out" in frr
    assert of_map(frr, "from-pair") == ["permit 10: call reachable; set community 65000:1"]
    assert of_map(frr, "to-line") == ["deny 5: match community by-pair", "permit 10: call reachable"]
    assert "bgp community-list standard by-pair seq 5 permit 65000:1" in frr
    # Who has no partner tells all.
    assert of_map(text(full, "core-inet"), "to-line") == ["permit 10: call reachable"]


def test_every_route_map_and_list_that_is_named_is_there(full: Values) -> None:
    """FRR lets nothing through by one that is not."""
    wire = by_the_providers_wire(full)
    for values, host in ((full, "sjc-rin1"), (full, "sjc-ris1"), (full, "core-iso"), (wire, "sjc-rin1")):
        for default in ({}, {"sjc-inet": "10.1.10.1"}):
            frr = text(values, host, router_default=default)
            maps = set(re.findall(r"^route-map (\S+) ", frr, re.MULTILINE))
            lists = set(re.findall(r"^(?:ip prefix-list|bgp community-list standard) (\S+) ", frr, re.MULTILINE))
            assert set(re.findall(r" route-map (\S+)(?: in| out|$)", frr, re.MULTILINE)) <= maps
            assert set(re.findall(r"^ call (\S+)", frr, re.MULTILINE)) <= maps
            assert set(re.findall(r" prefix-list (\S+)(?: in|$)", frr, re.MULTILINE)) <= lists
            assert set(re.findall(r"match community (\S+)", frr)) <= lists


def test_the_partner_is_asked_last_where_its_filter_takes_hosts_for_spoofed(full: Values) -> None:
    """The wire to a provider: packets of our own that come by it have not come from there."""
    frr = text(by_the_providers_wire(full), "sjc-rin1")
    assert re.findall(r"neighbor (\S+) peer-group (pair|detour)\n", frr) == [
        ("10.1.10.3", "detour"),
        ("10.1.1.3", "pair"),
    ]
    entries = of_map(frr, "from-pair-by-detour")
    assert entries == ["permit 10: call reachable; set community 65000:1; set local-preference 90"]
    assert "local-preference" not in "".join(of_map(frr, "from-pair"))
    assert "detour" not in text(full, "sjc-rin1") and "detour" not in text(full, "sjc-ris1")


def test_a_default_route_is_a_routers_own_and_then_its_partners(full: Values) -> None:
    default = {"sjc-inet": "10.1.10.1", "rly-inet": "10.2.10.1"}
    frr = text(full, "sjc-rin1", router_default=default, devices={"sjc-inet": "eno2"})
    assert re.findall(r"^ip route (.*)", frr, re.MULTILINE) == ["0.0.0.0/0 10.1.10.1 eno2"]
    assert "redistribute static route-map default" in frr
    for name in ("from-pair", "to-pair"):
        assert of_map(frr, name)[0].startswith("permit 5: match ip address prefix-list default")
    for name in ("to-line", "reachable"):
        assert "default" not in "".join(of_map(frr, name))
    assert "ip route" not in text(full, "core-inet", router_default=default)  # the provider itself
    assert "0.0.0.0/0" not in text(full, "sjc-rin1")
    isolated = text(full, "sjc-ris1", router_default={"sjc-iso": "10.1.20.1"})
    assert "\nvrf isolated\n ip route 0.0.0.0/0 10.1.20.1 sjc-iso\nexit-vrf\n" in isolated
    stores, vrf = isolated.split("router bgp 64501 vrf isolated")
    assert "redistribute static" in vrf and "redistribute static" not in stores


def test_routes_over_a_leg_without_carrier_give_way(full: Values) -> None:
    line = "net.ipv4.conf.all.ignore_routes_with_linkdown = 1"
    assert line in text(full, "sjc-rin1", "sysctl.conf.j2") and line not in text(full, "sjc-min1", "sysctl.conf.j2")
    # There is no other way where there is no other router.
    assert line not in text(inventory("compact"), "gw1", "sysctl.conf.j2")


def test_an_address_is_taken_from_those_alone_who_may_own_it(full: Values) -> None:
    """In each of its networks: a relay host tells nobody on one side what is the other side's."""
    candidates = {i["address"]: i for i in full["identities"].values()}
    for router, network, segment in (
        ("sjc-rin1", "internet", "sjc-dmz"),
        ("sjc-ris1", "isolated", "sjc-intra"),
        ("sjc-ris1", "storage", "sjc-storage"),
    ):
        frr = text(full, router)
        for host in full["groups"]["mail"] + full["groups"]["relay"]:
            address = full["hostvars"][host]["legs"].get(segment)
            if address is None:
                continue
            name = f"of-{host}-{network}"
            assert f"  neighbor {address} prefix-list {name} in" in frr
            taken = re.findall(rf"^ip prefix-list {name} seq \d+ permit (\S+)/32$", frr, re.MULTILINE)
            may = [a for a, i in candidates.items() if host in i["candidates"] and network in i["networks"]]
            assert sorted(taken) == sorted(may) != []
    # Of other routers anything that can be reached.
    assert not re.search(r"neighbor 10\.1\.1\.3 prefix-list", text(full, "sjc-rin1"))


def test_who_may_own_nothing_is_believed_nothing(full: Values) -> None:
    identities = {name: {**i, "candidates": ["sjc-min1"]} for name, i in full["identities"].items()}
    frr = text({**full, "identities": identities}, "sjc-rin1")
    assert "ip prefix-list of-sjc-min2-internet seq 5 deny any" in frr


def test_neither_of_a_pair_is_without_the_address_because_it_was_slow(full: Values) -> None:
    """Of two that both seem to know nothing the first has it; one that alone does has less than its partner."""
    pair = [text(full, f"sjc-rin{n}", "keepalived.conf.j2") for n in (1, 2)]
    first, second = (int(m) for one in pair for m in re.findall(r"priority (\d+)", one))
    for one in pair:
        scripts = dict(re.findall(r"vrrp_script (\w+) {.*?weight (-\d+)\n", one, re.DOTALL))
        assert set(scripts) == set(re.search(r"track_script {([^}]*)}", one).group(1).split())  # type: ignore[union-attr]
        assert one.count("vrrp_script") == len(scripts)
        for weight in map(int, scripts.values()):
            assert first + weight < second < first and first + weight > second + weight > 0
    # The delay also holds back who sees a partner that has become the lesser one.
    assert "preempt_delay 30" in pair[0] and "preempt_delay" not in pair[1]


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"edge": "192.0.2.1"}, ""),
        ({}, ""),
        (None, ""),
        ({"egde": "192.0.2.1"}, "router_default.egde"),
        ({"edge": "192.0.2.9"}, "router_default.edge"),
        ({"edge": "gw"}, "router_default.edge"),
        ("192.0.2.1", "router_default"),
    ],
)
def test_a_default_route_leads_to_somebody_on_that_wire(given: object, key: str) -> None:
    settings = {"segments": {"edge": {"network": "internet", "prefix": "192.0.2.0/29"}}, "router_default": given}
    said = [str(m) for m in flow_checks.check(Inventory({}, settings, {"router_default": "all/network.yml"}))]
    assert [line.split(" is ")[0] for line in said] == ([f"all/network.yml: {key}"] if key else [])

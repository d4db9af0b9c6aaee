"""What a deploy would write on each host, rendered on the controller: growth is an inventory change only (R2.1, R6)."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from whole import ROOT, rendered


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rendered(tmp_path_factory.mktemp("today"))


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_every_host_is_rendered_and_none_is_asked(today: Path) -> None:
    """Nobody answers at the inventory's addresses here."""
    hosts = yaml.safe_load((ROOT / "inventories" / "compact" / "hosts.yml").read_text())["all"]["children"]
    names = {host for group in hosts.values() for host in group["hosts"]}
    assert {p.name for p in today.iterdir()} == names
    assert b"neighbor 10.1.1.11 description mail1" in (today / "gw1/etc/frr/frr.conf").read_bytes()
    assert (today / "store1a/etc/systemd/system/rpcbind.service").readlink() == Path("/dev/null")
    assert not [name for name, data in files(today).items() if b"{{" in data and not name.endswith(".py")]


def grow(groups: dict[str, Any], variables: dict[str, Any]) -> None:
    """Two more mail hosts in the two sites, and a third site with one."""
    networks = {"dmz": "internet", "iso": "isolated", "storage": "storage"}
    variables["sites"]["dc3"] = {"description": "third data centre"}
    for i, (kind, network) in enumerate(networks.items(), 1):
        prefix = f"10.5.{i}"
        variables["segments"][f"{kind}3"] = {"network": network, "prefix": f"{prefix}.0/24", "gateway": f"{prefix}.1"}
        groups["router"]["hosts"]["gw1"]["legs"][f"{kind}3"] = f"{prefix}.1"
    for host, site, first in (("mail3", 1, "10.1"), ("mail4", 2, "10.2"), ("mail5", 3, "10.5")):
        number = f"1{host[-1]}"
        legs = {f"{kind}{site}": f"{first}.{i}.{number}" for i, kind in enumerate(networks, 1)}
        groups["mail"]["hosts"][host] = {"site": f"dc{site}", "legs": {"mgmt": f"10.10.0.{number}"} | legs}
        variables["identities"]["mx.alpha.example"]["candidates"].append(host)
        for device in variables["fence_devices"].values():
            device["hosts"].append(host)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rendered(tmp_path_factory.mktemp("grown"), grow)


def test_more_mail_hosts_are_a_change_of_the_inventory_alone(today: Path, grown: Path) -> None:
    for host in ("mail3", "mail4", "mail5"):
        # As one of old, but for what is called like the host.
        same = {p for p in files(today / "mail1") if "mail1" not in p}
        assert {p for p in files(grown / host) if host not in p} == same
    monitor = yaml.safe_load((grown / "relay2/etc/holdfast/monitor.yml").read_text())
    assert monitor["identities"]["mx.alpha.example"]["candidates"] == [f"mail{n}" for n in range(1, 6)]
    assert b"neighbor 10.2.1.14 description mail4" in (grown / "gw1/etc/frr/frr.conf").read_bytes()
    assert b"10.1.3.13" in (grown / "store1a/etc/holdfast/store.yml").read_bytes()


def test_a_third_site_is_a_change_of_the_inventory_alone(today: Path, grown: Path) -> None:
    assert b"neighbor 10.5.1.15 description mail5" in (grown / "gw1/etc/frr/frr.conf").read_bytes()
    for host, gateway in (("mail1", "10.1.1.1"), ("relay2", "10.2.1.1")):
        assert f"route replace 10.5.1.0/24 via {gateway}" in (grown / host / "usr/lib/holdfast/routes").read_text()
    before, new = files(today), {"mail3", "mail4", "mail5"}
    changed = {p for p, data in files(grown).items() if p.split("/")[0] not in new and before.get(p) != data}
    assert {p.split("/", 1)[1] for p in changed} <= {
        "etc/frr/frr.conf", "etc/hosts", "etc/knot/knot.conf", "usr/lib/holdfast/routes", "usr/lib/holdfast/vrf",
        "etc/holdfast/agent.yml", "etc/holdfast/store.yml", "etc/holdfast/monitor.yml",
    }  # fmt: skip


# `example` has no secrets of its own: test_example.py.
LABS = sorted(p.name for p in (ROOT / "inventories").iterdir() if (p / "hosts.yml").exists() and p.name != "example")


@pytest.mark.parametrize("name", LABS)
def test_an_inventory_of_ours_has_no_mistake(name: str) -> None:
    directory = ROOT / "inventories" / name
    first = next(iter(yaml.safe_load((directory / "hosts.yml").read_text())["all"]["children"].values()))["hosts"]
    argv = ["ansible", "-i", str(directory), next(iter(first)), "-m", "holdfast.mail.inventory_check"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "HOLDFAST_LAB": "trial"}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "mistakes: []" in done.stdout, done.stdout + done.stderr


def frr(root: Path, host: str) -> str:
    return (root / host / "etc/frr/frr.conf").read_text()


def test_a_pair_of_routers_is_one_gateway(full: Path) -> None:
    pair = {n: (full / f"sjc-rin{n}/etc/keepalived/keepalived.conf").read_text() for n in (1, 2)}
    assert all(text.count("vrrp_instance") == text.count("10.1.1.1/24 dev sjc-dmz") == 1 for text in pair.values())
    assert "priority 150" in pair[1] and "priority 100" in pair[2]
    assert not (full / "core-inet/etc/keepalived").exists()
    # Each host is told of identities by both, and tells both.
    for host in ("sjc-min1", "sjc-relay1"):
        assert re.findall("neighbor (.*) peer-group gateway", frr(full, host))[:2] == ["10.1.1.2", "10.1.1.3"]
    assert "neighbor 10.1.1.3 peer-group pair" in frr(full, "sjc-rin1")


def test_scripts_of_keepalived_are_named_without_a_link(full: Path) -> None:
    """/bin is one: keepalived calls what is behind it insecure, and takes no such file (2.3.3)."""
    files = [*full.glob("*/etc/keepalived/keepalived.conf")]
    pattern = re.compile(r'^\s*(?:script|notify\w*) "(\S+?)[" ]', re.MULTILINE)
    scripts = [script for file in files for script in pattern.findall(file.read_text())]
    assert scripts
    assert [script for script in scripts if not script.startswith("/usr/")] == []


def test_a_router_has_no_fixed_routes(full: Path) -> None:
    assert "via" not in (full / "sjc-rin1/usr/lib/holdfast/routes").read_text()
    assert "route replace 10.2.1.0/24 via 10.1.1.1" in (full / "sjc-min1/usr/lib/holdfast/routes").read_text()


def test_the_networks_of_a_router_stay_apart(full: Path) -> None:
    """The isolated network has its own table on the routers that carry the network of the stores, too."""
    stores, isolated = frr(full, "sjc-ris1").split("router bgp 64501 vrf isolated")
    assert "neighbor 10.1.30.1 peer-group line" in stores and "10.1.20.1" not in stores
    assert "neighbor 10.1.20.1 peer-group line" in isolated and "10.1.30.1" not in isolated


def test_the_latest_epoch_decides_between_sites(full: Path) -> None:
    for host in ("core-inet", "sjc-rin1"):
        assert "bgp always-compare-med" in frr(full, host) and "bgp bestpath as-path ignore" in frr(full, host)
        assert "neighbor line attribute-unchanged med" in frr(full, host)


def test_an_identity_is_told_in_its_own_networks_alone(full: Path) -> None:
    """The relay host has a leg on the isolated side, where its relay of the Internet side must not be known."""
    text = frr(full, "sjc-relay1")
    assert "neighbor 10.1.2.2 route-map announce-isolated out" in text
    told = {
        n: re.findall(rf"route-map announce-{n} permit .*\n.*\n.*prefix-list (.*)", text)
        for n in ("internet", "isolated")
    }
    assert told["isolated"] and all(".iso." in name for name in told["isolated"])
    assert told["internet"] and not any(".iso." in name for name in told["internet"])
    monitor = yaml.safe_load((full / "rly-relay1/etc/holdfast/monitor.yml").read_text())
    assert [r["name"] for r in monitor["routes"]] == ["internet", "isolated", "storage"]
    assert monitor["identities"]["mail.alpha.example"]["networks"] == ["isolated", "storage"]


def test_each_side_has_a_name_server_that_tells_of_it_alone(full: Path) -> None:
    monitor = yaml.safe_load((full / "sjc-relay1/etc/holdfast/monitor.yml").read_text())
    inet, iso = monitor["dns"]["servers"].values()
    reached = monitor["dns"]["reached"]["mail.alpha.example"]
    assert reached["sjc-mis2"] == ["10.1.2.7", "10.1.2.8"] and reached["rly-mis1"] == ["10.2.2.7", "10.2.2.8"]
    assert "mail.alpha.example" in iso and "mx.alpha.example" in inet and not set(iso) & set(inet)
    assert "mail.alpha.example" in (full / "ns-iso/etc/knot/knot.conf").read_text()
    assert "mail.alpha.example" not in (full / "ns-inet/etc/knot/knot.conf").read_text()
    asked = {h: (full / h / "etc/resolv.conf").read_text() for h in ("sjc-min1", "outside1", "sjc-mis1", "corp2")}
    assert [re.search("nameserver (.*)", text).group(1) for text in asked.values()] == [  # type: ignore[union-attr]
        "198.51.100.53", "198.51.100.53", "10.8.1.53", "10.8.1.53",
    ]  # fmt: skip


def test_a_relay_host_holds_mail_of_each_side_apart(full: Path) -> None:
    host = full / "sjc-relay1"
    files = (host / "etc/postfix").glob("transport.first-*")
    tables = {p.name: re.findall(r"^(\S+) route-(\w+):", p.read_text(), re.MULTILINE) for p in files}
    domains = ["alpha.example", "alpha-works.example", "beta.example", "beta-works.example"]
    assert tables["transport.first-internet"] == [(domain, "internet") for domain in domains]
    assert tables["transport.first-isolated"] == [(domain, "isolated") for domain in domains]
    for relay, side in (("relay1.sjc.alpha.example", "internet"), ("relay1.sjc.iso.alpha.example", "isolated")):
        main = (host / "etc/holdfast/identity" / relay / "postfix/main.cf").read_text()
        assert f"transport_maps = lmdb:/var/lib/holdfast/relay/transport-{side}\n" in main
        assert f"relay_domains = {', '.join(d for d, _ in tables[f'transport.first-{side}'])}\n" in main

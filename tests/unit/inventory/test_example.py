"""The inventory for production is complete but for its vault, and says so; with one made by its template it renders."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "inventories" / "example"
# What documents may name (RFC 5737), and what the Internet never sees (RFC 1918).
ALLOWED = [ipaddress.ip_network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "10.0.0.0/8")]


def filled(values: dict[str, Any]) -> dict[str, Any]:
    return {key: filled(value) if isinstance(value, dict) else secrets.token_hex(32) for key, value in values.items()}


def copied(folder: Path, fill: bool) -> tuple[Path, dict[str, str]]:
    """A copy with its vault, as docs/production.md has it made, and the environment with the vault's password."""
    inventory = folder / "inventories" / "trial"
    shutil.copytree(EXAMPLE, inventory, ignore=shutil.ignore_patterns("pki"))
    template = inventory / "group_vars/all/vault.yml.template"
    vault = template.with_name("vault.yml")
    values = yaml.safe_load(template.read_text())
    vault.write_text(yaml.safe_dump(filled(values) if fill else values))
    password = folder / "password"
    password.write_text("of this test alone\n")
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_VAULT_PASSWORD_FILE": str(password),
    }
    environment.pop("HOLDFAST_LAB", None)
    subprocess.run(["ansible-vault", "encrypt", str(vault)], env=environment, check=True, capture_output=True)
    assert vault.read_text().startswith("$ANSIBLE_VAULT;")
    return inventory, environment


def ansible(environment: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    inventory, environment = copied(folder, fill=True)
    out = folder / "rendered"
    argv = ("ansible-playbook", "-i", str(inventory), "playbooks/site.yml", "-t", "configure", "-e", f"render_to={out}")
    done = ansible(environment, *argv)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_without_secrets_each_one_is_named_and_nothing_else(tmp_path: Path) -> None:
    inventory, environment = copied(tmp_path, fill=False)
    done = ansible(environment, "ansible", "-i", str(inventory), "dc1-mail1", "-m", "holdfast.mail.inventory_check")
    assert done.returncode != 0
    mistakes = [line for line in (done.stdout + done.stderr).splitlines() if line.strip().startswith("- group_vars")]
    of = {line.split(": ")[1].split(" is ")[0] for line in mistakes}
    devices = yaml.safe_load((EXAMPLE / "group_vars/all/fencing.yml").read_text())["fence_devices"]
    assert of == {"tsig_secret", "probe_password", "drbd_secret", "coordinator_secret"} | {
        "users[0].password",
        "users[1].password",
    } | {f"fence_devices.{name}.secrets.{secret}" for name, device in devices.items() for secret in device["secrets"]}


def test_with_its_vault_it_passes_the_check_and_renders(rendered: Path) -> None:
    """The check is part of the run; no test data of the lab is let through."""
    groups = yaml.safe_load((EXAMPLE / "hosts.yml").read_text())["all"]["children"]
    assert {p.name for p in rendered.iterdir()} == {host for group in groups.values() for host in group["hosts"]}


def test_routers_speak_over_the_lines_and_share_the_gateways(rendered: Path) -> None:
    frr = (rendered / "dc1-rin1/etc/frr/frr.conf").read_text()
    assert "neighbor 10.9.1.2 peer-group line" in frr and "neighbor 192.0.2.67 peer-group pair" in frr
    assert "neighbor line attribute-unchanged med" in frr
    assert "receive-interval 300" in frr
    inner = (rendered / "dc1-ris2/etc/frr/frr.conf").read_text()
    assert "neighbor 10.9.4.2 peer-group line" in inner and "neighbor 10.9.5.1 peer-group line" in inner
    keepalived = (rendered / "dc1-rin1/etc/keepalived/keepalived.conf").read_text()
    assert "192.0.2.65/26 dev eno2.64" in keepalived and "192.0.2.4/29 dev eno2.10" in keepalived
    assert not re.search(r"\b192\.0\.2\.1/", keepalived), "the provider's own address is not ours to have"


def test_nobody_filters_before_the_inventory_can_say_what_providers_join(rendered: Path) -> None:
    """Filters made of what it says now would drop all mail."""
    assert not list(rendered.rglob("packet_filter*")) and not list(rendered.rglob("holdfast-packet-filter*"))
    segments = yaml.safe_load((EXAMPLE / "group_vars/all/network.yml").read_text())["segments"]
    assert not [name for name, segment in segments.items() if "clients" in segment], (
        "then packet_filter can be what it is by default"
    )


def test_devices_are_those_of_the_hosts(rendered: Path) -> None:
    assert "dev eno2.64" in (rendered / "dc1-mail1/usr/lib/holdfast/routes").read_text()
    assert "disk /dev/disk/by-partlabel/holdfast-store;" in (rendered / "dc1-store1/etc/drbd.d/files1.res").read_text()


def test_a_relay_host_has_each_device_and_its_secrets_apart(rendered: Path) -> None:
    monitor = yaml.safe_load((rendered / "dc2-relay1/etc/holdfast/monitor.yml").read_text())
    device = monitor["fence_devices"]["bmc-dc1-mail1"]
    assert device["agent"] == "fence_ipmilan" and device["options"]["ip"] == "10.10.1.111"
    assert "password" not in device["options"]
    for name, device in monitor["fence_devices"].items():
        for option, file in device["secret_files"].items():
            secret = rendered / "dc2-relay1" / file.removeprefix("/")
            assert len(secret.read_text().strip()) == 64, f"{name}: {option}"


def test_users_of_the_internet_come_by_redirectors_in_tls(rendered: Path) -> None:
    haproxy = (rendered / "dc1-din1/etc/haproxy/haproxy.cfg").read_text()
    assert "bind 192.0.2.72:993" in haproxy and "bind 192.0.2.72:465" in haproxy and ":143 " not in haproxy
    assert "inter 5s" in haproxy and "agent-inter 2s" in haproxy


def test_names_are_told_by_a_public_address(rendered: Path) -> None:
    knot = (rendered / "ns1/etc/knot/knot.conf").read_text()
    assert "192.0.2.194" in knot and "10.3.3" not in knot
    assert "mx.example.org" in knot and "relay1.dc1.example.net" in knot


def test_addresses_are_those_that_documents_may_name() -> None:
    hosts = yaml.safe_load((EXAMPLE / "hosts.yml").read_text())["all"]["children"]
    legs = [v["legs"] for g in hosts.values() for v in g["hosts"].values() if v]
    segments = yaml.safe_load((EXAMPLE / "group_vars/all/network.yml").read_text())["segments"]
    for text in [address for some in legs for address in some.values()]:
        assert any(ipaddress.ip_address(text) in network for network in ALLOWED), text
    for segment in segments.values():
        assert any(ipaddress.ip_network(segment["prefix"]).subnet_of(network) for network in ALLOWED), segment


def test_it_holds_no_secret() -> None:
    """Nothing that could be deployed by mistake: all that is secret is a name of the vault's."""
    assert not (EXAMPLE / "group_vars/all/vault.yml").exists()
    told = yaml.safe_load((EXAMPLE / "group_vars/all/secrets.yml").read_text())
    assert all(value.startswith("{{ vault_") for value in told.values())
    values = yaml.safe_load((EXAMPLE / "group_vars/all/vault.yml.template").read_text())
    assert not [
        v for v in [*values.values(), *values["vault_mail_passwords"].values()] if v and not isinstance(v, dict)
    ]

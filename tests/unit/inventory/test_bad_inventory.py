"""A wrong inventory stops the deploy before any host is touched, with one list of all mistakes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """A copy that may be spoiled; beside a copy of the lab's test keys, which it names relative to itself."""
    shutil.copytree(ROOT / "inventories" / "compact", tmp_path / "inventories" / "compact")
    shutil.copytree(ROOT / "lab" / "test-keys", tmp_path / "lab" / "test-keys")
    return tmp_path / "inventories" / "compact"


def deploy(inventory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, "-i", str(inventory), "playbooks/site.yml", *words]
    # A connection to any host would fail: they have no address here.
    env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    env.pop("HOLDFAST_LAB", None)
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path.name} does not hold {old!r} any more"
    path.write_text(text.replace(old, new, 1))


def test_all_mistakes_come_at_once_and_no_host_is_touched(inventory: Path) -> None:
    variables = inventory / "group_vars" / "all"
    change(variables / "identities.yml", "home: mail1", "home: mail7")
    change(variables / "identities.yml", "monitor_interval: 30", "monitor_interval: 5")
    change(variables / "identities.yml", "address: 203.0.113.10", "address: 10.1.1.77")
    change(inventory / "hosts.yml", "dmz1: 10.1.1.11", "dmz1: 10.9.9.11")
    change(variables / "network.yml", "service_prefix:", "topology_management: mgnt\nservice_prefix:")
    change(variables / "secrets.yml", "tsig_secret", "other_secret")
    change(
        variables / "stores.yml",
        "stored_configuration:",
        "stored_configuration_at: {third: dc9}\nstored_configuration:",
    )
    done = deploy(inventory, "-e", "stored_configuration=perhaps")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    for file, key, value in (
        ("group_vars/all/identities.yml", "identities.mx.alpha.example.home", "'mail7'"),
        ("group_vars/all/identities.yml", "monitor_interval", "5"),
        ("group_vars/all/identities.yml", "identities.mx.alpha.example.address", "'10.1.1.77'"),
        ("hosts.yml", "mail1.legs.dmz1", "'10.9.9.11'"),
        ("group_vars/all/network.yml", "topology_management", "'mgnt'"),
        ("group_vars/all/stores.yml", "stored_configuration_at.third", "'dc9'"),
        ("group_vars/all/stores.yml", "stored_configuration", "'perhaps'"),
        ("group_vars/all/secrets.yml", "tsig_secret", "None"),
        ("group_vars/all/secrets.yml", "coordinator_secret", "'(a secret)'"),
    ):
        assert f"{file}: {key} is {value}: " in said, said
    assert "nothing was changed" in said
    assert "unreachable=1" not in said, "a host was spoken to"
    assert "changed=1" not in said


def test_a_missing_fence_key_is_named(inventory: Path) -> None:
    (inventory.parents[1] / "lab" / "test-keys" / "fence_client_ed25519").unlink()
    done = deploy(inventory)
    assert done.returncode != 0
    assert "group_vars/all/fencing.yml: fence_devices is " in done.stdout + done.stderr

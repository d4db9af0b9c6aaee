"""Role `certificates` on a controller that has lost the authority, or never had one: what hosts carry decides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - include_role: {name: holdfast.mail.certificates}
      run_once: true
"""


class Site:
    """Two hosts on this machine, and one that refuses every connection. `carry`: what they have of an authority."""

    def __init__(self, folder: Path) -> None:
        self.inventory = folder / "inventories" / "trial"
        self.inventory.mkdir(parents=True)
        self.pki = self.inventory / "pki"
        self.before = folder / "build" / "pki" / "trial"
        self.carry = folder / "ca-of-hosts.pem"
        self.play = folder / "play.yml"
        self.play.write_text(PLAY)
        self.hosts("mail1", "mail2")

    def hosts(self, *names: str, dead: str | None = None) -> None:
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        there = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_connection": "ssh"}
        known = {n: {**here, "legs": {}} for n in names} | ({dead: {**there, "legs": {}}} if dead else {})
        common = {"identities": {}, "topology_coordinator": {"ca": str(self.carry)}}
        content = {"all": {"hosts": known, "vars": common, "children": {"coordinator": {}}}}
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump(content))

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(self.inventory), str(self.play)]
        env = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_HOME": str(self.inventory.parent),
        }
        extra = ["-e", f"ansible_playbook_python={sys.executable}"]
        return subprocess.run([*command, *extra, *words], env=env, capture_output=True, text=True, check=False)

    def authority(self) -> bytes:
        return (self.pki / "ca.pem").read_bytes()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_one_is_made_once_and_kept(site: Site) -> None:
    first = site()
    assert first.returncode == 0, first.stdout + first.stderr
    site.carry.write_bytes(made := site.authority())
    key = (site.pki / "ca.key").read_bytes()
    (site.pki / "ca.key").unlink()
    refused = site()
    assert refused.returncode != 0 and "put both back from the backup" in refused.stdout
    assert site.authority() == made
    (site.pki / "ca.key").write_bytes(key)
    site.before.parent.mkdir(parents=True)
    site.pki.rename(site.before)
    moved = site("--limit", "mail2")
    assert moved.returncode == 0 and "changed=1" in moved.stdout, "from where they lay before, and nothing else"
    assert site.authority() == made


def test_none_is_made_while_a_host_carries_one_or_may(site: Site) -> None:
    site.hosts("mail1", "mail2", dead="mail3")
    site.carry.write_text("somebody's\n")
    refused = site("--limit", "mail2")
    said = " ".join(refused.stdout.split())
    assert refused.returncode != 0 and "holds no authority" in said, said + refused.stderr
    assert "mail1, mail2 carry" in said and "mail3 do not answer" in said
    assert not site.pki.exists()
    wanted = site("--limit", "mail2", "-e", "certificates_new_authority=true")
    assert wanted.returncode == 0 and site.authority(), wanted.stdout

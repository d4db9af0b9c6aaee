"""Deploys of a small role to hosts that are folders of this machine, with the playbooks and modules as they are.

What differs from machines: connections are local, and the store is one "from elsewhere" whose folder is here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.playbook import playbook

ROOT = Path(__file__).resolve().parents[3]
Plays = list[dict[str, Any]]


class Site:
    """Hosts `mail1`, `mail2` and `door`, which keeps what is stored; roles `base` and `mail` write files."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.store = place / "store"
        self.store.mkdir()
        self.values: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "external_stores": self.nas("store"),
            "me": {"owner": str(os.getuid()), "group": str(os.getgid())},
            "out": f"{place}/hosts/{{{{ inventory_hostname }}}}",
            "stored_configuration": True,  # as role topology has it
            "setting": "a = 1",
            "tsig": "secret-of-then",
        }
        files = [
            {"dest": "{{ out }}/etc", "state": "directory", "mode": "0755", "<<": "me"},
            {"dest": "{{ out }}/etc/main.cf", "content": "{{ setting }}\n", "mode": "0644", "<<": "me"},
            {"dest": "{{ out }}/etc/key", "content": "{{ tsig }}\n", "mode": "0600", "secret": True, "<<": "me"},
            {
                "dest": "{{ out }}/etc/knot.conf", "content": "zone {{ setting }}; key {{ tsig }};\n", "mode": "0600",
                "secret": True, "hidden": {"tsig": "{{ tsig }}"}, "<<": "me",
            },
        ]  # fmt: skip
        self.role(
            "base", [{"dest": "{{ out }}", "state": "directory", "mode": "0755", "<<": "me"}], {"packages": ["openssl"]}
        )
        self.role("mail", files, {"packages": ["postfix"], "units": ["knot.service"]})

    def role(self, name: str, files: list[dict[str, Any]], beside: Mapping[str, Any]) -> None:
        tasks = self.place / "roles" / name / "tasks"
        tasks.mkdir(parents=True, exist_ok=True)
        whole = [{k: v for k, v in f.items() if k != "<<"} | self.values["me"] for f in files]
        task = {"holdfast.mail.files": {"files": whole, "beside": beside}, "name": "Put"}
        (tasks / "main.yml").write_text(json.dumps([task]))

    def nas(self, folder: str) -> dict[str, Any]:
        """The store's entry in an inventory."""
        return {"nas": {"site": "dc1", "manager": "door", "configuration": str(self.place / folder)}}

    def put(self, *roles: str, **values: Any) -> Plays:
        """Roles on both hosts, as site.yml plays them."""
        named = list(roles or ("base", "mail"))
        return [{"hosts": "mail1:mail2", "gather_facts": False, "roles": named, "vars": values}]

    def keep(self, **values: Any) -> Plays:
        """What they have put there is stored."""
        return [{"import_playbook": str(ROOT / "playbooks/store_configuration.yml"), "vars": values}]

    def show(self, **values: Any) -> Plays:
        return [{"import_playbook": str(ROOT / "playbooks/configuration.yml"), "vars": values}]

    def rebuild(self, host: str, version: str = "", **values: Any) -> Plays:
        """The part of rebuild.yml that needs neither packages nor relays."""
        read = {
            "ansible.builtin.include_role": {"name": "holdfast.mail.stored_configuration", "tasks_from": "read"},
            "vars": {"stored_configuration_host": host, "stored_configuration_version": version},
        }
        put = {
            "ansible.builtin.include_role": {"name": "{{ item }}"},
            "loop": "{{ stored_configuration_found.roles }}",
            "vars": {"rebuild_from": "{{ stored_configuration_found.archive }}"},
        }
        plan = {"ansible.builtin.debug": {"msg": "{{ stored_configuration_found.plan }}"}}
        return [{"hosts": host, "gather_facts": False, "tasks": [read, plan, put], "vars": values}]

    def versions(self, host: str) -> list[str]:
        return sorted(path.name for path in (self.store / ".configuration" / host).glob("*"))

    def read(self, host: str, name: str) -> str:
        return (self.place / "hosts" / host / "etc" / name).read_text()

    def run(self, plays: Plays, *words: str, fails: bool = False) -> str:
        """All of them in one go: to begin takes longer than most plays do."""
        hosts = {name: {"site": "dc1"} for name in ("mail1", "mail2", "door")}
        (self.place / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": self.values}}))
        (self.place / "play.yml").write_text(json.dumps(plays))
        (self.place / "hosts").mkdir(exist_ok=True)
        done = playbook(self.place, "-i", "hosts.yml", "play.yml", *words, timeout=300)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

"""What a role writes on a host, rendered by Ansible itself as the action plugin `files` does it, in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from holdfast.core import customers

ROOT = Path(__file__).resolve().parents[3]
ROLES = ROOT / "roles"
INVENTORIES = ROOT / "inventories"
Values = dict[str, Any]


def inventory(name: str) -> Values:
    """Its variables, as a host of it sees them."""
    folder, loader = INVENTORIES / name, DataLoader()
    values: Values = {"inventory_dir": str(folder), "hostvars": {}, "groups": {}}
    for path in sorted((folder / "group_vars" / "all").glob("*.yml")):
        values |= loader.load_from_file(str(path), trusted_as_template=True) or {}
    for group, members in yaml.safe_load((folder / "hosts.yml").read_text())["all"]["children"].items():
        values["groups"][group] = list(members["hosts"])
        for host, own in members["hosts"].items():
            values["hostvars"].setdefault(host, {}).update(own or {})
    values["groups"]["all"] = list(values["hostvars"])
    # Look-ups and filters of ours want Ansible's loader of plugins, which can be set up once in a process only.
    if "customers" in values:
        return follow_customers(values)
    values["mail_users"] = yaml.safe_load((folder / "users.yml").read_text())
    return values


def follow_customers(values: Values) -> Values:
    """What the inventory takes from its customers."""
    given = values["customers"]
    values["identities"] = customers.served(values["identity_servers"], given, values["stores"])
    values |= {"mail_users": customers.users(given), "mail_aliases": customers.aliases(given)}
    return values


class Host:
    """A host of an inventory with the variables of a role. `changes` go over the inventory's."""

    def __init__(self, role: str, name: str, values: Mapping[str, Any], **changes: Any) -> None:
        loader = DataLoader()
        known: Values = {}
        for file in ("topology/defaults", f"{role}/defaults", f"{role}/vars"):
            if (path := ROLES / file / "main.yml").exists():
                known |= loader.load_from_file(str(path), trusted_as_template=True) or {}
        own = {"inventory_hostname": name, "ansible_managed": "Ansible managed", **values["hostvars"][name]}
        self.values: Values = {**known, **values, **own, **changes}
        self._templar = Templar(loader, variables=self.values)
        self._templates = ROLES / role / "templates"

    def value(self, name: str) -> Any:
        return self._templar.template(trust_as_template(f"{{{{ {name} }}}}"))

    def text(self, item: Mapping[str, Any], templates: Path | None = None) -> str:
        """Of one entry of a role's list of files."""
        if "src" not in item:
            return str(item.get("content", item.get("copy", "")))
        source = (templates or self._templates) / item["src"]
        templar = self._templar.copy_with_new_env(available_variables={**self.values, **item.get("vars", {})})
        return str(templar.template(trust_as_template(source.read_text()), overrides={"trim_blocks": True}))

    def files(self, *lists: str, templates: Path | None = None) -> dict[str, str]:
        """{path: contents} of what these lists of the role hold."""
        items = [item for name in lists for item in self.value(name)]
        return {item["dest"]: self.text(item, templates) for item in items if item.get("state", "file") == "file"}


def with_redirectors() -> Values:
    """The inventory `compact` with two identities a side, one at home in each site, and a pair a side and site."""
    values = inventory("compact")
    one = values["identities"]["mx.alpha.example"]
    more = (
        ("mx2.alpha.example", "internet", "mail2"),
        ("im1.alpha.example", "intranet", "mail1"),
        ("im2.alpha.example", "intranet", "mail2"),
    )
    for number, (name, kind, home) in enumerate(more, 11):
        own = {"kind": kind, "home": home, "domains": [f"{name.split('.')[0]}.example"]}
        values["identities"][name] = {**one, **own, "address": f"203.0.113.{number}"}
    values["redirectors"] = {}
    for site in (1, 2):
        for side, segment, tens in (("internet", f"dmz{site}", 6), ("isolated", f"iso{site}", 8)):
            prefix = f"10.{site}.{1 if side == 'internet' else 2}"
            names = [f"{side}{site}{letter}" for letter in "ab"]
            for n, name in enumerate(names, 1):
                legs = {"mgmt": f"10.10.0.{100 * site + tens + n}", segment: f"{prefix}.{tens}{n}"}
                values["hostvars"][name] = {"site": f"dc{site}", "legs": legs}
                values["groups"].setdefault("redirector", []).append(name)
                values["groups"]["all"].append(name)
            values["redirectors"][f"{side}{site}"] = {
                "side": side,
                "site": f"dc{site}",
                "hosts": names,
                "addresses": [f"{prefix}.{tens + 1}{n}" for n in (1, 2)],
            }
    return values

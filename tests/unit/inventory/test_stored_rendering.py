"""What a deploy of inventory `full` stores of each host (R2.8): all that it puts there, and no secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.holdfast.mail.plugins.plugin_utils import records, stored
from ansible_collections.holdfast.mail.plugins.plugin_utils.stored import Stored
from whole import ROOT

from tests.story.outage import users

INVENTORY = ROOT / "inventories/full"


def products() -> set[str]:
    groups = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["children"]
    return {host for group in groups.values() for host in group["hosts"]} - set(groups["client"]["hosts"])


@pytest.fixture(scope="module")
def kept(full: Path) -> dict[str, Stored]:
    found = {host: records.noted(full.parent / "records", host) for host in products()}
    assert all(found.values())
    return {host: one for host, one in found.items() if one is not None}


def entries(one: Stored) -> Iterator[stored.Entry]:
    return (entry for role in one.roles.values() for entry in role.entries)


def test_every_file_of_a_deploy_is_stored_or_made_anew(full: Path, kept: dict[str, Stored]) -> None:
    for host, one in kept.items():
        there = {f"/{p.relative_to(full / host)}": p for p in (full / host).rglob("*") if p.is_symlink() or p.is_file()}
        named = {entry.dest: entry for entry in entries(one) if entry.state in ("file", "link")}
        assert set(there) == set(named), host
        for dest, entry in named.items():
            if entry.state == "link":
                assert str(there[dest].readlink()) == entry.target
            elif entry.data is not None and not entry.hidden:
                assert there[dest].read_bytes() == entry.data, f"{host}: {dest}"
        again = stored.unpack(stored.compressed(stored.pack(one)), stored.digest(stored.pack(one)))
        assert {**again.roles} == {role: one.roles[role] for role in one.order()}


def secrets(full: Path, kept: dict[str, Stored]) -> set[bytes]:
    """The vault's values, users' passwords, keys, and whatever stands in files that are not stored."""
    values = yaml.safe_load((INVENTORY / "group_vars/all/secrets.yml").read_text()).values()
    found = {str(value).encode() for value in values}
    found |= {password.encode() for password in users(INVENTORY).values()}
    for host, one in kept.items():
        for dest in one.anew():
            found |= {line.strip() for line in (full / host / dest.lstrip("/")).read_bytes().splitlines()}
    return {value for value in found if len(value) > 7 and not value.startswith(b"#")}


def test_no_secret_is_stored(full: Path, kept: dict[str, Stored]) -> None:
    """Root on a mail host can read the whole file system of a store (decisions/0039)."""
    hidden = secrets(full, kept)
    assert len(hidden) > 30
    pattern = re.compile(b"|".join(map(re.escape, sorted(hidden))) + b"|PRIVATE KEY")
    # Of the code itself no line is a secret; the test keys' names of algorithms are in it.
    for host, one in kept.items():
        for entry in entries(one):
            if entry.data is not None and not entry.dest.startswith("/usr/lib/holdfast/holdfast/"):
                assert not pattern.search(entry.data), f"{host}: {entry.dest}"


def test_what_is_stored_of_a_secret_file_is_the_rest_of_it(full: Path, kept: dict[str, Stored]) -> None:
    said = yaml.safe_load((INVENTORY / "group_vars/all/secrets.yml").read_text())
    for host, dest, name in (
        ("ns-iso", "/etc/knot/knot.conf", "tsig_secret"),
        ("sjc-store1", "/etc/drbd.d/sjc.res", "drbd_secret"),
    ):
        (entry,) = (entry for entry in entries(kept[host]) if entry.dest == dest)
        assert entry.data is not None and f"<<secret {name}>>".encode() in entry.data
        assert stored.reveal(entry.data, said) == (full / host / dest.lstrip("/")).read_bytes()


def enabled(role: str) -> set[str]:
    """Units that its tasks enable, those that are named in the task."""
    found: set[str] = set()
    for task in yaml.safe_load((ROOT / f"roles/{role}/tasks/service.yml").read_text()):
        said: dict[str, Any] = task.get("ansible.builtin.systemd_service", {})
        if said.get("enabled") is True:
            found |= (
                set(task["loop"]) if said["name"] == "{{ item }}" and isinstance(task["loop"], list) else {said["name"]}
            )
    return {name for name in found if "{{" not in name}


def test_units_and_packages_are_those_of_the_roles(kept: dict[str, Stored]) -> None:
    for role in stored.ORDER:
        using = [one.roles[role] for one in kept.values() if role in one.roles]
        assert using or role == "external_store"  # inventory full has pairs
        for one in using:
            variables = yaml.safe_load((ROOT / f"roles/{role}/vars/main.yml").read_text())
            assert set(variables.get(f"__{role}_packages", [])) <= set(one.packages), role
        units = {unit for one in using for unit in one.units}
        assert not using or enabled(role) <= units, role
        assert not units - enabled(role) or role == "router", role
    base = kept["sjc-relay1"].roles["base"]
    assert "vmail:2005:2005" in base.accounts and "postdrop::2002" in base.accounts
    assert base.masked == ("postfix.service",)
    assert base.prune == {"dest": "/usr/lib/holdfast/holdfast", "pattern": "*.py"}


def test_a_rebuild_takes_roles_in_the_order_of_a_deploy() -> None:
    plays = yaml.safe_load((ROOT / "playbooks/site.yml").read_text())
    for play in plays:
        names = [one["role"].removeprefix("holdfast.mail.") for one in play.get("roles", [])]
        places = [stored.ORDER.index(name) for name in names if name != "client"]
        assert places == sorted(places), names

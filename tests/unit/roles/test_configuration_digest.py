"""The digest by which a host that missed a deploy is known: the same on all candidates while they serve the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.plugins.filter.core import FilterModule
from jinja2 import StrictUndefined
from jinja2.nativetypes import NativeEnvironment

ROLES = Path(__file__).parents[3] / "roles"
MX, RELAY = "mx.alpha.example", "relay.dc1.alpha.example"
LISTS = {"mail": "__mail_identity_files", "relay": "__relay_files_of_all"}
Values = dict[str, Any]
Change = Callable[[Values], object]


def inventory() -> Values:
    """What the roles see of an inventory on mail1, or on relay1."""
    identities = {
        MX: {"address": "203.0.113.10", "kind": "internet", "domains": ["alpha.example"], "home": "mail1"},
        RELAY: {"address": "203.0.113.21", "kind": "relay", "domains": [], "home": "relay1"},
    }
    hosts = ("relay1", "relay2")
    identities = {name: one | {"relays": list(hosts)} for name, one in identities.items()}
    return {
        "identities": identities,
        "topology_goals": {RELAY: {MX: identities[MX]}},
        "topology_files": {name: {"address": "10.255.3.1", "path": f"/srv/store/{name}"} for name in identities},
        "topology_held": {RELAY: ["alpha.example"]},
        "topology_pki": "/pki",
        "topology_redirected": {},
        "hostvars": {name: {"legs": {"dmz1": f"10.1.1.3{n}"}} for n, name in enumerate(hosts, 1)},
        "mail_users": [
            {"address": "alice@alpha.example", "password": "a"},
            {"address": "bob@alpha.example", "password": "b"},
            {"address": "eve@beta.example", "password": "e"},
        ],
        "mail_aliases": {"postmaster@alpha.example": "alice@alpha.example"},
        "message_size_limit": 1000,
        "coordinator_secret": "s" * 32,
        "topology_spools": {},
        "topology_transfer": {},
        "topology_beside": {MX: {}},
        "topology_nexthops": {"mx.beta.example": ["203.0.113.11", "203.0.113.21"]},
        "topology_returns": {},
        "topology_inside": {name: {"clients": ["203.0.113.10"], "processes": 1} for name in identities},
    }


def digest(role: str, values: Values) -> str:
    """Of the identity of that role; all that the deploy writes for it comes before it."""
    given = yaml.safe_load((ROLES / role / "vars" / "main.yml").read_text())
    name = MX if role == "mail" else RELAY
    known = {**given, **yaml.safe_load((ROLES / role / "defaults" / "main.yml").read_text()), **values}
    known["topology_identities"] = {name: values["identities"][name]}
    environment = NativeEnvironment(undefined=StrictUndefined)
    environment.filters.update(FilterModule().filters())
    files = environment.from_string(given[LISTS[role]].strip()).render(known)
    assert files[-1]["dest"] == f"/etc/holdfast/identity/{name}/configuration"
    return str(files[-1]["content"])


def changed(role: str, change: Change) -> bool:
    values = copy.deepcopy(inventory())
    change(values)
    return digest(role, values) != digest(role, inventory())


def beside(values: Values) -> None:
    values["identities"]["mx.beta.example"] = {
        "address": "203.0.113.11",
        "kind": "internet",
        "domains": ["beta.example"],
    }
    values["topology_beside"] = {MX: {"beta.example": "mx.beta.example"}}


def test_another_password_of_one_who_may_log_in_here() -> None:
    values = copy.deepcopy(inventory())
    beside(values)
    before = digest("mail", values)
    values["mail_users"][2].update(password="new")
    assert digest("mail", values) != before


BOTH = ("mail", "relay")
DIFFERS: list[tuple[tuple[str, ...], Change]] = [
    (BOTH, lambda v: v["mail_users"].append({"address": "carol@alpha.example", "password": "c"})),
    (BOTH, lambda v: v["mail_users"].pop(0)),
    (BOTH, lambda v: v["mail_aliases"].update({"info@alpha.example": "bob@alpha.example"})),
    (BOTH, lambda v: v.update(message_size_limit=999)),
    (BOTH, lambda v: v.update(mail_queue_lifetime="1d", relay_queue_lifetime="1d")),
    (BOTH, lambda v: [f.update(address="10.255.3.2") for f in v["topology_files"].values()]),
    (BOTH, lambda v: [i.update(address="203.0.113.99") for i in v["identities"].values()]),
    (("mail",), lambda v: v["mail_users"][0].update(password="new")),
    (
        ("mail",),
        lambda v: v.update(topology_spools={MX: "dc1"}, topology_transfer={"dc1": {"sides": {MX: "internet"}}}),
    ),
    (("mail",), lambda v: v["identities"][MX]["domains"].append("beta.example")),
    # Users of another identity may log in here, too, and their mail goes on from here.
    (("mail",), beside),
    # Without its further ports a new owner would be none behind redirectors.
    (("mail",), lambda v: v["topology_redirected"].update({MX: {"protocols": ["smtp"], "sources": ["10.1.1.61"]}})),
    (("relay",), lambda v: v["identities"][MX]["domains"].append("gamma.example")),
]


@pytest.mark.parametrize(("roles", "change"), DIFFERS)
def test_another_when_what_is_accepted_is_another(roles: tuple[str, ...], change: Change) -> None:
    assert {role for role in roles if changed(role, change)} == set(roles)


SAME: list[tuple[tuple[str, ...], Change]] = [
    (BOTH, lambda v: v["mail_users"].reverse()),
    # Only of identities of the other kind.
    (("mail",), lambda v: v.update(mail_inside_queue_lifetime="7d")),
    (BOTH, lambda v: v["mail_users"].append({"address": "mallory@beta.example", "password": "m"})),
    (BOTH, lambda v: v.update(mail_process_limit=7, relay_process_limit=7, topology_pki="/elsewhere")),
    (BOTH, lambda v: v["hostvars"]["relay1"].update(legs={"dmz1": "10.1.1.99"})),
    (("relay",), lambda v: v["mail_users"][0].update(password="new")),
]


@pytest.mark.parametrize(("roles", "change"), SAME)
def test_the_same_when_only_a_host_or_another_identity_differs(roles: tuple[str, ...], change: Change) -> None:
    assert not any(changed(role, change) for role in roles)


def test_another_when_what_it_sends_by_its_spool_is_kept_for_another_time() -> None:
    values = copy.deepcopy(inventory())
    values["identities"][MX]["kind"] = "intranet"
    values |= {"topology_spools": {MX: "dc1"}, "topology_transfer": {"dc1": {"sides": {MX: "intranet"}}}}
    assert digest("mail", values) == digest("mail", values | {"mail_queue_lifetime": "7d"})
    assert digest("mail", values) != digest("mail", values | {"mail_inside_queue_lifetime": "7d"})


def test_nobody_can_try_passwords_on_it() -> None:
    assert changed("mail", lambda v: v.update(coordinator_secret="t" * 32))

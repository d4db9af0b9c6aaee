"""Mistakes in what an inventory says of its customers. Pure, as core/checks.py."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from . import customers
from .checks import Inventory, Mistake
from .model import MAIL_KINDS

KEYS = {"home", "guarantee", "domains", "postmaster", "aliases", "users"}
# RFC 1035, 2.3.1; in lower case, as every table has it.
DOMAIN = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
# Of what RFC 5321 allows that which is the name of a folder as it stands, and a field of a passwd-file.
LOCAL = re.compile(r"(?=.{1,64}$)[a-z0-9_]+([.+=-][a-z0-9_]+)*")
DERIVED = (
    ("mail_users", customers.users, "customers | holdfast.mail.customer_users"),
    ("mail_aliases", customers.aliases, "customers | holdfast.mail.customer_aliases"),
)


def check(inventory: Inventory) -> list[Mistake]:
    """Every mistake; none where there are no customers, only identities with domains and users of their own."""
    given = inventory.settings.get("customers")
    if given is None:
        return []
    file = inventory.file("customers")
    if not isinstance(given, Mapping) or not given:
        return [Mistake(file, "customers", given, "give {NAME: {home, guarantee, domains, postmaster, users}}")]
    found: list[Mistake] = []
    seen: dict[str, str] = {}
    for name, customer in given.items():
        key = f"customers.{name}"
        if not isinstance(customer, Mapping):
            found.append(Mistake(file, key, customer, "give {home, guarantee, domains, postmaster, users}"))
            continue
        found += _customer(inventory, key, customer, seen)
    return found + list(_derived(inventory, given))


def _customer(inventory: Inventory, key: str, customer: Mapping[str, Any], seen: dict[str, str]) -> Iterator[Mistake]:
    """`seen`: {domain or address: where it stands}, of all customers before this one."""
    file = inventory.file("customers")
    for word in sorted(set(customer) - KEYS):
        yield Mistake(file, f"{key}.{word}", customer[word], f"no such word; known: {', '.join(sorted(KEYS))}")
    guarantee = customer.get("guarantee", customers.GUARANTEES[0])
    if guarantee not in customers.GUARANTEES:
        yield Mistake(file, f"{key}.guarantee", guarantee, f"name one of: {', '.join(customers.GUARANTEES)}")
    domains = customer.get("domains")
    if not isinstance(domains, Mapping) or not domains:
        yield Mistake(
            file, f"{key}.domains", domains, "give {DOMAIN: [IDENTITY, …]}, or {DOMAIN: } for its home's only ones"
        )
        domains = {}
    homes = sorted({str(store.get("site")) for store in inventory.every_store.values()})
    if customer.get("home") not in homes:
        yield Mistake(file, f"{key}.home", customer.get("home"), f"name a site with a store: {', '.join(homes)}")
    for domain, named in domains.items():
        where = f"{key}.domains.{domain}"
        if not DOMAIN.fullmatch(str(domain)):
            yield Mistake(file, where, domain, "give a domain in lower case, like alpha.example")
        if domain in seen:
            yield Mistake(file, where, domain, f"stands in {seen[domain]}, too; a domain has one customer")
        seen.setdefault(str(domain), f"{key}.domains")
        if customer.get("home") in homes:
            yield from _served(inventory, where, customer["home"], named)
    yield from _users(file, key, customer, set(map(str, domains)), seen)


def _served(inventory: Inventory, key: str, home: object, named: object) -> Iterator[Mistake]:
    """One identity of each kind that its home has, and no other."""
    file, identities = inventory.file("customers"), inventory.settings.get("identities") or {}
    there = customers.at_home(home, identities, inventory.every_store)
    if named in (None, []):
        for kind, names in there.items():
            if len(names) > 1:
                yield Mistake(file, key, named, f"{home} has several of kind {kind}; name one of: {', '.join(names)}")
        return
    if not isinstance(named, list):
        yield Mistake(file, key, named, "give a list of identities, one of each kind")
        return
    kinds: list[str] = []
    for name in named:
        kind = str((identities.get(name) or {}).get("kind"))
        if kind not in MAIL_KINDS:
            known = ", ".join(n for names in there.values() for n in names)
            yield Mistake(file, key, name, f"is no identity for mail; those of {home}: {known or 'none'}")
        elif name not in there.get(kind, []):
            known = ", ".join(there.get(kind, [])) or "none"
            yield Mistake(file, key, name, f"has its store elsewhere; of kind {kind} {home} has: {known}")
        kinds.append(kind)
    for kind, names in there.items():
        if kinds.count(kind) != 1:
            remedy = f"name one identity of kind {kind}, of: {', '.join(names)}"
            yield Mistake(file, key, ", ".join(map(str, named)), remedy)


def _users(
    file: str, key: str, customer: Mapping[str, Any], domains: set[str], seen: dict[str, str]
) -> Iterator[Mistake]:
    users = customer.get("users")
    if not isinstance(users, list) or not users:
        yield Mistake(file, f"{key}.users", users, "give a list of {address, password}")
        users = []
    own: set[str] = set()
    for n, user in enumerate(users):
        where = f"{key}.users[{n}]"
        if not isinstance(user, Mapping):
            yield Mistake(file, where, user, "give {address, password}")
            continue
        own.add(str(user.get("address")))
        yield from _address(file, f"{where}.address", user.get("address"), domains, seen)
        password = user.get("password")
        if not isinstance(password, str) or not password:
            shown = None if not password else "(no text)"
            yield Mistake(file, f"{where}.password", shown, f"give one, in quotes, for {user.get('address')}")
    if customer.get("postmaster") not in own:
        remedy = "name one of its users: every domain has a postmaster (RFC 5321, 4.5.1)"
        yield Mistake(file, f"{key}.postmaster", customer.get("postmaster"), remedy)
    given = customer.get("aliases") or {}
    if not isinstance(given, Mapping):
        yield Mistake(file, f"{key}.aliases", given, "give {ADDRESS: address of a user}")
        given = {}
    for alias, address in given.items():
        yield from _address(file, f"{key}.aliases.{alias}", alias, domains, seen)
        if address not in own:
            yield Mistake(file, f"{key}.aliases.{alias}", address, "name one of its users")


def _address(file: str, key: str, address: object, domains: set[str], seen: dict[str, str]) -> Iterator[Mistake]:
    local, _, domain = str(address).rpartition("@")
    if not LOCAL.fullmatch(local):
        remedy = "give LOCAL@DOMAIN; LOCAL of a-z, 0-9 and _, with single . + = - between them"
        yield Mistake(file, key, address, remedy)
    elif domain not in domains:
        yield Mistake(file, key, address, f"give one of its domains: {', '.join(sorted(domains)) or 'none'}")
    if str(address) in seen:
        yield Mistake(file, key, address, f"is also {seen[str(address)]}; remove one")
    seen.setdefault(str(address), key)


def _derived(inventory: Inventory, given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Does the inventory take from its customers what follows from them?"""
    for variable, function, expression in DERIVED:
        if inventory.settings.get(variable) != function(given):
            remedy = f'does not come from customers; set it to "{{{{ {expression} }}}}"'
            yield Mistake(inventory.file(variable), variable, "(another)", remedy)
    identities = inventory.settings.get("identities") or {}
    wanted = customers.served(identities, given, inventory.every_store)
    for name, one in identities.items():
        if wanted[name]["domains"] != list(one.get("domains") or []):
            expression = "identity_servers | holdfast.mail.identities_with_customers(customers, stores)"
            remedy = f'does not come from customers; set identities to "{{{{ {expression} }}}}"'
            yield Mistake(inventory.file("identities"), f"identities.{name}.domains", one.get("domains"), remedy)

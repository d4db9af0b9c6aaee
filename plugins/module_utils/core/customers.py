"""Customers as data: whose domains which identities serve, and who has a mailbox (R2.7, R5.3).

An inventory names customers once; what identities serve, mailboxes and further addresses follow from that. What is not
of the right shape is left out here: core/customer_checks.py tells of it before anything is deployed. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .model import MAIL_KINDS

GUARANTEES = ("strict", "best_effort")

Data = Mapping[str, Any]


def site_of(identity: Data, stores: Data) -> str | None:
    """Where an identity is at home: the site of its store."""
    store = stores.get(str(identity.get("store")))
    return None if store is None else store.get("site")


def at_home(site: object, servers: Data, stores: Data) -> dict[str, list[str]]:
    """The identities for mail of a site, {kind: names}."""
    found: dict[str, list[str]] = {}
    for name, one in servers.items():
        if one.get("kind") in MAIL_KINDS and site_of(one, stores) == site:
            found.setdefault(one["kind"], []).append(name)
    return found


def serving(domain_homes: object, customer: Data, servers: Data, stores: Data) -> list[str]:
    """The identities that serve a domain: those it names, else the only one of each kind at the customer's home."""
    if isinstance(domain_homes, list) and domain_homes:
        return [name for name in domain_homes if name in servers]
    return [names[0] for names in at_home(customer.get("home"), servers, stores).values() if len(names) == 1]


def _each(customers: object) -> Iterator[Data]:
    if isinstance(customers, Mapping):
        yield from (one for one in customers.values() if isinstance(one, Mapping))


def _domains(customer: Data) -> Data:
    found = customer.get("domains")
    return found if isinstance(found, Mapping) else {}


def served(servers: Data, customers: object, stores: Data) -> dict[str, dict[str, Any]]:
    """The identities with the domains of customers behind those that they have of their own."""
    found = {name: {**one, "domains": list(one.get("domains") or [])} for name, one in servers.items()}
    for customer in _each(customers):
        for domain, homes in _domains(customer).items():
            for name in serving(homes, customer, servers, stores):
                if domain not in found[name]["domains"]:
                    found[name]["domains"].append(domain)
    return found


def users(customers: object) -> list[dict[str, Any]]:
    """Mailboxes of all customers, as `mail_users` has them."""
    return [
        dict(user)
        for customer in _each(customers)
        for user in customer.get("users") or []
        if isinstance(user, Mapping) and user.get("address")
    ]


def aliases(customers: object) -> dict[str, str]:
    """Further addresses, as `mail_aliases` has them; each domain's postmaster among them (RFC 5321, 4.5.1)."""
    found: dict[str, str] = {}
    for customer in _each(customers):
        found |= {f"postmaster@{domain}": str(customer.get("postmaster")) for domain in _domains(customer)}
        given = customer.get("aliases")
        found |= given if isinstance(given, Mapping) else {}
    return found


def guarantees(customers: object) -> dict[str, str]:
    """{domain: its guarantee mode}, DESIGN's default where a customer names none."""
    return {
        domain: customer.get("guarantee", GUARANTEES[0])
        for customer in _each(customers)
        for domain in _domains(customer)
    }

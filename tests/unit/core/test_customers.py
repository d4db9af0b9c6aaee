"""What follows from customers, and every mistake that can be made in naming them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from holdfast.core import customer_checks, customers
from holdfast.core.checks import Inventory

Data = dict[str, Any]

STORES = {"sjc": {"site": "sjc"}, "rly": {"site": "rly"}}
SERVERS = {
    "mx1": {"kind": "internet", "store": "sjc"},
    "mx2": {"kind": "internet", "store": "sjc"},
    "mail1": {"kind": "intranet", "store": "sjc"},
    "mx3": {"kind": "internet", "store": "rly", "domains": ["own.example"]},
    "mail3": {"kind": "intranet", "store": "rly"},
    "relay1": {"kind": "relay", "store": "sjc", "domains": []},
}


def right() -> Data:
    return {
        "alpha": {
            "home": "sjc",
            "guarantee": "strict",
            "domains": {"alpha.example": ["mx1", "mail1"], "works.example": ["mail1", "mx2"]},
            "postmaster": "alice@alpha.example",
            "aliases": {"info@works.example": "bob@works.example"},
            "users": [
                {"address": "alice@alpha.example", "password": "a"},
                {"address": "bob@works.example", "password": "b"},
            ],
        },
        # Its home has one identity of each kind.
        "beta": {
            "home": "rly",
            "guarantee": "best_effort",
            "domains": {"beta.example": None},
            "postmaster": "carol@beta.example",
            "users": [{"address": "carol@beta.example", "password": "c"}],
        },
    }


def settings(given: Any) -> Data:
    """Of an inventory that takes from its customers what follows from them."""
    return {
        "customers": given,
        "stores": STORES,
        "identities": customers.served(SERVERS, given, STORES),
        "mail_users": customers.users(given),
        "mail_aliases": customers.aliases(given),
    }


def mistakes(given: Any, **changes: Any) -> list[str]:
    inventory = Inventory({}, settings(given) | changes, {"customers": "group_vars/all/customers.yml"})
    return [str(m) for m in customer_checks.check(inventory)]


def test_identities_serve_what_customers_name_behind_what_is_their_own() -> None:
    domains = {name: one["domains"] for name, one in customers.served(SERVERS, right(), STORES).items()}
    assert domains == {
        "mx1": ["alpha.example"],
        "mx2": ["works.example"],
        "mail1": ["alpha.example", "works.example"],
        "mx3": ["own.example", "beta.example"],
        "mail3": ["beta.example"],
        "relay1": [],
    }
    assert "domains" not in SERVERS["mx1"], "what the inventory gave is another's"


def test_mailboxes_further_addresses_and_guarantees() -> None:
    assert [u["address"] for u in customers.users(right())] == [
        "alice@alpha.example",
        "bob@works.example",
        "carol@beta.example",
    ]
    assert customers.aliases(right()) == {
        "postmaster@alpha.example": "alice@alpha.example",
        "postmaster@works.example": "alice@alpha.example",
        "info@works.example": "bob@works.example",
        "postmaster@beta.example": "carol@beta.example",
    }
    assert customers.guarantees(right()) == {
        "alpha.example": "strict",
        "works.example": "strict",
        "beta.example": "best_effort",
    }


def test_right_customers_have_no_mistake() -> None:
    assert mistakes(right()) == []
    assert mistakes(None) == [], "an inventory may do without"


def user(given: Data, **changes: Any) -> None:
    given["alpha"]["users"][0].update(changes)


WRONG: list[tuple[str, Callable[[Data], Any], str, str]] = [
    ("word", lambda g: g["alpha"].update(hom="sjc"), "alpha.hom is 'sjc'", "no such word"),
    ("home", lambda g: g["alpha"].update(home="dc9"), "alpha.home is 'dc9'", "rly, sjc"),
    ("no home", lambda g: g["alpha"].pop("home"), "alpha.home is None", "name a site"),
    ("guarantee", lambda g: g["beta"].update(guarantee="some"), "beta.guarantee is 'some'", "strict, best_effort"),
    ("no domains", lambda g: g["beta"].update(domains={}), "beta.domains is {}", "give {DOMAIN"),
    (
        "a list",
        lambda g: g["beta"].update(domains=["beta.example"]),
        "beta.domains is ['beta.example']",
        "give {DOMAIN",
    ),
    ("upper case", lambda g: g["beta"].update(domains={"Beta.example": None}), "is 'Beta.example'", "lower case"),
    (
        "domain twice",
        lambda g: g["beta"]["domains"].update({"alpha.example": ["mx3", "mail3"]}),
        "beta.domains.alpha.example is 'alpha.example'",
        "stands in customers.alpha.domains, too",
    ),
    (
        "several there",
        lambda g: g["alpha"]["domains"].update({"works.example": None}),
        "alpha.domains.works.example is None",
        "several of kind internet; name one of: mx1, mx2",
    ),
    (
        "no identity",
        lambda g: g["alpha"]["domains"].update({"works.example": ["mx1", "mail9"]}),
        "alpha.domains.works.example is 'mail9'",
        "those of sjc: mx1, mx2, mail1",
    ),
    (
        "a relay",
        lambda g: g["alpha"]["domains"].update({"works.example": ["mx1", "relay1", "mail1"]}),
        "is 'relay1'",
        "is no identity for mail",
    ),
    (
        "another site's",
        lambda g: g["alpha"]["domains"].update({"works.example": ["mx1", "mail3"]}),
        "is 'mail3'",
        "has its store elsewhere; of kind intranet sjc has: mail1",
    ),
    (
        "two of a kind",
        lambda g: g["alpha"]["domains"].update({"works.example": ["mx1", "mx2", "mail1"]}),
        "is 'mx1, mx2, mail1'",
        "name one identity of kind internet, of: mx1, mx2",
    ),
    ("text", lambda g: g["alpha"]["domains"].update({"works.example": "mx1"}), "is 'mx1'", "give a list"),
    ("no users", lambda g: g["beta"].update(users=[]), "beta.users is []", "give a list"),
    (
        "other domain",
        lambda g: user(g, address="alice@beta.example"),
        "users[0].address",
        "alpha.example, works.example",
    ),
    ("capitals", lambda g: user(g, address="Alice@alpha.example"), "is 'Alice@alpha.example'", "LOCAL of a-z"),
    ("a folder above", lambda g: user(g, address="..@alpha.example"), "is '..@alpha.example'", "LOCAL of a-z"),
    ("a path", lambda g: user(g, address="a/b@alpha.example"), "is 'a/b@alpha.example'", "LOCAL of a-z"),
    ("a field", lambda g: user(g, address="a:b@alpha.example"), "is 'a:b@alpha.example'", "LOCAL of a-z"),
    ("no password", lambda g: user(g, password=None), "users[0].password is None", "alice@alpha.example"),
    ("a number", lambda g: user(g, password=1234), "users[0].password is '(no text)'", "in quotes"),
    ("twice", lambda g: g["beta"]["users"].append(g["beta"]["users"][0]), "beta.users[1].address", "is also"),
    ("postmaster", lambda g: g["beta"].update(postmaster="x@beta.example"), "beta.postmaster", "one of its users"),
    ("no postmaster", lambda g: g["beta"].pop("postmaster"), "beta.postmaster is None", "RFC 5321"),
    (
        "alias of nobody",
        lambda g: g["alpha"]["aliases"].update({"info@works.example": "carol@beta.example"}),
        "alpha.aliases.info@works.example is 'carol@beta.example'",
        "one of its users",
    ),
    (
        "alias elsewhere",
        lambda g: g["alpha"]["aliases"].update({"info@beta.example": "bob@works.example"}),
        "alpha.aliases.info@beta.example is 'info@beta.example'",
        "one of its domains",
    ),
    ("no customer", lambda g: g.update(gamma=["x"]), "customers.gamma is ['x']", "give {home"),
]


@pytest.mark.parametrize(("name", "change", "key", "remedy"), WRONG, ids=[w[0] for w in WRONG])
def test_a_mistake_is_named_with_its_place_and_its_remedy(
    name: str, change: Callable[[Data], Any], key: str, remedy: str
) -> None:
    given = copy.deepcopy(right())
    change(given)
    found = mistakes(given)
    assert [line for line in found if key in line and remedy in line], found
    assert all(line.startswith("group_vars/all/customers.yml: customers.") and "\n" not in line for line in found)


@pytest.mark.parametrize("given", [{}, [], "alpha"])
def test_customers_that_are_none(given: object) -> None:
    (line,) = mistakes(given)
    assert "give {NAME" in line


@pytest.mark.parametrize(
    ("variable", "value"),
    [("mail_users", []), ("mail_aliases", {}), ("identities", SERVERS)],
)
def test_an_inventory_that_does_not_take_what_follows_from_them(variable: str, value: Any) -> None:
    found = mistakes(right(), **{variable: value})
    assert found and all("does not come from customers; set" in line and "holdfast.mail." in line for line in found)

"""Mistakes about redirectors and transfer hosts in an inventory, each with its key and remedy (R2.5, R3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from holdfast.core import checks, side_checks
from holdfast.core.checks import Inventory
from test_checks import MX, Data, identity, right

FILES = {"redirectors": "group_vars/all/redirectors.yml"}


def mistakes(data: Data) -> list[str]:
    """Of the checks that an address used twice is found by, too."""
    inventory = Inventory(data["hosts"], data["settings"], FILES)
    return [str(m) for m in (*checks.check(inventory), *side_checks.check(inventory))]


def with_pair() -> Data:
    """A right inventory with a pair on the Internet side of dc1."""
    data = right()
    for n in (1, 2):
        host = {"site": "dc1", "legs": {"dmz1": f"10.1.1.6{n}"}, "groups": ["redirector"]}
        data["hosts"][f"redirect1{'ab'[n - 1]}"] = host
    data["settings"]["redirectors"] = {
        "front1": {
            "side": "internet",
            "site": "dc1",
            "hosts": ["redirect1a", "redirect1b"],
            "addresses": ["10.1.1.71", "10.1.1.72"],
            "protocols": {"smtp": {"balance": "leastconn"}, "imaps": {}},
        }
    }
    return data


def pair(data: Data) -> Data:
    found: Data = data["settings"]["redirectors"]["front1"]
    return found


def second(data: Data, **changes: Any) -> None:
    """Another pair of the same hosts."""
    data["settings"]["redirectors"]["front2"] = {**pair(data), "addresses": ["10.1.1.73", "10.1.1.74"], **changes}


def test_a_right_pair_has_no_mistake() -> None:
    assert mistakes(with_pair()) == []
    usual = with_pair()
    del pair(usual)["protocols"]
    assert mistakes(usual) == []


CASES: list[tuple[str, Callable[[Data], Any], str, str]] = [
    ("side", lambda d: pair(d).update(side="outside"), "front1.side is 'outside'", "one of: internet, isolated"),
    ("nobody", lambda d: pair(d).update(side="isolated"), "front1.side", "no identity of kind intranet"),
    ("site", lambda d: pair(d).update(site="dc9"), "front1.site", "name one of: dc1"),
    ("host's site", lambda d: d["hosts"]["redirect1b"].update(site="dc2"), "front1.hosts", "stands in site dc2"),
    ("one host", lambda d: pair(d).update(hosts=["redirect1a"]), "front1.hosts", "the two hosts"),
    ("one twice", lambda d: pair(d).update(hosts=["redirect1a"] * 2), "front1.hosts", "the two hosts"),
    ("no host", lambda d: pair(d).update(hosts=["redirect1a", "redirect9"]), "hosts is 'redirect9'", "no host of the"),
    ("group", lambda d: pair(d).update(hosts=["redirect1a", "witness1"]), "hosts is 'witness1'", "group redirector"),
    (
        "holds an identity",
        lambda d: d["hosts"]["redirect1b"].update(groups=["redirector", "relay"]),
        "front1.hosts is 'redirect1b'",
        "is in group relay, too",
    ),
    ("two pairs", second, "redirectors.front2 is 'front2'", "front1 is the pair of side internet in dc1"),
    ("host of two", lambda d: second(d, site="dc2"), "front2.hosts is 'redirect1a'", "also of the pair front1"),
    ("idle", lambda d: d["settings"].pop("redirectors"), "redirector is 'redirect1a'", "is of no pair"),
    ("one address", lambda d: pair(d).update(addresses=["10.1.1.71"]), "front1.addresses", "give two"),
    ("no address", lambda d: pair(d).update(addresses=["ten", "10.1.1.72"]), "addresses[0] is 'ten'", "not an IP"),
    ("nowhere", lambda d: pair(d).update(addresses=["192.0.2.1", "10.1.1.72"]), "addresses[0]", "in no segment"),
    ("other side", lambda d: pair(d).update(addresses=["10.1.1.71", "10.1.2.72"]), "addresses[1]", "network isolated"),
    (
        "no leg",
        lambda d: pair(d).update(addresses=["10.1.1.71", "10.2.1.72"]),
        "addresses[1]",
        "redirect1a has no leg in segment dmz2",
    ),
    ("used", lambda d: pair(d).update(addresses=["10.1.1.71", "10.1.1.11"]), "addresses[1]", "is also mail1.legs"),
    ("twice", lambda d: pair(d).update(addresses=["10.1.1.71"] * 2), "addresses[1]", "is also redirectors.front1"),
    ("none", lambda d: pair(d).update(protocols={}), "front1.protocols is {}", "some of: smtp"),
    ("list", lambda d: pair(d).update(protocols=["smtp"]), "front1.protocols", "give a mapping"),
    ("protocol", lambda d: pair(d).update(protocols={"http": {}}), "protocols.http", "no such protocol"),
    ("balance", lambda d: pair(d)["protocols"]["smtp"].update(balance="best"), "smtp.balance is 'best'", "leastconn"),
    ("key", lambda d: pair(d)["protocols"]["smtp"].update(weight=3), "protocols.smtp", "give {} or {balance: METHOD}"),
    ("text", lambda d: pair(d)["protocols"].update(smtp="leastconn"), "smtp is 'leastconn'", "give {} or"),
]


@pytest.mark.parametrize(("change", "key", "remedy"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_mistake_is_named_with_its_key_and_remedy(change: Callable[[Data], Any], key: str, remedy: str) -> None:
    data = with_pair()
    change(data)
    found = mistakes(data)
    assert any(key in m and remedy in m for m in found), found
    assert all("\n" not in m for m in found)


def test_it_stands_in_its_file() -> None:
    data = with_pair()
    pair(data)["site"] = "dc9"
    (mistake, *_) = side_checks.check(Inventory(data["hosts"], data["settings"], FILES))
    assert str(mistake).startswith("group_vars/all/redirectors.yml: redirectors.front1.")


def test_an_inventory_without_redirectors_is_asked_for_none() -> None:
    data = right()
    for nothing in (None, {}):
        data["settings"]["redirectors"] = nothing
        assert mistakes(data) == []
    assert MX in data["settings"]["identities"]


def carrying() -> Data:
    """With a transfer host, and an identity of each side on its site's store."""
    data = right()
    other = {**identity(data), "kind": "intranet", "address": "203.0.113.50", "domains": ["beta.example"]}
    data["settings"]["identities"]["mail.beta.example"] = other
    data["hosts"]["transfer1"] = {"site": "dc1", "legs": {"storage1": "10.1.3.41"}, "groups": ["transfer"]}
    return data


CARRYING: list[tuple[Callable[[Data], Any], str, str]] = [
    (lambda d: d["hosts"]["transfer1"].update(legs={}), "transfer1.legs", "needs a leg in a segment of the network"),
    (lambda d: d["hosts"]["transfer1"]["legs"].update(iso1="10.1.2.41"), "transfer1.legs", "iso1 belongs to a side"),
    (lambda d: d["hosts"]["transfer1"].update(site="dc2"), "transfer", "no identity of kind internet and none of kind"),
    (lambda d: d["settings"]["identities"].pop("mail.beta.example"), "transfer", "kind intranet has its store in dc1"),
]


@pytest.mark.parametrize(("change", "key", "remedy"), CARRYING)
def test_transfer_hosts_stand_on_neither_side_where_there_are_two(
    change: Callable[[Data], Any], key: str, remedy: str
) -> None:
    data = carrying()
    assert mistakes(data) == []
    change(data)
    assert any(key in m and remedy in m for m in mistakes(data)), mistakes(data)

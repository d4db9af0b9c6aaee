"""Which name servers a host asks: those to which its own legs lead."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from plugins.filter.reached import reached

SEGMENTS = {
    "mgmt": {"network": "mgmt", "prefix": "10.10.0.0/24"},
    "outside": {"network": "internet", "prefix": "198.51.100.0/24"},
    "dmz1": {"network": "internet", "prefix": "10.1.1.0/24"},
    "iso1": {"network": "isolated", "prefix": "10.1.2.0/24"},
    "corp1": {"network": "isolated", "prefix": "10.8.1.0/24"},
    "storage1": {"network": "storage", "prefix": "10.1.3.0/24"},
}
INTERNET, ISOLATED, ELSEWHERE = "198.51.100.53", "10.8.1.53", "192.0.2.1"
ALL = [INTERNET, ISOLATED]


@pytest.mark.parametrize(
    ("legs", "asked"),
    [
        (["mgmt", "dmz1", "storage1"], [INTERNET]),
        (["mgmt", "iso1", "storage1"], [ISOLATED]),
        (["dmz1", "iso1"], ALL),  # in the order of the inventory
        (["mgmt", "storage1"], []),  # store and transfer hosts
        (["outside"], [INTERNET]),  # that name server itself
    ],
)
def test_a_host_asks_in_networks_in_which_it_has_a_leg(legs: list[str], asked: list[str]) -> None:
    assert reached(ALL, dict.fromkeys(legs, "x"), SEGMENTS) == asked


def test_one_that_the_inventory_does_not_know_may_be_reached_by_other_routes() -> None:
    assert reached([ELSEWHERE, INTERNET], {"storage1": "x"}, SEGMENTS) == [ELSEWHERE]


def test_a_name_is_no_address() -> None:
    with pytest.raises(AnsibleFilterError, match=r"'ns\.example' is no IP address: give addresses"):
        reached(["ns.example"], {}, SEGMENTS)

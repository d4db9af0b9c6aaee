"""From inventory variables to a topology, and back from its saved form."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from lab import settings
from lab.errors import LabError
from lab.inventory import Topology, inventory_folder, topology
from lab.line import Line

SEGMENTS: dict[str, Any] = {
    "mgmt": {"network": "mgmt", "prefix": "10.0.0.0/24"},
    "zone": {"network": "internet", "prefix": "10.0.1.0/25", "gateway": "10.0.1.1"},
    "alpha": {"network": "storage", "prefix": "10.0.2.0/24", "gateway": "10.0.2.1"},
}
HOSTVARS: dict[str, Any] = {
    "router": {
        "segments": SEGMENTS,
        "legs": {"mgmt": "10.0.0.1", "zone": "10.0.1.1", "alpha": "10.0.2.1"},
        "lab_line": {"zone": {"delay_ms": 15}},
    },
    "mail": {
        "segments": SEGMENTS,
        "legs": {"mgmt": "10.0.0.2", "zone": "10.0.1.2", "alpha": "10.0.2.2"},
        "lab_memory_mb": 288,
        "lab_disks_mb": [64, 128],
    },
}
SWITCH = {"segment": "mgmt", "address": "10.0.0.254"}


def hostvars() -> dict[str, Any]:
    return copy.deepcopy(HOSTVARS)


def with_switch() -> dict[str, Any]:
    data = hostvars()
    for variables in data.values():
        variables["lab_switch"] = SWITCH
    return data


def test_the_order_of_legs_is_the_order_of_the_interfaces() -> None:
    host = topology("x", hostvars()).hosts["mail"]
    assert list(host.legs) == ["mgmt", "zone", "alpha"]
    assert settings.links(host, topology("x", hostvars())).splitlines() == [
        "link set dev vec0 name mgmt",
        "address add 10.0.0.2/24 broadcast + dev mgmt",
        "link set dev mgmt up",
        "link set dev vec1 name zone",
        "address add 10.0.1.2/25 broadcast + dev zone",
        "link set dev zone up",
        "link set dev vec2 name alpha",
        "address add 10.0.2.2/24 broadcast + dev alpha",
        "link set dev alpha up",
        "route replace default via 10.0.1.1",
    ]


def test_a_router_has_no_default_route_to_itself() -> None:
    made = topology("x", hostvars())
    assert made.gateway(made.hosts["router"]) is None


def test_the_default_route_follows_the_order_of_legs_not_of_names() -> None:
    data = hostvars()
    data["mail"]["legs"] = {"mgmt": "10.0.0.2", "alpha": "10.0.2.2", "zone": "10.0.1.2"}
    made = topology("x", data)
    assert made.gateway(made.hosts["mail"]) == "10.0.2.1"


def test_a_saved_topology_is_the_same() -> None:
    made = topology("x", with_switch())
    again = Topology.load(made.dump())
    assert again == made
    assert list(again.hosts["mail"].legs) == ["mgmt", "zone", "alpha"]
    assert again.hosts["router"].lines == {"zone": Line(15)}
    assert again.hosts["mail"].disks_mb == (64, 128)


def test_memory_has_a_default() -> None:
    made = topology("x", hostvars())
    assert (made.hosts["router"].memory_mb, made.hosts["mail"].memory_mb) == (224, 288)


def test_the_lab_uses_the_address_of_the_switch_else_a_free_one() -> None:
    assert topology("x", with_switch()).controller_address == "10.0.0.254"
    data = hostvars()
    data["mail"]["legs"]["mgmt"] = "10.0.0.254"
    assert topology("x", data).controller_address == "10.0.0.253"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"legs": {}}, "host without legs: mail"),
        ({"legs": {"mgmt": "10.0.0.2", "moon": "10.9.9.9"}}, "leg of mail in an undefined segment: moon"),
        ({"legs": {"mgmt": "10.0.0.2", "zone": "10.0.1.200"}}, "address of mail outside of segment zone: 10.0.1.200"),
        ({"legs": {"zone": "10.0.1.2"}}, "host without a leg in the management segment: mail"),
        ({"legs": {"mgmt": "10.0.0.1"}}, "address used twice: 10.0.0.1"),
        ({"lab_line": {"moon": {"delay_ms": 1}}}, "lab_line of mail without a leg: moon"),
        ({"lab_disks_mb": [1] * 15}, "lab_disks_mb of mail: 15 disks"),
    ],
)
def test_contradictions_are_named(change: dict[str, Any], words: str) -> None:
    data = hostvars()
    data["mail"].update(change)
    with pytest.raises(LabError) as caught:
        topology("x", data)
    assert str(caught.value).startswith(words)
    assert caught.value.remedy


def test_the_address_of_the_switch_is_taken() -> None:
    data = with_switch()
    data["mail"]["legs"]["mgmt"] = "10.0.0.254"
    with pytest.raises(LabError, match=r"address used twice: 10\.0\.0\.254; lab_switch and mail"):
        topology("x", data)


def test_a_segment_must_do_as_the_name_of_an_interface() -> None:
    data = hostvars()
    for variables in data.values():
        variables["segments"] = {**SEGMENTS, "a-very-long-name-indeed": {"prefix": "10.1.0.0/24"}}
    with pytest.raises(LabError, match="segment name: a-very-long-name-indeed"):
        topology("x", data)


def test_unknown_hosts_and_segments_are_answered_with_the_known_ones() -> None:
    made = topology("x", hostvars())
    with pytest.raises(LabError, match="unknown host: nix; it is one of router, mail"):
        made.host("nix")
    with pytest.raises(LabError, match="mail has no leg in segment: nix; it has mgmt, zone, alpha"):
        made.leg("mail", "nix")


def test_an_inventory_goes_by_name_or_path() -> None:
    compact = inventory_folder("compact")
    assert compact == inventory_folder("inventories/compact") == inventory_folder(str(compact))
    with pytest.raises(LabError, match=r"no such inventory: nix; .*compact"):
        inventory_folder("nix")


def test_permanent_lines_become_tc_lines() -> None:
    made = topology("x", hostvars())
    assert settings.lines(made.hosts["router"]) == "qdisc replace dev zone root netem limit 10000 delay 15ms\n"
    assert settings.lines(made.hosts["mail"]) == ""

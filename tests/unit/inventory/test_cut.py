"""Inventory fig3 is a cut of full: what CI plays on it holds for the whole network."""

from __future__ import annotations

from typing import Any

import yaml
from whole import ROOT

from tests.full_network.network import Network, six_ways

FULL, CUT = ROOT / "inventories/full", ROOT / "inventories/fig3"


def groups(inventory: Any) -> dict[str, dict[str, Any]]:
    children = yaml.safe_load((inventory / "hosts.yml").read_text())["all"]["children"]
    return {name: group["hosts"] for name, group in children.items()}


def test_every_host_is_one_of_the_whole_network_and_no_kind_is_missing() -> None:
    whole, cut = groups(FULL), groups(CUT)
    assert list(cut) == list(whole)
    for name, hosts in cut.items():
        assert hosts, f"no host of group {name}"
        assert hosts.items() <= whole[name].items(), name


def test_no_segment_and_no_way_is_missing() -> None:
    whole, cut = Network.load(FULL), Network.load(CUT)
    assert {s for legs in cut.legs.values() for s in legs} == {s for legs in whole.legs.values() for s in legs}
    assert [(w.name, w.host, w.reader) for w in six_ways(cut)] == [(w.name, w.host, w.reader) for w in six_ways(whole)]
    assert cut.users == whole.users and set(cut.stores) == set(whole.stores)
    assert {m.kind for m in cut.mailers} == {m.kind for m in whole.mailers}


def test_what_is_the_same_in_both_is_there_once() -> None:
    """A file that has become the same as that of full is made a link to it."""
    for file in sorted((CUT / "group_vars").rglob("*.yml")):
        other = FULL / file.relative_to(CUT)
        assert file.is_symlink() or file.read_bytes() != other.read_bytes(), f"{file} is that of full: link it"
        assert file.resolve().is_file()

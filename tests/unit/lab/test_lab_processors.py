"""Which processor of the machine a guest runs on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from lab import inventory
from lab.uml import processor

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("available", [[0], [0, 1], [3, 5, 7], [0, 1, 2, 3, 4, 5, 6, 7]])
def test_each_has_its_share_and_none_another_one(available: list[int]) -> None:
    found = Counter(processor(number, available) for number in range(64))
    assert set(found) == set(available)
    assert max(found.values()) - min(found.values()) <= 2


@pytest.mark.parametrize("name", ["compact", "full"])
def test_first_ones_of_pairs_are_on_both(name: str) -> None:
    hosts = list(inventory.read(ROOT / "inventories" / name).hosts)
    firsts = Counter(processor(n, [0, 1]) for n, host in enumerate(hosts) if host.endswith(("1", "1a")))
    assert max(firsts.values()) - min(firsts.values()) <= 2, firsts

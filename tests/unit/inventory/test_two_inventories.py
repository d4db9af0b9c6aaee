"""What the inventory `external` has of its own differs from `compact` in what its stores are, and in nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

INVENTORIES = Path(__file__).resolve().parents[3] / "inventories"
STORE_GROUPS = {"store", "external_store"}


def read(inventory: str, file: str) -> Any:
    return yaml.safe_load((INVENTORIES / inventory / file).read_text())


def identities(inventory: str) -> Any:
    data = read(inventory, "group_vars/all/identities.yml")
    for identity in data["identities"].values():
        del identity["store"]
    return data


def hosts(inventory: str) -> dict[str, dict[str, Any]]:
    """By group, without those that serve files."""
    groups = read(inventory, "hosts.yml")["all"]["children"]
    return {name: group for name, group in groups.items() if name not in STORE_GROUPS}


def test_the_same_identities_on_other_stores() -> None:
    assert identities("external") == identities("compact")


def test_the_same_hosts_beside_the_stores() -> None:
    assert hosts("external") == hosts("compact")

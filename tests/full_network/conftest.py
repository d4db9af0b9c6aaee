"""The lab of the inventory `full`, up and deployed: HOLDFAST_LAB names it. Takes 44 guests, so neither CI nor
`make test-full` plays what is here: python -m pytest tests/full_network."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.reachability.matrix import Table
from tests.story.machines import ROOT, Lab

INVENTORY = "full"


@pytest.fixture(scope="session")
def lab() -> Lab:
    if "HOLDFAST_LAB" not in os.environ:
        pytest.skip("HOLDFAST_LAB names no lab; bin/lab --name full up full, deploy it, then HOLDFAST_LAB=full")
    return Lab()


@pytest.fixture(scope="session")
def table(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Table:
    """As the inventory has it now."""
    file: Path = tmp_path_factory.mktemp("flows") / "flows.json"
    argv = ["ansible-playbook", "-i", str(ROOT / "inventories" / INVENTORY), str(ROOT / "playbooks" / "flows.yml")]
    lab.word("run", "--", *argv, "-e", f"flows_to={file}")
    return Table(json.loads(file.read_text()))

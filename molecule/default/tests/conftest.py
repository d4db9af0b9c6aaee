"""Hosts by testinfra over the lab's ssh, a sender and reader, and the journals that a failed test asked about."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

from tests.story.coordinator import Records
from tests.story.machines import ROOT, Lab
from tests.story.outage import Post, users

INVENTORY = ROOT / "inventories" / "compact"


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab(os.environ.get("HOLDFAST_LAB", "molecule"))


@pytest.fixture(scope="session")
def post(lab: Lab) -> Post:
    return Post(lab, users(INVENTORY))


@pytest.fixture(scope="session")
def records(lab: Lab) -> Records:
    return Records(lab)


class Hosts:
    """Hosts by name."""

    def __init__(self, ssh_config: Path) -> None:
        self._ssh_config = ssh_config
        self._known: dict[str, Host] = {}

    def __getitem__(self, name: str) -> Host:
        if name not in self._known:
            self._known[name] = testinfra.get_host(f"ssh://{name}", ssh_config=str(self._ssh_config))
        return self._known[name]


@pytest.fixture(scope="session")
def hosts(lab: Lab) -> Hosts:
    return Hosts(ROOT / ".lab" / lab.name / "ssh_config")


@pytest.fixture(autouse=True)
def journal(request: pytest.FixtureRequest, lab: Lab) -> Iterator[list[tuple[str, str]]]:
    """Append (host, unit) for what a test asks about: on failure its journal is printed."""
    asked: list[tuple[str, str]] = []
    yield asked
    report = getattr(request.node, "report_of_call", None)
    if report is not None and report.failed:
        for host, unit in asked:
            print(f"--- {host}: {unit}")
            print(lab.shell(host, f"journalctl --no-pager -q -n 30 -u '{unit}'", check=False))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call":
        item.report_of_call = report  # type: ignore[attr-defined]

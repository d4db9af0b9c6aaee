"""One lab with the whole network for all that is played here.

HOLDFAST_LAB names one that is up and deployed with `monitor_hourly_limit` and `store_hourly_limit` raised; without it
one is made and ended. HOLDFAST_PLAYS names a file in which each play is noted (tests/story/plays.py). Figures are kept
below build/.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.full_network.network import INVENTORY, Network, Way, six_ways
from tests.full_network.stage import NetworkStage
from tests.reachability.matrix import Table
from tests.story import plays
from tests.story.coordinator import Records
from tests.story.machines import ROOT, Lab, StoryError

LIMITS = ("-e", "monitor_hourly_limit=1000", "-e", "store_hourly_limit=1000")
PARTS = pytest.StashKey[list[tuple[bool, float]]]()


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    given = os.environ.get("HOLDFAST_LAB")
    if given:
        made = Lab(given)
        runs = Path(json.loads(made.word("status", "--json"))["inventory"]).name
        if runs != INVENTORY.name:
            raise StoryError(f"HOLDFAST_LAB: {given} runs inventory {runs}; name a lab that runs {INVENTORY.name}")
        yield made
        return
    made = Lab("network")
    made.word("down", "--purge")
    try:
        made.word("up", INVENTORY.name, timeout=1800)
        made.word("deploy", INVENTORY.name, "--", *LIMITS, timeout=3600)
        yield made
    finally:
        made.word("down", "--purge")


@pytest.fixture(scope="session")
def network() -> Network:
    return Network.load()


@pytest.fixture(scope="session")
def ways(network: Network) -> list[Way]:
    return six_ways(network)


@pytest.fixture(scope="session")
def records(lab: Lab) -> Records:
    return Records(lab)


@pytest.fixture(scope="session")
def table(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Of allowed flows, as the inventory has it now."""
    file: Path = tmp_path_factory.mktemp("flows") / "flows.json"
    lab.word(
        *("run", "--", "ansible-playbook", "-i", str(INVENTORY), str(ROOT / "playbooks" / "flows.yml")),
        *("-e", f"flows_to={file}"),
        timeout=900,
    )
    return Table(json.loads(file.read_text()))


@pytest.fixture
def stage(lab: Lab, records: Records, network: Network, ways: list[Way]) -> Iterator[NetworkStage]:
    """Everything on and in its rotation, identities at home, empty mailboxes."""
    made = NetworkStage(lab, records, network)
    made.set_up(ways)
    yield made
    made.tidy()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report: pytest.TestReport = outcome.get_result()  # type: ignore[attr-defined]
    parts = item.stash.setdefault(PARTS, [])
    parts.append((report.passed, report.duration))
    file = os.environ.get("HOLDFAST_PLAYS")
    if report.when == "teardown" and file and not report.skipped:
        plays.record(ROOT / file, item.nodeid, all(passed for passed, _ in parts), sum(took for _, took in parts))
    stage: NetworkStage | None = getattr(item, "funcargs", {}).get("stage")
    if report.when == "call" and report.failed and stage is not None:
        for host, unit in asked(stage):
            said = stage.lab.shell(
                host, f"journalctl --no-pager -q -n 30 -u {unit} --since @{stage.begun:.0f}", check=False
            )
            report.sections.append((f"{host}: {unit}", said))


def asked(stage: NetworkStage) -> list[tuple[str, str]]:
    """Whose journals may tell why a play failed; hosts that are off tell nothing."""
    groups = stage.network.groups
    units = {
        "mail": ("holdfast-agent",),
        "relay": ("holdfast-monitor",),
        "store": ("holdfast-agent",),
        "transfer": ("holdfast-transfer",),
        "redirector": ("haproxy",),
    }
    return [(host, unit) for group, some in units.items() for host in groups[group] for unit in some]

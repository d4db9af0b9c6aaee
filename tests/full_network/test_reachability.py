"""From every host, from outside and from users' places, to every address: the matrix is the table of flows, in calm.

Minutes on 44 guests; see conftest.py.
"""

from __future__ import annotations

import contextlib
import time

import pytest

from tests.full_network.filters import TABLE, accepting
from tests.reachability.matrix import Cell, Table
from tests.reachability.play import everything, of_lab, play
from tests.story.machines import Lab

pytestmark = pytest.mark.paths

# Two cores are as busy with three as with more, and the coordinator must answer meanwhile: leases would run out.
HOSTS_AT_ONCE = 3


def told(cells: list[Cell]) -> str:
    return "\n".join(map(str, cells[:200]))


@pytest.mark.fig3
def test_the_matrix_is_the_flow_table(lab: Lab, table: Table) -> None:
    begun = time.monotonic()
    cells = play(table, of_lab(lab), everything(table), HOSTS_AT_ONCE)
    print(f"{time.monotonic() - begun:.0f} s")
    assert not cells, told(cells)


@pytest.mark.parametrize(
    ("host", "chain", "rule", "who", "whom", "port"),
    [
        # Users' places reach each other by no router; nothing filters at the ends.
        ("core-iso", "forward", "ip saddr 10.8.0.0/16 ip daddr 10.8.0.0/16 accept", "corp1", "corp2", 22),
        ("sjc-mis1", "input", "tcp dport 22 accept", "sjc-dis1", "sjc-mis1", 22),
    ],
)
def test_a_planted_leak_is_found(
    lab: Lab, table: Table, host: str, chain: str, rule: str, who: str, whom: str, port: int
) -> None:
    targets = {name: some for name, some in everything(table).items() if name in (who, whom)}
    assert play(table, of_lab(lab), targets) == []
    with accepting(lab, host, chain, rule):
        cells = play(table, of_lab(lab), targets)
    assert any((c.host, c.whom, c.protocol, c.port) == (who, whom, "tcp", port) for c in cells), told(cells)
    assert play(table, of_lab(lab), targets) == []


def test_what_is_loaded_outlives_a_boot(lab: Lab) -> None:
    """The rules are there before any interface is."""
    host = "sjc-din2"
    before = lab.run(host, "nft", "-s", "list", "table", *TABLE.split())
    lab.word("kill", host)
    lab.word("start", host)
    assert lab.run(host, "nft", "-s", "list", "table", *TABLE.split()) == before
    units = ("holdfast-packet-filter.service", "network-pre.target")
    asked = "systemctl show --value --property=ActiveEnterTimestampMonotonic"
    loaded, network = (int(lab.shell(host, f"{asked} {unit}")) for unit in units)
    # Whatever sets interfaces up does so behind this target (systemd.special(7)); 0: it was never reached.
    assert 0 < loaded <= network, f"rules at {loaded} us, interfaces from {network} us on"


def test_rules_that_shut_out_the_deploy_go_by_themselves(lab: Lab) -> None:
    """As a deploy tries them; nobody comes to confirm."""
    host, seconds = "sjc-din2", 30
    before = lab.run(host, "nft", "-s", "list", "table", *TABLE.split())
    lab.shell(
        host,
        "cp /etc/holdfast/packet_filter.new /run/kept && sed -i '/comment \"ssh\"/d' /etc/holdfast/packet_filter.new",
    )
    try:
        lab.run(host, "/usr/lib/holdfast/packet-filter", "try", str(seconds))
        deadline = time.monotonic() + seconds + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(Exception):
                if lab.run(host, "nft", "-s", "list", "table", *TABLE.split(), timeout=10) == before:
                    break
        assert lab.run(host, "nft", "-s", "list", "table", *TABLE.split()) == before
        said = lab.shell(host, "/usr/lib/holdfast/packet-filter confirm 2>&1; echo $?")
        assert "nobody confirmed in time" in said and said.split()[-1] == "1"
    finally:
        lab.shell(host, "mv /run/kept /etc/holdfast/packet_filter.new")

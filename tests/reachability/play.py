"""Plays the matrix on the hosts of a lab: every host tries every address, and what differs is tried once more.

    python -m tests.reachability.play LAB FLOWS-FILE

FLOWS-FILE is what ansible-playbook playbooks/flows.yml -e flows_to=FLOWS-FILE writes.
"""

from __future__ import annotations

import ipaddress
import json
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab.network import mac_address
from tests.reachability.matrix import Cell, Table, again, differences
from tests.story.machines import Lab

ON_HOST = Path(__file__).parent / "on_host.py"
# Guests share few processors: more at a time would only run into each other's time-outs.
HOSTS_AT_ONCE = 8
TIMEOUT, TIMEOUT_AGAIN = 3.0, 10.0  # seconds; the second outlasts a connection's third attempt
PROBES_AT_ONCE, PROBES_AT_ONCE_AGAIN = 3000, 50
RUN_WITHIN = 900.0  # some ten thousand probes a host, on guests that have a sixth of a core each meanwhile

Ask = Callable[[str, str], Any]  # host, JSON for on_host.py → its answer


def link_local(mac: str) -> str:
    """The address of IPv6 that an interface gives itself (RFC 4291, appendix A)."""
    octets = bytearray(int(x, 16) for x in mac.split(":"))
    octets[0] ^= 2
    whole = bytes.fromhex("fe80000000000000") + bytes(octets[:3]) + b"\xff\xfe" + bytes(octets[3:])
    return str(ipaddress.IPv6Address(whole))


def over_ipv6(table: Table, host: str) -> list[dict[str, Any]]:
    """Every neighbour on every wire, by the addresses that their interfaces have without anybody's doing."""
    found = []
    for segment in table.hosts[host]["legs"]:
        device = (table.hosts[host].get("devices") or {}).get(segment, segment)
        for other, values in table.hosts.items():
            if other != host and other not in table.clients() and segment in values["legs"]:
                found.append({"address": link_local(mac_address(other, segment)), "device": device})
    return found


def play(
    table: Table, ask: Ask, targets: Mapping[str, list[dict[str, Any]]], hosts_at_once: int = HOSTS_AT_ONCE
) -> list[Cell]:
    """Every cell that differs, twice in a row."""
    answers = _all(table, ask, targets, TIMEOUT, PROBES_AT_ONCE, hosts_at_once)
    differing = differences(table, answers)
    if not differing:
        return []
    second = _all(table, ask, again(differing, targets), TIMEOUT_AGAIN, PROBES_AT_ONCE_AGAIN, hosts_at_once)
    # What all others have told of themselves the first time still holds.
    return differences(table, {host: answer | {"found": []} for host, answer in answers.items()} | second)


def _all(
    table: Table,
    ask: Ask,
    targets: Mapping[str, list[dict[str, Any]]],
    timeout: float,
    at_once: int,
    hosts_at_once: int,
) -> dict[str, Any]:
    def one(host: str) -> Any:
        wanted = {"targets": targets[host], "timeout": timeout, "at_once": at_once}
        wanted |= {protocol: table.ports(protocol) for protocol in ("tcp", "udp")}
        return ask(host, json.dumps(wanted, separators=(",", ":")))

    with ThreadPoolExecutor(hosts_at_once) as pool:
        return dict(zip(targets, pool.map(one, targets), strict=True))


def everything(table: Table) -> dict[str, list[dict[str, Any]]]:
    return {host: [*table.targets(host), *over_ipv6(table, host)] for host in table.hosts}


def of_lab(lab: Lab) -> Ask:
    return lambda host, wanted: lab.python(host, ON_HOST, wanted, timeout=RUN_WITHIN)


def main(words: list[str]) -> int:
    if len(words) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    table = Table(json.loads(Path(words[1]).read_text()))
    targets = everything(table)
    differing = play(table, of_lab(Lab(words[0])), targets)
    print(*differing, sep="\n")
    print(f"{sum(map(len, targets.values()))} pairs of host and address, {len(differing)} cells differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

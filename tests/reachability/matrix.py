"""What the table of allowed flows says of each cell, and where what was found differs from it. Pure.

A cell is (from host, its address, to address, protocol, port). The flows' own words decide: what the packet filters
made of them is what is being tested, so nothing of that is used here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Ports on which nobody listens by the product's will: what a distribution might start, and some that are anybody's.
CLOSED = {"tcp": (23, 80, 111, 443, 2601, 3306, 8404, 20048, 32771), "udp": (68, 111, 123, 161, 2049, 33434)}
ANY = "any"
EVERY = ("*", "0.0.0.0", "::")  # noqa: S104  as ss(8) tells it; nothing is bound


@dataclass(frozen=True)
class Cell:
    """One that differs. `port` is None for an echo request."""

    host: str
    source: str | None
    whom: str
    address: str
    protocol: str
    port: int | None
    expected: str
    found: str

    def __str__(self) -> str:
        port = "" if self.port is None else f" {self.port}"
        return (
            f"{self.host} ({self.source}) to {self.whom} ({self.address}) {self.protocol}{port}: "
            f"expected {self.expected}, found {self.found}"
        )


class Table:
    """What playbooks/flows.yml writes: {facts: {hosts, segments, identities, ours, …}, flows: [...]}."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.facts, self.flows = data["facts"], data["flows"]
        self.hosts: Mapping[str, Any] = self.facts["hosts"]
        self._networks: dict[str, Any] = {}
        self._known: dict[tuple[str, str, str], tuple[set[int], bool]] = {}
        self.names = {a: host for host, values in self.hosts.items() for a in values["legs"].values()}
        for kind in ("identities", "stores"):
            self.names |= {one["address"]: name for name, one in (self.facts.get(kind) or {}).items()}
        for name, pair in (self.facts.get("redirectors") or {}).items():
            self.names |= dict.fromkeys(pair["addresses"], name)
        for name, segment in self.facts["segments"].items():
            if segment.get("gateway"):
                self.names.setdefault(segment["gateway"], f"gateway of {name}")

    def clients(self) -> set[str]:
        """Hosts that are no part of the product: nothing filters packets there."""
        return {host for host, values in self.hosts.items() if "client" in values["group_names"]}

    def ports(self, protocol: str) -> list[int]:
        """All that any flow names, and a sample of others."""
        named = {port for flow in self.flows if flow["protocol"] == protocol for port in flow["ports"]}
        return sorted(named | set(CLOSED[protocol]))

    def targets(self, host: str) -> list[dict[str, Any]]:
        """Every address, from whatever source the host takes; identities once more by each route of a relay, and what
        identities speak with from each that the host may hold (`held`: left out where it does not)."""
        mine = set(self.hosts[host]["legs"].values())
        found: list[dict[str, Any]] = [
            {"address": a} for a in sorted(self.names, key=ipaddress.ip_address) if a not in mine
        ]
        for identity in self.facts["identities"].values():
            networks = identity.get("networks") or self.facts["mail_routes"]
            for segment, address in self.hosts[host]["legs"].items():
                if (
                    self.facts["segments"][segment]["network"] in networks
                    and "relay" in self.hosts[host]["group_names"]
                ):
                    found.append({"address": identity["address"], "source": address})
        for identity in self.facts["identities"].values():
            if host in identity.get("candidates", ()):
                source = identity["address"]
                found += [{"address": a, "source": source, "held": True} for a in self._spoken_with() if a != source]
        return found

    def _spoken_with(self) -> list[str]:
        """Identities, redirectors, and one stranger."""
        found = [identity["address"] for identity in self.facts["identities"].values()]
        found += [a for pair in (self.facts.get("redirectors") or {}).values() for a in pair["addresses"]]
        outside = [name for name, segment in self.facts["segments"].items() if segment.get("clients") == ANY]
        legs = [self.hosts[host]["legs"] for host in sorted(self.clients())]
        return found + [own[segment] for own in legs for segment in outside if segment in own][:1]

    def passes(self, source: str, address: str, protocol: str, port: int | None) -> bool:
        key = (source, address, protocol)
        if key not in self._known:
            fitting = [
                f
                for f in self.flows
                if f["protocol"] == protocol
                and self._among(source, f["sources"])
                and self._among(address, f["destinations"])
            ]
            ports = {p for f in fitting for p in f["ports"]}
            self._known[key] = ports, any(not f["ports"] for f in fitting)
        ports, whole = self._known[key]
        return whole or port in ports

    def _among(self, address: str, elements: Iterable[str]) -> bool:
        one = ipaddress.ip_address(address)
        return any(
            not self._inside(one, self.facts["ours"]) if element == ANY else self._inside(one, [element])
            for element in elements
        )

    def _inside(self, one: Any, elements: Iterable[str]) -> bool:
        for element in elements:
            if element not in self._networks:
                self._networks[element] = ipaddress.ip_network(element)
            if one in self._networks[element]:
                return True
        return False

    def unfiltered(self, host: str, source: str, address: str, protocol: str) -> bool:
        """A host that filters nothing, on the same wire. A router does not take its answers, but for a word that a port
        of UDP is closed: it keeps no state and knows of no question."""
        if self.names.get(address) not in self.clients():
            return False
        if "router" in self.hosts[host]["group_names"] and protocol != "udp":
            return False
        one, other = ipaddress.ip_address(source), ipaddress.ip_address(address)
        wires = [[segment["prefix"]] for segment in self.facts["segments"].values()]
        return any(self._inside(one, wire) and self._inside(other, wire) for wire in wires)


def differences(table: Table, answers: Mapping[str, Any]) -> list[Cell]:
    """`answers`: {host: what on_host.py printed there}. Empty when the matrix is the table."""
    listeners = {host: {p: _listeners(some) for p, some in a["listening"].items()} for host, a in answers.items()}
    held = {address: host for host, answer in answers.items() for address in answer["addresses"]}
    return [c for host, a in answers.items() for row in a["found"] for c in _row(table, host, row, listeners, held)]


def _row(
    table: Table,
    host: str,
    row: Mapping[str, Any],
    listeners: Mapping[str, Mapping[str, set[tuple[str, int]]]],
    held: Mapping[str, str],
) -> Iterator[Cell]:
    source, address = row["source"], row["address"]
    if held.get(address) == host:
        return  # itself, also at an address that has moved here
    whom = table.names.get(address) or held.get(address, address)

    def may(protocol: str, port: int | None) -> bool:
        if source is None or ":" in address:
            return False
        return table.unfiltered(host, source, address, protocol) or table.passes(source, address, protocol, port)

    for protocol in ("tcp", "udp"):
        for port in row.get("tried", {}).get(protocol, table.ports(protocol)):
            seen = (
                "open"
                if port in row[protocol]["open"]
                else "refused"
                if port in row[protocol]["refused"]
                else "nothing"
            )
            there = listeners.get(held.get(address, ""), {}).get(protocol)
            wanted = _wanted(protocol, may(protocol, port), address, port, there)
            if seen not in wanted:
                yield Cell(host, source, whom, address, protocol, port, " or ".join(wanted), seen)
    if row["echo"] != may("icmp", None):
        seen, wanted_echo = ("an answer", "nothing") if row["echo"] else ("nothing", "an answer")
        yield Cell(host, source, whom, address, "icmp", None, wanted_echo, seen)


def _wanted(
    protocol: str, passes: bool, address: str, port: int, there: set[tuple[str, int]] | None
) -> tuple[str, ...]:
    if not passes:
        return ("nothing",)
    # Who listens need not answer, and the kernel tells of closed ports once a second only (icmp_ratelimit).
    silent = ("nothing",) if protocol == "udp" else ()
    if there is None or (protocol == "tcp" and ("%", port) in there):
        return ("open", "refused", *silent)
    return ("open" if (address, port) in there or ("", port) in there else "refused", *silent)


def _listeners(some: Iterable[str]) -> set[tuple[str, int]]:
    """(address, port); the address is empty for all of them, % for those of one interface."""
    found = set()
    for text in some:
        address, _, port = text.rpartition(":")
        if not port.isdigit():
            continue
        bare = address.strip("[]")
        if "%" in bare:
            found.add(("%", int(port)))
        else:
            found.add(("" if bare in EVERY else bare.removeprefix("::ffff:"), int(port)))
    return found


def again(differing: Iterable[Cell], targets: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """{host: targets}: of those that were tried what differs, to be tried once more while little else is going on."""
    ports: dict[tuple[str, str], dict[str, set[int]]] = {}
    for cell in differing:
        of = ports.setdefault((cell.host, cell.address), {"tcp": set(), "udp": set()})
        if cell.port is not None:
            of[cell.protocol].add(cell.port)
    found: dict[str, list[dict[str, Any]]] = {}
    for host, some in targets.items():
        for target in some:
            if tried := ports.get((host, target["address"])):
                found.setdefault(host, []).append(target | {p: sorted(wanted) for p, wanted in tried.items()})
    return found

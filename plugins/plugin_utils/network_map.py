"""Where addresses of an inventory are, and by which leg of a host they can be reached.

Pure, and used on the controller alone: no host has a use for it. `facts` is what roles/topology puts together
(topology_flow_facts).
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Every address that is none of the inventory's: the Internet at large.
ANY = "any"
# What `clients` of a segment may be: who uses mail from there beside the inventory's hosts.
CLIENTS = ("any", "prefix")

Network = functools.cache(ipaddress.IPv4Network)


def texts(elements: Iterable[str]) -> list[str]:
    """In order, each once, and none inside another, as nft(8) wants the elements of a set; a single address without its
    length. Raises ValueError for one that is no address or prefix of IPv4."""
    some = sorted({Network(e) for e in elements})
    outer = [n for n in some if not any(n != other and n.subnet_of(other) for other in some)]
    return [str(n.network_address) if n.prefixlen == 32 else str(n) for n in outer]


@functools.cache
def inside(element: str, prefix: str) -> bool:
    return Network(element).subnet_of(Network(prefix))


@dataclass(frozen=True)
class Host:
    """`legs`: {segment: address}; `devices`: names of interfaces that are not called like their segment."""

    name: str
    site: str
    legs: Mapping[str, str]
    groups: frozenset[str]
    devices: Mapping[str, str]
    resolvers: tuple[str, ...]

    def device(self, segment: str) -> str:
        return self.devices.get(segment, segment)


class NetworkMap:
    """A forwarding domain is what routers join: a network in a VRF is one, all others share the main table."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.facts = facts
        self.management: str = facts["management"]
        self.segments: Mapping[str, Mapping[str, Any]] = facts["segments"]
        self.hosts = {name: _host(name, values) for name, values in facts["hosts"].items()}
        self.identities: Mapping[str, Mapping[str, Any]] = facts["identities"]
        self.stores: Mapping[str, Mapping[str, Any]] = facts.get("stores") or {}
        self.external_stores: Mapping[str, Mapping[str, Any]] = facts.get("external_stores") or {}
        self.redirectors: Mapping[str, Mapping[str, Any]] = facts.get("redirectors") or {}
        self.mail_routes: list[str] = list(facts["mail_routes"])
        self.controllers = texts(facts.get("controllers") or [self.segments[self.management]["prefix"]])
        self._places = self._all_places()

    def group(self, name: str) -> list[Host]:
        return [h for h in self.hosts.values() if name in h.groups]

    def network(self, segment: str) -> str:
        return str(self.segments[segment]["network"])

    def domain(self, segment: str) -> str:
        network = self.network(segment)
        return network if network in self.facts["vrfs"] or segment == self.management else ""

    def networks_of(self, identity: Mapping[str, Any]) -> list[str]:
        """Over which it is reached."""
        return list(identity.get("networks") or self.mail_routes)

    def legs_in(self, host: Host, wanted: Iterable[str]) -> list[str]:
        """Addresses of a host's legs in these networks."""
        names = list(wanted)
        return [a for s, a in host.legs.items() if self.network(s) in names and s != self.management]

    def storage(self, host: Host) -> str | None:
        """By what it mounts files and is known to other hosts of the product."""
        return next(iter(self.legs_in(host, ["storage"])), None)

    def primary(self, host: Host) -> str:
        """As topology_primary has it."""
        others = [a for s, a in host.legs.items() if s != self.management]
        return self.storage(host) or (others or list(host.legs.values()))[0]

    def gateway(self, segment: str) -> str | None:
        return self.segments[segment].get("gateway")

    def is_virtual(self, segment: str) -> bool:
        """Whether the gateway's address belongs to a pair of routers and to none of them for good."""
        legs = {r.legs[segment] for r in self.group("router") if segment in r.legs}
        return bool(legs) and self.gateway(segment) not in [None, *legs]

    def movable(self, element: str) -> bool:
        """An address of an identity or a store: reached by way of a router, also within a segment."""
        return element in {x["address"] for x in (*self.identities.values(), *self.stores.values())}

    def client_segments(self) -> dict[str, str]:
        """{segment: the element that stands for who uses mail from there}."""
        return {
            name: ANY if segment["clients"] == ANY else segment["prefix"]
            for name, segment in self.segments.items()
            if segment.get("clients")
        }

    def ours(self) -> list[str]:
        """All addresses that no stranger may claim to have. Among strangers those of our own hosts are ours, too."""
        known = [s["prefix"] for s in self.segments.values() if s.get("clients") != ANY]
        open_to_all = self._places[ANY]
        known += [
            a for h in self.hosts.values() if "client" not in h.groups for s, a in h.legs.items() if s in open_to_all
        ]
        known += [self.facts["service_prefix"]]
        known += [self.facts["store_prefix"]] if self.facts.get("store_prefix") else []
        return texts(known)

    def behind(self, host: Host, leg: str) -> set[str]:
        """Segments from which a packet may reach this leg and has not passed the host or, of a pair, its partner."""
        if leg == self.management:
            return {leg}
        passed = {host.name} | ({r.name for r in self.partners(host)} if "router" in host.groups else set())
        found, queue = {leg}, [leg]
        while queue:
            segment = queue.pop()
            for router in self.group("router"):
                if router.name in passed or segment not in router.legs:
                    continue
                for other in router.legs:
                    if other not in found and self.domain(other) == self.domain(segment) and other != self.management:
                        found.add(other)
                        queue.append(other)
        return found

    def partners(self, host: Host) -> list[Host]:
        """Other routers of its site in a segment of its own."""
        mine = set(host.legs) - {self.management}
        return [r for r in self.group("router") if r.name != host.name and r.site == host.site and mine & set(r.legs)]

    def of_pairs(self, segment: str) -> list[str]:
        """Addresses in it of routers that have partners, and what they share."""
        paired = [r for r in self.group("router") if segment in r.legs and self.partners(r)]
        shared = [self.gateway(segment)] if self.is_virtual(segment) else []
        return [r.legs[segment] for r in paired] + [a for a in shared if a]

    def places(self, element: str) -> frozenset[str]:
        """Segments in which an address or prefix may be; ANY is where strangers are, and so is what nobody knows."""
        if element in self._places:
            return self._places[element]
        within = {n for n, s in self.segments.items() if inside(element, s["prefix"]) or inside(s["prefix"], element)}
        return self._places.setdefault(element, frozenset(within) or self._places[ANY])

    def source(self, host: Host, address: str) -> str | None:
        """From which of its addresses a host speaks to another: its leg there, one in the same network, or the first by
        which the address can be had at all. None where none leads there."""
        if inside(address, self.facts["service_prefix"]):
            routes = [a for n in self.mail_routes for a in self.legs_in(host, [n])]
            return routes[0] if routes else None
        where = self.places(address)
        for segment in where:
            if segment in host.legs:
                return host.legs[segment]
        wanted = {self.network(s) for s in where}
        for segment, own in host.legs.items():
            if self.network(segment) in wanted and segment != self.management:
                return own
        for segment, own in host.legs.items():
            if self.gateway(segment) and segment != self.management and where & self.behind(host, segment):
                return own
        return None

    def local(self, host: Host) -> list[str]:
        """Every address that this host has or may get."""
        found = list(host.legs.values())
        if "router" in host.groups:
            found += [self.segments[s]["gateway"] for s in host.legs if self.is_virtual(s)]
        found += [i["address"] for i in self.identities.values() if host.name in i["candidates"]]
        found += [s["address"] for s in self.stores.values() if host.name in s["members"]]
        for pair in self.redirectors.values():
            found += list(pair["addresses"]) if host.name in pair["hosts"] else []
        return found

    def _all_places(self) -> dict[str, frozenset[str]]:
        found: dict[str, set[str]] = {ANY: {s for s, v in self.segments.items() if v.get("clients") == ANY}}
        for controller in self.controllers:
            found[controller] = {self.management}
        for identity in self.identities.values():
            there = found.setdefault(identity["address"], set())
            for name in identity["candidates"]:
                legs = self.hosts[name].legs
                there |= {s for s in legs if self.network(s) in self.networks_of(identity)}
        for store in self.stores.values():
            there = found.setdefault(store["address"], set())
            for name in store["members"]:
                there |= {s for s in self.hosts[name].legs if self.network(s) == "storage"}
        return {element: frozenset(there) for element, there in found.items()}


def _host(name: str, values: Mapping[str, Any]) -> Host:
    return Host(
        name,
        str(values["site"]),
        dict(values["legs"]),
        frozenset(values["group_names"]),
        dict(values.get("devices") or {}),
        tuple(values.get("base_resolvers") or ()),
    )

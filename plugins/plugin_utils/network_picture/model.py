"""What of an inventory is drawn: sites, segments, hosts by what runs on them, and the addresses that move. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# {group: word for it}: the first of a host's groups in this order is its kind.
KINDS = {
    "router": "router",
    "redirector": "redirector",
    "mail": "mail",
    "relay": "relay",
    "store": "store",
    "external_store": "door of a store",
    "transfer": "transfer",
    "dns": "DNS",
    "coordinator": "etcd",
    "client": "client",
}
# Hosts of these groups make a site a data centre.
OF_DATA_CENTRES = ("mail", "store", "external_store", "relay", "redirector", "transfer")
MANAGEMENT = "mgmt"


@dataclass(frozen=True)
class Segment:
    """One broadcast domain. `gateway`: its address there, empty where the inventory names none."""

    name: str
    network: str
    prefix: str
    gateway: str

    def short(self, address: str) -> str:
        """The part of an address that tells hosts of the segment apart, in octets."""
        octets = 1 if ipaddress.ip_network(self.prefix).prefixlen >= 24 else 2
        return "." + ".".join(address.split(".")[-octets:])


@dataclass(frozen=True)
class Host:
    """`legs`: {segment: address} without management; `delays`: {segment: milliseconds} of what it sends there."""

    name: str
    site: str
    kind: str
    words: str
    legs: Mapping[str, str]
    delays: Mapping[str, float]

    @property
    def order(self) -> tuple[int, list[tuple[int, str]]]:
        """By kind, then by name, numbers in it by their value: the inventory's own order decides nothing."""
        parts = [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", self.name)]
        return [*KINDS].index(self.kind), parts


@dataclass(frozen=True)
class Network:
    """`sites`: {name: description}; `moving`: lines about addresses that belong to no host for good."""

    title: str
    sites: Mapping[str, str]
    segments: Mapping[str, Segment]
    hosts: tuple[Host, ...]
    moving: tuple[str, ...]
    management: str

    @property
    def data_centres(self) -> list[str]:
        """In the inventory's order."""
        with_mail = {h.site for h in self.hosts if h.kind in OF_DATA_CENTRES}
        return [site for site in self.sites if site in with_mail]

    @property
    def hubs(self) -> list[Host]:
        """Routers between the sites: they stand in no data centre."""
        return [h for h in self.hosts if h.kind == "router" and h.site not in self.data_centres]

    def at(self, site: str) -> list[Host]:
        return [h for h in self.hosts if h.site == site and h not in self.hubs]

    def sites_of(self, segment: str) -> list[str]:
        """Sites of the hosts that have a leg there; those of routers between sites only where there is nobody else."""
        there = [h for h in self.hosts if segment in h.legs]
        found = [h.site for h in there if h not in self.hubs] or [h.site for h in there]
        return [site for site in self.sites if site in found]


def read(hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Iterable[str]], title: str) -> Network:
    """From Ansible's own view of an inventory. Raises ValueError naming what cannot be drawn."""
    names = list(groups.get("all", ()))
    if not names:
        raise ValueError("the inventory has no hosts; name one with ansible-playbook -i")
    settings = hostvars[names[0]]
    members = {group: list(groups.get(group, ())) for group in KINDS}
    segments = {str(n): _segment(str(n), s) for n, s in dict(settings.get("segments") or {}).items()}
    sites = {str(n): str((s or {}).get("description", "")) for n, s in dict(settings.get("sites") or {}).items()}
    management = str(settings.get("topology_management") or MANAGEMENT)
    hosts = []
    for name in names:
        one = _host(str(name), hostvars[name], members, management)
        if one.site not in sites:
            raise ValueError(f"{name}: its site is {one.site}; name one of sites: {', '.join(sites)}")
        if unknown := [segment for segment in one.legs if segment not in segments]:
            raise ValueError(f"{name}: it has a leg in {unknown[0]}; name one of segments: {', '.join(segments)}")
        hosts.append(one)
    drawn = {n: s for n, s in segments.items() if n != management}
    about = f"{management} {segments[management].prefix}" if management in segments else management
    ordered = tuple(sorted(hosts, key=lambda h: h.order))
    return Network(title, sites, drawn, ordered, tuple(_moving(settings)), about)


def _segment(name: str, value: Mapping[str, Any]) -> Segment:
    prefix, gateway = str(value.get("prefix")), value.get("gateway")
    try:
        ipaddress.ip_network(prefix)
    except ValueError as why:
        raise ValueError(f"segments.{name}.prefix is {prefix}: {why}; give a network like 10.1.1.0/24") from why
    return Segment(name, str(value.get("network")), prefix, "" if gateway is None else str(gateway))


def _host(name: str, known: Mapping[str, Any], members: Mapping[str, list[str]], management: str) -> Host:
    kinds = [group for group in KINDS if name in members[group]]
    if not kinds:
        raise ValueError(f"{name} is in no group that is drawn; put it in one of: {', '.join(KINDS)}")
    legs = {str(s): str(a) for s, a in sorted(dict(known.get("legs") or {}).items()) if s != management}
    lines = dict(known.get("lab_line") or {})
    delays = {str(s): float(line["delay_ms"]) for s, line in lines.items() if line.get("delay_ms")}
    return Host(name, str(known.get("site")), kinds[0], _words(name, kinds, known), legs, delays)


def _words(name: str, kinds: list[str], known: Mapping[str, Any]) -> str:
    """What runs there, in a box's width."""
    first = KINDS[kinds[0]]
    if kinds[0] == "router":
        first = f"AS {(known.get('bgp_asn') or {}).get('router', '?')}"
    elif kinds[0] == "mail":
        identities = dict(known.get("identities") or {}).values()
        of = {str(i["kind"]) for i in identities if name in i["candidates"]}
        two_sides = "intranet" in {str(i["kind"]) for i in identities}
        first = f"{min(of)} mail" if two_sides and len(of) == 1 else "mail"
    elif kinds[0] in ("store", "external_store"):
        owned = dict(known.get("stores" if kinds[0] == "store" else "external_stores") or {})
        stores = [str(n) for n, s in owned.items() if name in s.get("members", [s.get("manager")])]
        first = f"{first} {stores[0]}" if stores and kinds[0] == "store" else first
    return " · ".join([first, *(KINDS[k] for k in kinds[1:])])


def _moving(settings: Mapping[str, Any]) -> Iterable[str]:
    for name, one in dict(settings.get("identities") or {}).items():
        yield f"{name} · {one['address']} · {', '.join(one['candidates'])}"
    for name, one in dict(settings.get("stores") or {}).items():
        yield f"store {name} · {one['address']} · {', '.join(one['members'])}"
    for name, one in dict(settings.get("external_stores") or {}).items():
        yield f"store {name} · {one['address']} · from elsewhere; its door on {one['manager']}"
    for name, one in dict(settings.get("redirectors") or {}).items():
        yield f"redirectors {name} · {', '.join(one['addresses'])} · {', '.join(one['hosts'])}"

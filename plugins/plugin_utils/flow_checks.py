"""Mistakes in what an inventory says of allowed flows, as core/checks.py finds those of all else."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence

from ..module_utils.core.checks import Inventory, Mistake
from .flows import PROTOCOLS
from .network_map import ANY, CLIENTS, inside


def check(inventory: Inventory) -> list[Mistake]:
    """Every mistake, in the order of the checks."""
    parts = (_management, _segments, _filtered, _default, _controllers, _besides)
    return [mistake for part in parts for mistake in part(inventory)]


def _management(inventory: Inventory) -> Iterator[Mistake]:
    given, segments = inventory.settings.get("topology_management"), inventory.settings.get("segments") or {}
    if segments and given not in (None, {}, *segments):  # {}: not resolvable, which was said already
        remedy = f"name the one over which hosts are managed: {', '.join(segments)}; or leave it out for mgmt"
        yield Mistake(inventory.file("topology_management"), "topology_management", given, remedy)


def _segments(inventory: Inventory) -> Iterator[Mistake]:
    for name, segment in (inventory.settings.get("segments") or {}).items():
        if (clients := segment.get("clients")) is not None and clients not in CLIENTS:
            remedy = f"name one of: {', '.join(CLIENTS)}; or leave it out where only hosts of the inventory are"
            yield Mistake(inventory.file("segments"), f"segments.{name}.clients", clients, remedy)


def _filtered(inventory: Inventory) -> Iterator[Mistake]:
    """Filters that know of no client drop all mail, and a deploy is content: it proves no more than SSH."""
    served = inventory.settings.get("identities") or inventory.settings.get("redirectors")
    segments = inventory.settings.get("segments") or {}
    filtering = [h for h, values in inventory.hosts.items() if _is_on(values.get("packet_filter"))]
    if served and segments and filtering and not any(s.get("clients") for s in segments.values()):
        remedy = (
            f"say in `segments` where who uses mail is (`clients: {ANY}` for strangers, `clients: prefix` for users), "
            "or set it to false: these filters drop whoever is none of the inventory's"
        )
        yield Mistake(inventory.file("packet_filter"), "packet_filter", True, remedy)


def _is_on(given: object) -> bool:
    """As the role has it: on where nothing is said; from the command line it comes as text."""
    return given is None or str(given).lower() not in ("false", "no", "off", "0")


def _default(inventory: Inventory) -> Iterator[Mistake]:
    file, segments = inventory.file("router_default"), inventory.settings.get("segments") or {}
    given = inventory.settings.get("router_default") or {}
    if not isinstance(given, Mapping):
        yield Mistake(file, "router_default", given, "give {segment: the provider's address there}")
        return
    for name, gateway in given.items():
        if name not in segments:
            yield Mistake(file, f"router_default.{name}", gateway, f"name a segment: {', '.join(segments)}")
        elif not (_is_network(gateway) and inside(str(gateway), str(segments[name].get("prefix")))):
            remedy = f"give the provider's address in {name}, one of {segments[name].get('prefix')}"
            yield Mistake(file, f"router_default.{name}", gateway, remedy)


def _controllers(inventory: Inventory) -> Iterator[Mistake]:
    for n, text in enumerate(inventory.settings.get("controllers") or []):
        if not _is_network(text):
            yield Mistake(inventory.file("controllers"), f"controllers[{n}]", text, "give an address or prefix of IPv4")


def _besides(inventory: Inventory) -> Iterator[Mistake]:
    file, settings = inventory.file("flows_besides"), inventory.settings
    known = {*inventory.hosts, *(g for values in inventory.hosts.values() for g in values["groups"]), ANY}
    for kind in ("segments", "identities", "stores", "external_stores"):
        known |= set(settings.get(kind) or {})
    for n, flow in enumerate(settings.get("flows_besides") or []):
        key = f"flows_besides[{n}]"
        if not isinstance(flow, Mapping):
            yield Mistake(file, key, flow, "give {why, from, to, protocol, ports}")
            continue
        if not str(flow.get("why") or " ").isidentifier():
            yield Mistake(file, f"{key}.why", flow.get("why"), "give one word, which rules and counters are called by")
        protocols = [p for p in PROTOCOLS if p != "vrrp"]
        if flow.get("protocol", protocols[0]) not in protocols:
            yield Mistake(file, f"{key}.protocol", flow.get("protocol"), f"name one of: {', '.join(protocols)}")
        ports = flow.get("ports", [])
        if not isinstance(ports, Sequence) or isinstance(ports, str) or not all(_is_port(p) for p in ports):
            yield Mistake(file, f"{key}.ports", ports, "give a list of ports, 1 to 65535")
        for end in ("from", "to"):
            names = flow.get(end)
            if not isinstance(names, Sequence) or isinstance(names, str) or not names:
                yield Mistake(file, f"{key}.{end}", names, "give a list of names, addresses or prefixes")
                continue
            for name in names:
                if name not in known and not _is_network(name):
                    remedy = "is no host, group, segment, identity, store, address or prefix of IPv4"
                    yield Mistake(file, f"{key}.{end}", name, remedy)


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536


def _is_network(text: object) -> bool:
    try:
        ipaddress.IPv4Network(str(text))
    except ValueError:
        return False
    return True

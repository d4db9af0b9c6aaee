"""Mistakes in what an inventory says of redirectors and transfer hosts; beside core/checks.py. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .checks import Inventory, Mistake, address_of, has_leg, prefixes_of
from .customers import site_of

# {side of a redirector: kind of the identities behind it} (roles/topology has the same).
SIDES = {"internet": "internet", "isolated": "intranet"}
PROTOCOLS = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "sieve")
BALANCES = ("roundrobin", "leastconn", "source")


def check(inventory: Inventory) -> list[Mistake]:
    """Every mistake, in the order of the checks."""
    return [*_redirectors(inventory), *_transfer(inventory)]


def _redirectors(inventory: Inventory) -> Iterator[Mistake]:
    """Pairs of redirectors: one a side and site, each with two addresses that either host can hold."""
    file, sites = inventory.file("redirectors"), inventory.settings.get("sites", {})
    at: dict[tuple[object, object], str] = {}
    member_of: dict[object, str] = {}
    for name, pair in (inventory.settings.get("redirectors") or {}).items():
        key, side, site = f"redirectors.{name}", pair.get("side"), pair.get("site")
        if side not in SIDES:
            yield Mistake(file, f"{key}.side", side, f"name one of: {', '.join(SIDES)}")
        elif SIDES[side] not in {i.get("kind") for i in inventory.settings.get("identities", {}).values()}:
            remedy = f"there is no identity of kind {SIDES[side]} to send to; add one, or drop this pair"
            yield Mistake(file, f"{key}.side", side, remedy)
        if site not in sites:
            yield Mistake(file, f"{key}.site", site, f"name one of: {', '.join(sites)}")
        if (side, site) in at:
            yield Mistake(file, key, name, f"{at[side, site]} is the pair of side {side} in {site}; keep one of them")
        at.setdefault((side, site), name)
        hosts = list(pair.get("hosts") or [])
        if len(set(hosts)) != 2 or len(hosts) != 2:
            yield Mistake(file, f"{key}.hosts", hosts, "name the two hosts of the pair")
        for host in hosts:
            yield from _redirector(inventory, f"{key}.hosts", host, site)
            if host in member_of:
                yield Mistake(file, f"{key}.hosts", host, f"is also of the pair {member_of[host]}; one pair a host")
            member_of.setdefault(host, name)
        yield from _shared_addresses(inventory, key, pair)
        yield from _spread(file, f"{key}.protocols", pair.get("protocols"))
    for host in inventory.group("redirector"):
        if host not in member_of:
            remedy = "is of no pair; name it in redirectors, or drop it"
            yield Mistake(inventory.hosts_file, "redirector", host, remedy)


def _redirector(inventory: Inventory, key: str, host: object, site: object) -> Iterator[Mistake]:
    file, known = inventory.file("redirectors"), inventory.group("redirector")
    values = inventory.hosts.get(str(host))
    if values is None or host not in known:
        why = "is no host of the inventory" if values is None else "is no host of group redirector"
        yield Mistake(file, key, host, f"{why}; hosts of redirector: {', '.join(known) or 'none'}")
        return
    if values.get("site") != site:
        yield Mistake(file, key, host, f"stands in site {values.get('site')}; a pair stands in its site ({site})")
    # Each of these configures the host's one keepalived for itself.
    for group in ("mail", "relay", "store"):
        if group in values.get("groups", ()):
            yield Mistake(file, key, host, f"is in group {group}, too; name a host that holds no identity and no store")


def _shared_addresses(inventory: Inventory, key: str, pair: Mapping[str, Any]) -> Iterator[Mistake]:
    """Both hosts reach each other in the segment of each address, and it is one of the pair's side."""
    file, addresses = inventory.file("redirectors"), list(pair.get("addresses") or [])
    if len(addresses) != 2:
        yield Mistake(file, f"{key}.addresses", addresses, "give two, one for each host of the pair")
    prefixes = prefixes_of(inventory)
    for n, text in enumerate(addresses):
        address, field_name = address_of(text), f"{key}.addresses[{n}]"
        if address is None:
            yield Mistake(file, field_name, text, "is not an IP address")
            continue
        segment = next((name for name, prefix in prefixes.items() if address in prefix), None)
        if segment is None:
            yield Mistake(file, field_name, text, "lies in no segment; take one from a segment of both hosts")
            continue
        network = inventory.settings["segments"][segment].get("network")
        if pair.get("side") in SIDES and network != pair["side"]:
            remedy = f"lies in segment {segment} of network {network}; take one of network {pair['side']}"
            yield Mistake(file, field_name, text, remedy)
        for host in pair.get("hosts") or []:
            if host in inventory.hosts and segment not in (inventory.hosts[host].get("legs") or {}):
                yield Mistake(file, field_name, text, f"{host} has no leg in segment {segment}; add one")


def _spread(file: str, key: str, protocols: object) -> Iterator[Mistake]:
    """Left out: what the side usually offers."""
    if protocols is None:
        return
    if not isinstance(protocols, Mapping) or not protocols:
        yield Mistake(file, key, protocols, f"give a mapping of some of: {', '.join(PROTOCOLS)}")
        return
    for protocol, how in protocols.items():
        if protocol not in PROTOCOLS:
            yield Mistake(file, f"{key}.{protocol}", how, f"no such protocol; known: {', '.join(PROTOCOLS)}")
            continue
        given = how or {}
        unknown = sorted(set(given) - {"balance"}) if isinstance(given, Mapping) else [given]
        if unknown:
            yield Mistake(file, f"{key}.{protocol}", how, "give {} or {balance: METHOD}")
        elif given.get("balance", BALANCES[0]) not in BALANCES:
            remedy = f"name one of: {', '.join(BALANCES)}"
            yield Mistake(file, f"{key}.{protocol}.balance", given.get("balance"), remedy)


def _transfer(inventory: Inventory) -> Iterator[Mistake]:
    """Hosts that carry mail between the sides (R3): by files alone, and only where there are two sides."""
    stores = inventory.every_store
    segments = inventory.settings.get("segments", {})
    for host in inventory.group("transfer"):
        legs = list(inventory.hosts[host].get("legs") or {})
        if not has_leg(inventory, host, "storage"):
            remedy = "a transfer host needs a leg in a segment of the network storage; add one"
            yield Mistake(inventory.hosts_file, f"{host}.legs", legs, remedy)
        for segment in legs:
            if segments.get(segment, {}).get("network") in SIDES:
                remedy = (
                    f"{segment} belongs to a side; a transfer host stands on neither, or packets could cross (R3.5)"
                )
                yield Mistake(inventory.hosts_file, f"{host}.legs", legs, remedy)
        site = inventory.hosts[host].get("site")
        there = {
            one.get("kind") for one in inventory.settings.get("identities", {}).values() if site_of(one, stores) == site
        }
        if missing := sorted(set(SIDES.values()) - there):
            kinds = " and none of kind ".join(missing)
            remedy = f"no identity of kind {kinds} has its store in {site}, so nothing crosses; add one, or drop it"
            yield Mistake(inventory.hosts_file, "transfer", host, remedy)

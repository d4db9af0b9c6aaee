"""Mistakes in an inventory, all of them in one list, before any host is touched (R6).

Pure: gets the resolved variables and knows in which file each one stands.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import rights
from .customers import site_of
from .model import RELAY_KIND, Method

INTERVAL = (30, 60)  # R1.3
# Seconds; with more Postfix's queue manager ends as soon as it starts, and its queue stands still.
LIFETIME = 100 * 86400
LIFETIMES = ("relay_queue_lifetime", "mail_queue_lifetime", "mail_inside_queue_lifetime")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "": 86400}  # postconf(5); without one it is days
SECRETS = ("tsig_secret", "probe_password")
COORDINATOR_SECRET = 32  # characters
# How the secrets of the lab's inventories begin, which everybody can read; the second is base64.
PUBLISHED = ("lab-", "bGFiL")
KINDS = ("internet", "intranet", "relay")


@dataclass(frozen=True)
class Mistake:
    """What is wrong, where it stands and what to do."""

    file: str
    key: str
    value: object
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key} is {self.value!r}: {self.remedy}"


@dataclass(frozen=True)
class Inventory:
    """`hosts`: {name: {site, legs, groups, …}}; `settings`: what holds for all; `files`: {variable: file}.

    `lab`: its hosts are the lab's virtual machines.
    """

    hosts: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)
    hosts_file: str = "hosts.yml"
    lab: bool = False

    def file(self, key: str) -> str:
        return self.files.get(key, "group_vars/all")

    @property
    def every_store(self) -> dict[str, Any]:
        """Pairs, and stores from elsewhere."""
        return {**(self.settings.get("stores") or {}), **(self.settings.get("external_stores") or {})}

    def group(self, name: str) -> list[str]:
        return [h for h, v in self.hosts.items() if name in v.get("groups", ())]


def check(inventory: Inventory) -> list[Mistake]:
    """Every mistake in the inventory, in the order of the checks."""
    found: list[Mistake] = []
    for part in (
        _segments,
        _hosts,
        _addresses,
        _identities,
        _stores,
        _external_stores,
        _monitor,
        _lifetimes,
        _users,
        _secrets,
        _fencing,
        _coordinator,
    ):
        found.extend(part(inventory))
    return found


def _network(text: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(str(text))
    except ValueError:
        return None


def address_of(text: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """None for what is no address."""
    try:
        return ipaddress.ip_address(str(text))
    except ValueError:
        return None


def prefixes_of(inventory: Inventory) -> dict[str, ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """{segment: its prefix}, without those that are none."""
    known = {name: _network(s.get("prefix")) for name, s in inventory.settings.get("segments", {}).items()}
    return {name: prefix for name, prefix in known.items() if prefix is not None}


def _segments(inventory: Inventory) -> Iterator[Mistake]:
    file = inventory.file("segments")
    segments = inventory.settings.get("segments", {})
    prefixes = prefixes_of(inventory)
    for name, segment in segments.items():
        if name not in prefixes:
            remedy = "give a network like 10.1.1.0/24, without host bits"
            yield Mistake(file, f"segments.{name}.prefix", segment.get("prefix"), remedy)
            continue
        gateway = segment.get("gateway")
        if gateway is not None and address_of(gateway) not in prefixes[name]:
            yield Mistake(file, f"segments.{name}.gateway", gateway, f"give an address inside {prefixes[name]}")
    service = _network(inventory.settings.get("service_prefix"))
    if service is None:
        yield Mistake(
            inventory.file("service_prefix"),
            "service_prefix",
            inventory.settings.get("service_prefix"),
            "give a network of its own for the identities' addresses",
        )
    named = [*prefixes.items(), *([("service_prefix", service)] if service is not None else [])]
    for_stores = _network(inventory.settings.get("store_prefix"))
    named += [("store_prefix", for_stores)] if for_stores is not None else []
    for i, (one, a) in enumerate(named):
        for other, b in named[i + 1 :]:
            if a.version == b.version and a.overlaps(b):
                yield Mistake(file, one, str(a), f"overlaps {other} ({b}); give each a prefix of its own")


def _hosts(inventory: Inventory) -> Iterator[Mistake]:
    sites = inventory.settings.get("sites", {})
    prefixes = prefixes_of(inventory)
    for host, values in inventory.hosts.items():
        site = values.get("site")
        if site not in sites:
            yield Mistake(inventory.hosts_file, f"{host}.site", site, f"name one of: {', '.join(sites)}")
        legs = values.get("legs") or {}
        if not legs:
            yield Mistake(inventory.hosts_file, f"{host}.legs", legs, "give at least one {segment: address}")
        for segment, text in legs.items():
            address = address_of(text)
            key = f"{host}.legs.{segment}"
            if segment not in inventory.settings.get("segments", {}):
                known = ", ".join(inventory.settings.get("segments", {}))
                yield Mistake(inventory.hosts_file, key, text, f"no such segment; known: {known}")
            elif address is None:
                yield Mistake(inventory.hosts_file, key, text, "is not an IP address")
            elif segment in prefixes and address not in prefixes[segment]:
                yield Mistake(inventory.hosts_file, key, text, f"give an address inside {prefixes[segment]}")


def _addresses(inventory: Inventory) -> Iterator[Mistake]:
    """An address used twice, wherever."""
    uses: list[tuple[str, str, object]] = []
    for host, values in inventory.hosts.items():
        uses += [(inventory.hosts_file, f"{host}.legs.{s}", a) for s, a in (values.get("legs") or {}).items()]
    for name, identity in inventory.settings.get("identities", {}).items():
        uses.append((inventory.file("identities"), f"identities.{name}.address", identity.get("address")))
    for name, store in (inventory.settings.get("stores") or {}).items():
        uses.append((inventory.file("stores"), f"stores.{name}.address", store.get("address")))
    for name, store in (inventory.settings.get("external_stores") or {}).items():
        # It may be a host of the inventory that is its own manager.
        if store.get("address") not in (inventory.hosts.get(store.get("manager"), {}).get("legs") or {}).values():
            uses.append((inventory.file("external_stores"), f"external_stores.{name}.address", store.get("address")))
    for name, pair in (inventory.settings.get("redirectors") or {}).items():
        for n, address in enumerate(pair.get("addresses") or []):
            uses.append((inventory.file("redirectors"), f"redirectors.{name}.addresses[{n}]", address))
    switch = inventory.settings.get("lab_switch")
    if switch:
        uses.append((inventory.file("lab_switch"), "lab_switch.address", switch.get("address")))
    first: dict[object, str] = {}
    for file, key, text in uses:
        address = address_of(text)
        if address is None:
            continue
        if address in first:
            yield Mistake(file, key, text, f"is also {first[address]}; give each an address of its own")
        first.setdefault(address, key)


def _identities(inventory: Inventory) -> Iterator[Mistake]:
    file = inventory.file("identities")
    identities = inventory.settings.get("identities", {})
    if not identities:
        yield Mistake(file, "identities", identities, "name at least one identity")
    service = _network(inventory.settings.get("service_prefix"))
    served: dict[tuple[str, str], str] = {}
    for name, identity in identities.items():
        key = f"identities.{name}"
        if identity.get("kind") not in KINDS:
            yield Mistake(file, f"{key}.kind", identity.get("kind"), f"name one of: {', '.join(KINDS)}")
        address = address_of(identity.get("address"))
        if address is None:
            yield Mistake(file, f"{key}.address", identity.get("address"), "is not an IP address")
        else:
            for segment, prefix in prefixes_of(inventory).items():
                if address in prefix:
                    remedy = f"lies inside segment {segment} ({prefix}); take one from service_prefix ({service})"
                    yield Mistake(file, f"{key}.address", identity.get("address"), remedy)
            if service is not None and address not in service:
                yield Mistake(file, f"{key}.address", identity.get("address"), f"take one from {service}")
        yield from _places(inventory, key, identity)
        domains = identity.get("domains") or []
        if identity.get("kind") == RELAY_KIND:
            if identity.get("domains") != []:
                remedy = "leave it empty, []: a relay holds mail for the identities whose `relays` name its home"
                yield Mistake(file, f"{key}.domains", identity.get("domains"), remedy)
            continue
        yield from _held(inventory, key, identity)
        yield from _outlet(inventory, key, identity)
        if not domains:
            yield Mistake(file, f"{key}.domains", domains, "name at least one domain")
        for domain in domains:
            place = _side(identity), domain
            if place in served:
                remedy = f"is also served by {served[place]}; a domain has one identity"
                yield Mistake(file, f"{key}.domains", domain, remedy)
            served.setdefault(place, name)


def _places(inventory: Inventory, key: str, identity: Mapping[str, Any]) -> Iterator[Mistake]:
    """Hosts that an identity names: do they exist, in the right group, often enough?"""
    file = inventory.file("identities")

    def wrong(field_name: str, host: object, group: str) -> Iterator[Mistake]:
        known = inventory.group(group)
        if host not in known:
            why = f"is no host of group {group}" if host in inventory.hosts else "is no host of the inventory"
            remedy = f"{why}; hosts of {group}: {', '.join(known) or 'none'}"
            yield Mistake(file, f"{key}.{field_name}", host, remedy)

    group = "relay" if identity.get("kind") == RELAY_KIND else "mail"
    candidates = list(identity.get("candidates") or [])
    for host in candidates:
        yield from wrong("candidates", host, group)
    if len(set(candidates)) < 2:
        yield Mistake(file, f"{key}.candidates", candidates, "name at least two hosts that can run it")
    if len(set(candidates)) != len(candidates):
        yield Mistake(file, f"{key}.candidates", candidates, "name each host once")
    yield from wrong("home", identity.get("home"), group)
    if identity.get("home") not in candidates:
        yield Mistake(file, f"{key}.home", identity.get("home"), f"name one of its candidates: {candidates}")
    stores = [*(inventory.settings.get("stores") or {}), *(inventory.settings.get("external_stores") or {})]
    if identity.get("store") not in stores:
        remedy = f"name one of the stores: {', '.join(stores) or 'none is defined; add `stores`'}"
        yield Mistake(file, f"{key}.store", identity.get("store"), remedy)
    relays = list(identity.get("relays") or [])
    if not relays:
        yield Mistake(file, f"{key}.relays", relays, "name at least one relay host that watches it")
    if group == "relay" and set(relays) == {identity.get("home")}:
        yield Mistake(file, f"{key}.relays", relays, "name another relay host too: nobody watches himself")
    # Playbooks ask one relay for all identities.
    if relays and (missing := [host for host in inventory.group("relay") if host not in relays]):
        yield Mistake(file, f"{key}.relays", relays, f"add {', '.join(missing)}: each host of group relay watches all")
    every = list(inventory.settings.get("mail_routes") or [])
    routes = list(identity.get("networks") or every)
    if unknown := [name for name in routes if name not in every]:
        remedy = f"name some of mail_routes: {', '.join(every)}"
        yield Mistake(file, f"{key}.networks", ", ".join(map(str, unknown)), remedy)
    for host in relays:
        bad = list(wrong("relays", host, "relay"))
        yield from bad
        if not bad and sum(has_leg(inventory, host, network) for network in routes) < 2:
            legs = list(inventory.hosts[host].get("legs") or {})
            remedy = f"a relay needs legs in two networks of mail_routes ({', '.join(sorted(routes))}); add one"
            yield Mistake(inventory.hosts_file, f"{host}.legs", legs, remedy)
    for host in candidates:
        # Where none are named a host without such a leg is one that a relay does not reach over that route.
        for network in identity.get("networks") or []:
            if host in inventory.hosts and network in every and not has_leg(inventory, host, network):
                remedy = (
                    f"has no leg in {network}, over which the identity is reached; add one, or name another network"
                )
                yield Mistake(file, f"{key}.candidates", host, remedy)


def _side(identity: Mapping[str, Any]) -> str:
    """As Identity.side."""
    return str((list(identity.get("networks") or []) or [""])[0])


def _held(inventory: Inventory, key: str, identity: Mapping[str, Any]) -> Iterator[Mistake]:
    """Each host of `relays` is home of one relay of the same side."""
    file, relays = inventory.file("identities"), list(identity.get("relays") or [])
    for host in relays:
        at_home = [
            name
            for name, one in inventory.settings.get("identities", {}).items()
            if one.get("kind") == RELAY_KIND and one.get("home") == host and _side(one) == _side(identity)
        ]
        if host in inventory.group("relay") and len(at_home) != 1:
            of_side = f" whose networks begin with {_side(identity)}" if _side(identity) else ""
            remedy = (
                f"is home of {', '.join(at_home) or 'no identity'}; make it that of one identity of kind relay{of_side}"
            )
            yield Mistake(file, f"{key}.relays", host, remedy)


def _outlet(inventory: Inventory, key: str, identity: Mapping[str, Any]) -> Iterator[Mistake]:
    """By whom an intranet identity sends to the Internet: transfer hosts see the spools of their own site alone."""
    if "outlet" not in identity:
        return
    stores = inventory.every_store
    site, others = site_of(identity, stores), inventory.settings.get("identities", {}).items()
    known = [name for name, one in others if one.get("kind") == "internet" and site_of(one, stores) == site]
    if identity.get("kind") != "intranet":
        remedy = "is for identities of kind intranet only; remove it"
        yield Mistake(inventory.file("identities"), f"{key}.outlet", identity["outlet"], remedy)
    elif identity["outlet"] not in known:
        remedy = f"name one of kind internet with its store in {site}: {', '.join(known) or 'there is none'}"
        yield Mistake(inventory.file("identities"), f"{key}.outlet", identity["outlet"], remedy)


def _stores(inventory: Inventory) -> Iterator[Mistake]:
    """Pairs of store servers, each served by one of them."""
    file = inventory.file("stores")
    stores = inventory.settings.get("stores") or {}
    if stores:
        yield from _of_all_stores(inventory)
    prefix = _network(inventory.settings.get("store_prefix"))
    known, member_of = inventory.group("store"), dict[object, str]()
    for name, store in stores.items():
        key = f"stores.{name}"
        if name in inventory.settings.get("identities", {}):
            yield Mistake(file, key, name, "is also an identity; give each a name of its own")
        if (address := address_of(store.get("address"))) is None or (prefix is not None and address not in prefix):
            yield Mistake(file, f"{key}.address", store.get("address"), f"take one from store_prefix ({prefix})")
        members = list(store.get("members") or [])
        if len(set(members)) != 2 or len(members) != 2:
            yield Mistake(file, f"{key}.members", members, "name the two hosts of the pair")
        for host in members:
            values = inventory.hosts.get(host)
            if values is None or host not in known:
                why = "is no host of the inventory" if values is None else "is no host of group store"
                yield Mistake(file, f"{key}.members", host, f"{why}; hosts of store: {', '.join(known) or 'none'}")
            elif values.get("site") != store.get("site"):
                remedy = (
                    f"stands in site {values.get('site')}; a pair shares the site of its store ({store.get('site')})"
                )
                yield Mistake(file, f"{key}.members", host, remedy)
            if values is not None and not values.get("store_device"):
                remedy = "is missing; name the block device below the replicated disk"
                yield Mistake(inventory.hosts_file, f"{host}.store_device", values.get("store_device"), remedy)
            if values is not None and not has_leg(inventory, host, "storage"):
                remedy = "a member of a store needs a leg in a segment of the network storage; add one"
                yield Mistake(inventory.hosts_file, f"{host}.legs", list(values.get("legs") or {}), remedy)
            if host in member_of:
                yield Mistake(file, f"{key}.members", host, f"is also a member of {member_of[host]}; one store a host")
            member_of.setdefault(host, name)
        if store.get("home") not in members:
            yield Mistake(file, f"{key}.home", store.get("home"), f"name one of its members: {members}")
        seconds = store.get("threshold_seconds")
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or seconds < 1:
            yield Mistake(file, f"{key}.threshold_seconds", seconds, "give seconds, 1 or more")
    for host in known:
        if host not in member_of:
            yield Mistake(inventory.hosts_file, "store", host, "is a member of no store; name it in one, or drop it")


def _external_stores(inventory: Inventory) -> Iterator[Mistake]:
    """NFS services from elsewhere, each opened and closed by one host."""
    file, managed = inventory.file("external_stores"), dict[object, str]()
    sites, known = inventory.settings.get("sites", {}), inventory.group("external_store")
    for name, store in (inventory.settings.get("external_stores") or {}).items():
        key = f"external_stores.{name}"
        for other in ("stores", "identities"):
            if name in (inventory.settings.get(other) or {}):
                yield Mistake(file, key, name, f"stands in {other} too; give each a name of its own")
        if address_of(store.get("address")) is None:
            yield Mistake(file, f"{key}.address", store.get("address"), "give the IP address of the NFS service")
        for field_name in ("path", "program"):
            if not str(store.get(field_name) or "").startswith("/"):
                remedy = "give an absolute path (docs/runbooks/store.md, A store from elsewhere)"
                yield Mistake(file, f"{key}.{field_name}", store.get(field_name), remedy)
        if str(store.get("path") or "/").endswith("/"):
            yield Mistake(file, f"{key}.path", store.get("path"), "name a folder, without a slash at its end")
        if store.get("site") not in sites:
            yield Mistake(file, f"{key}.site", store.get("site"), f"name one of: {', '.join(sites)}")
        host = store.get("manager")
        for identity, one in inventory.settings.get("identities", {}).items():
            if one.get("store") == name and host in (one.get("candidates") or []):
                remedy = f"may own {identity}: the door would be lost with the owner; name a host that owns none of it"
                yield Mistake(file, f"{key}.manager", host, remedy)
        if host not in known:
            remedy = f"is no host of group external_store; hosts there: {', '.join(known) or 'none'}"
            yield Mistake(file, f"{key}.manager", host, remedy)
        elif host in managed:
            remedy = f"is also the manager of {managed[host]}; one store a host"
            yield Mistake(file, f"{key}.manager", host, remedy)
        elif host in inventory.group("store"):
            remedy = "is also a server of a pair; name a host that is none"
            yield Mistake(file, f"{key}.manager", host, remedy)
        managed.setdefault(host, name)
    for host in known:
        if host not in managed:
            remedy = "is the manager of no store; name it in external_stores, or drop it"
            yield Mistake(inventory.hosts_file, "external_store", host, remedy)


def _of_all_stores(inventory: Inventory) -> Iterator[Mistake]:
    settings = inventory.settings
    if _network(settings.get("store_prefix")) is None:
        remedy = "give a network of its own for the stores' addresses"
        yield Mistake(inventory.file("store_prefix"), "store_prefix", settings.get("store_prefix"), remedy)
    ttl = settings.get("store_lease_ttl")
    if not isinstance(ttl, int) or isinstance(ttl, bool) or ttl < 3:
        yield Mistake(inventory.file("store_lease_ttl"), "store_lease_ttl", ttl, "give whole seconds, 3 or more")
    if not settings.get("drbd_secret"):
        remedy = "is missing; set it in group_vars/all/secrets.yml (ansible-vault in production)"
        yield Mistake(inventory.file("drbd_secret"), "drbd_secret", settings.get("drbd_secret"), remedy)


def has_leg(inventory: Inventory, host: str, network: str) -> bool:
    """In some segment of that network."""
    segments = inventory.settings.get("segments", {})
    return any(segments.get(s, {}).get("network") == network for s in inventory.hosts[host].get("legs") or {})


def _monitor(inventory: Inventory) -> Iterator[Mistake]:
    settings = inventory.settings
    interval = settings.get("monitor_interval")
    low, high = INTERVAL
    if not isinstance(interval, int | float) or isinstance(interval, bool) or not low <= interval <= high:
        remedy = f"give seconds from {low} to {high}"
        yield Mistake(inventory.file("monitor_interval"), "monitor_interval", interval, remedy)
    limits = {k: settings.get(k) for k in ("threshold_attempts", "threshold_seconds")}
    if all(v is None for v in limits.values()):
        file = inventory.file("threshold_attempts")
        yield Mistake(file, "threshold_attempts and threshold_seconds", None, "both are off; set at least one")
    for key, value in limits.items():
        wrong = not isinstance(value, int | float) or isinstance(value, bool) or value <= 0
        if value is not None and wrong:
            yield Mistake(inventory.file(key), key, value, "give a number above 0, or null to switch it off")
    methods = settings.get("monitor_methods") or []
    known = [str(m) for m in Method]
    if not methods:
        yield Mistake(inventory.file("monitor_methods"), "monitor_methods", methods, f"name some of: {known}")
    for method in methods:
        if method not in known:
            yield Mistake(inventory.file("monitor_methods"), "monitor_methods", method, f"name some of: {known}")
    ttl = settings.get("lease_ttl")
    if not isinstance(ttl, int) or isinstance(ttl, bool) or ttl < 3:
        yield Mistake(inventory.file("lease_ttl"), "lease_ttl", ttl, "give whole seconds, 3 or more")


def _lifetimes(inventory: Inventory) -> Iterator[Mistake]:
    for key in LIFETIMES:
        value = inventory.settings.get(key)
        if value is None:
            continue  # the role's default
        found = re.fullmatch(r"(\d+)([smhdw]?)", str(value), re.IGNORECASE)
        if found is None or not 1 <= int(found[1]) * UNITS[found[2].lower()] <= LIFETIME:
            yield Mistake(inventory.file(key), key, value, "give a time as Postfix takes it here, from 1 s to 100d")


def _users(inventory: Inventory) -> Iterator[Mistake]:
    if inventory.settings.get("customers") is not None:
        return  # these follow from customers: core/customer_checks.py
    file = inventory.file("mail_users")
    served = {d for i in inventory.settings.get("identities", {}).values() for d in i.get("domains") or []}
    seen: set[str] = set()
    for n, user in enumerate(inventory.settings.get("mail_users") or []):
        address = str(user.get("address", ""))
        local, _, domain = address.rpartition("@")
        key = f"users[{n}].address"
        if not local or domain not in served:
            yield Mistake(file, key, address, f"give LOCAL@DOMAIN with a domain of an identity: {sorted(served)}")
        if address in seen:
            yield Mistake(file, key, address, "stands twice; remove one")
        seen.add(address)
        if not user.get("password"):
            yield Mistake(file, f"users[{n}].password", user.get("password"), f"is missing; set one for {address}")


def _secrets(inventory: Inventory) -> Iterator[Mistake]:
    for key in SECRETS:
        if not inventory.settings.get(key):
            remedy = "is missing; set it in group_vars/all/secrets.yml (ansible-vault in production)"
            yield Mistake(inventory.file(key), key, inventory.settings.get(key), remedy)

    # Passwords follow from it: whoever knows one must not find it by trying.
    secret = inventory.settings.get("coordinator_secret")
    if not isinstance(secret, str) or len(secret) < COORDINATOR_SECRET:
        remedy = f"give {COORDINATOR_SECRET} characters or more: openssl rand -hex 32 (ansible-vault in production)"
        shown = None if secret is None else f"({len(str(secret))} characters)"
        yield Mistake(inventory.file("coordinator_secret"), "coordinator_secret", shown, remedy)

    for key in (*SECRETS, "coordinator_secret", "drbd_secret"):
        if not inventory.lab and str(inventory.settings.get(key)).startswith(PUBLISHED):
            remedy = "is the lab's, and published; make one: openssl rand -base64 32 (the lab: deploy by bin/lab)"
            yield Mistake(inventory.file(key), key, "(a secret)", remedy)


def _fencing(inventory: Inventory) -> Iterator[Mistake]:
    file = inventory.file("fence_devices")
    devices = inventory.settings.get("fence_devices") or {}
    covered: set[str] = set()
    for name, device in devices.items():
        key = f"fence_devices.{name}"
        by_ssh = "agent" not in device  # those of an agent: core/takeover_checks.py
        for field_name in ("address", "user"):
            if by_ssh and not device.get(field_name):
                yield Mistake(file, f"{key}.{field_name}", device.get(field_name), "is missing")
        for secret in ("client_key", "host_key"):
            if by_ssh and not device.get(secret):
                yield Mistake(file, f"{key}.{secret}", None, "is missing; without it no fence can be confirmed")
        for host in device.get("hosts") or []:
            covered.add(host)
            if host not in inventory.hosts:
                yield Mistake(file, f"{key}.hosts", host, "is no host of the inventory")
    owners = [(name, i.get("candidates")) for name, i in inventory.settings.get("identities", {}).items()]
    owners += [(name, s.get("members")) for name, s in (inventory.settings.get("stores") or {}).items()]
    for name, hosts in owners:
        for host in hosts or []:
            if host in inventory.hosts and host not in covered:
                remedy = f"add it to a device, else {name} can never be taken over from it"
                yield Mistake(file, "fence_devices.*.hosts", host, remedy)


def _coordinator(inventory: Inventory) -> Iterator[Mistake]:
    for name in rights.RESERVED:
        if name in inventory.hosts:
            yield Mistake(inventory.hosts_file, name, name, "is a user of the coordinator; call the host otherwise")
    members = inventory.group("coordinator")
    if len(members) < 3 or len(members) % 2 == 0:
        remedy = "an odd number of members, 3 or more, in at least two sites"
        yield Mistake(inventory.hosts_file, "coordinator", members, remedy)
    sites = {inventory.hosts[h].get("site") for h in members}
    with_mail = {inventory.hosts[h].get("site") for h in inventory.group("mail")}
    if len(members) >= 3 and len(sites) < 3 and len(with_mail) > 1:
        remedy = "members in fewer than three places do not survive the loss of a site; spread them"
        yield Mistake(inventory.hosts_file, "coordinator", sorted(str(s) for s in sites), remedy)

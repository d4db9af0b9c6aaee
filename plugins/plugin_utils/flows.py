"""Who may speak with whom: the flows that a deployment needs, and no others (R2.4), derived from the inventory.

Pure. Packet filters (packet_rules.py) and the test of reachability follow from this one list; what it leaves out is
dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .network_map import ANY, Host, NetworkMap, inside, texts

SSH, SMTP, DNS, BGP, NFS = 22, 25, 53, 179, 2049
BFD = (3784, 4784)  # RFC 5881, RFC 5883
ETCD_CLIENTS, ETCD_MEMBERS = 2379, 2380
VRRP_GROUP = "224.0.0.18"  # RFC 9568
PROTOCOLS = ("tcp", "udp", "icmp", "vrrp")  # icmp: echo requests
# {side: kind of the identities there} (roles/topology has the same).
SIDES = {"internet": "internet", "isolated": "intranet"}
# What an identity of kind internet or intranet offers to its users where no redirectors stand before it.
OFFERED = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s")
# By what an intranet identity passes sessions of the others' users on, and which of its users' protocols that serves:
# all of them go to the port of STARTTLS (docs/decisions/0038-customers-and-homes.md).
PASSED_ON = {"imap": ("imap", "imaps"), "pop3": ("pop3", "pop3s"), "sieve": ("sieve",)}


@dataclass(frozen=True)
class Flow:
    """Packets from any of `sources` to any of `destinations` (addresses, prefixes, or ANY) and the answers to them.

    `ports`: of the destination; none: all of them, for protocols that have ports. `why`: one word.
    """

    why: str
    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    protocol: str = "tcp"
    ports: tuple[int, ...] = ()


def allowed(plan: NetworkMap) -> list[Flow]:
    """All flows of an inventory. Those without a source or a destination are left out."""
    found: list[Flow] = []
    for part in (
        _management, _names, _coordinator, _files, _routing, _redundancy, _mail, _inside, _clients, _redirected, _echo,
        _besides,
    ):  # fmt: skip
        found += [_tidy(flow) for flow in part(plan) if flow.sources and flow.destinations]
    return _joined(found)


def _joined(flows: Iterable[Flow]) -> list[Flow]:
    """Fewer that say the same: those that differ in their sources alone are one, and those in their destinations."""
    by_sources: dict[tuple[Any, ...], list[str]] = {}
    for flow in flows:
        by_sources.setdefault((flow.why, flow.protocol, flow.ports, flow.destinations), []).extend(flow.sources)
    by_destinations: dict[tuple[Any, ...], list[str]] = {}
    for (why, protocol, ports, destinations), sources in by_sources.items():
        by_destinations.setdefault((why, protocol, ports, _elements(sources)), []).extend(destinations)
    return [
        Flow(why, sources, _elements(destinations), protocol, ports)
        for (why, protocol, ports, sources), destinations in by_destinations.items()
    ]


def _tidy(flow: Flow) -> Flow:
    return Flow(
        flow.why, _elements(flow.sources), _elements(flow.destinations), flow.protocol, tuple(sorted(set(flow.ports)))
    )


def _elements(some: Iterable[str]) -> tuple[str, ...]:
    names = list(some)
    return tuple(texts(n for n in names if n != ANY)) + ((ANY,) if ANY in names else ())


def _flow(
    why: str, sources: Iterable[str | None], destinations: Iterable[str | None], *ports: int, protocol: str = "tcp"
) -> Flow:
    return Flow(why, tuple(s for s in sources if s), tuple(d for d in destinations if d), protocol, ports)


def side_of(identity: Mapping[str, Any]) -> str:
    """The network of those whom it serves: the first of its own, where none is named that of its kind."""
    named = list(identity.get("networks") or [])
    return str(named[0]) if named else "isolated" if identity["kind"] == "intranet" else "internet"


def _management(plan: NetworkMap) -> Iterator[Flow]:
    every = [h.legs.get(plan.management) for h in plan.hosts.values()]
    yield _flow("ssh", plan.controllers, every, SSH)
    yield _flow("echo", plan.controllers, every, protocol="icmp")
    for device in plan.facts["fence_devices"]:
        who = [h for h in plan.hosts.values() if _fences(plan, h, device)]
        sources = [plan.source(h, device["address"]) for h in who]
        yield _flow("fence", sources, [device["address"]], *([device["port"]] if device.get("port") else []))
        if not device.get("port"):
            yield _flow("fence", sources, [device["address"]], protocol="udp")


def _fences(plan: NetworkMap, host: Host, device: Mapping[str, Any]) -> bool:
    """Relays fence whomever they watch, a member of a store its partner."""
    partners = {m for s in plan.stores.values() if host.name in s["members"] for m in s["members"]} - {host.name}
    return "relay" in host.groups or bool(partners & set(device["hosts"]))


def _names(plan: NetworkMap) -> Iterator[Flow]:
    for host in plan.hosts.values():
        for resolver in host.resolvers if "client" not in host.groups else ():
            for protocol in ("udp", "tcp"):
                yield _flow("names", [plan.source(host, resolver)], [resolver], DNS, protocol=protocol)
    for server in plan.group("dns"):
        address = plan.primary(server)
        # A takeover tells by TCP (RFC 2136).
        yield _flow("names", [plan.source(h, address) for h in plan.group("relay")], [address], DNS)
        asking = [
            element
            for segment, element in plan.client_segments().items()
            if plan.domain(segment) in {plan.domain(s) for s in server.legs if s != plan.management}
            and _tells(plan, server, segment)
        ]
        legs = [a for s, a in server.legs.items() if s != plan.management]
        for protocol in ("udp", "tcp"):
            yield _flow("names", asking, legs, DNS, protocol=protocol)


def _tells(plan: NetworkMap, server: Host, segment: str) -> bool:
    """As topology_views: of identities of its own networks, of all if it stands in none of them."""
    mine = {plan.network(s) for s in server.legs} & set(plan.mail_routes)
    return not mine or plan.network(segment) in mine


def _coordinator(plan: NetworkMap) -> Iterator[Flow]:
    members = plan.group("coordinator")
    users = [plan.hosts[name] for name in plan.facts["coordinator_users"]]
    addresses = [plan.primary(m) for m in members]
    for address in addresses:
        yield _flow("coordinator", [plan.source(h, address) for h in [*users, *members]], [address], ETCD_CLIENTS)
    yield _flow("coordinator", addresses, addresses, ETCD_MEMBERS)


def _files(plan: NetworkMap) -> Iterator[Flow]:
    clients = [plan.storage(h) for h in [*plan.group("mail"), *plan.group("relay")]]
    for store in plan.stores.values():
        members = [plan.storage(plan.hosts[m]) for m in store["members"]]
        yield _flow("files", [*clients, *_carriers(plan, store)], [store["address"]], NFS)
        # Each asks the other's server itself whether it serves.
        yield _flow("files", members, members, NFS)
        yield _flow("replication", members, members, int(plan.facts["drbd_port"]))
    for store in plan.external_stores.values():
        yield _flow("files", [*clients, *_carriers(plan, store)], [store["address"]], NFS)


def _carriers(plan: NetworkMap, store: Mapping[str, Any]) -> list[str | None]:
    return [plan.storage(h) for h in plan.group("transfer") if h.site == store["site"]]


def _routing(plan: NetworkMap) -> Iterator[Flow]:
    """BGP and BFD, both ways, between a router and what it takes routes from or tells them to (role router)."""
    told: dict[str, list[str]] = {}
    for one, other in _neighbours(plan):
        told.setdefault(one, []).append(other)
        told.setdefault(other, []).append(one)
    for address, others in told.items():
        yield _flow("routes", others, [address], BGP)
        yield _flow("routes", others, [address], *BFD, protocol="udp")


def _neighbours(plan: NetworkMap) -> Iterator[tuple[str, str]]:
    holders = [h for h in plan.hosts.values() if h.groups & {"mail", "relay"} and "router" not in h.groups]
    for segment, values in plan.segments.items():
        if segment == plan.management:
            continue
        routers = [h for h in plan.group("router") if segment in h.legs]
        storage = values["network"] == "storage"
        if values.get("gateway") and values["network"] in set(plan.mail_routes) - {"storage"}:
            yield from _pairs(segment, routers, holders)
        if storage and values.get("gateway") and plan.stores:
            servers, carriers = plan.group("store"), plan.group("transfer")
            clients = [*holders, *carriers]
            yield from _pairs(segment, routers, [*servers, *clients])
            yield from _pairs(segment, servers, clients)
        virtual = plan.is_virtual(segment)
        for n, one in enumerate(routers):
            for other in routers[n + 1 :]:
                if one.site != other.site or virtual:
                    yield one.legs[segment], other.legs[segment]


def _pairs(segment: str, some: Iterable[Host], others: Iterable[Host]) -> Iterator[tuple[str, str]]:
    there = [h for h in others if segment in h.legs]
    for one in some:
        for other in there:
            if segment in one.legs and one.name != other.name:
                yield one.legs[segment], other.legs[segment]


def _redundancy(plan: NetworkMap) -> Iterator[Flow]:
    """VRRP: pairs of routers by multicast, pairs of redirectors by unicast."""
    for segment in plan.segments:
        routers = {h.legs[segment] for h in plan.group("router") if segment in h.legs}
        if segment != plan.management and plan.is_virtual(segment):
            yield _flow("redundancy", sorted(routers), [VRRP_GROUP], protocol="vrrp")
    for pair in plan.redirectors.values():
        for segment, values in plan.segments.items():
            if any(inside(a, values["prefix"]) for a in pair["addresses"]):
                legs = [plan.hosts[h].legs.get(segment) for h in pair["hosts"]]
                yield _flow("redundancy", legs, legs, protocol="vrrp")


def _reached(plan: NetworkMap, side: str, protocol: str) -> list[str]:
    """Where clients of a side come to for a protocol: at redirectors, else at identities themselves."""
    pairs = [p for p in plan.redirectors.values() if p["side"] == side]
    found = [a for p in pairs if protocol in p["protocols"] for a in p["addresses"]]
    covered = {p["site"] for p in pairs}
    for identity in plan.identities.values():
        if identity["kind"] == SIDES.get(side) and protocol in OFFERED:
            sites = {plan.hosts[c].site for c in identity["candidates"]}
            found += [] if sites <= covered else [identity["address"]]
    return found


def _relays(plan: NetworkMap, side: str) -> list[str]:
    return [i["address"] for i in plan.identities.values() if i["kind"] == "relay" and side_of(i) == side]


def _mail(plan: NetworkMap) -> Iterator[Flow]:
    for identity in plan.identities.values():
        # What a relay holds, and the probes of who watches it: over each of the routes.
        legs = [a for h in plan.group("relay") for a in plan.legs_in(h, plan.networks_of(identity))]
        yield _flow("smtp", legs, [identity["address"]], SMTP)
        # What it sends itself, by MX.
        side = side_of(identity)
        exchangers = [*_reached(plan, side, "smtp"), *_relays(plan, side), *([ANY] if _open(plan, side) else [])]
        yield _flow("smtp", [identity["address"]], exchangers, SMTP)
        # What it has taken for the others of its side: to their homes, past redirectors.
        homes = _homes(plan, identity["kind"])
        yield _flow("smtp", [identity["address"]], homes, SMTP)
        for protocol, served in PASSED_ON.items() if identity["kind"] == "intranet" else ():
            if any(_reached(plan, side, p) for p in served):
                yield _flow("home", [identity["address"]], homes, plan.facts["protocols"][protocol]["port"])


def _inside(plan: NetworkMap) -> Iterator[Flow]:
    """Past strangers, at a port of their own: exactly those whom Postfix takes there (topology_inside)."""
    for name, inside_of in plan.facts["inside"].items():
        address = plan.identities[name]["address"]
        yield _flow("inside", [c for c in inside_of["clients"] if c != address], [address], plan.facts["inside_port"])


def _homes(plan: NetworkMap, kind: str) -> list[str]:
    """Identities any of which takes mail and log-ins for all (topology_beside); none where there is but one."""
    found = [i["address"] for i in plan.identities.values() if i["kind"] == kind != "relay"]
    return found if len(found) > 1 else []


def _open(plan: NetworkMap, side: str) -> bool:
    return any(e == ANY for s, e in plan.client_segments().items() if plan.network(s) == side)


def _clients(plan: NetworkMap) -> Iterator[Flow]:
    for segment, element in plan.client_segments().items():
        side = plan.network(segment)
        for protocol, ports in plan.facts["protocols"].items():
            yield _flow(protocol, [element], _reached(plan, side, protocol), ports["port"])
        yield _flow("smtp", [element], _relays(plan, side), SMTP)


def _redirected(plan: NetworkMap) -> Iterator[Flow]:
    for pair in plan.redirectors.values():
        ports = [plan.facts["protocols"][p]["proxy"] for p in pair["protocols"]]
        for identity in plan.identities.values():
            if identity["kind"] != SIDES[pair["side"]]:
                continue
            networks = [n for n in plan.networks_of(identity) if n in plan.mail_routes]
            legs = [a for h in pair["hosts"] for a in plan.legs_in(plan.hosts[h], networks)]
            yield _flow("redirected", legs, [identity["address"]], *ports)
            yield _flow("availability", legs, [identity["address"]], int(plan.facts["availability_port"]))


def _echo(plan: NetworkMap) -> Iterator[Flow]:
    """Who looks for a fault may ask any host of the same network, and clients what they use.

    One of a pair of routers is asked on its own wire alone: from elsewhere a packet may come in by way of its partner,
    where its source must look like a forged one, and whether it does is a matter of the moment.
    """
    for network in sorted({plan.network(s) for s in plan.segments if s != plan.management}):
        mine = [s for s in plan.segments if plan.network(s) == network and s != plan.management]
        asking, asked = [], []
        for segment in mine:
            values, near = plan.segments[segment], plan.of_pairs(segment)
            there = [h.legs[segment] for h in plan.hosts.values() if segment in h.legs and "client" not in h.groups]
            fixed = [a for p in plan.redirectors.values() for a in p["addresses"] if inside(a, values["prefix"])]
            asks = there if values.get("clients") else [values["prefix"]]
            yield _flow("echo", asks, near, protocol="icmp")
            asking += asks
            asked += [a for a in (*there, *fixed, plan.gateway(segment)) if a and a not in near]
        movable = [i["address"] for i in plan.identities.values() if network in plan.networks_of(i)]
        movable += [s["address"] for s in plan.stores.values()] if network == "storage" else []
        yield _flow("echo", asking, [*asked, *movable], protocol="icmp")
    for segment, element in plan.client_segments().items():
        side = plan.network(segment)
        used = {a for protocol in plan.facts["protocols"] for a in _reached(plan, side, protocol)}
        yield _flow("echo", [element], [*sorted(used), *_relays(plan, side)], protocol="icmp")


def _besides(plan: NetworkMap) -> Iterator[Flow]:
    """What the inventory adds: backup, monitoring, time, a mirror of packages."""
    for flow in plan.facts.get("flows_besides") or []:
        sources = [a for name in flow["from"] for a in named(plan, name)]
        destinations = [a for name in flow["to"] for a in named(plan, name)]
        yield _flow(flow["why"], sources, destinations, *flow.get("ports", []), protocol=flow.get("protocol", "tcp"))


def named(plan: NetworkMap, name: str) -> list[str]:
    """Addresses of a host, a group, a segment, an identity, a store; or one that is given itself. Raises ValueError."""
    if name == ANY:
        return [ANY]
    if name in plan.hosts:
        return list(plan.hosts[name].legs.values())
    if plan.group(name):
        return [a for h in plan.group(name) for a in h.legs.values()]
    if name in plan.segments:
        return [str(plan.segments[name]["prefix"])]
    for known in (plan.identities, plan.stores, plan.external_stores):
        if name in known:
            return [str(known[name]["address"])]
    return texts([name])

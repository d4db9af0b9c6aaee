"""The rules of one host's packet filter, as lines for nft(8), from the allowed flows.

Pure. A host keeps state of its connections. A router keeps none: of a connection that its partner carries in one
direction it sees the other one alone, so what answers a flow is let through by the flow turned round.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from .flows import BFD, VRRP_GROUP, Flow
from .network_map import ANY, Host, NetworkMap, inside, texts

ANSWER = "tcp flags & (syn | ack) != syn"
ICMP_ERRORS = "icmp type { destination-unreachable, time-exceeded, parameter-problem }"


@dataclass(frozen=True)
class Rules:
    """Lines of the chains of that name. `ours`: elements of the set of our own addresses; `router`: forwards."""

    router: bool
    ours: list[str]
    source: list[str] = field(default_factory=list)
    input: list[str] = field(default_factory=list)
    forward: list[str] = field(default_factory=list)


def rules(plan: NetworkMap, flows: Sequence[Flow], name: str) -> Rules:
    """Of one host. Raises KeyError when the inventory has no such host."""
    host = plan.hosts[name]
    router = "router" in host.groups
    return Rules(
        router,
        plan.ours(),
        list(_source(plan, host)),
        _ordered(_input(plan, flows, host, router=router)),
        _ordered(_forward(plan, flows, host)) if router else [],
    )


def _ordered(lines: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(lines))


def _source(plan: NetworkMap, host: Host) -> Iterator[str]:
    """What may come in by each leg: addresses that are behind it. Routes may differ between there and back, so the
    kernel's own check (rp_filter) cannot be strict."""
    for segment in host.legs:
        elements = _elements_behind(plan, host, segment)
        allowed = texts(e for e in elements if e != ANY)
        mine = "ip saddr @ours " if ANY in elements else ""
        yield f'iifname "{host.device(segment)}" {mine}ip saddr != {_set(allowed)} counter goto spoofed'
    known = ["lo", *[host.device(s) for s in host.legs]]
    if "router" in host.groups:
        # The device of a VRF, by which packets of its legs come in a second time.
        known += sorted({plan.domain(s) for s in host.legs if plan.network(s) in plan.facts["vrfs"]})
    yield f"iifname != {{ {', '.join(f'{chr(34)}{d}{chr(34)}' for d in known)} }} counter goto spoofed"


def _elements_behind(plan: NetworkMap, host: Host, leg: str) -> list[str]:
    if leg == plan.management:
        return [plan.segments[leg]["prefix"], *plan.controllers]
    there = plan.behind(host, leg)
    found = [plan.segments[s]["prefix"] for s in sorted(there)]
    found += [i["address"] for i in plan.identities.values() if plan.places(i["address"]) & there]
    found += [s["address"] for s in plan.stores.values() if plan.places(s["address"]) & there]
    return [*found, *([ANY] if plan.places(ANY) & there else [])]


def _input(plan: NetworkMap, flows: Sequence[Flow], host: Host, *, router: bool) -> Iterator[str]:
    local = plan.local(host)
    for flow in flows:
        if flow.protocol == "vrrp":
            if set(flow.sources) & set(host.legs.values()):
                here = [plan.segments[s]["prefix"] for s in host.legs]
                others = [s for s in flow.sources if s not in local and any(inside(s, prefix) for prefix in here)]
                mine = [VRRP_GROUP] if VRRP_GROUP in flow.destinations else _within(flow.destinations, local)
                yield from _lines(flow, others, mine)
            continue
        mine = _within(flow.destinations, local)
        # What may move here speaks from elsewhere until it does.
        others = [s for s in flow.sources if s not in local or plan.movable(s)]
        if any(m != s for m in mine for s in others):
            yield from _lines(flow, others, mine)
        # Of a router's own connections; a host knows its own. With BFD each end sends to the other's port.
        mine = _within(flow.sources, local)
        # What a pair shares answers from the other one.
        others = [d for d in flow.destinations if d not in host.legs.values()]
        if router and mine and others and flow.ports != BFD:
            yield from _answers(flow, others, mine)


def _within(elements: Iterable[str], local: Iterable[str]) -> list[str]:
    """Which of a host's addresses are among these; ANY names none of ours."""
    some = [e for e in elements if e != ANY]
    return [a for a in local if any(inside(a, e) for e in some)]


def _forward(plan: NetworkMap, flows: Sequence[Flow], host: Host) -> Iterator[str]:
    legs = [s for s in host.legs if s != plan.management]
    behind = {leg: plan.behind(host, leg) for leg in legs}
    exposed: list[str] = []
    for flow in flows:
        if flow.protocol == "vrrp" or flow.why == "routes":
            continue
        sources, destinations = list[str](), list[str]()
        for one in legs:
            for other in legs:
                if plan.domain(one) != plan.domain(other):
                    continue
                come = [s for s in flow.sources if plan.places(s) & behind[one]]
                go = [d for d in flow.destinations if plan.places(d) & behind[other]]
                if one == other:
                    go = [d for d in go if plan.movable(d)]
                if come and go:
                    sources += come
                    destinations += go
        if not sources:
            continue
        yield from _lines(flow, _distinct(sources), _distinct(destinations))
        yield from _answers(flow, _distinct(destinations), _distinct(sources))
        if ANY in sources or ANY in destinations:
            exposed += [e for e in (*sources, *destinations) if e != ANY]
    yield f'ip saddr @ours {ICMP_ERRORS} counter accept comment "errors"'
    if exposed:
        yield f'ip daddr {_set(texts(exposed))} {ICMP_ERRORS} counter accept comment "errors"'


def _distinct(some: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(some))


def _lines(flow: Flow, sources: Sequence[str], destinations: Sequence[str]) -> Iterator[str]:
    """Rules for packets that may begin something."""
    if flow.protocol in ("tcp", "udp"):
        what = f"{flow.protocol} dport {_ports(flow.ports)}" if flow.ports else f"meta l4proto {flow.protocol}"
    else:
        # RFC 9568, 5.1.1: from a neighbour on the same wire.
        what = "icmp type echo-request" if flow.protocol == "icmp" else "ip ttl 255 ip protocol vrrp"
    yield from _for_each(sources, destinations, what, flow.why)


def _answers(flow: Flow, sources: Sequence[str], destinations: Sequence[str]) -> Iterator[str]:
    """Rules for what answers: addresses and ports are turned round."""
    if flow.protocol == "icmp":
        what = "icmp type echo-reply"
    else:
        ports = f"{flow.protocol} sport {_ports(flow.ports)}" if flow.ports else f"meta l4proto {flow.protocol}"
        what = f"{ports} {ANSWER}" if flow.protocol == "tcp" else ports
    yield from _for_each(sources, destinations, what, f"{flow.why}, answers")


def _for_each(sources: Sequence[str], destinations: Sequence[str], what: str, why: str) -> Iterator[str]:
    for source in _matches("saddr", sources):
        for destination in _matches("daddr", destinations):
            yield f'{source} {destination} {what} counter accept comment "{why}"'


def _matches(field_name: str, elements: Sequence[str]) -> Iterator[str]:
    """Some of ours in one match, strangers in another."""
    if some := [e for e in elements if e != ANY]:
        yield f"ip {field_name} {_set(texts(some))}"
    if ANY in elements:
        yield f"ip {field_name} != @ours"


def _ports(ports: Sequence[int]) -> str:
    return _set([str(p) for p in ports])


def _set(elements: Sequence[str]) -> str:
    return elements[0] if len(elements) == 1 else f"{{ {', '.join(elements)} }}"

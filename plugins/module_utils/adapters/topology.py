"""What the routers say about an identity's address (R1.4, method `topology`): FRR's tables, read with vtysh.

FRR 10.3: `show bgp ipv4 unicast PREFIX json`, an empty object when there is no such prefix, and `show bfd peers json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..core.model import Attempt, Identity, Method, Result, Route
from ..core.ports import Clock, Unavailable
from . import command

TIMEOUT = 10.0


def documents(text: str) -> list[Any]:
    """The JSON documents that several vtysh commands print one after the other. Raises ValueError."""
    decoder, found, position = json.JSONDecoder(), [], 0
    while (rest := text[position:].lstrip()) != "":
        value, length = decoder.raw_decode(rest)
        position = len(text) - len(rest) + length
        found.append(value)
    return found


def has_path(bgp: Mapping[str, Any], router: str) -> bool:
    """Is there a valid path learnt from `router`?"""
    return any(p.get("valid") and p.get("peer", {}).get("peerId") == router for p in bgp.get("paths", ()))


def bfd_status(peers: Sequence[Mapping[str, Any]], router: str) -> str:
    """`up`, `down`, `init`, `shutdown`, or `not configured`."""
    return next((str(p.get("status")) for p in peers if p.get("peer") == router), "not configured")


def judge(
    bgp: Mapping[str, Any], peers: Sequence[Mapping[str, Any]], address: str, routers: Sequence[str]
) -> tuple[Result, str]:
    """OK when one of the routers answers and has a way to the address; the words say what is missing."""
    missing = []
    for router in routers:
        bfd = bfd_status(peers, router)
        if bfd != "up":
            missing.append(f"BFD towards {router} is {bfd}")
        elif not has_path(bgp, router):
            missing.append(f"{router} announces no path to {address}/32")
        else:
            return Result.OK, f"{router} announces {address}/32, BFD up"
    return Result.DOWN, "; ".join(missing)


class Topology:
    """Makes attempts by looking at routes. A routing daemon of our own that is silent counts against nobody."""

    def __init__(self, clock: Clock, run: command.Run = command.run) -> None:
        self._clock = clock
        self._run = run

    def look(self, identity: Identity, route: Route) -> Attempt:
        start = self._clock.now()
        result, detail = self._look(identity.address, route.routers)
        return Attempt(Method.TOPOLOGY, route.name, result, start, self._clock.now(), detail)

    def withdrawn(self, identity: Identity, routes: Iterable[Route]) -> str:
        """Implements `core.fencing.AddressView`: every router is up and knows no way to the identity's address."""
        try:
            bgp, peers, summary = self._ask(identity.address, "show bgp ipv4 unicast summary json")
            sessions = summary.get("peers", {})
        except (command.CommandError, ValueError, AttributeError) as why:
            raise Unavailable(f"own fault: {command.words(str(why))}") from why
        asked = [router for route in routes for router in route.routers]
        if not asked:
            raise Unavailable("no router was asked")
        for router in asked:
            if (bfd := bfd_status(peers, router)) != "up":
                raise Unavailable(f"BFD towards {router} is {bfd}, so what it announces is not known")
            if (state := sessions.get(router, {}).get("state")) != "Established":
                raise Unavailable(f"the BGP session with {router} is {state}, so what it announces is not known")
        # A path that is not valid (its nexthop is unresolved) is announced all the same.
        if bgp.get("paths"):
            raise Unavailable(f"a path to {identity.address}/32 is announced")
        return f"{', '.join(asked)} announce no path to {identity.address}/32"

    def _look(self, address: str, routers: Sequence[str]) -> tuple[Result, str]:
        try:
            bgp, peers = self._ask(address)
        except (command.CommandError, ValueError) as why:
            return Result.REFUSED, f"own fault: {command.words(str(why))}"
        return judge(bgp, peers, address, routers)

    def _ask(self, address: str, *more: str) -> list[Any]:
        """What the routing daemon says to each question, in one program start."""
        ask = [f"show bgp ipv4 unicast {address}/32 json", "show bfd peers json", *more]
        return documents(self._run(["vtysh", *(word for a in ask for word in ("-c", a))], timeout=TIMEOUT))

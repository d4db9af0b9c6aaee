"""What the routers say about an identity's address (R1.4, method `topology`): FRR's tables, read with vtysh.

FRR 10.3: `show bgp ipv4 unicast PREFIX json`, an empty object when there is no such prefix, and `show bfd peers json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.model import Attempt, Identity, Method, Result, Route
from ..core.ports import Clock
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


def has_path(bgp: Mapping[str, Any], gateway: str) -> bool:
    """Is there a valid path learnt from `gateway`?"""
    return any(p.get("valid") and p.get("peer", {}).get("peerId") == gateway for p in bgp.get("paths", ()))


def bfd_status(peers: Sequence[Mapping[str, Any]], gateway: str) -> str:
    """`up`, `down`, `init`, `shutdown`, or `not configured`."""
    return next((str(p.get("status")) for p in peers if p.get("peer") == gateway), "not configured")


def judge(bgp: Mapping[str, Any], peers: Sequence[Mapping[str, Any]], address: str, gateway: str) -> tuple[Result, str]:
    """OK when the gateway answers and has a way to the address; the words say what is missing."""
    bfd = bfd_status(peers, gateway)
    if bfd != "up":
        return Result.DOWN, f"BFD towards {gateway} is {bfd}"
    if not has_path(bgp, gateway):
        return Result.DOWN, f"{gateway} announces no path to {address}/32"
    return Result.OK, f"{gateway} announces {address}/32, BFD up"


class Topology:
    """Makes attempts by looking at routes. A routing daemon of our own that is silent counts against nobody."""

    def __init__(self, clock: Clock, run: command.Run = command.run) -> None:
        self._clock = clock
        self._run = run

    def look(self, identity: Identity, route: Route) -> Attempt:
        start = self._clock.now()
        result, detail = self._look(identity.address, route.gateway)
        return Attempt(Method.TOPOLOGY, route.name, result, start, self._clock.now(), detail)

    def _look(self, address: str, gateway: str) -> tuple[Result, str]:
        ask = [f"show bgp ipv4 unicast {address}/32 json", "show bfd peers json"]
        try:
            said = self._run(["vtysh", *(word for a in ask for word in ("-c", a))], timeout=TIMEOUT)
            bgp, peers = documents(said)
        except (command.CommandError, ValueError) as why:
            return Result.REFUSED, f"own fault: {command.words(str(why))}"
        return judge(bgp, peers, address, gateway)

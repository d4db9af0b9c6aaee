"""That nobody announces an address any more is believed only of gateways whose sessions live."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from holdfast.adapters import command
from holdfast.adapters.clock import SystemClock
from holdfast.adapters.topology import Topology
from holdfast.core.model import Identity, Route
from holdfast.core.ports import Unavailable

SAMPLES = Path(__file__).parent / "samples"
IDENTITY = Identity("mx.alpha.example", "203.0.113.10", "internet", ("alpha.example",), "mail1", ("mail1",), "store1")
ROUTES = (Route("internet", "10.2.1.31", ("10.2.1.1",)), Route("isolated", "10.2.2.31", ("10.2.2.1",)))
SUMMARY = {"routerId": "10.2.1.31", "peers": {r.routers[0]: {"state": "Established"} for r in ROUTES}}


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text())


def ask(bgp: object, bfd: object, summary: object, routes: Sequence[Route] = ROUTES) -> str:
    def vtysh(argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        return "\n".join(json.dumps(d) for d in (bgp, bfd, summary))

    return Topology(SystemClock(), vtysh).withdrawn(IDENTITY, routes)


def test_no_path_from_any_gateway() -> None:
    assert ask({}, sample("bfd_up"), SUMMARY) == "10.2.1.1, 10.2.2.1 announce no path to 203.0.113.10/32"


@pytest.mark.parametrize("name", ["bgp_two_paths", "bgp_one_path"])
def test_any_path_is_one(name: str) -> None:
    bgp = sample(name)
    for path in bgp["paths"]:
        path["valid"] = False
    with pytest.raises(Unavailable, match=r"a path to 203\.0\.113\.10/32 is announced"):
        ask(bgp, sample("bfd_up"), SUMMARY)


@pytest.mark.parametrize(
    ("bfd", "summary", "why"),
    [
        (sample("bfd_one_down"), SUMMARY, "BFD towards"),
        ([], SUMMARY, "is not configured, so"),
        (sample("bfd_up"), {"peers": {"10.2.1.1": {"state": "Established"}}}, r"BGP session with 10\.2\.2\.1 is None"),
        (sample("bfd_up"), {"peers": {r.routers[0]: {"state": "Active"} for r in ROUTES}}, "is Active"),
        (sample("bfd_up"), {}, "BGP session"),
        (sample("bfd_up"), [], "own fault"),
    ],
)
def test_a_gateway_that_says_nothing_has_withdrawn_nothing(bfd: object, summary: object, why: str) -> None:
    with pytest.raises(Unavailable, match=why):
        ask({}, bfd, summary)


def test_without_a_route_nothing_is_known() -> None:
    with pytest.raises(Unavailable, match="no router"):
        ask({}, sample("bfd_up"), SUMMARY, ())


def test_a_silent_routing_daemon_of_our_own() -> None:
    def vtysh(argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        raise command.CommandError("vtysh: status 1: failed to connect to any daemons.")

    with pytest.raises(Unavailable, match="own fault"):
        Topology(SystemClock(), vtysh).withdrawn(IDENTITY, ROUTES)

"""FRR's answers, as FRR 10.3 gave them (samples/), and what they say about a route."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from holdfast.adapters import command
from holdfast.adapters.clock import SystemClock
from holdfast.adapters.topology import Topology, documents, judge
from holdfast.core.model import Identity, Result, Route
from hypothesis import given
from hypothesis import strategies as st

SAMPLES = Path(__file__).parent / "samples"
IDENTITY = Identity("mx", "203.0.113.10", "internet", ("alpha.example",), "mail1", ("mail1", "mail2"), "store1")
INTERNET, ISOLATED = Route("internet", "10.2.1.31", ("10.2.1.1",)), Route("isolated", "10.2.2.31", ("10.2.2.1",))


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("bgp", "bfd", "gateway", "result", "said"),
    [
        ("bgp_two_paths", "bfd_up", "10.2.1.1", Result.OK, "BFD up"),
        ("bgp_two_paths", "bfd_up", "10.2.2.1", Result.OK, "BFD up"),
        ("bgp_two_paths", "bfd_up", "10.9.9.9", Result.DOWN, "not configured"),
        ("bgp_two_paths", "bfd_one_down", "10.2.2.1", Result.DOWN, "is down"),
        ("bgp_one_path", "bfd_one_down", "10.2.1.1", Result.OK, "BFD up"),
        ("bgp_one_path", "bfd_up", "10.2.2.1", Result.DOWN, "no path to 203.0.113.10/32"),
        (None, "bfd_up", "10.2.1.1", Result.DOWN, "no path"),
    ],
)
def test_judge(bgp: str | None, bfd: str, gateway: str, result: Result, said: str) -> None:
    found, detail = judge({} if bgp is None else sample(bgp), sample(bfd), IDENTITY.address, [gateway])
    assert found is result
    assert said in detail
    assert gateway in detail


def test_a_path_that_is_not_valid_is_none() -> None:
    bgp = sample("bgp_two_paths")
    bgp["paths"][0]["valid"] = False
    assert judge(bgp, sample("bfd_up"), IDENTITY.address, ("10.2.1.1",))[0] is Result.DOWN
    assert judge(bgp, sample("bfd_up"), IDENTITY.address, ("10.2.2.1",))[0] is Result.OK


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text())), st.sampled_from(["", "\n", " \n\n"]))
def test_documents_one_after_the_other(values: list[dict[str, int | str]], between: str) -> None:
    assert documents(between.join(["", *(json.dumps(v, indent=2) for v in values), ""])) == values


def test_one_program_start_for_both_questions() -> None:
    asked: list[Sequence[str]] = []

    def vtysh(argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        asked.append(argv)
        return "".join((SAMPLES / f"{n}.json").read_text() for n in ("bgp_two_paths", "bfd_up"))

    made = Topology(SystemClock(), vtysh).look(IDENTITY, ISOLATED)
    assert (made.method, made.route, made.result) == ("topology", "isolated", Result.OK)
    assert len(asked) == 1
    assert "show bgp ipv4 unicast 203.0.113.10/32 json" in asked[0]


@pytest.mark.parametrize("said", ["", "{}", "% Unknown command", None])
def test_a_silent_routing_daemon_of_our_own_counts_against_nobody(said: str | None) -> None:
    def vtysh(argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        if said is None:
            raise command.CommandError("vtysh: status 1: Exiting: failed to connect to any daemons.")
        return said

    made = Topology(SystemClock(), vtysh).look(IDENTITY, INTERNET)
    assert made.result is Result.REFUSED
    assert "own fault" in made.detail

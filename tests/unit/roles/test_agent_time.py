"""Hosts that date letters wait for their clock; a store server dates none, and waits for nothing."""

from __future__ import annotations

import pytest
from rendering import Host, Values, inventory


@pytest.fixture(scope="module")
def values() -> Values:
    return inventory("compact")


@pytest.mark.parametrize(("host", "dates"), [("mail1", True), ("relay1", True), ("store1a", False)])
def test_who_waits_for_its_clock(values: Values, host: str, dates: bool) -> None:
    unit = Host("agent", host, values).text({"src": "holdfast-agent.service.j2"})
    assert ("After=time-sync.target" in unit) is dates


@pytest.mark.parametrize(
    ("host", "given", "needs"),
    [("mail1", False, False), ("mail1", True, True), ("relay1", "true", True), ("store1a", True, False)],
)
def test_who_is_ready_only_in_time(values: Values, host: str, given: object, needs: bool) -> None:
    """Where nobody asks for it nothing is written: a lab's guests have no time service, and would never be ready."""
    ready = Host("agent", host, values, agent_needs_time=given).value("__agent_settings")["ready"]
    assert ready == {"memory_mb": 32, "disk_mb": 100} | ({"needs_time": True} if needs else {})

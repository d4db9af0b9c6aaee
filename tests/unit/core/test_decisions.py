"""The small decisions: store access, an agent's ownership, placement, schedule."""

from __future__ import annotations

import pytest
from holdfast.core.access import decide as access
from holdfast.core.model import Access, Owner, Readiness, Run, RunState
from holdfast.core.ownership import Action, decide
from holdfast.core.placement import choose
from holdfast.core.schedule import next_route
from world import MX, ROUTES

ONE = Owner("mail1", 4, "r4", 0.0)


def run(**changes: object) -> Run:
    values = {"run": "r5", "identity": MX.name, "invoker": "relay2", "reason": "", "state": RunState.RUNNING}
    return Run(**{**values, "from_host": "mail1", "time": 0.0, **changes})  # type: ignore[arg-type]


def test_the_store_admits_the_owner_only_and_expires_the_others() -> None:
    wanted = access(MX, ONE, None)
    assert (wanted.admit, wanted.epoch, wanted.expire) == ("mail1", 4, ("mail2",))


def test_a_revocation_holds_for_its_own_epoch_only() -> None:
    assert access(MX, ONE, run(revoke_epoch=4)).admit is None
    assert access(MX, ONE, run(revoke_epoch=4)).expire == ("mail1", "mail2")
    assert access(MX, ONE, run(revoke_epoch=3)).admit == "mail1"
    assert access(MX, ONE, run(revoke_epoch=4, state=RunState.HELD)).admit is None


def test_without_an_owner_nobody_is_admitted() -> None:
    assert access(MX, None, None).admit is None


ADMITTED = Access(4, "r4", "mail1", 0.0)


@pytest.mark.parametrize(
    ("owner", "admitted", "running", "coordinator", "gap", "action"),
    [
        (ONE, ADMITTED, None, True, 1.0, Action.START),
        (ONE, ADMITTED, 4, True, 1.0, Action.KEEP),
        (ONE, ADMITTED, 3, True, 1.0, Action.STOP),  # it ran at an older epoch
        (ONE, None, None, True, 1.0, Action.WAIT),  # the store has not said a word yet
        (ONE, Access(3, "r3", "mail1", 0.0), None, True, 1.0, Action.WAIT),  # an old word of the store
        (ONE, Access(4, "r5", None, 0.0), 4, True, 1.0, Action.STOP),  # withdrawn
        (Owner("mail2", 5, "r5", 0.0), ADMITTED, 4, True, 1.0, Action.STOP),
        (Owner("mail2", 5, "r5", 0.0), ADMITTED, None, True, 1.0, Action.WAIT),
        (None, None, None, True, 1.0, Action.WAIT),
        (None, None, 4, False, 1.0, Action.KEEP),  # a coordinator outage is no mail outage
        (None, None, None, False, 1.0, Action.WAIT),
        (ONE, ADMITTED, 4, True, 15.1, Action.STOP),  # stood still longer than its lease: stop first
        (ONE, ADMITTED, 4, False, 15.1, Action.STOP),
    ],
)
def test_what_an_agent_does(
    owner: Owner | None, admitted: Access | None, running: int | None, coordinator: bool, gap: float, action: Action
) -> None:
    assert decide("mail1", owner, admitted, running, coordinator, gap, 15.0) is action


@pytest.mark.parametrize(
    ("running", "coordinator", "forsaken", "action"),
    [
        (4, False, 60.0, Action.KEEP),  # a store that fails over, and an election meanwhile
        (4, False, 60.1, Action.STOP),
        (None, False, 60.1, Action.WAIT),
        (4, True, 60.1, Action.KEEP),  # who may ask knows that it is the owner still
    ],
)
def test_who_hears_neither_coordinator_nor_store_gives_up(
    running: int | None, coordinator: bool, forsaken: float, action: Action
) -> None:
    owner, access = (ONE, ADMITTED) if coordinator else (None, None)
    assert decide("mail1", owner, access, running, coordinator, 1.0, 15.0, forsaken=forsaken) is action


def test_candidates_are_taken_in_order_and_the_owner_never() -> None:
    ready = {h: Readiness(True, (), 100.0) for h in ("mail1", "mail2")}
    assert choose(MX, "mail1", {"mail1", "mail2"}, ready).host == "mail2"
    assert choose(MX, "mail2", {"mail1", "mail2"}, ready).host == "mail1"
    assert choose(MX, "mail1", {"mail1"}, ready).host is None


def test_the_next_route_differs_from_the_last() -> None:
    assert next_route(ROUTES, None).name == "internet"
    assert next_route(ROUTES, "internet").name == "isolated"
    assert next_route(ROUTES, "isolated").name == "internet"
    assert next_route(ROUTES, "gone").name == "internet"

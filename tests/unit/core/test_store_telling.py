"""Stores as lines for people: roles, the in-sync set, how much is copied, room, and what needs an operator."""

from __future__ import annotations

from typing import Any

import pytest
from holdfast.core import keys, store_telling, stores, telling
from holdfast.core.model import Identity, Owner, Phase, Readiness, Report, Run, RunState, Step
from holdfast.core.store_telling import KnownStore
from holdfast.core.stores import Half, InSync
from world import FakeClock, FakeCoordinator

S = Identity("store1", "10.255.3.1", stores.KIND, (), "a", ("a", "b"), "store1")
PRIMARY = {
    "role": "Primary", "disk": "UpToDate", "connection": "Connected", "peer_role": "Secondary", "peer_disk": "UpToDate",
    "percent": None, "suspended": False,
}  # fmt: skip
SECONDARY = {**PRIMARY, "role": "Secondary", "peer_role": "Primary"}
ROOM = {"size_mb": 4000, "free_mb": 3000, "free_percent": 75.0}


class Site:
    """What the coordinator holds of a pair that is well."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.coordinator = FakeCoordinator(self.clock)
        now = self.clock.time
        self.put(keys.owner("store1"), Owner("a", 1, "deploy", now).to_json())
        self.put(keys.insync("store1"), InSync(("a", "b"), 1, 1, now).to_json())
        self.put(keys.report("a", "store1"), Report("a", 1, Phase.RUNNING, now).to_json())
        for host in ("a", "b"):
            self.put(keys.lease(host), {"host": host})
            self.put(keys.ready(host, "store1"), Readiness(True, (), now).to_json())
        self.half("a", PRIMARY, ROOM)
        self.half("b", SECONDARY)

    def put(self, key: str, value: Any) -> None:
        self.coordinator._put(key, value)

    def half(self, host: str, drbd: Any, room: Any = None, low: bool = False) -> None:
        self.put(keys.half(host, "store1"), Half(self.clock.time, "", drbd, room, low).to_json())

    def known(self) -> KnownStore:
        return KnownStore.from_json(S, store_telling.read_about(self.coordinator, S))

    def needs(self) -> str:
        return "; ".join(store_telling.needs(self.known()))

    def table(self) -> str:
        return "\n".join(store_telling.table([self.known()]))


@pytest.fixture
def site() -> Site:
    return Site()


def test_all_is_well(site: Site) -> None:
    assert site.needs() == ""
    lines = [" ".join(line.split()) for line in site.table().splitlines()]
    assert lines[1] == "store1 a 1 yes running a, b none"
    assert lines[4] == "a store1 yes Primary UpToDate Connected 3000 of 4000 MB (75 %) -"
    assert lines[5] == "b store1 yes Secondary UpToDate Connected - -"


def test_a_resync_tells_how_far_it_is_and_who_lacks_writes(site: Site) -> None:
    site.put(keys.insync("store1"), InSync(("a",), 1, 2, 0.0).to_json())
    site.half("b", {**SECONDARY, "disk": "Inconsistent", "connection": "SyncTarget", "percent": 41.5})
    assert site.needs() == "store1: b lacks writes, a alone has all: Secondary Inconsistent SyncTarget 41.5 %"
    assert "SyncTarget 41.5 %" in site.table()


def test_frozen_writes_are_seen(site: Site) -> None:
    site.half("a", {**PRIMARY, "connection": "WFConnection", "suspended": True}, ROOM)
    assert "WFConnection, I/O frozen" in site.table()


def test_a_disk_that_is_nearly_full_needs_an_operator(site: Site) -> None:
    site.half("a", PRIMARY, {"size_mb": 4000, "free_mb": 40, "free_percent": 1.0}, low=True)
    assert site.needs() == "store1: nearly full: 40 of 4000 MB (1 %) left on a"


def test_a_dead_member_says_nothing(site: Site) -> None:
    for key in (keys.lease("b"), keys.half("b", "store1")):
        site.coordinator.data.pop(key)
    assert "b       store1  no     ?" in site.table()
    assert site.needs() == "store1: b could not take it over: no live lease"


def test_a_member_in_the_midst_of_planned_work_may_be_away_and_lack_writes(site: Site) -> None:
    for key in (keys.lease("b"), keys.half("b", "store1")):
        site.coordinator.data.pop(key)
    assert store_telling.needs(site.known(), ["b"]) == []
    site.put(keys.insync("store1"), InSync(("a",), 1, 2, 0.0).to_json())
    assert store_telling.needs(site.known(), ["b"]) == []
    site.put(keys.insync("store1"), InSync(("b",), 1, 2, 0.0).to_json())
    assert "a lacks writes" in "; ".join(store_telling.needs(site.known(), ["a", "b"])), "the owner is no partner"


def test_an_owner_that_does_not_serve_says_why(site: Site) -> None:
    """Both were off, and the one with older data came up first."""
    said = "insync: a: not in the in-sync set of store1 (b): its disk may lack acknowledged writes"
    site.put(keys.report("a", "store1"), Report("a", 1, Phase.FAILED, 0.0, error=said).to_json())
    assert "a does not run it at epoch 1 (failed): insync: a: not in the in-sync set" in site.needs()


def test_an_owner_that_cannot_tell_whether_it_serves_says_so(site: Site) -> None:
    site.put(keys.report("a", "store1"), Report("a", 1, Phase.RUNNING, 0.0, lacks="nobody answers").to_json())
    assert site.needs() == "store1: on a nobody answers"


def held(**values: Any) -> Any:
    steps = (Step("hold", 0.0, 0.0, "held", "no candidate: b: drained"),)
    return Run("r1", "store1", "b", "silence", RunState.HELD, "a", 0.0, steps=steps, **values).to_json()


HELD = "run r1 of 1970-01-01 00:00:00 is held: no candidate: b: drained"


def test_a_held_run_is_told_with_its_reason_until_the_owner_serves_again(site: Site) -> None:
    site.put(keys.takeover("store1"), held())
    lease = site.coordinator.data.pop(keys.lease("a"))
    assert HELD in site.needs()
    site.coordinator.data[keys.lease("a")] = lease
    assert site.needs() == "", "it changed nothing, and its outage is over"
    site.put(keys.report("a", "store1"), Report("a", 1, Phase.FAILED, 0.0, error="no").to_json())
    assert HELD in site.needs()


@pytest.mark.parametrize("values", [{"revoke_epoch": 1}, {"planned": True, "revoke_epoch": 1}])
def test_a_held_run_that_has_withdrawn_something_is_told_whatever_the_owner_says(
    site: Site, values: dict[str, Any]
) -> None:
    site.put(keys.takeover("store1"), held(**values))
    assert HELD in site.needs()


def test_a_store_that_nobody_owns_yet(site: Site) -> None:
    site.coordinator.data.pop(keys.owner("store1"))
    assert "deploy it" in site.needs()
    assert store_telling.table([]) == []


def test_stores_are_read_together_with_identities(site: Site) -> None:
    mx = Identity("mx", "203.0.113.10", "internet", ("a.example",), "m1", ("m1", "m2"), "store1", ("r1",))
    site.put(keys.owner("mx"), Owner("m2", 7, "deploy", 0.0).to_json())
    before = site.coordinator.calls
    identities, pairs = store_telling.read_all(site.coordinator, {"mx": mx}, {"store1": S})
    assert site.coordinator.calls - before == 1
    assert identities == {"mx": telling.read_about(site.coordinator, mx)} and identities["mx"]["owner"]["epoch"] == 7
    assert pairs == {"store1": store_telling.read_about(site.coordinator, S)}
    assert pairs["store1"]["insync"]["members"] == ["a", "b"] and pairs["store1"]["halves"]["b"]["drbd"] == SECONDARY

"""The word of a store's manager: whose it is, that it ends with who says it, and that a takeover asks for it."""

from __future__ import annotations

import pytest
from edges import Clock, Coordinator, Lines
from holdfast.core import keys, stores
from holdfast.core.ports import Entry, Unavailable
from holdfast.daemons.door import LOOK_EVERY, TTL, Door

NAS = "nas1"


class Place:
    def __init__(self) -> None:
        self.clock = Clock()
        self.coordinator = Coordinator(self.clock)
        self.log = Lines()
        self.why: str | None = None

    def door(self, host: str = "door1") -> Door:
        return Door(NAS, host, self.coordinator, lambda: self.why, self.clock, self.log)

    def get(self, key: str) -> Entry:
        return self.coordinator.read([key])[key]

    def not_serving(self) -> str | None:
        return stores.not_serving(self, NAS)  # type: ignore[arg-type]

    def run(self, door: Door, seconds: float) -> bool:
        end, did = self.clock.time + seconds, False
        while self.clock.time < end:
            did = door.tick()
            self.clock.sleep(1.0)
        return did


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_takeover_asks_for_its_word(place: Place) -> None:
    assert place.not_serving() is None, "no manager, no store from elsewhere"
    door = place.door()
    assert place.run(door, 5)
    assert place.not_serving() is None
    place.run(door, 10 * TTL)
    assert place.not_serving() is None, "it keeps its lease"
    place.why = "sync is off"
    place.run(door, LOOK_EVERY + 1)
    assert place.not_serving() == "store nas1 cannot be opened: sync is off"
    assert [f["detail"] for f in place.log.said("external_unfit")] == ["sync is off"]
    place.why = None
    place.run(door, LOOK_EVERY + 1)
    assert place.not_serving() is None
    place.clock.sleep(TTL + 1)
    assert place.not_serving() == "store nas1 cannot be opened: its manager door1 is not heard"
    assert place.run(door, 3) and place.not_serving() is None


def test_only_one_host_acts(place: Place) -> None:
    first, second = place.door("door1"), place.door("door2")
    assert place.run(first, 3)
    assert not place.run(second, 60) and place.run(first, 3)
    assert "door1 is its manager, not door2" in str(place.log.said("external_unfit")[0]["detail"])
    place.coordinator.data[keys.manager(NAS)] = {"host": "door2"}
    assert not place.run(first, 3) and place.run(second, 3)


def test_without_the_coordinator_nothing_is_done(place: Place) -> None:
    door = place.door()
    place.coordinator.reachable = False
    with pytest.raises(Unavailable):
        door.tick()
    place.coordinator.reachable = True
    door.tick()
    assert door.tick()
    place.coordinator.reachable = False
    with pytest.raises(Unavailable):
        place.not_serving()

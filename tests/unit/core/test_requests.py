"""A relay without the right to fence asks another host's monitor (R1.11); a request alone moves nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from holdfast.core import keys
from holdfast.core.model import Attempt, Method, Result, Route, RunState
from holdfast.core.ports import Unavailable
from holdfast.core.requests import Request, granted
from holdfast.core.threshold import Evidence, Threshold
from holdfast.core.watching import Settings, Watch
from test_two_monitors import BOTH, Pair
from world import MX, ROUTES, FakeClock, World

REQUEST = Request("relay1", "4 of 4 attempts down; lease lost", 3, 1000.0)
EVIDENCE = {"epoch": 3, "time": 1000.0, "passed": True}


def test_a_request_that_is_borne_out() -> None:
    reason = granted(REQUEST, EVIDENCE, 3, False)
    assert reason == "asked by relay1: 4 of 4 attempts down; lease lost; lease lost"


@pytest.mark.parametrize(
    "wrong",
    [
        {"epoch": 4},
        {"lease": True},
        {"evidence": None},
        {"evidence": {**EVIDENCE, "epoch": 2}},
        {"evidence": {**EVIDENCE, "passed": False}},
        {"request": dataclasses.replace(REQUEST, epoch=2)},
    ],
)
def test_a_request_alone_moves_nothing(wrong: dict[str, object]) -> None:
    right: dict[str, object] = {
        "request": REQUEST,
        "evidence": EVIDENCE,
        "epoch": 3,
        "lease": False,
    }
    assert granted(**right) is not None  # type: ignore[arg-type]
    assert granted(**{**right, **wrong}) is None  # type: ignore[arg-type]


def answered(world: World) -> Callable[[Method, Route], Attempt]:
    def attempt(method: Method, route: Route) -> Attempt:
        return Attempt(method, route.name, Result.OK, world.clock.time, world.clock.time)

    return attempt


class Unarmed(Pair):
    """relay1 has no right to fence; relay2 has, and sees nothing of the mail host by itself."""

    def watch(self, relay: str) -> Watch:
        made = super().watch(relay)
        if relay == "relay1":
            made.takeover = None
        return made


def blind(pair: Pair, relay: str) -> None:
    """It counts nothing itself: it looks at the topology of its site only, which is well."""
    watch = pair.watches[relay]
    watch.settings = dataclasses.replace(watch.settings, methods=(Method.TOPOLOGY,))
    pair.lines[relay]._attempt = answered(pair.world)  # type: ignore[method-assign]


def test_another_host_executes_what_a_relay_without_fence_rights_asks_for() -> None:
    world = World(waiting=6)
    pair = Unarmed(world)
    pair.run(5)
    blind(pair, "relay2")
    world.up.discard("mail1")
    pair.run(300)
    assert (world.owner.host, world.owner.epoch) == ("mail2", 2)
    assert world.record.invoker == "relay2" and world.record.reason.startswith("asked by relay1: 4 of 4 attempts")
    assert world.record.state is RunState.DONE


def test_a_relay_without_fence_rights_fences_nobody() -> None:
    world = World()
    pair = Unarmed(world)
    pair.lines["relay2"].quorum = False
    world.up.discard("mail1")
    pair.run(600)
    assert world.owner.epoch == 1 and keys.takeover(MX.name) not in world.coordinator.data
    request = Request.from_json(world.coordinator.data[keys.request(MX.name)][0])
    assert request.relay == "relay1" and request.epoch == 1 and "lease lost" in request.reason
    assert keys.fence("mail1", MX.name) not in world.coordinator.data


def test_a_request_against_a_living_owner_is_not_carried_out() -> None:
    world = World()
    pair = Unarmed(world)
    pair.run(5)
    pair.lines["relay1"].mail = False
    world.clock.on_sleep.append(
        lambda: world.coordinator._put(
            keys.request(MX.name), Request("relay1", "I say so", 1, world.clock.time).to_json()
        )
    )
    pair.run(600)
    assert world.owner.epoch == 1 and "mail1" in world.up


def test_who_speaks_with_the_owner_moves_nothing_for_a_relay_that_does_not() -> None:
    """The owner has lost the coordinator, the one who asks has lost the owner."""
    world = World()
    pair = Unarmed(world)
    pair.run(5)
    pair.lines["relay1"].mail = False
    world.alone.add("mail1")
    said = {**Evidence(1).to_json(), "relay": "relay1", "time": 0.0, "passed": True, "reason": "4 of 4 attempts down"}
    asked = Request("relay1", "4 of 4 attempts down; lease lost", 1, 0.0).to_json()
    for _ in range(40):
        world.coordinator._put(keys.evidence(MX.name, "relay1"), said)
        world.coordinator._put(keys.request(MX.name), asked)
        pair.run(5)
    assert world.owner.epoch == 1 and "mail1" in world.up


def taken_over() -> tuple[World, Pair]:
    """At the moment at which the takeover of a dead owner's identity has ended."""
    world = World()
    pair = Pair(world)
    pair.run(5)
    world.up.discard("mail1")
    while world.owner.epoch == 1 or world.record.state is not RunState.DONE:
        pair.run(1)
    return world, pair


def test_the_other_relay_tries_what_it_holds_as_soon_as_a_takeover_has_ended() -> None:
    world, pair = taken_over()
    by = world.record.invoker
    pair.run(5)
    told = world.said("flush")
    assert len(told) == 1 and told[0]["epoch"] == 2
    assert by in BOTH.relays
    pair.run(120)
    assert len(world.said("flush")) == 1


def test_a_queue_that_cannot_be_tried_holds_up_no_judgement() -> None:
    world = World()
    watch = Watch(
        BOTH,
        Settings("relay1", 30.0, (Method.PROBE,), Threshold(4, 120), ROUTES),
        world.coordinator,
        world,
        Broken(),  # type: ignore[arg-type]
        world.takeover(relay="relay1", identity=BOTH),
        world.clock,
        world.log,
    )
    world.takeover(relay="relay2").execute("test", 1)
    world.up.add("mail1")
    world.clock.sleep(1)
    world.up.discard("mail2")
    world.let_run(watch, 200)
    assert world.owner.epoch == 3 and world.said("relay_queue_failed")


class Broken(World):
    def __init__(self) -> None:
        pass

    def use_route(self, identities: object, route: object) -> None:
        pass

    def flush(self, identity: object) -> None:
        raise Unavailable("postqueue: no queue")


def test_the_round_behind_a_takeover_is_about_the_new_owner() -> None:
    """Else whoever has moved it knows nothing of it for a round, and takes another relay's word for its outage."""
    world, pair = taken_over()
    pair.run(3)
    evidence = pair.watches[world.record.invoker].evidence
    assert evidence is not None and (evidence.epoch, len(evidence.attempts) > 0) == (2, True)


@pytest.mark.parametrize(("evidence", "request_", "moved"), [(0, 0, True), (80, 0, False), (0, 80, False)])
def test_words_are_good_for_two_rounds_from_when_they_are_heard(evidence: int, request_: int, moved: bool) -> None:
    """relay1 has fallen silent behind them; the owner has lost the coordinator, and serves. Ages are in seconds."""
    world = World()
    pair = Unarmed(world)
    blind(pair, "relay2")
    pair.run(5)
    pair.dead["relay1"] = world.clock.time + 10000
    said = {**Evidence(1).to_json(), "relay": "relay1", "time": 0.0, "passed": True, "reason": "4 of 4 attempts down"}
    asked = Request("relay1", "4 of 4 attempts down; lease lost", 1, 0.0).to_json()
    words = {keys.evidence(MX.name, "relay1"): (evidence, said), keys.request(MX.name): (request_, asked)}
    for key, (age, word) in sorted(words.items(), key=lambda w: -w[1][0]):
        world.coordinator._put(key, word)
        pair.run(age + 3)
    assert world.owner.epoch == 1, "the lease is there"
    world.alone.add("mail1")
    pair.run(30)
    assert (world.owner.epoch == 2) is moved


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_relay_whose_clock_is_wrong_is_heard_like_any_other(hours: int) -> None:
    world = World(waiting=6)
    pair = Unarmed(world)
    asker = pair.watches["relay1"]
    asker.clock = Wrong(world.clock, 3600.0 * hours)  # type: ignore[assignment]
    pair.run(5)
    blind(pair, "relay2")
    world.up.discard("mail1")
    pair.run(300)
    assert (world.owner.host, world.owner.epoch) == ("mail2", 2) and world.record.reason.startswith("asked by relay1")


class Wrong:
    """A clock beside the world's whose wall time is off."""

    def __init__(self, clock: FakeClock, off: float) -> None:
        self._clock, self._off = clock, off

    def now(self) -> float:
        return self._clock.now() + self._off

    def boottime(self) -> float:
        return self._clock.boottime()

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)

"""Two relays watch one identity: one invocation at a time, each ends what the other began, neither suffices alone."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from holdfast.core import keys
from holdfast.core.fencing import FencePlan, Level, LevelName, Withdrawal
from holdfast.core.model import Attempt, Identity, Method, Result, Route, RunState
from holdfast.core.ports import Unavailable
from holdfast.core.takeover import read_state
from holdfast.core.threshold import Threshold
from holdfast.core.watching import Settings, Watch
from hypothesis import given, settings
from hypothesis import strategies as st
from world import MX, ROUTES, FakeCoordinator, World

BOTH = dataclasses.replace(MX, relays=("relay1", "relay2"))
DEFAULT = Threshold(4, 120)


class Crash(BaseException):
    """The process of one monitor is gone."""


class Line:
    """One relay's own way to the coordinator and to the mail host: either may be cut."""

    def __init__(self, world: World, relay: str) -> None:
        self.world = world
        self.relay = relay
        self.quorum = True
        self.mail = True
        self.crash_at: int | None = None
        self.calls = 0

    def __getattr__(self, name: str) -> object:
        real = getattr(self.world.coordinator, name)
        if not callable(real):
            return real

        def call(*args: object, **kwargs: object) -> object:
            self.calls += 1
            if self.crash_at is not None and self.calls >= self.crash_at:
                raise Crash
            if not self.quorum:
                raise Unavailable(f"{self.relay} is cut off")
            return real(*args, **kwargs)

        return call

    def _attempt(self, method: Method, route: Route) -> Attempt:
        serves = self.mail and self.world.serves(route.name)
        now = self.world.clock.time
        return Attempt(method, route.name, Result.OK if serves else Result.DOWN, now, now)

    def probe(self, identity: Identity, route: Route) -> Attempt:
        return self._attempt(Method.PROBE, route)

    def topology(self, identity: Identity, route: Route) -> Attempt:
        return self._attempt(Method.TOPOLOGY, route)

    def deliver(self, identity: Identity, route: Route) -> Attempt | None:
        return None


class Pair:
    """relay1 and relay2, each with a monitor; a crashed one is started again after `down` seconds."""

    def __init__(self, world: World, plan: FencePlan | None = None) -> None:
        self.world = world
        self.plan = plan
        self.lines = {r: Line(world, r) for r in BOTH.relays}
        self.watches = {r: self.watch(r) for r in BOTH.relays}
        self.dead: dict[str, float] = {}
        self.within: list[str] = []  # relays whose invocation is under way
        self.most = 0

    def watch(self, relay: str) -> Watch:
        line, world = self.lines[relay], self.world
        takeover = world.takeover(plan=self.plan, relay=relay, identity=BOTH)
        takeover.ports = dataclasses.replace(takeover.ports, coordinator=line, prober=line)  # type: ignore[arg-type]
        made = Settings(relay, 30.0, (Method.PROBE,), DEFAULT, ROUTES)
        return Watch(BOTH, made, line, line, world, takeover, world.clock, world.log)  # type: ignore[arg-type]

    def run(self, seconds: float, down: float = 20.0) -> None:
        end = self.world.clock.time + seconds
        while self.world.clock.time < end:
            for relay in BOTH.relays:
                if self.world.clock.time < self.dead.get(relay, 0.0):
                    continue
                try:
                    self.watches[relay].tick()
                except Crash:
                    self.lines[relay].crash_at = None
                    self.dead[relay] = self.world.clock.time + down
                    self.watches[relay] = self.watch(relay)
            self.world.clock.sleep(1.0)


def test_one_of_them_takes_over_and_the_other_does_not() -> None:
    world = World(waiting=4)
    pair = Pair(world)
    pair.run(10)
    world.up.discard("mail1")
    pair.run(600)
    assert (world.owner.host, world.owner.epoch, world.flushed) == ("mail2", 2, 4)
    assert len(world.said("takeover_ended")) == 1


@pytest.mark.parametrize("first", BOTH.relays)
def test_while_one_invokes_the_other_is_refused(first: str) -> None:
    world = World()
    pair = Pair(world)
    other = next(r for r in BOTH.relays if r != first)
    seen: list[str] = []
    off = world.switch.off

    def slow(host: str) -> str:
        watch = pair.watches[other]
        watch.evidence = None
        world.coordinator._put(keys.inoperable(MX.name), {"epoch": 1})
        watch._next_look = world.clock.boottime()
        watch.tick()
        seen.append(read_state(world.coordinator, MX.name).locked_by or "nobody")
        with pytest.raises(Exception, match="under way"):
            watch.takeover.execute("by hand", 1, automatic=False)
        return off(host)

    world.switch.off = slow  # type: ignore[method-assign]
    run = pair.watches[first].takeover.execute("test", 1)
    assert run.state is RunState.DONE and seen == [first] and world.owner.epoch == 2


def cut_off(relay: str, **lost: bool) -> tuple[World, Pair]:
    world = World()
    pair = Pair(world)
    pair.run(5)
    for name, value in lost.items():
        setattr(pair.lines[relay], name, value)
    pair.run(1200)
    return world, pair


@pytest.mark.parametrize("relay", BOTH.relays)
@pytest.mark.parametrize("lost", [{"mail": False}, {"mail": False, "quorum": False}, {"quorum": False}])
def test_a_relay_that_is_cut_off_triggers_nothing(relay: str, lost: dict[str, bool]) -> None:
    world, _ = cut_off(relay, **lost)
    assert world.owner.epoch == 1 and "mail1" in world.up
    assert keys.takeover(MX.name) not in world.coordinator.data


def test_both_relays_that_see_it_down_suffice_though_the_lease_lives() -> None:
    world = World()
    pair = Pair(world)
    world.cut = {"mail1"}
    pair.run(200)
    assert world.owner.host == "mail2" and "agrees" in world.record.reason


@pytest.mark.parametrize("relay", BOTH.relays)
def test_a_lost_lease_proves_nothing_while_the_other_relay_reaches_the_owner(relay: str) -> None:
    """A relay whose routes fail, and an owner that lost its lease with the coordinator's answers: mail flows."""
    world = World()
    pair = Pair(world)
    pair.run(5)
    pair.lines[relay].mail = False
    world.alone.add("mail1")
    pair.run(1200)
    assert world.owner.epoch == 1 and "mail1" in world.up
    other = next(r for r in BOTH.relays if r != relay)
    assert any(f"{other} has just reached it" in str(f.get("detail")) for f in world.said("second_evidence_missing"))
    # Once that one is silent, too, its good word is old after a round.
    pair.lines[other].quorum = False
    pair.run(60)
    assert world.owner.host == "mail2" and "lease lost" in world.record.reason


def test_old_words_of_a_relay_do_not_count() -> None:
    """relay1 saw an outage, lost its way to the coordinator, and its last word stays there."""
    world = World()
    pair = Pair(world)
    world.cut = {"mail1"}
    world.switch.answer = "refuse"
    pair.run(130)
    pair.lines["relay1"].quorum = False
    world.cut = set()
    pair.run(300)
    world.switch.answer = "confirm"
    pair.lines["relay2"].mail = False
    pair.run(1200)
    assert world.owner.epoch == 1, "only relay2 sees it down now"


def test_counts_belong_to_the_epoch() -> None:
    """After a takeover by relay1 the attempts that relay2 had counted are no word against the new owner."""
    world = World()
    pair = Pair(world)
    world.up.discard("mail1")
    pair.run(95)
    while world.owner.epoch == 1:
        pair.run(1)
    world.up.add("mail1")
    world.cut = {"mail2"}
    pair.run(60)
    assert world.owner.epoch == 2
    for relay in BOTH.relays:
        evidence = world.coordinator.data[keys.evidence(MX.name, relay)][0]
        assert evidence["epoch"] == 2 and evidence["downs"] <= 3


PLANS = {
    "power": (FencePlan(), "confirm"),
    "agent": (
        FencePlan((Level(LevelName.STORE_REVOCATION, timeout=20.0, address_withdrawal=Withdrawal.AGENT),)),
        "refuse",
    ),
}


def scene(name: str, crash_at: int | None) -> tuple[World, Pair]:
    plan, answer = PLANS[name]
    world = World(waiting=3)
    pair = Pair(world, plan)
    pair.run(5)
    world.switch.answer = answer
    if name == "power":
        world.up.discard("mail1")
    else:
        world.cut = {"mail1"}
    pair.run(80)
    for line in pair.lines.values():
        line.calls = 0
        line.crash_at = crash_at
    return world, pair


def calls_of(name: str) -> int:
    world, pair = scene(name, None)
    pair.run(60)
    assert world.owner.epoch == 2
    return max(line.calls for line in pair.lines.values())


CRASHES = [(name, call) for name in PLANS for call in range(1, calls_of(name) + 1)]


@pytest.mark.parametrize(("name", "call"), CRASHES)
def test_a_crash_of_either_at_any_call_is_ended_by_the_other(name: str, call: int) -> None:
    """Both are killed at that call of theirs, one after the other: in the middle of a run it is the invoker."""
    world, pair = scene(name, call)
    pair.run(400)
    assert (world.owner.host, world.owner.epoch) == ("mail2", 2)
    assert world.record.state is RunState.DONE and list(world.running) == ["mail2"]
    assert keys.lock(MX.name) not in world.coordinator.data
    assert world.published and world.published[-1] == ("mail2", 2)


faults = st.lists(
    st.tuples(
        st.sampled_from(
            ["die", "revive", "cut", "heal", "deny", "allow", "quorum1", "quorum2", "mail1", "mail2", "join"]
        ),
        st.sampled_from(["none", "relay1", "relay2"]),
        st.integers(1, 90),
    ),
    max_size=15,
)


@settings(max_examples=60, deadline=None)
@given(faults)
def test_never_two_owners_and_never_on_one_relays_word(sequence: list[tuple[str, str, int]]) -> None:
    world = World()
    pair = Pair(world)
    epochs = [1]

    def check() -> None:
        owner = world.owner
        assert owner.epoch in (epochs[-1], epochs[-1] + 1)
        if owner.epoch != epochs[-1]:
            epochs.append(owner.epoch)
            assert world.record.proof is not None
            assert "lease lost" in world.record.reason or "agrees" in world.record.reason
        assert len({h for h in world.running if world.access and world.access.admitted == h}) <= 1

    world.clock.on_sleep.append(check)
    for fault, crash, seconds in sequence:
        match fault:
            case "die":
                world.up.discard(world.owner.host)
            case "revive":
                world.up.update({"mail1", "mail2"})
            case "cut":
                world.cut.add(world.owner.host)
            case "heal":
                world.cut.clear()
            case "deny":
                world.switch.answer = "refuse"
            case "allow":
                world.switch.answer = "confirm"
            case "quorum1" | "quorum2":
                pair.lines[f"relay{fault[-1]}"].quorum = False
            case "mail1" | "mail2":
                pair.lines[f"relay{fault[-1]}"].mail = False
            case "join":
                for line in pair.lines.values():
                    line.quorum = line.mail = True
        if crash != "none":
            pair.lines[crash].crash_at = pair.lines[crash].calls + seconds % 13 + 1
        pair.run(seconds)
    assert all(b == a + 1 for a, b in itertools.pairwise(epochs))
    assert isinstance(world.coordinator, FakeCoordinator)


def test_a_word_about_another_epoch_agrees_with_nobody() -> None:
    world = World()
    pair = Pair(world)
    world.cut = {"mail1"}
    pair.lines["relay1"].quorum = False

    def says() -> None:
        word = {"relay": "relay1", "time": world.clock.time, "passed": True, "epoch": 7}
        world.coordinator._put(keys.evidence(MX.name, "relay1"), word)

    world.clock.on_sleep.append(says)
    pair.run(600)
    assert world.owner.epoch == 1 and world.said("second_evidence_missing")

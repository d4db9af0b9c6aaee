"""Levels of a fence plan: what each proves, what it does not, and that the next one is tried."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from holdfast.core import keys
from holdfast.core.fencing import ConfirmedOff, FencePlan, Level, LevelName, Mark, MarkState, Watchdog, Withdrawal
from holdfast.core.locked_run import Timeouts
from holdfast.core.model import Run, RunState
from holdfast.core.ports import LockLost
from holdfast.core.takeover import abandoned, read_choice, read_state, unfinished
from hypothesis import given, settings
from hypothesis import strategies as st
from world import MX, FakeSwitch, World

POWER, OPERATOR = Level(LevelName.POWER), Level(LevelName.OPERATOR)
WATCHDOG = Level(LevelName.WATCHDOG, margin=5.0)
BY_AGENT = Level(LevelName.STORE_REVOCATION, timeout=20.0, address_withdrawal=Withdrawal.AGENT)
BY_ROUTES = Level(LevelName.STORE_REVOCATION, timeout=20.0, address_withdrawal=Withdrawal.ROUTES)
DOG = Watchdog("", True, "hardware", 30.0, 0.0, True)


def plan(*levels: Level) -> FencePlan:
    return FencePlan(levels)


def tried(run: Run) -> list[tuple[str, str]]:
    """Level and result of each fence step."""
    found = []
    for step in run.steps:
        if step.name == "fence":
            proved = run.proof.level if run.proof else "?"
            found.append((step.detail.partition(":")[0] if step.result == "unknown" else proved, step.result))
    return found


def lose(world: World, host: str = "mail1") -> None:
    """The host goes on and is heard of no more."""
    world.alone.add(host)
    world.clock.sleep(16)


def confirm(world: World, epoch: int = 1, boot: str = "mail1-boot-1") -> None:
    record = dataclasses.replace(DOG, armed=False, boot_id="mail1-boot-1")
    world.coordinator._put(keys.watchdog("mail1"), record.to_json())
    word = ConfirmedOff("anna", "pulled the plug", world.clock.time, boot, {MX.name: epoch})
    world.coordinator._put(keys.confirmed_off("mail1"), word.to_json())


# --- power --------------------------------------------------------------------------------------------------------


def test_a_level_that_is_not_certain_gives_way_to_the_next_and_both_are_recorded() -> None:
    world = World()
    world.switch.answer = "refuse"
    run = world.takeover(plan=plan(POWER, BY_AGENT)).execute("test", 1)
    assert run.state is RunState.DONE
    assert tried(run) == [("power", "unknown"), ("store_revocation", "proved")]
    assert "mail1 refused" in run.steps[1].detail
    assert world.owner.host == "mail2" and list(world.running) == ["mail2"]


def test_no_level_proved_holds_and_says_why_of_each() -> None:
    world = World()
    world.switch.answer = "uncertain"
    run = world.takeover(plan=plan(POWER, WATCHDOG, OPERATOR)).execute("test", 1)
    assert run.state is RunState.HELD and run.proof is None and world.owner.epoch == 1
    for word in ("power: lab-switch: connection lost", "watchdog: mail1 keeps its lease", "operator: no operator"):
        assert word in run.steps[-1].detail


def test_a_plan_names_the_device() -> None:
    world = World()
    other = FakeSwitch(world, "other")
    takeover = world.takeover(plan=plan(Level(LevelName.POWER, device="other")))
    takeover.ports = dataclasses.replace(takeover.ports, switches={"mail1": [world.switch, other]})
    run = takeover.execute("test", 1)
    assert run.proof is not None and run.proof.method == "other"
    world = World()
    run = world.takeover(plan=plan(Level(LevelName.POWER, device="gone"))).execute("test", 1)
    assert run.state is RunState.HELD and "gone is no fence device that knows mail1" in run.steps[-1].detail


def test_a_host_has_its_own_plan() -> None:
    world = World()
    run = world.takeover(plan=FencePlan((POWER,), {"mail1": (OPERATOR,)})).execute("test", 1)
    assert run.state is RunState.HELD and "mail1" in world.up and tried(run) == [("operator", "unknown")]


def test_lock_and_owner_are_read_again_before_every_level() -> None:
    """The first level takes so long that the lock is gone: the second one must not act."""
    world = World()
    slow, second = FakeSwitch(world, "slow", "refuse"), FakeSwitch(world, "second")
    refuse = slow.off

    def off(host: str) -> str:
        world.clock.time += 120
        return refuse(host)

    slow.off = off  # type: ignore[method-assign]
    for levels in ([Level(LevelName.POWER, "slow"), Level(LevelName.POWER, "second")], [POWER]):
        takeover = world.takeover(plan=plan(*levels))
        takeover.ports = dataclasses.replace(takeover.ports, switches={"mail1": [slow, second]})
        with pytest.raises(LockLost):
            takeover.execute("test", 1)
        assert "mail1" in world.up
        world.clock.sleep(61)


def test_the_order_stands_before_the_act_with_run_and_epoch() -> None:
    world = World()
    seen: list[Mark] = []
    off = world.switch.off

    def watched(host: str) -> str:
        seen.append(Mark.from_json(world.coordinator.data[keys.fence(host, MX.name)][0]))
        return off(host)

    world.switch.off = watched  # type: ignore[method-assign]
    run = world.takeover().execute("test", 1)
    (order,) = seen
    assert (order.run, order.epoch, order.state, order.boot_id) == (run.run, 1, MarkState.ORDERED, "mail1-boot-1")
    after = Mark.from_json(world.coordinator.data[keys.fence("mail1", MX.name)][0])
    assert (after.state, after.level) == (MarkState.PROVED, "power")


# --- store and address --------------------------------------------------------------------------------------------


def test_a_store_that_shuts_the_owner_out_proves_nothing_while_the_address_may_answer() -> None:
    world = World()
    level = Level(LevelName.STORE_REVOCATION, timeout=5.0)
    run = world.takeover(plan=plan(level)).execute("test", 1)
    assert run.state is RunState.HELD and "names no address_withdrawal" in run.steps[-1].detail
    assert world.access is not None and world.access.admitted == "mail1", "the store was not touched"


def test_an_agent_that_does_not_stop_is_no_withdrawn_address_and_the_owner_is_let_in_again() -> None:
    world = World(deaf=True)
    run = world.takeover(plan=plan(BY_AGENT)).execute("test", 1)
    assert run.state is RunState.HELD and "the agent on mail1 says running at epoch 1" in run.steps[-1].detail
    assert run.revoke_epoch == 0
    world.clock.sleep(1)
    assert world.access is not None and world.access.admitted == "mail1" and world.owner.epoch == 1


def test_an_agent_that_is_not_heard_confirms_nothing_and_the_store_is_not_touched() -> None:
    world = World()
    lose(world)
    run = world.takeover(plan=plan(BY_AGENT)).execute("test", 1)
    assert run.state is RunState.HELD and "no live lease" in run.steps[-1].detail
    assert world.access is not None and world.access.admitted == "mail1"


def test_the_store_must_drop_the_host_too() -> None:
    world = World()
    takeover = world.takeover(plan=plan(BY_AGENT))
    step = world.step

    def no_drop() -> None:
        step()
        if world.access is not None and world.access.dropped:
            data = {**world.access.to_json(), "dropped": []}
            world.coordinator._put(keys.access(MX.store, MX.name), data)

    world.clock.on_sleep[:] = [no_drop]
    run = takeover.execute("test", 1)
    assert run.state is RunState.HELD and "firewall does not drop mail1" in run.steps[-1].detail


def test_routes_confirm_the_address() -> None:
    world = World(announced=set())
    lose(world)
    run = world.takeover(plan=plan(BY_ROUTES)).execute("test", 1)
    assert run.state is RunState.DONE and run.proof is not None and "no path over any route" in run.proof.detail
    assert world.access is not None and world.access.dropped == ("mail1",), "it may still run: it stays dropped"
    world = World(announced={"mail1"})
    lose(world)
    run = world.takeover(plan=plan(BY_ROUTES)).execute("test", 1)
    assert run.state is RunState.HELD and "a path to mail1 is announced" in run.steps[-1].detail
    assert world.access is not None and world.access.admitted == "mail1"


def test_a_revocation_with_a_proof_behind_it_is_not_taken_back() -> None:
    world = World(store_up=False)
    assert world.takeover(Timeouts(revoke=5)).execute("test", 1).revoke_epoch == 1
    world.store_up = True
    world.switch.answer = "refuse"
    run = world.takeover(plan=plan(POWER, BY_AGENT, OPERATOR)).execute("again", 1)
    assert run.state is RunState.HELD and run.revoke_epoch == 1


# --- watchdog -----------------------------------------------------------------------------------------------------


def with_dog(**changes: object) -> World:
    world = World()
    world.watchdogs["mail1"] = dataclasses.replace(DOG, **changes)  # type: ignore[arg-type]
    world.step()
    return world


def test_a_lost_lease_and_the_watchdogs_time_are_a_proof() -> None:
    world = with_dog()
    lose(world)
    begin = world.clock.time
    world.clock.on_sleep.append(lambda: world.up.discard("mail1") if world.clock.time - begin > 30 else None)
    run = world.takeover(plan=plan(WATCHDOG)).execute("test", 1)
    assert run.state is RunState.DONE and run.proof is not None and run.proof.level == "watchdog"
    fence = next(s for s in run.steps if s.name == "fence")
    assert fence.end is not None and fence.end - fence.start >= 35.0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"armed": False}, "not armed"),
        ({"kind": "softdog"}, "only the kernel's softdog"),
        ({"stops_alone": False}, "does not stop by itself"),
        ({"timeout": 116.0}, "needs 121 s, the plan gives 120 s"),
    ],
)
def test_no_watchdog_that_counts(changes: dict[str, object], why: str) -> None:
    world = with_dog(**changes)
    lose(world)
    run = world.takeover(plan=plan(WATCHDOG)).execute("test", 1)
    assert run.state is RunState.HELD and why in run.steps[-1].detail and world.owner.epoch == 1


def test_a_watchdog_that_was_never_recorded() -> None:
    world = World()
    lose(world)
    run = world.takeover(plan=plan(WATCHDOG)).execute("test", 1)
    assert run.state is RunState.HELD and "never recorded a watchdog" in run.steps[-1].detail


def test_a_lease_that_is_back_ends_the_wait() -> None:
    world = with_dog()
    lose(world)
    begin = world.clock.time
    world.clock.on_sleep.insert(0, lambda: world.alone.clear() if world.clock.time - begin > 20 else None)
    run = world.takeover(plan=plan(WATCHDOG)).execute("test", 1)
    assert run.state is RunState.HELD and "mail1 keeps its lease" in run.steps[-1].detail


def test_a_lease_taken_and_lost_while_the_invoker_slept_is_noticed() -> None:
    """The lease is missing at both looks; only the record beside it tells that there was one in between."""
    world = with_dog()
    lose(world)
    slept = {"n": 0}

    def sleeps() -> None:
        if not slept["n"]:
            slept["n"] = 1
            world.clock.time += 40  # the invoker stood still; its lock lives that long
            world.coordinator._put(keys.watchdog("mail1"), dataclasses.replace(DOG, boot_id="mail1-boot-1").to_json())

    world.clock.on_sleep.insert(0, sleeps)
    run = world.takeover(plan=plan(WATCHDOG)).execute("test", 1)
    assert run.state is RunState.HELD and "has taken a lease meanwhile" in run.steps[-1].detail
    assert world.owner.epoch == 1


# --- operator -----------------------------------------------------------------------------------------------------


def test_an_operators_word_is_a_level_with_who_and_when() -> None:
    world = World()
    world.up.discard("mail1")
    world.switch.answer = "refuse"
    world.clock.sleep(16)
    confirm(world)
    run = world.takeover().execute("test", 1)
    assert run.state is RunState.DONE and run.proof is not None
    assert (run.proof.level, run.proof.method) == ("operator", "anna") and "pulled the plug" in run.proof.detail


def test_an_operators_word_does_not_hold_against_a_live_lease() -> None:
    world = World()
    world.switch.answer = "refuse"
    confirm(world)
    run = world.takeover().execute("test", 1)
    assert run.state is RunState.HELD and "it has a live lease" in run.steps[-1].detail


def test_an_operators_word_holds_for_one_epoch_and_one_boot() -> None:
    for epoch, boot, why in ((2, "mail1-boot-1", "epoch other than 1"), (1, "mail1-boot-0", "been started since")):
        world = World()
        world.up.discard("mail1")
        world.switch.answer = "refuse"
        world.clock.sleep(16)
        confirm(world, epoch, boot)
        run = world.takeover().execute("test", 1)
        assert run.state is RunState.HELD and why in run.steps[-1].detail


# --- who is no candidate ------------------------------------------------------------------------------------------


def choice(world: World) -> str:
    chosen = read_choice(world.coordinator, MX, world.owner, world.clock.time, None)
    return chosen.host or chosen.reasons()


def mark(world: World, state: MarkState, level: str = "watchdog", boot: str = "mail2-boot-1") -> None:
    value = Mark("run-x", "other.example", 1, level, state, boot, world.clock.time).to_json()
    world.coordinator._put(keys.fence("mail2", "other.example"), value)


def test_a_fenced_host_is_no_candidate_until_it_has_been_started_anew() -> None:
    world = World()
    mark(world, MarkState.PROVED)
    assert "fenced for other.example by watchdog (run run-x)" in choice(world)
    world.up.discard("mail2")
    world.clock.sleep(1)
    world.up.add("mail2")
    world.clock.sleep(1)
    assert choice(world) == "mail2"


def test_a_host_that_is_being_fenced_is_no_candidate_while_that_run_lives() -> None:
    world = World()
    mark(world, MarkState.ORDERED)
    assert choice(world) == "mail2", "nobody holds the lock of that run any more"
    world.coordinator.lock(keys.lock("other.example"), {"run": "run-x", "invoker": "relay1"}, 60)
    assert "is being fenced for other.example" in choice(world)
    mark(world, MarkState.OPEN)
    assert choice(world) == "mail2"


def test_without_knowledge_of_the_boot_only_power_ends_with_the_lease() -> None:
    world = World()
    mark(world, MarkState.PROVED, "power", "")
    assert choice(world) == "mail2"
    mark(world, MarkState.PROVED, "store_revocation", "")
    assert "fenced for other.example" in choice(world)


# --- crashes ------------------------------------------------------------------------------------------------------


class Crash(BaseException):
    pass


PLANS = {
    "power": ((POWER,), "confirm"),
    "agent": ((POWER, BY_AGENT), "refuse"),
    "watchdog": ((POWER, WATCHDOG, OPERATOR), "refuse"),
    "operator": ((POWER, OPERATOR), "refuse"),
}


def scene(name: str) -> tuple[World, FencePlan]:
    levels, answer = PLANS[name]
    world = with_dog() if name == "watchdog" else World()
    world.waiting = 5
    world.switch.answer = answer
    if name in ("watchdog", "operator"):
        world.up.discard("mail1")
        world.clock.sleep(16)
    if name == "operator":
        confirm(world)
    return world, FencePlan(levels)


def calls_of(name: str) -> int:
    world, levels = scene(name)
    before = world.coordinator.calls
    assert world.takeover(plan=levels).execute("test", 1).state is RunState.DONE
    return world.coordinator.calls - before


CRASHES = [(name, call) for name in PLANS for call in range(1, calls_of(name) + 1)]


@pytest.mark.parametrize(("name", "call"), CRASHES)
def test_a_crash_at_any_call_of_any_level_is_finished_by_the_next(name: str, call: int) -> None:
    world, levels = scene(name)
    base = world.coordinator.calls

    def crash(n: int) -> None:
        if n - base == call:
            raise Crash

    world.coordinator.before_call = crash
    with pytest.raises(Crash):
        world.takeover(plan=levels).execute("test", 1)
    world.coordinator.before_call = lambda n: None
    world.clock.sleep(61)
    state = read_state(world.coordinator, MX.name)
    assert state.owner is not None
    if unfinished(state):
        world.takeover(plan=levels).finish()
    elif state.owner.epoch == 1:
        if state.run is not None and (state.run.proof is not None or state.run.revoke_epoch):
            assert abandoned(state), "an owner that was shut out must not be left so"
        world.takeover(plan=levels).execute("again", 1)
    assert (world.owner.host, world.owner.epoch) == ("mail2", 2)
    assert world.record.state is RunState.DONE and list(world.running) == ["mail2"]
    assert world.flushed == 5


level_of = st.sampled_from([POWER, OPERATOR, WATCHDOG, BY_AGENT, BY_ROUTES, Level(LevelName.STORE_REVOCATION)])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(level_of, max_size=5),
    st.sampled_from(["confirm", "refuse", "uncertain"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, set(), {"mail1"}]),
)
def test_whatever_the_plan_no_new_owner_while_the_old_one_can_act(
    levels: list[Level], answer: str, heard: bool, deaf: bool, dog: bool, worded: bool, announced: set[str] | None
) -> None:
    """mail1 runs on. What fences it is real: power ends it, the watchdog ends it when it is heard no more."""
    world = with_dog() if dog else World()
    world.switch.answer, world.deaf, world.announced = answer, deaf, announced
    if not heard:
        lose(world)
        if dog:
            end = world.clock.time + DOG.timeout
            world.clock.on_sleep.insert(0, lambda: world.up.discard("mail1") if world.clock.time >= end else None)
    if worded:
        # An operator who confirms has pulled the plug.
        world.up.discard("mail1")
        world.clock.sleep(1)
        confirm(world)
    run = world.takeover(plan=FencePlan(tuple(levels))).execute("test", 1)
    if world.owner.epoch == 2:
        assert run.proof is not None and run.proof.level in {level.level for level in levels}
        assert world.access is not None and world.access.admitted == "mail2"
        down = "mail1" not in world.up or "mail1" not in world.running
        # By effect: it is off, or has stopped, or nobody can reach it and its files are closed to it.
        assert down or (announced == set() and "mail1" in world.access.dropped)
    else:
        assert run.state is RunState.HELD and run.proof is None and run.revoke_epoch == 0
    results = [r for _, r in tried(run)]
    assert all(r == "unknown" for r in results[:-1]) and all(a != "proved" for a, _ in itertools.pairwise(results))

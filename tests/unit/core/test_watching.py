"""The monitor over virtual time: when it asks for a takeover, and when it must not."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from holdfast.core import keys
from holdfast.core.fencing import FencePlan, Level, LevelName, Withdrawal
from holdfast.core.locked_run import Timeouts
from holdfast.core.model import Attempt, Identity, Method, Owner, Phase, Report, Result, Route, Run, RunState
from holdfast.core.ports import Unavailable
from holdfast.core.takeover import Takeover
from holdfast.core.threshold import Threshold
from holdfast.core.watching import APART, CALM, LATE, Watch, make_round
from hypothesis import given, settings
from hypothesis import strategies as st
from world import MX, ROUTES, World

DEFAULT = Threshold(4, 120)


def fail(world: World, host: str) -> None:
    world.up.discard(host)


def test_a_dead_owner_is_taken_over_after_the_fourth_attempt_and_mail_flows() -> None:
    world = World(waiting=9)
    watch = world.watch(DEFAULT)
    world.let_run(watch, 45)
    world.waiting = 9
    fail(world, "mail1")
    world.let_run(watch, 130)
    assert (world.owner.host, world.owner.epoch) == ("mail2", 2)
    assert world.record.state is RunState.DONE and world.record.reason == "4 of 4 attempts down; lease lost"
    world.let_run(watch, 300)
    assert world.owner.epoch == 2 and world.waiting == 0


def test_attempts_alternate_between_the_routes() -> None:
    world = World()
    fail(world, "mail1")
    world.switch.answer = "refuse"
    world.let_run(world.watch(DEFAULT, (Method.PROBE,)), 200)
    routes = [a.route for a in world.attempts]
    assert len(routes) >= 6
    assert all(a != b for a, b in itertools.pairwise(routes))


def test_a_delivery_over_another_route_is_no_answer_for_the_one_that_was_asked_for() -> None:
    class Stuck:
        """Postfix's resolver keeps to one route."""

        def topology(self, identity: Identity, route: Route) -> Attempt:
            return Attempt(Method.TOPOLOGY, route.name, Result.OK, 0.0, 1.0)

        def deliver(self, identity: Identity, route: Route) -> Attempt | None:
            return Attempt(Method.DELIVERY, "isolated", Result.DOWN, 1.0, 2.0)

        def probe(self, identity: Identity, route: Route) -> Attempt:
            return Attempt(Method.PROBE, route.name, Result.OK, 2.0, 3.0)

    made = {r.name: [(a.method, a.route) for a in make_round(Stuck(), MX, r, tuple(Method))] for r in ROUTES}
    assert made["isolated"] == [(Method.TOPOLOGY, "isolated"), (Method.DELIVERY, "isolated")]
    assert made["internet"][1:] == [(Method.DELIVERY, "isolated"), (Method.PROBE, "internet")]
    alone = make_round(Stuck(), MX, next(r for r in ROUTES if r.name == "internet"), (Method.DELIVERY,))
    assert [(a.method, a.route) for a in alone] == made["internet"][1:]


def test_each_method_alone_finds_a_dead_server() -> None:
    for method in Method:
        world = World(waiting=1)
        fail(world, "mail1")
        world.let_run(world.watch(DEFAULT, (method,)), 130)
        assert world.owner.host == "mail2", method


def test_one_dead_route_is_no_outage() -> None:
    world = World()
    world.routes_down = {"internet"}
    world.let_run(world.watch(DEFAULT), 1200)
    assert world.owner.epoch == 1 and "mail1" in world.up


def test_the_relay_alone_never_triggers_while_the_lease_lives() -> None:
    world = World()
    world.cut = {"mail1"}
    world.let_run(world.watch(DEFAULT), 1200)
    assert world.owner.epoch == 1 and "mail1" in world.up
    assert world.said("second_evidence_missing")


def cut_off_for_both(world: World) -> Watch:
    """Neither relay reaches the owner, which keeps its lease; relay1 goes on saying so."""
    world.cut = {"mail1"}
    watch = world.watch(DEFAULT)
    watch.identity = dataclasses.replace(MX, relays=("relay2", "relay1"))

    def agrees() -> None:
        word = {"relay": "relay1", "time": world.clock.time, "passed": True, "epoch": 1}
        world.coordinator._put(keys.evidence(MX.name, "relay1"), word)

    world.clock.on_sleep.append(agrees)
    return watch


def test_a_second_relay_that_agrees_is_enough() -> None:
    world = World()
    world.let_run(cut_off_for_both(world), 130)
    assert world.owner.host == "mail2" and "relay1 agrees" in world.record.reason


def test_an_owner_that_is_starting_is_left_to_it_while_it_keeps_its_lease() -> None:
    """A long queue takes its time to adopt: to take the identity away would begin that anew."""
    world, epoch = World(), 1
    watch = cut_off_for_both(world)

    def starting() -> None:
        report = Report("mail1", epoch, Phase.STARTING, world.clock.time)
        world.coordinator._put(keys.report("mail1", MX.name), report.to_json())

    world.clock.on_sleep.append(starting)
    world.let_run(watch, 600)
    assert world.owner.epoch == 1 and world.said("second_evidence_missing")
    epoch = 0  # what it once said of an earlier epoch is no word about this one
    world.let_run(watch, 40)
    assert world.owner.host == "mail2" and "relay1 agrees" in world.record.reason


def test_an_owner_that_has_just_started_is_tried_before_it_is_blamed() -> None:
    """Both relays are past their thresholds when it says that it runs: what they have seen is of the time before."""
    world, phase = World(), Phase.STARTING
    watch = cut_off_for_both(world)

    def says() -> None:
        report = Report("mail1", 1, phase, world.clock.time)
        world.coordinator._put(keys.report("mail1", MX.name), report.to_json())

    world.clock.on_sleep.append(says)
    world.let_run(watch, 200)
    assert world.owner.epoch == 1 and world.said("second_evidence_missing")
    world.cut, phase = set(), Phase.RUNNING
    world.let_run(watch, 300)
    assert world.owner.epoch == 1 and "mail1" in world.up
    world.cut = {"mail1"}  # and one that fails afterwards is taken over
    world.let_run(watch, 200)
    assert world.owner.host == "mail2" and "relay1 agrees" in world.record.reason


def test_an_owner_that_serves_before_both_are_past_their_thresholds_is_tried_before_it_is_blamed() -> None:
    """It started while one relay counted. When the other one passes, too, what both have seen is of that time."""
    world, phase, passed = World(), Phase.STARTING, False
    watch = cut_off_for_both(world)
    world.clock.on_sleep.pop()

    def say() -> None:
        report = Report("mail1", 1, phase, world.clock.time)
        world.coordinator._put(keys.report("mail1", MX.name), report.to_json())
        word = {"relay": "relay1", "time": world.clock.time, "passed": passed, "epoch": 1, "verdict": "down"}
        world.coordinator._put(keys.evidence(MX.name, "relay1"), {**word, "attempts": []})

    world.clock.on_sleep.append(say)
    while not world.said("second_evidence_missing"):
        world.let_run(watch, 5)
    world.cut, phase, passed = set(), Phase.RUNNING, True
    world.let_run(watch, 300)
    assert world.owner.epoch == 1 and "mail1" in world.up


def test_a_held_run_leaves_a_living_owner_the_time_to_start() -> None:
    """While it lasts it keeps a host that is back from its work: begun anew at once it would do so for good."""
    world = World()
    watch = cut_off_for_both(world)
    level = Level(LevelName.STORE_REVOCATION, timeout=60.0, address_withdrawal=Withdrawal.AGENT)
    watch.takeover = world.takeover(plan=FencePlan((level,)))
    world.store_up = False
    world.let_run(watch, 600)
    runs = [Run.from_json(e.value) for e in world.coordinator.list(keys.runs(MX.name)).values() if e.value]
    assert len(runs) > 2 and all(r.state is RunState.HELD for r in runs)
    pauses = [after.steps[0].start - before.steps[-1].end for before, after in itertools.pairwise(runs)]
    assert min(pauses) >= watch.settings.pause


def test_back_before_the_threshold_changes_nothing() -> None:
    world = World()
    watch = world.watch(DEFAULT)
    fail(world, "mail1")
    world.waiting = 4
    world.let_run(watch, 70)
    world.up.add("mail1")
    world.let_run(watch, 600)
    assert world.owner.epoch == 1 and world.waiting == 0
    assert keys.takeover(MX.name) not in world.coordinator.data


def test_the_operators_flag_skips_the_wait_but_not_the_fence() -> None:
    world = World()
    watch = world.watch(DEFAULT)
    world.switch.answer = "refuse"
    world.coordinator._put(keys.inoperable(MX.name), {"by": "op", "reason": "", "time": 0, "epoch": 1})
    world.let_run(watch, 40)
    assert world.owner.epoch == 1 and world.record.state is RunState.HELD
    world.switch.answer = "confirm"
    world.let_run(watch, 40)
    assert (world.owner.host, world.owner.epoch) == ("mail2", 2)
    world.up.add("mail1")
    world.let_run(watch, 300)
    assert world.owner.epoch == 2, "the flag was set against the owner of epoch 1"


def test_watches_of_one_host_look_at_the_same_moments() -> None:
    """So that one read of the coordinator answers all of them, whenever each of them began."""

    def looks(begins: float) -> list[float]:
        world = World()
        since = world.clock.boottime()
        world.clock.sleep(begins)
        watch, moments = world.watch(DEFAULT), []
        while (now := world.clock.boottime()) < since + 29:  # before the second round, whose moment is its own
            before = world.coordinator.calls
            watch.tick()
            if world.coordinator.calls > before and now > since + 6:
                moments.append(now)
            world.clock.sleep(1.0)
        return moments

    found = looks(0)
    assert len(found) in {4, 5} and looks(2) == looks(4) == found


def test_looks_are_rarer_while_all_is_well() -> None:
    """Each look costs every member of the coordinator; in an outage a second lost is a second without service."""

    def looks(seconds: float) -> int:
        before = world.coordinator.calls
        world.let_run(watch, seconds)
        return world.coordinator.calls - before

    world = World()
    world.switch.answer = "refuse"
    watch = world.watch(DEFAULT)
    world.let_run(watch, 31)
    calm = looks(30)
    fail(world, "mail1")
    world.let_run(watch, 31)
    assert looks(30) > 2 * calm
    world.up.add("mail1")
    world.let_run(watch, 61)
    assert looks(30) == calm


def test_a_restarted_monitor_goes_on_counting() -> None:
    world = World()
    fail(world, "mail1")
    world.let_run(world.watch(DEFAULT), 65)  # attempts at 0, 30 and 60 s
    before = world.clock.time
    # But for the time in which a lease that it finds lost may be on its way back.
    world.let_run(world.watch(DEFAULT), APART + 5)
    assert world.owner.epoch == 2 and world.clock.time - before < 20


def test_a_route_that_the_inventory_has_no_more_keeps_nobody_from_taking_over() -> None:
    world = World()
    world.let_run(world.watch(DEFAULT), 5)
    key = keys.evidence(MX.name, "relay2")
    value = dict(world.coordinator.get(key).value or {})
    world.coordinator._put(key, {**value, "words": {**value["words"], "dial-up": "ok"}, "failing": {"dial-up": 0}})
    fail(world, "mail1")
    watch = world.watch(DEFAULT)
    world.let_run(watch, 130)
    assert world.owner.epoch == 2
    assert watch.evidence is not None and "dial-up" not in {*watch.evidence.words, *watch.evidence.failing}


def test_a_refused_fence_is_tried_again_and_mail_is_kept() -> None:
    world = World()
    world.switch.answer = "refuse"
    watch = world.watch(DEFAULT)
    fail(world, "mail1")
    world.waiting = 6
    world.let_run(watch, 400)
    assert world.owner.epoch == 1 and world.waiting == 6
    world.switch.answer = "confirm"
    world.let_run(watch, 60)
    assert world.owner.epoch == 2 and world.waiting == 0


def test_without_quorum_the_relay_holds_and_what_it_saw_counts_afterwards() -> None:
    world = World()
    watch = world.watch(DEFAULT)
    world.let_run(watch, 5)
    fail(world, "mail1")
    world.coordinator.reachable = False
    world.let_run(watch, 300)
    assert world.owner.epoch == 1
    world.coordinator.reachable = True
    world.let_run(watch, 60)
    assert world.owner.epoch == 2


def test_an_owner_that_was_cut_off_with_everybody_else_is_tried_before_its_lease_counts() -> None:
    """All lines were down, and are back: the relay asks for leases before the owner has its own again."""
    world = World()
    watch = world.watch(DEFAULT)
    world.let_run(watch, 5)
    world.cut, world.alone, world.coordinator.reachable = {"mail1"}, {"mail1"}, False
    world.let_run(watch, 300)
    world.coordinator.reachable = True
    world.coordinator._put(keys.report("mail1", MX.name), Report("mail1", 1, Phase.RUNNING, world.clock.time).to_json())
    world.let_run(watch, 8)
    assert keys.lease("mail1") not in world.coordinator.data
    world.cut, world.alone = set(), set()
    world.let_run(watch, 300)
    assert world.owner.epoch == 1 and "mail1" in world.up and not world.said("takeover_asked")


@pytest.mark.parametrize("late", [False, True])
def test_an_owner_whose_renewals_come_late_on_a_starved_machine_is_none_that_lost_its_lease(late: bool) -> None:
    """Its lease is away for a moment again and again; or, with `late`, all answers of the coordinator are slow."""
    world = World()
    watch = world.watch(DEFAULT)
    world.let_run(watch, 5)
    world.cut, away = {"mail1"}, [0]

    def renews() -> None:
        away[0] += 1
        world.alone = {"mail1"} if late or away[0] % 30 >= 7 else set()

    world.clock.on_sleep.append(renews)
    if late:
        world.coordinator.before_call = lambda n: world.clock.sleep(LATE + 1)
    world.let_run(watch, 400)
    assert world.owner.epoch == 1 and "mail1" in world.up and not world.said("takeover_asked")
    assert world.said("second_evidence_missing")


def test_nobody_is_fenced_for_what_he_was_never_told_to_serve() -> None:
    """A deploy has named the owner and not got as far as its agent; relays watch already."""
    world = World(up={"mail2"})
    assert keys.report("mail1", MX.name) not in world.coordinator.data
    watch = world.watch(DEFAULT)
    world.let_run(watch, 400)
    assert world.owner.epoch == 1 and world.said("never_served") and not world.said("takeover_asked")
    # An operator may know better.
    world.coordinator._put(keys.inoperable(MX.name), {"epoch": 1})
    world.let_run(watch, 60)
    assert world.owner.epoch == 2


def test_an_owner_that_died_while_nobody_had_a_coordinator_is_taken_over_behind_it() -> None:
    world = World()
    watch = world.watch(DEFAULT)
    world.let_run(watch, 5)
    world.coordinator.reachable = False
    world.let_run(watch, 300)
    fail(world, "mail1")
    world.coordinator.reachable = True
    world.let_run(watch, 200)
    assert (world.owner.host, world.owner.epoch) == ("mail2", 2)


def test_server_came_back_makes_a_round_at_once() -> None:
    world = World()
    watch = world.watch(DEFAULT)
    world.let_run(watch, 1)
    fail(world, "mail1")
    world.let_run(watch, 33)
    rounds = len(world.attempts)
    world.up.add("mail1")
    world.let_run(watch, 6)
    assert len(world.attempts) > rounds and world.attempts[-1].result is Result.OK


faults = st.lists(
    st.tuples(
        st.sampled_from(["die", "revive", "cut", "heal", "deny", "allow", "no_quorum", "quorum", "route", "routes"]),
        st.integers(1, 90),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(faults)
def test_never_two_owners_and_never_a_takeover_without_proof(sequence: list[tuple[str, int]]) -> None:
    world = World()
    watch = world.watch(DEFAULT)
    epochs = [1]

    def check() -> None:
        owner = world.owner
        assert owner.epoch in (epochs[-1], epochs[-1] + 1)
        if owner.epoch != epochs[-1]:
            epochs.append(owner.epoch)
            assert world.record.proof is not None and world.record.proof.host == world.record.from_host
        # Who could write to the store: at most the one host that it admits and that is up.
        assert len({h for h in world.running if world.access and world.access.admitted == h}) <= 1

    world.clock.on_sleep.append(check)
    for fault, seconds in sequence:
        match fault:
            case "die":
                fail(world, world.owner.host)
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
            case "no_quorum":
                world.coordinator.reachable = False
            case "quorum":
                world.coordinator.reachable = True
            case "route":
                world.routes_down = {"isolated"}
            case "routes":
                world.routes_down = set()
        world.let_run(watch, seconds)


class Crash(BaseException):
    """The invoker's process is gone."""


def crash_when(world: World, due: Callable[[], bool]) -> None:
    """Let the next run of an invoker die as soon as `due`, and wait until its lock has run out."""

    def before(call: int) -> None:
        if due():
            raise Crash

    world.coordinator.before_call = before
    with pytest.raises(Crash):
        world.takeover().execute("by hand", 1, automatic=False)
    world.coordinator.before_call = lambda call: None
    world.clock.sleep(61)


def record(world: World) -> dict[str, object]:
    return world.coordinator.data.get(keys.takeover(MX.name), ({},))[0]


def test_a_run_that_was_cut_off_behind_the_fence_is_taken_up_without_a_new_wait() -> None:
    world = World()
    crash_when(world, lambda: bool(record(world).get("proof")))
    assert world.owner.epoch == 1 and "mail1" not in world.up
    world.let_run(world.watch(DEFAULT), 10)
    assert world.owner.epoch == 2 and world.record.reason.startswith("goes on for run-")


def test_an_owner_that_came_back_is_not_fenced_for_a_run_whose_invoker_died() -> None:
    """It was off, nobody else was admitted, and somebody has switched it on again: it serves, and all reach it."""
    world = World()
    crash_when(world, lambda: bool(record(world).get("proof")))
    assert world.owner.epoch == 1 and record(world)["revoke_epoch"] == 0
    world.up.add("mail1")
    world.clock.sleep(20)
    assert world.serves("internet")
    world.let_run(world.watch(DEFAULT), 200)
    assert world.owner.epoch == 1 and "mail1" in world.up and record(world)["state"] == "held"
    world.up.discard("mail1")
    world.let_run(world.watch(DEFAULT), 300)
    assert world.owner.epoch == 2, "a new outage is one"


def test_a_run_that_was_cut_off_behind_own_is_finished() -> None:
    world = World(waiting=3)
    crash_when(world, lambda: world.owner.epoch == 2)
    assert world.published == []
    world.let_run(world.watch(DEFAULT), 10)
    assert world.owner.epoch == 2 and world.published == [("mail2", 2)] and world.record.state is RunState.DONE


def test_a_new_owner_starts_with_no_attempts_counted() -> None:
    world = World()
    watch = world.watch(Threshold(4, None))
    fail(world, "mail1")
    world.let_run(watch, 95)
    assert world.owner.epoch == 2
    world.up.add("mail1")
    fail(world, "mail2")
    world.let_run(watch, 60)
    assert world.owner.epoch == 2, "two or three attempts against the new owner are no threshold"
    world.let_run(watch, 60)
    assert world.owner.epoch == 3


def test_a_condition_is_told_once() -> None:
    world = World()
    world.cut = {"mail1"}
    world.let_run(world.watch(DEFAULT), 118)
    told = world.said("second_evidence_missing")
    assert len(told) == 1, told


def step_wall_clock(world: World, seconds: float) -> None:
    world.clock.now = lambda: world.clock.time + seconds  # type: ignore[method-assign]


def test_a_stepped_wall_clock_is_no_outage() -> None:
    world = World()
    watch = world.watch(Threshold(None, 120))
    world.let_run(watch, 5)
    fail(world, "mail1")
    world.let_run(watch, 40)
    assert watch.evidence is not None and watch.evidence.downs == 1
    step_wall_clock(world, 3600.0)
    world.let_run(watch, 60)
    assert not world.said("takeover_asked"), "a minute down, whatever the wall clock says"


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_stepped_wall_clock_hides_no_outage(step: float) -> None:
    world = World()
    watch = world.watch(Threshold(None, 120))
    world.let_run(watch, 5)
    fail(world, "mail1")
    world.let_run(watch, 40)
    step_wall_clock(world, step)
    world.let_run(watch, 60)
    assert not world.said("takeover_asked")
    world.let_run(watch, 60)
    assert world.said("takeover_asked")


def test_a_relay_that_stood_still_looks_again_before_it_judges() -> None:
    world = World()
    watch = world.watch(Threshold(None, 120))
    world.let_run(watch, 5)
    fail(world, "mail1")
    world.let_run(watch, 40)
    world.clock.time += 600.0
    world.step()
    world.let_run(watch, 100)
    assert world.owner.epoch == 1, "nobody looked for ten minutes"
    world.let_run(watch, 60)
    assert world.owner.epoch == 2


def test_a_round_that_a_standstill_stretched_counts_nothing() -> None:
    world = World()
    watch = world.watch(Threshold(1, None))
    world.let_run(watch, 5)
    fail(world, "mail1")
    probe = world.probe

    def stretched(identity: Identity, route: Route) -> Attempt:
        made = probe(identity, route)
        world.clock.time += 600.0
        return made

    watch.prober = world
    world.probe = stretched  # type: ignore[method-assign]
    world.let_run(watch, 26)
    assert watch.evidence is not None and watch.evidence.downs == 0


@pytest.mark.parametrize("rounds", [1, 0])
def test_attempts_from_before_a_change_of_owner_do_not_count_against_the_new_one(rounds: int) -> None:
    """Nor those of a monitor's first round."""
    world = World()
    watch = world.watch(Threshold(4, None))
    world.let_run(watch, 29 * rounds)
    fail(world, "mail1")
    probe = world.probe

    def meanwhile(identity: Identity, route: Route) -> Attempt:
        made = probe(identity, route)
        world.coordinator._put(keys.owner(MX.name), Owner("mail2", 2, "run-x", world.clock.time).to_json())
        return made

    world.probe = meanwhile  # type: ignore[method-assign]
    world.clock.sleep(1.0)
    watch.tick()
    assert watch.evidence is not None and (watch.evidence.epoch, watch.evidence.downs) == (2, 0)


def test_old_evidence_of_a_relay_whose_clock_is_ahead_is_no_second_evidence() -> None:
    world = World()
    world.cut = {"mail1"}
    watch = world.watch(DEFAULT)
    watch.identity = dataclasses.replace(MX, relays=("relay2", "relay1"))
    word = {"relay": "relay1", "time": world.clock.time + 3600, "passed": True, "epoch": 1}
    world.coordinator._put(keys.evidence(MX.name, "relay1"), word)
    world.let_run(watch, 20)
    world.coordinator._put(keys.evidence(MX.name, "relay1"), word | {"time": word["time"] + 20})  # the last
    world.let_run(watch, 600)
    assert world.owner.epoch == 1 and "mail1" in world.up


def test_an_owner_that_is_back_gets_the_access_again_that_a_held_run_has_withdrawn() -> None:
    world = World(store_up=False)
    fail(world, "mail1")
    assert world.takeover(Timeouts(revoke=5)).execute("test", 1).state is RunState.HELD
    world.store_up = True
    world.up.add("mail1")
    world.running.clear()
    watch = world.watch(DEFAULT)
    world.let_run(watch, 80)
    assert world.access is not None and world.access.admitted is None, "it was withdrawn as it was ordered"
    world.let_run(watch, 60)
    assert (world.owner.epoch, world.access.admitted, "mail1" in world.up) == (1, "mail1", True)
    assert world.record.state is RunState.HELD and world.record.steps[-1].name == "given_up"


def test_a_run_that_was_cut_off_before_the_fence_does_not_run_for_ever() -> None:
    world = World()
    crash_when(world, lambda: bool(record(world).get("steps")))
    assert world.record.state is RunState.RUNNING and "mail1" in world.up
    world.let_run(world.watch(DEFAULT), 10)
    assert world.record.state is RunState.HELD and world.owner.epoch == 1 and "mail1" in world.up


def test_a_relay_sends_what_it_holds_when_another_one_has_taken_over() -> None:
    world = World()
    watch = world.watch(DEFAULT, (Method.PROBE,))
    world.let_run(watch, 5)
    fail(world, "mail1")
    other = Takeover(MX, "relay1", ROUTES, world.takeover().ports)
    assert other.execute("asked of another relay", 1).state is RunState.DONE
    world.waiting, before = 9, world.flushed
    world.let_run(watch, 5)
    assert (world.flushed - before, world.waiting) == (9, 0)
    world.waiting = 3
    world.let_run(watch, 20)
    assert world.waiting == 3, "once for a takeover; what comes later goes its usual way"


def test_a_round_whose_evidence_could_not_be_shared_counts_once() -> None:
    world = World()
    watch = world.watch(DEFAULT, (Method.PROBE,))
    world.let_run(watch, 29)
    fail(world, "mail1")
    put = world.coordinator.put

    def cut_off(key: str, value: Mapping[str, Any], lease: int | None = None) -> None:
        raise Unavailable("no answer from any member")

    world.coordinator.put = cut_off  # type: ignore[method-assign]
    world.clock.sleep(1.0)
    watch.tick()
    world.coordinator.put = put  # type: ignore[method-assign]
    assert watch.evidence is not None and watch.evidence.downs == 1


def test_a_look_while_all_is_well_is_one_read() -> None:
    """Each costs every member of the coordinator, and a relay host watches a dozen identities."""
    world = World()
    watch = world.watch(DEFAULT)
    world.let_run(watch, 45)
    seen: list[tuple[int, str]] = []
    for _ in range(int(CALM) + 1):
        before, rounds = world.coordinator.calls, len(world.attempts)
        world.let_run(watch, 1)
        seen.append((world.coordinator.calls - before, "a round" if len(world.attempts) > rounds else ""))
    assert (1, "") in seen and not [calls for calls, what in seen if calls > 1 and not what], seen

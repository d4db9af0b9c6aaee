"""A takeover in the order of the design, and what it does when something does not answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from holdfast.core import keys
from holdfast.core.locked_run import Timeouts
from holdfast.core.model import Access, Attempt, Method, Owner, Phase, Readiness, Report, Result, Route, Run, RunState
from holdfast.core.ports import Lock, LockLost, Unavailable
from holdfast.core.takeover import HOUR, KEPT_RUNS, Limited, Refused, abandoned, read_state, unfinished
from world import MX, ROUTES, FakeSwitch, World


def names(world: World) -> list[str]:
    return [s.name for s in world.record.steps]


def test_steps_in_the_order_of_the_design() -> None:
    world = World(waiting=7)
    world.up.discard("mail1")
    run = world.takeover().execute("test", 1)
    assert run.state is RunState.DONE
    assert names(world) == ["candidate", "fence", "revoke", "own", "store", "started", "verify", "dns", "flush"]
    assert (world.owner.host, world.owner.epoch, world.owner.run) == ("mail2", 2, run.run)
    assert run.proof is not None and run.proof.host == "mail1" and run.proof.level == "power"
    assert world.published == [("mail2", 2)] and world.flushed == 7
    assert all(s.end is not None and s.end >= s.start for s in run.steps)
    assert keys.lock(MX.name) not in world.coordinator.data
    assert keys.run(MX.name, run.run) in world.coordinator.data


def test_a_living_owner_is_switched_off_before_anybody_else_owns() -> None:
    world = World()
    order: list[str] = []
    off = world.switch.off
    world.switch.off = lambda host: order.append(f"off {host}") or off(host)  # type: ignore[method-assign,func-returns-value]
    put = world.coordinator._put

    def watched(key: str, value: object, lease: int | None = None) -> None:
        if key == keys.owner(MX.name):
            order.append("own")
        put(key, value, lease)  # type: ignore[arg-type]

    world.coordinator._put = watched  # type: ignore[method-assign,assignment]
    world.takeover().execute("test", 1)
    assert order == ["off mail1", "own"]


@pytest.mark.parametrize("answer", ["refuse", "uncertain"])
def test_a_fence_that_is_not_confirmed_holds(answer: str) -> None:
    world = World(waiting=3)
    world.switch.answer = answer
    run = world.takeover().execute("test", 1)
    assert run.state is RunState.HELD and run.proof is None
    assert (world.owner.host, world.owner.epoch, world.waiting) == ("mail1", 1, 3)
    assert run.revoke_epoch == 0, "access is not withdrawn from a host that may still serve"
    world.switch.answer = "confirm"
    assert world.takeover().execute("again", 1).state is RunState.DONE


def test_nothing_is_fenced_without_a_candidate() -> None:
    world = World()
    world.up.discard("mail2")
    world.clock.sleep(20)
    run = world.takeover().execute("test", 1)
    assert run.state is RunState.HELD and "mail2: no live lease" in run.steps[-1].detail
    assert "mail1" in world.up and "fence" not in names(world)


def test_a_candidate_that_is_not_ready_is_skipped_with_its_reason() -> None:
    world = World()
    world.clock.on_sleep.clear()
    word = Readiness(False, ("store1 does not answer on 2049",), world.clock.time)
    world.coordinator._put(keys.ready("mail2", MX.name), word.to_json())
    run = world.takeover().execute("test", 1)
    assert run.state is RunState.HELD and "store1 does not answer on 2049" in run.steps[0].detail
    assert "mail1" in world.up


def test_a_candidate_without_a_word_about_being_ready_is_none() -> None:
    world = World()
    world.clock.on_sleep.clear()
    del world.coordinator.data[keys.ready("mail2", MX.name)]
    run = world.takeover().execute("test", 1)
    assert run.state is RunState.HELD and "mail2: its agent says nothing about being ready" in run.steps[0].detail
    assert "mail1" in world.up


@pytest.mark.parametrize("hours", [1, -1])
def test_a_candidate_whose_clock_is_off_by_an_hour_takes_over(hours: int) -> None:
    """Its word stands with its lease: when it was said, by a clock of its own, is not asked."""
    world = World()
    word = Readiness(True, (), world.clock.time + hours * 3600)
    world.coordinator._put(keys.ready("mail2", MX.name), word.to_json())
    assert world.takeover().execute("test", 1).to_host == "mail2"


def test_a_silent_store_holds_before_the_owner_changes() -> None:
    world = World(store_up=False)
    run = world.takeover(Timeouts(revoke=5)).execute("test", 1)
    assert run.state is RunState.HELD and world.owner.epoch == 1
    world.store_up = True
    world.clock.sleep(1)
    assert world.access is not None and world.access.admitted is None, "what was withdrawn stays withdrawn"
    assert world.takeover().execute("again", 1).state is RunState.DONE


class SlowStore(World):
    """Its word about a run takes 40 s. Each run is another order: a shorter wait would end none of them, for ever."""

    def step(self) -> None:
        record = self.coordinator.data.get(keys.takeover(MX.name))
        run = None if record is None else Run.from_json(record[0])
        ordered = run is not None and run.state is RunState.RUNNING and run.revoke_epoch > 0
        if not ordered:
            self.since = self.clock.time
        self.store_up = self.clock.time - self.since >= (40.0 if ordered else 0.0)
        super().step()


@pytest.mark.parametrize(("store", "state"), [(0.0, RunState.HELD), (20.0, RunState.DONE)])
def test_a_store_that_a_program_opens_and_closes_is_given_its_time(store: float, state: RunState) -> None:
    world = SlowStore()
    run = world.takeover(Timeouts(store=store)).execute("test", 1)
    assert run.state is state
    if state is RunState.HELD:
        assert run.steps[-1].detail == "store store1 did not confirm within 30 s"


def test_a_wrong_epoch_is_refused() -> None:
    world = World()
    with pytest.raises(Refused, match="epoch is 1, not 7"):
        world.takeover().execute("test", 7)
    assert "mail1" in world.up


def test_a_second_invoker_is_refused() -> None:
    world = World()
    world.coordinator.lock(keys.lock(MX.name), {"run": "x", "invoker": "relay1"}, 60)
    with pytest.raises(Refused, match="under way"):
        world.takeover().execute("test", 1)
    assert "mail1" in world.up


def test_without_quorum_nothing_happens() -> None:
    world = World()
    world.coordinator.reachable = False
    with pytest.raises(Unavailable):
        world.takeover().execute("test", 1)
    assert "mail1" in world.up


def test_an_invoker_that_slept_through_its_lock_fences_nobody() -> None:
    world = World()
    takeover = world.takeover(Timeouts(lock=10))
    seen = {"n": 0}

    def sleeps(call: int) -> None:
        record = world.coordinator.data.get(keys.takeover(MX.name))
        if record is not None and not seen["n"]:
            seen["n"] = 1
            world.clock.time += 60  # paused between the choice of a candidate and the fence

    world.coordinator.before_call = sleeps
    with pytest.raises(LockLost):
        takeover.execute("test", 1)
    assert "mail1" in world.up and world.owner.epoch == 1


def test_an_invoker_that_stands_still_while_it_gives_the_order_fences_nobody() -> None:
    world = World()
    write = world.coordinator.write

    def stands_still(lock: Lock, puts: Mapping[str, Mapping[str, Any]], unchanged: Mapping[str, int]) -> bool:
        done = write(lock, puts, unchanged)
        if keys.fence("mail1", MX.name) in puts:
            world.clock.time += 100.0  # the answer is there, and so old that the lock is gone
        return done

    world.coordinator.write = stands_still  # type: ignore[method-assign]
    with pytest.raises(LockLost):
        world.takeover().execute("test", 1)
    assert "mail1" in world.up and world.owner.epoch == 1


def test_at_most_two_automatic_takeovers_an_hour() -> None:
    world = World()
    for epoch in (1, 2):
        assert world.takeover().execute("test", epoch).state is RunState.DONE
        world.up.update({"mail1", "mail2"})
        world.clock.sleep(1)
    with pytest.raises(Refused, match="within an hour"):
        world.takeover().execute("test", 3)
    assert world.takeover().execute("by hand", 3, automatic=False).state is RunState.DONE
    world.up.update({"mail1", "mail2"})
    world.clock.sleep(HOUR + 1)
    assert world.takeover().execute("test", 4).state is RunState.DONE


def test_takeovers_that_did_not_come_to_an_end_count_for_the_limit_too() -> None:
    """Two hosts that neither start it: they must not be fenced in turn for ever."""
    world = World(start_fails=True)
    short = Timeouts(start=5)
    for epoch in (1, 2):
        assert world.takeover(short).execute("test", epoch).state is RunState.HELD
        world.up.update({"mail1", "mail2"})
        world.clock.sleep(20)
    assert world.owner.epoch == 3
    with pytest.raises(Refused, match="within an hour"):
        world.takeover(short).execute("test", 3)
    assert world.takeover(short).execute("by hand", 3, automatic=False).epoch == 4


def test_a_takeover_whose_invoker_died_behind_own_counts_for_the_limit_too() -> None:
    world = World()
    takeover = world.takeover()
    takeover.hourly_limit = 1
    write = world.coordinator.write

    def dies(*arguments: object) -> bool:
        done = write(*arguments)  # type: ignore[arg-type]
        if world.owner.epoch == 2:
            raise KeyboardInterrupt
        return done

    world.coordinator.write = dies  # type: ignore[method-assign,assignment]
    with pytest.raises(KeyboardInterrupt):
        takeover.execute("test", 1)
    world.coordinator.write = write  # type: ignore[method-assign]
    world.up.update({"mail1", "mail2"})
    world.clock.sleep(70)
    with pytest.raises(Refused, match="within an hour"):
        takeover.execute("test", 2)


def test_a_host_that_cannot_start_it_leaves_the_run_unfinished_and_it_is_finished_later() -> None:
    world = World(start_fails=True, waiting=2)
    run = world.takeover(Timeouts(start=5)).execute("test", 1)
    assert run.state is RunState.HELD and world.owner.host == "mail2" and world.published == []
    assert unfinished(read_state(world.coordinator, MX.name))
    world.start_fails = False
    world.clock.sleep(1)
    assert world.takeover().finish().state is RunState.DONE
    assert world.published == [("mail2", 2)] and world.flushed == 2


@pytest.mark.parametrize("call", range(1, 40))
def test_a_crash_of_the_invoker_at_any_call_is_finished_by_the_next(call: int) -> None:
    """Whatever the moment: one owner, no lost mail, and the next invoker ends it."""

    class Crash(BaseException):
        pass

    world = World(waiting=5)

    def crash(n: int) -> None:
        if n - base == call:
            raise Crash

    base = world.coordinator.calls
    world.coordinator.before_call = crash
    try:
        world.takeover().execute("test", 1)
    except Crash:
        world.coordinator.before_call = lambda n: None
    world.coordinator.before_call = lambda n: None
    world.clock.sleep(61)  # the lock's lease runs out
    state = read_state(world.coordinator, MX.name)
    assert state.owner is not None
    if unfinished(state):
        world.takeover().finish()
    elif state.owner.epoch == 1:
        if state.run is not None and state.run.proof is not None:
            assert abandoned(state)
        world.takeover().execute("again", 1)
    assert world.owner == Owner("mail2", 2, world.owner.run, world.owner.since)
    assert world.record.state is RunState.DONE
    assert world.flushed == 5 and list(world.running) == ["mail2"]


def test_a_wanted_host_is_taken_or_nothing_happens() -> None:
    world = World()
    run = world.takeover().execute("by hand", 1, automatic=False, to="mail9")
    assert run.state is RunState.HELD and "mail9: is no candidate" in run.steps[0].detail
    assert "mail1" in world.up


def test_a_switch_that_says_off_while_the_host_is_on_proves_nothing() -> None:
    world = World()
    world.switch.off = lambda host: f"{host} off"  # type: ignore[method-assign]
    run = world.takeover().execute("test", 1)
    assert run.state is RunState.HELD and "says on after off" in run.steps[-1].detail
    assert world.owner.epoch == 1


def test_the_next_fence_device_is_tried() -> None:
    world = World()
    broken = FakeSwitch(world, "broken", "refuse")
    takeover = world.takeover()
    takeover.ports = dataclasses.replace(takeover.ports, switches={"mail1": [broken, world.switch]})
    run = takeover.execute("test", 1)
    assert run.state is RunState.DONE and run.proof is not None and run.proof.method == "lab-switch"


def test_an_owner_record_that_changed_meanwhile_is_not_overwritten() -> None:
    world = World()
    other = Owner("mail2", 2, "somebody", 0.0)
    off = world.switch.off

    def meanwhile(host: str) -> str:
        world.coordinator._put(keys.access(MX.store, MX.name), Access(1, "x", None, 0.0).to_json())
        world.clock.on_sleep.clear()
        world.coordinator._put(keys.owner(MX.name), other.to_json())
        return off(host)

    world.switch.off = meanwhile  # type: ignore[method-assign]
    assert world.takeover().execute("test", 1).state is RunState.HELD
    assert world.owner == other


def test_an_old_word_of_the_store_is_no_revocation() -> None:
    world = World(store_up=False)
    world.coordinator._put(keys.access(MX.store, MX.name), Access(0, "old", None, 0.0).to_json())
    assert world.takeover(Timeouts(revoke=5)).execute("test", 1).state is RunState.HELD
    assert world.owner.epoch == 1


def test_what_was_withdrawn_is_not_given_back_by_the_next_try() -> None:
    world = World(store_up=False)
    world.takeover(Timeouts(revoke=5)).execute("test", 1)
    world.switch.answer = "refuse"
    run = world.takeover().execute("again", 1)
    assert run.state is RunState.HELD and run.revoke_epoch == 1


def test_an_old_report_of_the_new_host_is_not_believed() -> None:
    world = World(start_fails=True)
    world.clock.on_sleep.append(
        lambda: world.coordinator._put(
            keys.report("mail2", MX.name), Report("mail2", 1, Phase.RUNNING, world.clock.time).to_json()
        )
    )
    run = world.takeover(Timeouts(start=5)).execute("test", 1)
    assert run.state is RunState.HELD and run.step("started").result == "no"  # type: ignore[union-attr]


def test_a_run_keeps_its_lock_while_it_waits() -> None:
    world = World(start_fails=True)
    run = world.takeover(Timeouts(lock=8, start=40)).execute("test", 1)
    assert run.state is RunState.HELD and "did not start it within 40 s" in run.steps[-1].detail


def test_slow_answers_over_every_route_do_not_cost_the_lock() -> None:
    """A server on a store that has just moved may take its time for each reply."""
    world = World()
    attempt = world._attempt

    def slow(method: Method, route: Route) -> Attempt:
        world.clock.sleep(35.0)
        made = attempt(method, route)
        return made if route == ROUTES[-1] else dataclasses.replace(made, result=Result.DOWN)

    world._attempt = slow  # type: ignore[method-assign]
    assert world.takeover(Timeouts(lock=60)).execute("test", 1).state is RunState.DONE


def test_an_owner_that_changed_although_nobody_answered_is_finished_at_its_epoch() -> None:
    world = World()
    write = world.coordinator.write

    def loses_the_answer(*arguments: object) -> bool:
        before = world.owner.epoch
        done = write(*arguments)  # type: ignore[arg-type]
        if world.owner.epoch != before:
            raise Unavailable("no answer from any member")
        return done

    world.coordinator.write = loses_the_answer  # type: ignore[method-assign,assignment]
    assert world.takeover().execute("test", 1).state is RunState.HELD
    assert world.owner.epoch == 2
    run = world.takeover().finish()
    assert (run.state, run.epoch, run.to_host) == (RunState.DONE, 2, "mail2")


def test_only_what_is_left_behind_is_given_up() -> None:
    world = World()
    with pytest.raises(Refused, match="no run to be given up"):
        world.takeover().give_up()
    world.takeover().execute("test", 1)
    with pytest.raises(Refused, match="no run to be given up"):
        world.takeover().give_up()


def test_a_withdrawal_for_an_earlier_run_is_no_word_for_this_one() -> None:
    """Found by the simulation: an earlier run was given up, and the store was about to let the old owner in again."""
    world = World(store_up=False)
    world.up.discard("mail1")
    old = Access(1, "an earlier run", None, world.clock.time, ("mail1",))
    world.coordinator._put(keys.access(MX.store, MX.name), old.to_json())
    run = world.takeover(Timeouts(revoke=5)).execute("test", 1)
    assert run.state is RunState.HELD and world.owner.epoch == 1
    world.store_up = True
    assert world.takeover().execute("test", 1).state is RunState.DONE


def test_a_run_that_cannot_be_finished_for_days_does_not_grow() -> None:
    """The name server is away: every round somebody goes on with it, and each time writes the record anew."""
    world = World()

    def publish(*arguments: object, **words: object) -> str:
        raise Unavailable("dns: no answer")

    world.publish = publish  # type: ignore[method-assign]
    assert world.takeover().execute("test", 1).state is RunState.HELD
    once = len(str(world.record.to_json()))
    for _ in range(100):
        world.clock.sleep(30)
        assert world.takeover().finish().state is RunState.HELD
    assert [s.name for s in world.record.steps][:4] == ["candidate", "fence", "revoke", "own"]
    assert len(str(world.record.to_json())) <= once + 200


def test_a_silent_name_server_keeps_no_letter_waiting() -> None:
    world = World(waiting=7)
    world.up.discard("mail1")

    def publish(*arguments: object, **words: object) -> str:
        raise Unavailable("dns: no answer")

    world.publish = publish  # type: ignore[method-assign]
    run = world.takeover().execute("test", 1)
    assert run.state is RunState.HELD and [s.name for s in run.steps][-3:-1] == ["dns", "flush"]
    assert (world.flushed, world.waiting) == (7, 0)
    del world.publish
    assert world.takeover().finish().state is RunState.DONE


def test_held_runs_do_not_push_out_what_the_hourly_limit_counts() -> None:
    world = World()
    assert world.takeover().execute("test", 1).state is RunState.DONE
    world.up.add("mail1")
    world.clock.sleep(30)
    world.switch.answer = "refuse"
    for _ in range(KEPT_RUNS + 5):
        world.clock.sleep(30)
        assert world.takeover().execute("test", 2).state is RunState.HELD
    world.switch.answer = "confirm"
    assert world.takeover().execute("test", 2).state is RunState.DONE
    world.up.add("mail2")
    world.clock.sleep(30)
    with pytest.raises(Limited, match="2 automatic takeovers within an hour"):
        world.takeover().execute("test", 3)
    world.clock.sleep(HOUR)
    assert world.takeover().execute("test", 3).state is RunState.DONE
    runs = [k for k in world.coordinator.data if k.startswith(keys.runs(MX.name))]
    assert len(runs) <= KEPT_RUNS + 1, "and what it counts no more goes"


@pytest.mark.parametrize(("temporary", "state"), [(True, RunState.DONE), (False, RunState.HELD)])
def test_a_new_owner_that_refuses_for_now_is_the_owner_and_one_that_would_return_mail_holds_the_run(
    temporary: bool, state: RunState
) -> None:
    world = World(waiting=3)
    attempt = world._attempt

    def refused(method: Method, route: Route) -> Attempt:
        made = attempt(method, route)
        words = {"detail": "452 4.3.1" if temporary else "550 5.1.1", "temporary": temporary}
        return dataclasses.replace(made, result=Result.REFUSED, **words)  # type: ignore[arg-type]

    world._attempt = refused  # type: ignore[method-assign]
    run = world.takeover().execute("test", 1)
    assert run.state is state and bool(world.published) is temporary
    step = run.step("verify")
    assert step is not None and step.result == ("refused" if temporary else "no")

"""Stores: the in-sync set and its two ways to change, a takeover of a store, and who watches whom."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from holdfast.core import keys, ownership, stores
from holdfast.core.fencing import ConfirmedOff, FencePlan, Level, LevelName, Watchdog, Withdrawal
from holdfast.core.locked_run import Ports, Timeouts
from holdfast.core.model import (
    Access,
    Attempt,
    Identity,
    Method,
    Owner,
    Phase,
    Readiness,
    Report,
    Result,
    Route,
    Run,
    RunState,
)
from holdfast.core.ownership import Action
from holdfast.core.pairing import Pairing
from holdfast.core.ports import Unavailable
from holdfast.core.stores import InSync, NotAllowed
from holdfast.core.takeover import Takeover
from holdfast.core.threshold import Threshold
from holdfast.core.watching import Settings, Watch
from hypothesis import given, settings
from hypothesis import strategies as st
from world import MX, FakeClock, FakeCoordinator, FakeSwitch, World

S = Identity("store1", "10.255.3.1", stores.KIND, (), "a", ("a", "b"), "store1")
ROUTE = Route("storage", "10.1.3.22")
BOTH = InSync(("a", "b"), 1, 1, 0.0)


def owner(host: str = "a", epoch: int = 1) -> Owner:
    return Owner(host, epoch, "deploy", 0.0)


# --- the set ----------------------------------------------------------------------------------------------------


def test_the_owner_goes_on_alone_at_its_epoch_only() -> None:
    assert stores.alone("a", 1, owner(), BOTH, "store1", 5.0) == InSync(("a",), 1, 2, 5.0)
    for host, epoch, who, what in (
        ("b", 1, owner(), "b does not own the store; a does"),
        ("a", 1, None, "nobody does"),
        ("a", 1, owner(epoch=2), "at epoch 1, the store is at 2"),
        ("a", None, owner(), "at epoch None"),
    ):
        with pytest.raises(NotAllowed, match=what):
            stores.alone(host, epoch, who, BOTH, "store1", 5.0)


def test_an_owner_outside_the_set_never_goes_on_alone() -> None:
    with pytest.raises(NotAllowed, match="not in the in-sync set of store1"):
        stores.alone("a", 2, owner(epoch=2), InSync(("b",), 1, 2, 0.0), "store1", 5.0)
    with pytest.raises(NotAllowed, match="no in-sync set yet"):
        stores.alone("a", 1, owner(), None, "store1", 5.0)


def test_a_partner_that_was_out_already_is_taken_out_again() -> None:
    """The write itself counts: it ends a `rejoined` that was decided before it."""
    alone = InSync(("a",), 1, 7, 0.0)
    assert stores.alone("a", 1, owner(), alone, "store1", 5.0).serial == 8


def test_only_the_owner_lets_the_partner_in() -> None:
    alone = InSync(("a",), 1, 7, 0.0)
    assert stores.rejoined("a", 1, owner(), alone, "b", "store1", 5.0) == InSync(("a", "b"), 1, 8, 5.0)
    assert stores.rejoined("a", 1, owner(), BOTH, "b", "store1", 5.0) is None
    with pytest.raises(NotAllowed):
        stores.rejoined("b", 1, owner(), alone, "b", "store1", 5.0)
    # Nor is being a member enough.
    for epoch, who, what in (
        (1, owner("b", 2), "a does not own the store; b does"),
        (1, owner(epoch=3), "at epoch 1, the store is at 3"),
        (None, owner(), "at epoch None"),
    ):
        with pytest.raises(NotAllowed, match=what):
            stores.rejoined("a", epoch, who, alone, "b", "store1", 5.0)


def test_an_owner_outside_the_set_is_not_started_and_is_stopped() -> None:
    def decide(who: Owner, insync: InSync | None, running: int | None) -> Action:
        return ownership.decide("a", who, stores.as_access(who, insync), running, True, 1.0, 10.0)

    assert decide(owner(), BOTH, None) is Action.START
    assert decide(owner(), InSync(("b",), 1, 2, 0.0), None) is Action.WAIT
    assert decide(owner(), InSync(("b",), 1, 2, 0.0), 1) is Action.STOP
    assert decide(owner(), None, None) is Action.WAIT
    assert decide(owner("b", 2), InSync(("b",), 2, 2, 0.0), 1) is Action.STOP


@settings(max_examples=300)
@given(st.lists(st.sampled_from(["break", "mend", "write", "look", "join", "fence", "copy"]), max_size=40))
def test_no_member_of_the_set_ever_lacks_an_acknowledged_write(events: list[str]) -> None:
    """Owner a, partner b: the link breaks and mends at any moment between reading, looking and writing.

    As DRBD does it: while the link is down a write is acknowledged only after the handler's `alone` was carried out.
    """
    coordinator = FakeCoordinator(FakeClock())
    coordinator._put(keys.owner("store1"), owner().to_json())
    coordinator._put(keys.insync("store1"), BOTH.to_json())
    linked, fenced, behind = True, False, False
    read: tuple[InSync, int] | None = None
    mirrored = False

    def replace(new: InSync, revision: int) -> None:
        if coordinator.get(keys.insync("store1")).revision == revision:
            coordinator._put(keys.insync("store1"), new.to_json())

    def now() -> tuple[InSync, int]:
        entry = coordinator.get(keys.insync("store1"))
        assert entry.value is not None
        return InSync.from_json(entry.value), entry.revision

    for event in events:
        if event == "break":
            linked, fenced = False, False
        elif event == "mend":
            linked = True
        elif event == "copy" and linked:
            behind = False
        elif event == "fence" and not linked:
            insync, revision = now()
            replace(stores.alone("a", 1, owner(), insync, "store1", 0.0), revision)
            fenced = True
        elif event == "write" and (linked or fenced):
            behind = behind or not linked
        elif event == "look":  # the owner's daemon: reads, then looks at DRBD …
            read, mirrored = now(), linked and not behind
        elif event == "join" and read is not None and mirrored:  # … and writes later
            new = stores.rejoined("a", 1, owner(), read[0], "b", "store1", 0.0)
            if new is not None:
                replace(new, read[1])
        assert not (behind and "b" in now()[0].members)


# --- a takeover of a store --------------------------------------------------------------------------------------


class Pair:
    """Two store hosts: a owns store1 and serves it, b watches."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.coordinator = FakeCoordinator(self.clock)
        self.up = {"a", "b"}
        self.linked = True
        self.events: list[tuple[str, dict[str, object]]] = []
        self.starts = True
        self.not_ready: tuple[str, ...] = ()
        self.switch = FakeSwitch(self)  # type: ignore[arg-type]
        self._put(keys.owner("store1"), owner().to_json())
        self._put(keys.insync("store1"), BOTH.to_json())
        self._runs = 0
        self.clock.on_sleep.append(self.step)
        self.step()

    def _put(self, key: str, value: dict[str, object], lease: int | None = None) -> None:
        self.coordinator._put(key, value, lease)

    def step(self) -> None:
        for host in self.up:
            self.coordinator.leases[hash(host)] = (self.clock.time + 10, 10)
            if keys.lease(host) not in self.coordinator.data:
                self._put(keys.lease(host), {"host": host}, hash(host))
            word = Readiness(not self.not_ready, self.not_ready, self.clock.time)
            self._put(keys.ready(host, "store1"), word.to_json())
        who = self.owner
        if who.host in self.up and self.starts:
            report = Report(who.host, who.epoch, Phase.RUNNING, self.clock.time)
            if self.coordinator.data.get(keys.report(who.host, "store1"), ({},))[0].get("epoch") != who.epoch:
                self._put(keys.report(who.host, "store1"), report.to_json())

    @property
    def owner(self) -> Owner:
        return Owner.from_json(self.coordinator.data[keys.owner("store1")][0])

    @property
    def record(self) -> Run:
        return Run.from_json(self.coordinator.data[keys.takeover("store1")][0])

    def probe(self, identity: Identity, route: Route) -> Attempt:
        answers = self.owner.host in self.up and self.linked and self.starts
        result = Result.OK if answers else Result.DOWN
        return Attempt(Method.PROBE, route.name, result, self.clock.time, self.clock.time)

    def topology(self, identity: Identity, route: Route) -> Attempt:
        raise AssertionError

    def deliver(self, identity: Identity, route: Route) -> Attempt | None:
        raise AssertionError

    def log(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    def new_id(self) -> str:
        self._runs += 1
        return f"run-{self._runs}"

    def takeover(self, host: str = "b", plan: FencePlan | None = None) -> Takeover:
        switches = {"a": [self.switch], "b": [self.switch]}
        nothing: object = object()  # a run that asked for names or a queue would fail
        ports = Ports(
            self.coordinator, switches, self, nothing, nothing, self.clock, self.log, self.new_id  # type: ignore[arg-type]
        )  # fmt: skip
        return Takeover(S, host, (ROUTE,), ports, Timeouts(start=20, verify=5), plan=plan)

    def pairing(self, host: str = "b") -> Pairing:
        watched = Settings(host, 2.0, (Method.PROBE,), Threshold(None, 5), (ROUTE,), reset_after=1, retry=15)
        taking = self.takeover(host)
        return Pairing(Watch(S, watched, self.coordinator, self, object(), taking, self.clock, self.log))  # type: ignore[arg-type]

    def run(self, pairing: Pairing, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        end = self.clock.time + seconds
        while self.clock.time < end and not until():
            pairing.tick()
            self.clock.sleep(1.0)

    def said(self, event: str) -> list[dict[str, object]]:
        return [fields for name, fields in self.events if name == event]


def test_a_dead_owner_is_taken_over_by_its_partner() -> None:
    pair = Pair()
    pairing = pair.pairing()
    pair.run(pairing, 30)
    assert pair.owner == owner(), "nothing happens while it lives"
    died = pair.clock.time
    pair.up.discard("a")
    pair.run(pairing, 40, lambda: pair.owner.host == "b")
    assert (pair.owner.host, pair.owner.epoch) == ("b", 2)
    assert pair.clock.time - died >= 10, "not before its lease is over"
    assert [s.name for s in pair.record.steps] == ["candidate", "fence", "revoke", "own", "started", "verify"]
    assert pair.record.state is RunState.DONE and pair.record.proof is not None


def test_silence_alone_is_no_reason_while_the_lease_lives() -> None:
    """The link between the members is cut, both live."""
    pair = Pair()
    pairing = pair.pairing()
    pair.linked = False
    pair.run(pairing, 60)
    assert pair.owner == owner() and "a" in pair.up
    assert any("keeps its lease" in str(f["detail"]) for f in pair.said("second_evidence_missing"))


def test_a_member_without_quorum_triggers_nothing() -> None:
    pair = Pair()
    pairing = pair.pairing()
    pair.up.discard("a")
    pair.coordinator.reachable = False
    pair.run(pairing, 60)
    assert pair.owner == owner() and keys.takeover("store1") not in pair.coordinator.data


def test_a_partner_outside_the_set_is_not_promoted_and_the_owner_is_not_even_fenced() -> None:
    pair = Pair()
    pairing = pair.pairing()
    pair.run(pairing, 5)
    pair._put(keys.insync("store1"), InSync(("a",), 1, 2, 0.0).to_json())
    pair.up.discard("a")
    pair.run(pairing, 60)
    assert pair.owner == owner()
    assert pair.record.state is RunState.HELD
    assert [s.name for s in pair.record.steps] == ["candidate", "hold"]
    assert "not in the in-sync set of store1 (a)" in pair.record.steps[0].detail
    # Held runs are not repeated at every look.
    assert len(pair.said("takeover_held")) <= 4


def test_a_set_that_changes_after_the_choice_holds_before_the_owner_changes() -> None:
    pair = Pair()
    pair.up.discard("a")
    pair.clock.sleep(20)
    off = pair.switch.off

    def leaves(host: str) -> str:
        pair._put(keys.insync("store1"), InSync(("a",), 1, 2, 0.0).to_json())
        return off(host)

    pair.switch.off = leaves  # type: ignore[method-assign]
    run = pair.takeover().execute("test", 1)
    assert run.state is RunState.HELD and pair.owner == owner()
    assert "not in the in-sync set" in run.steps[-1].detail


def right_before_own(pair: Pair, act: Callable[[], None]) -> None:
    """Between the last read of a run and the transaction that changes the owner."""
    write = pair.coordinator.write

    def write_late(lock: object, puts: dict[str, object], unchanged: dict[str, int]) -> bool:
        if keys.owner("store1") in puts:
            act()
        return write(lock, puts, unchanged)  # type: ignore[arg-type]

    pair.coordinator.write = write_late  # type: ignore[method-assign,assignment]


def test_a_set_that_changes_right_before_the_owner_does_holds() -> None:
    """Between the read and the transaction, by an owner that wakes and goes on alone."""
    pair = Pair()
    pair.up.discard("a")
    pair.clock.sleep(20)
    right_before_own(pair, lambda: pair._put(keys.insync("store1"), InSync(("a",), 1, 2, 0.0).to_json()))
    run = pair.takeover().execute("test", 1)
    assert run.state is RunState.HELD and pair.owner == owner()
    assert keys.insync("store1") in run.steps[-1].detail


def test_an_owner_that_is_back_before_the_owner_changes_keeps_its_store() -> None:
    """Power on again between fence and `own`: its new lease says so."""
    pair = Pair()
    pair.up.discard("a")
    pair.clock.sleep(20)

    def back() -> None:
        pair.up.add("a")
        pair.step()

    right_before_own(pair, back)
    run = pair.takeover().execute("test", 1)
    assert run.state is RunState.HELD and pair.owner == owner()
    assert keys.lease("a") in run.steps[-1].detail


def heard(pair: Pair, boot: str) -> None:
    """Host a's agent takes a lease, which is over by now, in that boot."""
    pair._put(keys.watchdog("a"), Watchdog(boot, False, "", 0.0, pair.clock.now()).to_json())


def test_an_owner_that_is_back_and_lost_its_lease_again_keeps_its_store() -> None:
    """Found by the simulation (p10050): it was started while the invoker stood still, served, and was then cut off."""
    pair = Pair()
    heard(pair, "boot-1")
    pair.up.discard("a")
    pair.clock.sleep(20)
    off = pair.switch.off

    def off_and_on(host: str) -> str:
        said = off(host)
        heard(pair, "boot-2")
        return said

    pair.switch.off = off_and_on  # type: ignore[method-assign]
    run = pair.takeover().execute("test", 1)
    assert run.state is RunState.HELD and pair.owner == owner()
    assert run.steps[-1].detail == "a has been started since it was fenced"
    pair.switch.off = off  # type: ignore[method-assign]
    run = pair.takeover().execute("test", 1)
    assert run.state is RunState.DONE and pair.owner.host == "b", "the next run fences that boot"


def test_a_lease_that_came_and_went_right_before_the_owner_changes_is_noticed() -> None:
    pair = Pair()
    heard(pair, "boot-1")
    pair.up.discard("a")
    pair.clock.sleep(20)
    right_before_own(pair, lambda: heard(pair, "boot-2"))
    run = pair.takeover().execute("test", 1)
    assert run.state is RunState.HELD and pair.owner == owner()
    assert keys.watchdog("a") in run.steps[-1].detail


def test_a_living_owner_is_outlived_before_its_store_is_owned() -> None:
    """An operator's takeover: the power is off at once, the lease ends later."""
    pair = Pair()
    begin = pair.clock.time
    run = pair.takeover().execute("by hand", 1, automatic=False)
    assert run.state is RunState.DONE and pair.owner.host == "b" and "a" not in pair.up
    assert pair.clock.time - begin >= 10


def test_a_fence_that_is_not_confirmed_changes_nothing() -> None:
    pair = Pair()
    pair.up.discard("a")
    pair.switch.answer = "refuse"
    pair.clock.sleep(20)
    assert pair.takeover().execute("test", 1).state is RunState.HELD
    assert pair.owner == owner()


SHUT_OUT = Level(LevelName.STORE_REVOCATION, timeout=5, address_withdrawal=Withdrawal.AGENT)
OUTWAITED = Level(LevelName.WATCHDOG, timeout=60, margin=1)


def provable(pair: Pair, level: Level) -> None:
    """All that would prove `level` against the owner of an identity."""
    if level is SHUT_OUT:
        record = Access(1, "run-1", None, 0.0, ("a",), ("a",))
        pair._put(keys.access("store1", "store1"), record.to_json())
        pair._put(keys.report("a", "store1"), Report("a", 1, Phase.STOPPED, 0.0).to_json())
    else:
        pair._put(keys.watchdog("a"), Watchdog("boot", True, "iTCO_wdt", 10.0, 0.0, True).to_json())
        pair.up.discard("a")
        pair.clock.sleep(20)


@pytest.mark.parametrize("level", [SHUT_OUT, OUTWAITED], ids=lambda level: str(level.level))
def test_a_store_is_not_fenced_by_revocation_or_watchdog(level: Level) -> None:
    pair = Pair()
    provable(pair, level)
    run = pair.takeover(plan=FencePlan((level,))).execute("test", 1)
    assert run.state is RunState.HELD and pair.owner == owner() and run.proof is None
    assert "only power and operator count" in run.steps[-1].detail
    assert run.revoke_epoch == 0, "nor is anything of it tried"


def test_the_next_level_of_a_stores_plan_is_tried() -> None:
    pair = Pair()
    provable(pair, OUTWAITED)
    run = pair.takeover(plan=FencePlan((SHUT_OUT, OUTWAITED, Level(LevelName.POWER)))).execute("test", 1)
    assert run.state is RunState.DONE and run.proof is not None and run.proof.level == "power"
    assert [s.result for s in run.steps if s.name == "fence"] == ["unknown", "unknown", "off"]


def test_an_operators_word_fences_a_store() -> None:
    pair = Pair()
    pair.up.discard("a")
    pair.switch.answer = "refuse"
    pair.clock.sleep(20)
    assert pair.takeover().execute("test", 1).state is RunState.HELD
    pair._put(keys.confirmed_off("a"), ConfirmedOff("anna", "both plugs", 0.0, "", {"store1": 1}).to_json())
    run = pair.takeover().execute("test", 1)
    assert run.state is RunState.DONE and run.proof is not None and run.proof.level == "operator"
    assert pair.owner.host == "b"


def test_a_fenced_member_that_is_back_watches_the_new_owner() -> None:
    """There is no queue to flush after the partner's run, and the run itself is nobody's to end."""
    pair = Pair()
    pair.up.discard("a")
    pair.clock.sleep(20)
    assert pair.takeover().execute("test", 1).state is RunState.DONE
    pair.up.add("a")
    pair.run(pair.pairing("a"), 30)
    assert pair.owner.host == "b" and pair.said("attempt")


def test_silence_counts_though_each_call_takes_longer_than_three_rounds() -> None:
    """A member of the coordinator dies with the owner: every call waits for it first."""
    pair = Pair()
    pairing = pair.pairing()
    pair.run(pairing, 5)
    pair.up.discard("a")
    probe = pair.probe

    def slow(identity: Identity, route: Route) -> Attempt:
        pair.clock.sleep(8.0)
        return probe(identity, route)

    pair.probe = slow  # type: ignore[method-assign]
    pair.run(pairing, 60, lambda: pair.owner.host == "b")
    assert pair.owner.host == "b"


def test_the_new_owner_ends_a_run_whose_invoker_it_was() -> None:
    pair = Pair()
    pair.up.discard("a")
    pair.clock.sleep(20)
    pair.starts = False
    assert pair.takeover().execute("test", 1).state is RunState.HELD
    assert pair.owner.host == "b"
    pair.starts = True
    pair.run(pair.pairing(), 5)
    assert pair.record.state is RunState.DONE


def test_an_owner_does_not_watch_itself() -> None:
    pair = Pair()
    pairing = pair.pairing("a")
    pair.linked = pair.starts = False
    pair.run(pairing, 60)
    assert pair.said("attempt") == [] and keys.takeover("store1") not in pair.coordinator.data


# --- identities on a store --------------------------------------------------------------------------------------


def serving(world: World, epoch: int = 1, phase: Phase = Phase.RUNNING, lease: bool = True) -> None:
    put = world.coordinator._put
    put(keys.owner("store1"), owner().to_json())
    put(keys.report("a", "store1"), Report("a", epoch, phase, 0.0).to_json())
    if lease:
        put(keys.lease("a"), {"host": "a"})


@pytest.mark.parametrize(
    ("epoch", "phase", "lease", "why"),
    [
        (1, Phase.FAILED, True, "a says failed at epoch 1"),
        (0, Phase.RUNNING, True, "the store is at 1"),
        (1, Phase.RUNNING, False, "no live lease"),
    ],
)
def test_while_its_store_is_not_serving_an_identity_is_not_taken_over(
    epoch: int, phase: Phase, lease: bool, why: str
) -> None:
    world = World()
    serving(world, epoch, phase, lease)
    run = world.takeover().execute("test", 1)
    assert run.state is RunState.HELD and why in run.steps[0].detail
    assert "mail1" in world.up and world.owner.epoch == 1


def test_an_identity_that_its_store_cannot_serve_is_not_taken_over() -> None:
    """Another host would not be admitted either, and the owner would be fenced for it, and then that one."""
    world = World()
    serving(world)
    world.step()
    assert world.access is not None
    word = dataclasses.replace(world.access, error="/srv/store/mx is gone")
    world.coordinator._put(keys.access("store1", MX.name), word.to_json())
    run = world.takeover().execute("test", 1)
    assert run.state is RunState.HELD
    assert f"store store1 does not serve {MX.name}: /srv/store/mx is gone" in run.steps[0].detail
    assert "mail1" in world.up and world.owner.epoch == 1


def test_an_identity_on_a_serving_store_is_taken_over() -> None:
    world = World()
    serving(world)
    assert world.takeover().execute("test", 1).state is RunState.DONE


def test_not_serving_without_quorum_is_no_answer() -> None:
    world = World()
    serving(world)
    world.coordinator.reachable = False
    with pytest.raises(Unavailable):
        stores.not_serving(world.coordinator, "store1")

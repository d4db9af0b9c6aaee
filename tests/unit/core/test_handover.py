"""A planned hand-over: nobody is fenced, never two run it, and whatever stops half-way is undone or finished."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from holdfast.core import access, keys, ownership
from holdfast.core.handover import LEVEL, Handover, interrupted
from holdfast.core.model import Access, Owner, Phase, Proof, Readiness, Report, Run, RunState, Step
from holdfast.core.ownership import Action, decide
from holdfast.core.ports import LockLost, Unavailable
from holdfast.core.takeover import Refused, abandoned, read_state
from holdfast.core.threshold import Threshold
from hypothesis import example, given, settings
from hypothesis import strategies as st
from world import MX, World


class Crash(BaseException):
    """The invoker's process is gone."""


@dataclass
class Site(World):
    """A world whose agents and store decide by the product's core, and whose agents can be silent."""

    silent: set[str] = field(default_factory=set)  # hosts whose agent stands still; what they run goes on
    broken: set[str] = field(default_factory=set)  # hosts that cannot bring the identity up
    reports: dict[str, Report] = field(default_factory=dict)
    admitted: list[str | None] = field(default_factory=list)  # by the store, each change
    did: list[str] = field(default_factory=list)

    def step(self) -> None:
        self.running = {h: e for h, e in self.running.items() if h in self.up}
        self.reports = {h: r for h, r in self.reports.items() if h in self.up}
        if not self.coordinator.reachable:
            return
        c = self.coordinator
        owner = Owner.from_json(c.data[keys.owner(MX.name)][0])
        record = c.data.get(keys.takeover(MX.name))
        run = None if record is None else Run.from_json(record[0])
        if self.store_up:
            self._admit(owner, run)
        for host in sorted(self.up - self.silent):
            c.leases[hash(host)] = (self.clock.time + 15, 15)
            c._put(keys.lease(host), {"host": host}, hash(host))
            word = Readiness(True, (), self.clock.time, ownership.asked_by(host, run))
            stands = c.data.get(keys.ready(host, MX.name))
            if stands is None or stands[0].get("run", "") != word.run:
                c._put(keys.ready(host, MX.name), word.to_json())
            self._act(host, owner, run)
        assert len(self.running) <= 1, f"two hosts run it: {self.running}"
        assert not set(self.running) - {owner.host}, f"{self.running} beside the owner {owner}"

    def _admit(self, owner: Owner, run: Run | None) -> None:
        wanted = access.decide(MX, owner, run)
        before = self.access
        if before is None or (before.epoch, before.run, before.admitted) != (wanted.epoch, wanted.run, wanted.admit):
            self.access = Access(wanted.epoch, wanted.run, wanted.admit, self.clock.time, wanted.expire)
            self.coordinator._put(keys.access(MX.store, MX.name), self.access.to_json())
            self.admitted.append(wanted.admit)
            if wanted.admit is None:
                assert not self.running, "files were taken away from a host that still uses them"
                self.did.append("withdrawn")

    def _act(self, host: str, owner: Owner, run: Run | None) -> None:
        action = ownership.decide(host, owner, self.access, self.running.get(host), True, 0.0, 15.0, run=run)
        said = self.reports.get(host)
        match action:
            case Action.START:
                fails = self.start_fails or host in self.broken
                phase = Phase.FAILED if fails else Phase.RUNNING
                if not fails:
                    self.running[host] = owner.epoch
                    self.did.append(f"{host} starts")
                steps = (Step("store", self.clock.time, self.clock.time),)
                error = "store: no route to host" if fails else ""
                self._say(Report(host, owner.epoch, phase, self.clock.time, steps, error))
            case Action.STOP:
                epoch = self.running.pop(host)
                self._say(Report(host, epoch, Phase.STOPPED, self.clock.time))
            case Action.RELEASE:
                assert run is not None
                done = said is not None and (said.phase, said.run) == (Phase.STOPPED, run.run)
                if not done and not self.deaf:
                    self.running.pop(host, None)
                    self.did.append(f"{host} stops")
                    self._say(Report(host, run.release_epoch, Phase.STOPPED, self.clock.time, run=run.run))

    def _say(self, report: Report) -> None:
        self.reports[report.host] = report
        self.coordinator._put(keys.report(report.host, MX.name), report.to_json())

    def handover(self) -> Handover:
        return Handover.beside(self.takeover())

    def crash_at(self, call: int, act: Callable[[], object]) -> bool:
        """Let the invoker die at its nth call; its lock has run out afterwards. Did it get that far?"""
        base = self.coordinator.calls

        def before(n: int) -> None:
            if n - base == call:
                raise Crash

        self.coordinator.before_call = before
        try:
            act()
        except Crash:
            self.coordinator.before_call = lambda n: None
            self.clock.sleep(61)
            return True
        self.coordinator.before_call = lambda n: None
        return False


@pytest.fixture
def site() -> Site:
    return Site(waiting=3)


def test_steps_in_their_order_and_nobody_is_fenced(site: Site) -> None:
    site.did.clear()
    run = site.handover().hand_over("way home", 1)
    assert run.state is RunState.DONE and run.planned and not run.automatic
    assert [s.name for s in run.steps] == [
        *("candidate", "prepare", "release", "revoke", "own", "store", "started", "verify", "dns", "flush")
    ]
    assert (site.owner.host, site.owner.epoch, site.owner.run) == ("mail2", 2, run.run)
    assert site.did == ["mail1 stops", "withdrawn", "mail2 starts"]
    assert site.up == {"mail1", "mail2"} and site.running == {"mail2": 2}
    assert run.proof is not None and (run.proof.level, run.proof.host) == (LEVEL, "mail1")
    assert site.published == [("mail2", 2)] and site.flushed == 3
    assert all(s.end is not None and s.end >= s.start for s in run.steps)
    assert keys.lock(MX.name) not in site.coordinator.data
    assert Run.from_json(site.coordinator.data[keys.run(MX.name, run.run)][0]) == run
    back = site.handover().hand_over("way home", 2, to="mail1")
    assert back.state is RunState.DONE and site.owner.host == "mail1" and site.running == {"mail1": 3}


def test_the_store_withdraws_only_after_the_owner_has_stopped(site: Site) -> None:
    site.silent.add("mail1")
    run = site.handover().hand_over("test", 1)
    assert run.state is RunState.HELD and "mail1 did not confirm" in run.steps[-1].detail
    assert [s.name for s in run.steps] == ["candidate", "prepare", "release", "undo", "goes_on", "hold"]
    assert site.admitted == ["mail1"] and site.running == {"mail1": 1} and site.owner.epoch == 1
    assert (run.release_epoch, run.revoke_epoch, run.proof) == (0, 0, None)
    site.silent.clear()
    site.clock.sleep(1)
    assert site.running == {"mail1": 1}, "an order that was withdrawn is not carried out later"
    assert site.handover().hand_over("again", 1).state is RunState.DONE


def test_a_store_that_does_not_withdraw_lets_the_old_owner_go_on(site: Site) -> None:
    site.store_up = False
    run = site.handover().hand_over("test", 1)
    assert run.state is RunState.HELD and "store1 did not confirm" in run.steps[-1].detail
    assert run.step("goes_on") is not None and run.step("goes_on").result == "ok"  # type: ignore[union-attr]
    assert site.running == {"mail1": 1} and site.owner.epoch == 1
    site.store_up = True
    site.clock.sleep(1)
    assert site.running == {"mail1": 1} and site.access is not None and site.access.admitted == "mail1"
    assert site.handover().hand_over("again", 1).state is RunState.DONE


@pytest.mark.parametrize(
    ("to", "break_it", "reason"),
    [
        ("mail2", lambda s: s.up.discard("mail2"), "mail2: no live lease"),
        ("mail9", lambda s: None, "mail9: is no candidate"),
        ("mail1", lambda s: None, "mail1: is the present owner"),
        (None, lambda s: s.up.discard("mail2"), "mail2: no live lease"),
    ],
)
def test_refused_with_its_reasons_and_nothing_is_changed(
    site: Site, to: str | None, break_it: Callable[[Site], None], reason: str
) -> None:
    break_it(site)
    site.clock.sleep(20)
    site.clock.on_sleep.clear()
    site.coordinator.get("")  # leases that have run out are gone
    before = {k: v for k, v in site.coordinator.data.items() if k != keys.lock(MX.name)}
    with pytest.raises(Refused, match=reason):
        site.handover().hand_over("test", 1, to)
    assert site.coordinator.data == before


def test_a_candidate_that_is_not_ready_any_more_stops_nobody(site: Site) -> None:
    site.clock.on_sleep.append(
        lambda: site.coordinator._put(
            keys.ready("mail2", MX.name), Readiness(False, ("drained: work",), site.clock.time).to_json()
        )
    )
    run = site.handover().hand_over("test", 1)
    assert run.state is RunState.HELD and "drained: work" in run.steps[-1].detail
    assert run.step("release") is None and site.running == {"mail1": 1} and "mail1 stops" not in site.did


def test_an_old_word_of_the_candidate_is_not_enough(site: Site) -> None:
    """Its lease lives on for a while, and its last word would do for a takeover; for planned work it is asked anew."""
    site.silent.add("mail2")
    run = site.handover().hand_over("test", 1)
    assert run.state is RunState.HELD and "said nothing" in run.steps[-1].detail
    assert "mail1 stops" not in site.did and site.running == {"mail1": 1}


def test_an_answer_that_is_there_before_it_is_waited_for_counts(site: Site) -> None:
    site.coordinator.before_call = lambda n: site.step()
    run = site.handover().hand_over("test", 1)
    assert run.state is RunState.DONE and site.running == {"mail2": 2}


def test_an_agent_from_before_an_upgrade_answers_without_naming_the_run(site: Site) -> None:
    site.silent.add("mail2")
    old = {"ready": True, "reasons": []}
    site.clock.on_sleep.append(
        lambda: site.coordinator._put(keys.ready("mail2", MX.name), {**old, "time": site.clock.time})
    )
    run = site.handover().hand_over("test", 1)
    assert run.steps[1].result == "ok" and "mail1 stops" in site.did


def test_a_word_about_an_earlier_order_is_not_believed(site: Site) -> None:
    site.silent.add("mail1")
    site._say(Report("mail1", 1, Phase.STOPPED, site.clock.time, run="run-0"))
    run = site.handover().hand_over("test", 1)
    assert run.state is RunState.HELD and site.admitted == ["mail1"] and site.owner.epoch == 1


def test_a_withdrawal_of_an_earlier_run_is_not_believed(site: Site) -> None:
    site.store_up = False
    site.coordinator._put(keys.access(MX.store, MX.name), Access(1, "run-0", None, 0.0).to_json())
    run = site.handover().hand_over("test", 1)
    assert run.state is RunState.HELD and site.owner.epoch == 1


def test_an_owner_record_that_changed_meanwhile_is_not_overwritten(site: Site) -> None:
    other = Owner("mail2", 2, "somebody", 0.0)
    seen = []

    def meanwhile() -> None:
        if not seen and site.did[-1:] == ["withdrawn"]:
            seen.append(1)
            site.clock.on_sleep.clear()
            site.coordinator._put(keys.owner(MX.name), other.to_json())

    site.clock.on_sleep.append(meanwhile)
    run = site.handover().hand_over("test", 1)
    assert seen and run.state is RunState.HELD and site.owner == other


def test_a_lost_answer_to_the_change_of_owner_is_found_out(site: Site) -> None:
    write = site.coordinator.write

    def lossy(lock: object, puts: dict[str, object], unchanged: dict[str, int]) -> bool:
        done = write(lock, puts, unchanged)  # type: ignore[arg-type]
        if keys.owner(MX.name) in puts:
            raise Unavailable("the answer was lost")
        return done

    site.coordinator.write = lossy  # type: ignore[method-assign,assignment]
    run = site.handover().hand_over("test", 1)
    assert run.state is RunState.DONE and run.epoch == 2 and site.running == {"mail2": 2}


def test_a_host_that_does_not_start_it_can_hand_it_back(site: Site) -> None:
    start = site._act

    def fails(host: str, owner: Owner, run: Run | None) -> None:
        site.start_fails = host == "mail2"
        start(host, owner, run)

    site._act = fails  # type: ignore[method-assign]
    run = site.handover().hand_over("test", 1)
    assert run.state is RunState.HELD and "mail2 did not start it" in run.steps[-1].detail
    assert site.owner.host == "mail2" and site.running == {}
    assert site.handover().hand_over("back", 2, to="mail1").state is RunState.DONE
    assert site.running == {"mail1": 3}


def test_behind_a_fence_only_a_takeover_goes_on(site: Site) -> None:
    proof = Proof("power", "switch", "mail1", 0.0)
    for changes in ({"proof": proof}, {"proof": proof, "revoke_epoch": 1, "state": RunState.HELD}):
        values = {"run": "r", "identity": MX.name, "invoker": "relay2", "reason": "", "state": RunState.RUNNING}
        run = Run(**{**values, "from_host": "mail1", "time": 0.0, **changes})  # type: ignore[arg-type]
        site.coordinator._put(keys.takeover(MX.name), run.to_json())
        with pytest.raises(Refused, match="has fenced mail1"):
            site.handover().hand_over("test", 1)


def test_a_takeover_does_not_inherit_what_a_planned_run_has_withdrawn(site: Site) -> None:
    """No proof stood behind it, so an owner that can't be fenced goes on."""

    def behind(call: int) -> None:
        if site.admitted[-1] is None:
            raise Crash

    site.coordinator.before_call = behind
    with pytest.raises(Crash):
        site.handover().hand_over("test", 1)
    site.coordinator.before_call = lambda call: None
    site.clock.sleep(61)
    assert site.record.revoke_epoch == 1 and site.running == {}
    site.switch.answer = "refuse"
    run = site.takeover().execute("down", 1)
    assert run.state is RunState.HELD and run.revoke_epoch == 0
    site.clock.sleep(1)
    assert site.running == {"mail1": 1}


def test_two_invokers(site: Site) -> None:
    site.coordinator.lock(keys.lock(MX.name), {"run": "x", "invoker": "relay1"}, 60)
    with pytest.raises(Refused, match="under way"):
        site.handover().hand_over("test", 1)
    with pytest.raises(Refused, match="under way"):
        site.handover().undo()


def test_an_invoker_that_slept_through_its_lock_changes_nothing(site: Site) -> None:
    """It wakes up behind both confirmations; by then the orders are withdrawn, and the owner goes on."""

    def sleeps(call: int) -> None:
        if site.admitted[-1] is None and site.record.release_epoch:
            site.coordinator.before_call = lambda n: None
            site.clock.sleep(61)
            site.let_run(site.watch(Threshold(4, 120)), 5)

    site.coordinator.before_call = sleeps
    with pytest.raises(LockLost):
        site.handover().hand_over("test", 1)
    assert site.owner.epoch == 1 and site.running == {"mail1": 1}
    assert site.record.state is RunState.HELD and "did not go on with it" in site.record.steps[-1].detail


def calls_of_a_run() -> int:
    site = Site(waiting=3)
    before = site.coordinator.calls
    site.handover().hand_over("test", 1)
    return site.coordinator.calls - before


@pytest.mark.parametrize("call", range(1, calls_of_a_run() + 1))
def test_a_crash_of_the_invoker_at_any_call_is_undone_or_finished_by_the_monitor(call: int) -> None:
    site = Site(waiting=3)
    assert site.crash_at(call, lambda: site.handover().hand_over("test", 1))
    half = interrupted(read_state(site.coordinator, MX.name))
    site.let_run(site.watch(Threshold(4, 120)), 40)
    owner = site.owner
    assert owner.epoch in (1, 2) and site.running == {owner.host: owner.epoch}
    assert half is False or (owner.epoch, site.record.state) == (1, RunState.HELD)
    if keys.takeover(MX.name) in site.coordinator.data:
        assert site.record.state is not RunState.RUNNING
    assert site.up == {"mail1", "mail2"}, "nobody was fenced for it"
    assert not abandoned(read_state(site.coordinator, MX.name))
    if owner.epoch == 1:
        assert site.handover().hand_over("again", 1).state is RunState.DONE
    assert site.owner.host == "mail2" and site.running == {"mail2": 2} and site.waiting == 0


@pytest.mark.parametrize("call", range(1, calls_of_a_run() + 1, 3))
def test_a_crash_is_also_mended_by_an_operator_who_repeats_it(call: int) -> None:
    site = Site()
    assert site.crash_at(call, lambda: site.handover().hand_over("test", 1))
    if site.owner.epoch == 1:
        assert site.handover().hand_over("again", 1).state is RunState.DONE
    assert site.owner.host == "mail2" and site.running == {"mail2": 2}


faults = st.lists(
    st.tuples(
        st.sampled_from(
            ["hand", "home", "crash", "silent", "speak", "store", "store_back", "die", "revive", "cut", "join", "deny"]
        ),
        st.integers(1, 60),
    ),
    max_size=15,
)


# A fenced owner is powered on again while the store does not answer, whose word of before still admits it.
BACK_TOO_SOON = [
    *(("die", 31), ("hand", 1), ("hand", 10), ("store", 1), ("hand", 1)),
    *(("cut", 1), ("hand", 1), ("hand", 1), ("revive", 13), ("join", 1)),
]


@settings(max_examples=150, deadline=None)
@example(BACK_TOO_SOON)
@given(faults)
def test_never_two_and_in_the_end_one(sequence: list[tuple[str, int]]) -> None:
    """`Site.step` asserts at every instant that at most the owner runs it and that nobody loses files that he uses."""
    site = Site()
    watch = site.watch(Threshold(4, 120))
    epochs = [1]

    def check() -> None:
        assert site.owner.epoch in (epochs[-1], epochs[-1] + 1)
        if site.owner.epoch != epochs[-1]:
            epochs.append(site.owner.epoch)
            assert site.record.proof is not None and site.record.proof.host == site.record.from_host

    site.clock.on_sleep.append(check)

    def hand(to: str | None = None) -> None:
        try:
            site.handover().hand_over("test", site.owner.epoch, to)
        except (Refused, Unavailable, LockLost):
            return  # said and nothing done, or to be undone by the monitor

    for fault, number in sequence:
        match fault:
            case "hand":
                hand()
            case "home":
                hand("mail1")
            case "crash":
                site.crash_at(number, hand)
            case "silent":
                site.silent.add(site.owner.host if number % 2 else "mail2")
            case "speak":
                site.silent.clear()
            case "store" | "store_back":
                site.store_up = fault == "store_back"
            case "die":
                site.up.discard(site.owner.host)
            case "revive":
                site.up.update({"mail1", "mail2"})
            case "cut" | "join":
                site.coordinator.reachable = fault == "join"
            case "deny":
                site.switch.answer = "refuse" if number % 2 else "confirm"
        site.let_run(watch, number)
    site.silent.clear()
    site.coordinator.reachable = site.store_up = True
    site.switch.answer = "confirm"
    site.up.update({"mail1", "mail2"})
    site.let_run(watch, 150)
    if not site.running and not site.record.planned and site.record.revoke_epoch == site.owner.epoch:
        # A takeover that held behind its fence keeps the old owner out until an operator goes on (runbook).
        site.takeover().execute("by hand", site.owner.epoch, automatic=False)
    assert site.running == {site.owner.host: site.owner.epoch}
    assert keys.takeover(MX.name) not in site.coordinator.data or site.record.state is not RunState.RUNNING


ONE = Owner("mail1", 4, "r4", 0.0)
ADMITTED = Access(4, "r4", "mail1", 0.0)


def order(epoch: int, **changes: object) -> Run:
    values = {"run": "r5", "identity": MX.name, "invoker": "relay2", "reason": "", "state": RunState.RUNNING}
    return Run(**{**values, "from_host": "mail1", "time": 0.0, "release_epoch": epoch, "planned": True, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "running", "coordinator", "gap", "epoch", "action"),
    [
        ("mail1", 4, True, 1.0, 4, Action.RELEASE),
        ("mail1", None, True, 1.0, 4, Action.RELEASE),  # it does not run: that is to be said for this run, too
        ("mail1", 4, True, 1.0, 3, Action.KEEP),  # an order to an earlier owner
        ("mail1", None, True, 1.0, 0, Action.START),  # withdrawn
        ("mail2", None, True, 1.0, 4, Action.WAIT),  # not this host's
        ("mail1", 4, False, 1.0, 4, Action.KEEP),
        ("mail1", 4, True, 15.1, 4, Action.STOP),  # stood still: stop first, obey afterwards
    ],
)
def test_what_an_agent_makes_of_an_order(
    host: str, running: int | None, coordinator: bool, gap: float, epoch: int, action: Action
) -> None:
    assert decide(host, ONE, ADMITTED, running, coordinator, gap, 15.0, run=order(epoch)) is action


def test_records_keep_what_planned_runs_need() -> None:
    assert Run.from_json(order(4).to_json()) == order(4)
    report = Report("mail1", 4, Phase.STOPPED, 0.0, run="r5")
    assert Report.from_json(report.to_json()) == report
    old = {k: v for k, v in order(4).to_json().items() if k not in ("planned", "release_epoch")}
    assert Run.from_json(old).release_epoch == 0 and not Run.from_json(old).planned

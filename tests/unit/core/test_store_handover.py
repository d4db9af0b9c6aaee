"""A store is handed over by its living owner: nobody is fenced, and only a member of the in-sync set gets it."""

from __future__ import annotations

import pytest
from holdfast.core import keys
from holdfast.core.handover import LEVEL, Handover, read_plan
from holdfast.core.model import Owner, Phase, Report, Run, RunState
from holdfast.core.stores import InSync
from holdfast.core.takeover import Refused
from test_stores import Pair, S, owner


class Members(Pair):
    """A pair whose agents obey an order to release, unless they are silent."""

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.did: list[str] = []
        super().__init__()

    def step(self) -> None:
        record = self.coordinator.data.get(keys.takeover("store1"))
        run = None if record is None else Run.from_json(record[0])
        who = self.owner
        if run is None or run.release_epoch != who.epoch:
            said = self.coordinator.data.get(keys.report(who.host, "store1"), ({},))[0]
            if said.get("phase") == "stopped" and said.get("epoch") == who.epoch:
                self._say(Report(who.host, who.epoch, Phase.RUNNING, self.clock.time))
            super().step()
            return
        starts, self.starts = self.starts, False
        super().step()
        self.starts = starts
        said = self.coordinator.data[keys.report(who.host, "store1")][0]
        if who.host not in self.silent and said.get("run") != run.run:
            self.did.append(f"{who.host} stops")
            self._say(Report(who.host, who.epoch, Phase.STOPPED, self.clock.time, run=run.run))

    def _say(self, report: Report) -> None:
        self._put(keys.report(report.host, "store1"), report.to_json())

    def hand_over(self, invoker: str = "relay2") -> Run:
        return Handover.beside(self.takeover(invoker)).hand_over("new disk", self.owner.epoch)


def test_the_owner_stops_and_says_so_then_the_partner_owns_it() -> None:
    pair = Members()
    run = pair.hand_over()
    assert run.state is RunState.DONE and run.planned
    assert [s.name for s in run.steps] == ["candidate", "prepare", "release", "own", "started", "verify"]
    assert (pair.owner.host, pair.owner.epoch) == ("b", 2) and pair.did == ["a stops"]
    assert run.proof is not None and (run.proof.level, run.proof.method) == (LEVEL, "agent")
    assert pair.up == {"a", "b"}, "nobody's power was cut"
    assert pair.hand_over().state is RunState.DONE and pair.owner == Owner("a", 3, "run-2", pair.owner.since)


def test_a_partner_that_lacks_writes_does_not_get_it() -> None:
    pair = Members()
    pair._put(keys.insync("store1"), InSync(("a",), 1, 2, 0.0).to_json())
    with pytest.raises(Refused, match="not in the in-sync set of store1"):
        pair.hand_over()
    assert not read_plan(pair.coordinator, S, pair.clock.time).possible
    assert pair.owner == owner() and pair.did == []


def test_a_partner_that_leaves_the_set_meanwhile_does_not_get_it_and_the_owner_goes_on() -> None:
    pair = Members()
    say = pair._say

    def leaves(report: Report) -> None:
        say(report)
        if report.run:
            pair._put(keys.insync("store1"), InSync(("a",), 1, 2, 0.0).to_json())

    pair._say = leaves  # type: ignore[method-assign]
    run = pair.hand_over()
    assert run.state is RunState.HELD and "not in the in-sync set" in run.steps[-1].detail
    assert pair.owner == owner() and (run.release_epoch, run.revoke_epoch) == (0, 0)
    assert [s.name for s in run.steps][-2:] == ["goes_on", "hold"]


def test_a_word_that_is_taken_back_before_the_owner_changes_counts_for_nothing() -> None:
    """The old owner's agent begins anew between its word and `own`."""
    pair = Members()
    write = pair.coordinator.write

    def write_late(lock: object, puts: dict[str, object], unchanged: dict[str, int]) -> bool:
        if keys.owner("store1") in puts:
            pair._put(keys.report("a", "store1"), Report("a", 1, Phase.STARTING, pair.clock.time).to_json())
        return write(lock, puts, unchanged)  # type: ignore[arg-type]

    pair.coordinator.write = write_late  # type: ignore[method-assign,assignment]
    run = pair.hand_over()
    assert run.state is RunState.HELD and pair.owner == owner()
    assert keys.report("a", "store1") in run.steps[-1].detail


def test_an_owner_that_does_not_stop_goes_on() -> None:
    pair = Members()
    pair.silent.add("a")
    run = pair.hand_over()
    assert run.state is RunState.HELD and "a did not confirm" in run.steps[-1].detail
    assert pair.owner == owner() and run.release_epoch == 0


def test_what_a_dead_invoker_ordered_is_undone_by_the_partner() -> None:
    pair = Members()
    pair.silent.add("a")
    pairing = pair.pairing()
    pair.run(pairing, 5)

    class Gone(BaseException):
        pass

    sleep = pair.clock.sleep

    def dies(seconds: float) -> None:
        sleep(seconds)
        record = pair.coordinator.data.get(keys.takeover("store1"))
        if record is not None and record[0]["release_epoch"]:
            raise Gone

    pair.clock.sleep = dies  # type: ignore[method-assign]
    with pytest.raises(Gone):
        pair.hand_over()
    pair.clock.sleep = sleep  # type: ignore[method-assign]
    pair.run(pairing, 90, lambda: pair.record.state is RunState.HELD)
    assert pair.record.release_epoch == 0 and pair.owner == owner() and pair.up == {"a", "b"}

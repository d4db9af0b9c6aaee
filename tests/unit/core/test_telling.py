"""What people are told: a table, and what needs an operator."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from holdfast.core import keys, telling
from holdfast.core.certificates import DAY, Ending
from holdfast.core.handover import Handover
from holdfast.core.model import Access, Configuration, Owner, Phase, Readiness, Report, Run, RunState, Step
from holdfast.core.telling import Known, needs, read_about, table
from world import MX, World

NOW = 1_000_000.0
OWNER = Owner("mail1", 4, "r4", NOW - 900)


def known(**changes: Any) -> Known:
    values: dict[str, Any] = {
        "identity": MX,
        "owner": OWNER,
        "run": None,
        "locked_by": None,
        "inoperable": False,
        "access": Access(4, "r4", "mail1", NOW),
        "reports": {"mail1": Report("mail1", 4, Phase.RUNNING, NOW)},
        "ready": {h: Readiness(True, (), NOW) for h in MX.candidates},
        "leases": dict.fromkeys(MX.candidates, True),
        "evidence": {"relay2": {"time": NOW, "passed": False, "epoch": 4, "downs": 0, "reason": None}},
        "held": {"relay2": 0},
    }
    return Known(**{**values, **changes})


def run(**changes: Any) -> Run:
    values: dict[str, Any] = {"run": "r5", "identity": MX.name, "invoker": "relay2", "reason": "way home"}
    values |= {"state": RunState.HELD, "from_host": "mail1", "to_host": "mail2", "time": NOW - 600}
    values["steps"] = (Step("hold", NOW, NOW, "held", "the fence is silent"),)
    return Run(**{**values, **changes})


def test_nothing_when_all_is_well() -> None:
    assert needs(known(), NOW) == []


def deployed(**configured: Configuration | None) -> dict[str, Report]:
    return {
        host: Report(host, 4, Phase.RUNNING if host == "mail1" else Phase.STOPPED, NOW, configuration=one)
        for host, one in configured.items()
    }


NOT_READY = Readiness(False, ("drained: new disk",), NOW)
LACKS = "holdfast-spool@x is failed; it serves, and what is for the other side waits"
PAST = {"time": NOW, "passed": True, "epoch": 4, "downs": 4, "reason": "4 of 4 attempts down"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"owner": None}, "no owner is recorded"),
        ({"leases": {"mail1": False, "mail2": True}}, "owner mail1 has no live lease"),
        ({"reports": {"mail1": Report("mail1", 4, Phase.FAILED, NOW, (), "start: no")}}, "(failed): start: no"),
        ({"reports": {"mail1": Report("mail1", 3, Phase.RUNNING, NOW)}}, "(unknown)"),
        (
            {"reports": {"mail1": Report("mail1", 4, Phase.RUNNING, NOW, lacks=LACKS)}},
            "on mail1 holdfast-spool@x is failed; it serves",
        ),
        ({"reports": {}}, "does not run it at epoch 4"),
        ({"access": Access(4, "r4", None, NOW)}, "store1 admits nobody at epoch 4, not mail1"),
        ({"access": None}, "store1 admits nobody at epoch 0"),
        ({"access": Access(4, "r4", "mail1", NOW, error="queue is gone")}, "store1 does not serve it: queue is gone"),
        ({"ready": {"mail2": NOT_READY}}, "nobody could take it over: mail2: drained: new disk"),
        ({"ready": {}}, "mail2: its agent says nothing"),
        ({"not_opened": "store far cannot be opened: no"}, "nobody could take it over: store far cannot be opened: no"),
        ({"inoperable": True}, "flagged as inoperable"),
        ({"evidence": {"relay2": None}}, "monitor on relay2 has said nothing"),
        ({"evidence": {"relay2": {**PAST, "time": NOW - 100}}}, "monitor on relay2 says nothing since"),
        ({"evidence": {"relay2": PAST}}, "relay2 is past its threshold: 4 of 4"),
        (
            {"reports": deployed(mail1=Configuration("old", 1.0), mail2=Configuration("new", 2.0))},
            "its owner mail1 has missed a deploy: its configuration is older than that of mail2",
        ),
        ({"run": run(run="r4")}, "gave it to mail1 and is not finished: the fence is silent"),
        ({"run": run(revoke_epoch=4)}, "held behind the fence of mail1"),
        ({"run": run(state=RunState.RUNNING)}, "nobody works on it"),
    ],
)
def test_what_needs_an_operator(changes: dict[str, Any], said: str) -> None:
    found = needs(known(**changes), NOW)
    assert len(found) == 1 and said in found[0] and MX.name in found[0], found


@pytest.mark.parametrize(
    "changes",
    [
        {"run": run(planned=True)},  # the old owner went on
        {"run": run(state=RunState.DONE)},
        {"run": run(state=RunState.RUNNING, time=NOW - 20)},  # a pause between two invokers
        {"evidence": {"relay2": {**PAST, "epoch": 3}}},  # against the owner before
        {"reports": deployed(mail1=Configuration("new", 2.0), mail2=Configuration("old", 1.0))},  # mail2's agent tells
        {"reports": deployed(mail1=None, mail2=Configuration("new", 2.0))},  # in the midst of an upgrade to it
        # under way: the owner is down because it is told to be
        {"run": run(state=RunState.RUNNING, planned=True), "locked_by": "relay2", "reports": {}, "access": None},
    ],
)
def test_what_does_not(changes: dict[str, Any]) -> None:
    assert needs(known(**changes), NOW) == []


def test_an_owner_that_a_deploy_has_not_reached() -> None:
    old, new = Configuration("old", 1.0), Configuration("new", 2.0)
    (line,) = telling.missed(known(reports=deployed(mail1=old, mail2=new)))
    assert "its owner mail1 has missed a deploy" in line and "--limit mail1" in line
    for reports in (
        deployed(mail1=new, mail2=old),
        deployed(mail1=new, mail2=new),
        deployed(mail1=None, mail2=new),
        {},
    ):
        assert telling.missed(known(reports=reports)) == []
    assert telling.missed(known(owner=None)) == []


SILENT = {"relay2": None, "relay1": {**PAST, "passed": False, "time": NOW - 100}}


@pytest.mark.parametrize(
    ("aside", "changes", "left"),
    [
        (["mail2"], {"ready": {"mail2": NOT_READY}}, []),
        (["mail2"], {"leases": {"mail1": True, "mail2": False}, "ready": {}}, []),  # in the midst of its deploy
        # The owner's turn to be deployed comes later.
        (["mail2"], {"reports": deployed(mail1=Configuration("old", 1.0), mail2=Configuration("new", 2.0))}, []),
        (["relay2", "relay1"], {"evidence": SILENT}, []),
        (["relay2"], {"evidence": SILENT}, ["relay1"]),
        (["mail1"], {"reports": {}}, ["does not run it"]),  # what it owns it must run
        (["mail2"], {"not_opened": "store far cannot be opened: no"}, ["cannot be opened"]),
    ],
)
def test_a_host_in_the_midst_of_planned_work_may_be_away(
    aside: list[str], changes: dict[str, Any], left: list[str]
) -> None:
    found = needs(known(**changes), NOW, aside)
    assert len(found) == len(left) and all(word in said for word, said in zip(left, found, strict=True)), found
    assert len(needs(known(**changes), NOW)) > 0


def test_the_table() -> None:
    two = dataclasses.replace(MX, name="mx.beta.example", home="mail2")
    lines = table(
        [known(run=run(), ready={**known().ready, "mail2": NOT_READY}), known(identity=two, held={}, owner=None)], NOW
    )
    assert lines[0].split() == ["IDENTITY", "OWNER", "EPOCH", "HOME", "PHASE", "LAST", "RUN"]
    assert lines[1].split()[:5] == ["mx.alpha.example", "mail1", "4", "yes", "running"]
    assert "takeover mail1 to mail2 held: the fence is silent" in lines[1]
    assert lines[2].split()[:3] == ["mx.beta.example", "none", "0"]
    hosts = {line.split()[0]: line for line in lines if line.startswith("mail")}
    assert "new disk" in hosts["mail2"] and "mx.alpha.example: drained: new disk" in hosts["mail2"]
    assert hosts["mail1"].split()[:4] == ["mail1", "yes", "no", "mx.alpha.example"]
    relays = [line.split() for line in lines if line.startswith("relay2")]
    assert [r[2] for r in relays] == ["0", "?"]
    assert len({line.index("EPOCH") for line in lines if "EPOCH" in line}) == 1


def test_certificates_are_told_once_a_host() -> None:
    late = dataclasses.replace(NOT_READY, certificate=Ending("mail2", NOW + 3 * DAY))
    ready = {"mail1": Readiness(True, (), NOW, "", Ending("mail1", NOW + 90 * DAY)), "mail2": late}
    some = [known(ready=ready), known(ready=ready, identity=dataclasses.replace(MX, name="mx.beta.example"))]
    (line,) = telling.certificates(some, NOW)
    assert line.startswith("mail2: its certificate mail2 ends in 3 days")
    assert Readiness.from_json(late.to_json()) == late
    old = {k: v for k, v in late.to_json().items() if k != "certificate"}
    assert telling.certificates([known(ready={"mail2": Readiness.from_json(old)})], NOW) == []


def test_nobody_could_take_over_what_has_one_host_left() -> None:
    assert telling.unprotected(known()) == []
    alone = known(ready={"mail2": NOT_READY})
    assert telling.unprotected(alone) == [f"{MX.name}: nobody could take it over: mail2: drained: new disk"]
    assert telling.unprotected(alone, aside=["mail2"]) == []


def test_a_dead_hosts_old_word_about_draining_is_not_told() -> None:
    lines = table([known(ready={"mail2": NOT_READY}, leases={"mail1": True, "mail2": False})], NOW)
    assert next(line for line in lines if line.startswith("mail2")).split()[1:3] == ["no", "no"]


def test_read_back_from_the_coordinator_after_a_run() -> None:
    world = World()
    Handover.beside(world.takeover())
    run = world.takeover().execute("mail1 burns", 1)
    found = Known.from_json(MX, read_about(world.coordinator, MX), 30.0, {"relay2": 3})
    assert found.run == run and found.owner == world.owner
    assert telling.phase(found) == "running"
    assert "takeover mail1 to mail2 done (mail1 burns)" in telling.last_run(found)
    assert [line.split()[0] for line in telling.steps(run)] == [s.name for s in run.steps]
    world.clock.sleep(20)
    found = Known.from_json(MX, read_about(world.coordinator, MX), 30.0, {})
    assert any("nobody could take it over: mail1: no live lease" in line for line in needs(found, world.clock.time))


def test_a_store_from_elsewhere_that_nobody_opens_is_told() -> None:
    world = World()
    world.coordinator._put(keys.manager(MX.store), {"host": "door1", "time": 0})
    found = Known.from_json(MX, read_about(world.coordinator, MX), 30.0, {})
    assert any("its manager door1 is not heard" in line for line in needs(found, world.clock.time))
    world.coordinator._put(keys.door(MX.store), {"host": "door1", "unfit": "", "time": 0})
    assert Known.from_json(MX, read_about(world.coordinator, MX), 30.0, {}).not_opened is None


def test_what_is_told_of_an_identity_is_one_read() -> None:
    world = World()
    before = world.coordinator.calls
    told = read_about(world.coordinator, MX)
    assert world.coordinator.calls - before == 1
    assert told["leases"] == dict.fromkeys(MX.candidates, True) and told["owner"]["host"] == world.owner.host


MANY = {f"mx{n}": dataclasses.replace(MX, name=f"mx{n}") for n in range(16)}


def all_own(world: World, epoch: int) -> None:
    for name in MANY:
        world.coordinator._put(keys.owner(name), Owner("mail1", epoch, f"r{epoch}", 0.0).to_json())
        world.coordinator._put(keys.report("mail1", name), Report("mail1", epoch, Phase.RUNNING, 0.0).to_json())
        world.coordinator._put(keys.evidence(name, "relay2"), {**PAST, "epoch": epoch})


def test_what_is_told_of_all_identities_is_read_together() -> None:
    """A deploy asks for all of them; of any one it is told what it would be told of it alone."""
    world = World()
    all_own(world, 3)
    before = world.coordinator.calls
    told = telling.ask(world.coordinator, {name: telling.question(one) for name, one in MANY.items()})
    assert world.coordinator.calls - before == 2
    assert told == {name: read_about(world.coordinator, one) for name, one in MANY.items()}
    assert told["mx15"]["evidence"]["relay2"]["epoch"] == 3 and told["mx15"]["leases"]["mail2"]
    assert telling.ask(world.coordinator, {}) == {}


def test_what_is_told_of_one_identity_is_of_one_moment() -> None:
    """Otherwise one that is taken over between two reads would be told as one that its owner does not run."""
    world = World()
    all_own(world, 3)
    last = world.coordinator.calls + 1

    def taken_over(call: int) -> None:
        if call > last:
            all_own(world, 4)

    world.coordinator.before_call = taken_over
    told = telling.ask(world.coordinator, {name: telling.question(one) for name, one in MANY.items()})
    epochs = {
        name: {one["owner"]["epoch"], one["reports"]["mail1"]["epoch"], one["evidence"]["relay2"]["epoch"]}
        for name, one in told.items()
    }
    assert all(len(some) == 1 for some in epochs.values()) and {e for some in epochs.values() for e in some} == {3, 4}


def test_the_history_of_runs_is_not_read() -> None:
    """Twenty records an identity, and nobody is told of them."""
    kept, words = keys.run("mx", "r1"), telling.question(dataclasses.replace(MX, name="mx")).ranges
    assert not kept.startswith(tuple(words))
    assert all(key("mx").startswith(tuple(words)) for key in (keys.owner, keys.takeover, keys.lock, keys.inoperable))

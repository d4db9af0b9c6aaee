"""A store on one member: its steps in their order, what stops them, and who is let in again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from edges import Clock, Coordinator, Lines
from holdfast.adapters.disk import Room
from holdfast.adapters.drbd import State
from holdfast.adapters.track import TrackFile
from holdfast.core import keys, stores
from holdfast.core.model import Identity, Phase, Report, Run, RunState
from holdfast.core.ports import Entry, Unavailable
from holdfast.daemons import fence_peer
from holdfast.daemons.agent import Agent
from holdfast.daemons.keeper import Keeper
from holdfast.daemons.store_instance import StoreChecks, StoreInstance, StorePlace, read_epoch

S = Identity("store1", "10.255.3.1", stores.KIND, (), "a", ("a", "b"), "store1")
GOOD = State("Primary", "UpToDate", "Connected", "Secondary", "UpToDate")
OWNER, SET = keys.owner("store1"), keys.insync("store1")


class Records(Coordinator):
    """With revisions, so that a write between a read and a write is seen."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.revisions: dict[str, int] = {}

    def read(self, keys: Any) -> dict[str, Entry]:
        return {k: Entry(e.value, self.revisions.get(k, e.revision)) for k, e in super().read(keys).items()}

    def replace(self, key: str, value: Mapping[str, object], unchanged: Mapping[str, int]) -> bool:
        now = self.read(list(unchanged))
        if any(now[k].revision != revision for k, revision in unchanged.items()):
            return False
        self.data[key] = dict(value)
        self.revisions[key] = self.revisions.get(key, 1) + 1
        return True

    def members(self, *hosts: str, epoch: int = 1) -> None:
        serial = self.revisions.get(SET, 1) + 1
        self.data[SET] = stores.InSync(hosts, epoch, serial, 0.0).to_json()
        self.revisions[SET] = serial


class Machine:
    """DRBD, disk, units, NFS server and keepalived of one host; `fails` names what does not work."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.fails: dict[str, str] = {}
        self.state_now = State("Secondary", "UpToDate", "Connected", "Secondary", "UpToDate")
        self.mounted = False
        self.read_only = False
        self.running: set[str] = set()
        self.address = False
        self.keepalived_hangs = False
        self.nfsd_hangs = False

    def _do(self, what: str) -> None:
        self.did.append(what)
        if what in self.fails:
            raise Unavailable(self.fails[what])

    def up(self) -> None:
        self._do("up")

    def state(self) -> State:
        return self.state_now

    def primary(self) -> None:
        self._do("primary")
        self.state_now = GOOD

    def secondary(self) -> None:
        self._do("secondary")
        self.state_now = State("Secondary", "UpToDate", "Connected", "Secondary", "UpToDate")

    def is_mounted(self) -> bool:
        return self.mounted

    def is_read_only(self) -> bool:
        return self.mounted and self.read_only

    def mount(self) -> None:
        self._do("mount")
        self.mounted, self.read_only = True, False

    def unmount(self) -> None:
        self._do("unmount")
        self.mounted = False

    def start(self, units: Any) -> None:
        self._do(f"start {' '.join(units)}")
        self.running |= set(units)

    def stop(self, units: Any) -> None:
        self._do("stop")
        self.running -= set(units)

    def states(self, units: Any) -> dict[str, str]:
        return {u: "active" if u in self.running else "inactive" for u in units}

    def serving(self) -> bool:
        return "nfs-server.service" in self.running

    def has_address(self, address: str) -> bool:
        if not self.keepalived_hangs:
            self.address = self.track.read()
        return self.address

    def null(self, address: str, timeout: float = 2.0) -> str | None:
        if self.nfsd_hangs:
            self.clock.sleep(timeout)
            return "timed out"
        return None

    track: TrackFile
    clock: Clock


class Member:
    """Host a with its agent; work is done at once."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp = tmp_path
        self.clock = Clock()
        self.records = Records(self.clock)
        self.machine = Machine()
        self.machine.track = TrackFile("store1", tmp_path / "track")
        self.machine.clock = self.clock
        self.log = Lines()
        self.place = StorePlace(S, "/dev/drbd0", 0, "/srv/store")
        self.works: Any = self.instance()
        self.gap = 0.0

    def instance(self) -> StoreInstance:
        m: Any = self.machine
        return StoreInstance(
            "a", self.place, self.records, m, m, m, m, m.track, self.clock, self.log,
            m.null, m.has_address, self.tmp / "epochs", self.tmp / "marks",
        )  # fmt: skip

    def agent(self) -> None:
        self.keeper = Keeper("a", self.works, self.clock, self.log, lambda work: work())
        self.keeper.find()
        self._agent = Agent(
            "a", 10, [(self.keeper, self.place)], self.records, lambda place: (), lambda: self.gap, "boot-1",
            self.clock, self.log,
        )  # fmt: skip

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.sleep(1.0)
            self._agent.tick()

    def report(self) -> Report:
        return Report.from_json(self.records.data[keys.report("a", "store1")])

    @property
    def epoch(self) -> int | None:
        return read_epoch("store1", self.tmp / "epochs")


@pytest.fixture
def member(tmp_path: Path) -> Member:
    made = Member(tmp_path)
    made.records.own("a", 1, S)
    made.records.members("a", "b")
    made.agent()
    return made


def test_everything_comes_up_in_its_order(member: Member) -> None:
    member.tick(2)
    assert member.machine.did == [
        "up", "primary", "mount", "start nfsdcld.service nfs-mountd.service nfs-server.service",
        "start holdfast-store.service",
    ]  # fmt: skip
    report = member.report()
    assert (report.phase, report.epoch) == (Phase.RUNNING, 1)
    assert [s.name for s in report.steps] == ["insync", "promote", "mount", "nfsd", "exports", "address", "verify"]
    assert member.machine.track.read() and member.epoch == 1


def test_outside_the_set_nothing_is_touched(member: Member) -> None:
    member.records.members("b")
    member.tick(3)
    assert member.machine.did == [] and member.epoch is None


def test_a_set_that_changed_after_the_decision_is_seen_before_the_promotion(member: Member) -> None:
    steps = member.works.steps(1, lambda: False)
    member.records.members("b")
    with pytest.raises(Unavailable, match="not in the in-sync set"):
        steps[0][1]()
    assert member.machine.did == [] and member.epoch is None


def test_a_promotion_that_drbd_refuses_leaves_nothing_behind(member: Member) -> None:
    member.machine.fails["primary"] = "Refusing to be Primary while peer is not outdated"
    member.tick(2)
    assert member.machine.did[-2:] == ["stop", "unmount"] and member.epoch is None
    assert not member.machine.track.read() and "not outdated" in member.report().error


def test_no_address_before_the_exports_are_rendered(member: Member) -> None:
    member.machine.fails["start holdfast-store.service"] = "no answer from any member"
    member.tick(2)
    assert not member.machine.track.read()
    assert member.report().phase is Phase.FAILED and "exports" in member.report().error


def test_another_owner_takes_everything_down_in_the_opposite_order(member: Member) -> None:
    member.tick(2)
    member.machine.did.clear()
    member.records.own("b", 2, S)
    member.tick(1)
    assert member.machine.did == ["stop", "unmount", "secondary"]
    assert not member.machine.track.read() and member.epoch is None


def test_who_leaves_by_plan_has_answered_before_its_address_goes(member: Member) -> None:
    member.tick(2)
    stopped: list[tuple[tuple[str, ...], bool]] = []
    member.machine.stop = lambda units: stopped.append((tuple(units), member.machine.track.read()))  # type: ignore[method-assign]
    member.works.release()
    assert stopped[0] == (("nfs-server.service",), True) and [address for _, address in stopped[1:]] == [False]


@pytest.mark.parametrize("unit", ["nfsdcld.service", "nfs-mountd.service", "nfs-server.service"])
def test_a_program_beside_the_server_that_has_died_is_seen(member: Member, unit: str) -> None:
    member.tick(2)
    member.machine.running.discard(unit)
    assert member.works.dead() == f"{unit} is inactive"


def test_a_standstill_stops_first(member: Member) -> None:
    member.tick(2)
    member.gap = 11.0
    member.machine.did.clear()
    member.tick(1)
    assert member.machine.did[0] == "stop"


def test_without_the_coordinator_it_goes_on_and_does_not_start(member: Member) -> None:
    member.records.reachable = False
    member.tick(2)
    assert member.machine.did == []
    member.records.reachable = True
    member.tick(2)
    member.records.reachable = False
    member.machine.did.clear()
    member.tick(30)
    assert member.machine.did == [] and member.machine.track.read()


def test_a_disk_that_can_not_be_unmounted_keeps_its_epoch(member: Member) -> None:
    """It may still be primary, and its fence-peer handler must know at which epoch."""
    member.tick(2)
    member.machine.fails["unmount"] = "target is busy"
    member.records.own("b", 2, S)
    member.tick(1)
    assert member.epoch == 1 and "busy" in member.report().error


def test_a_restarted_agent_finds_what_runs_and_stops_nothing(member: Member) -> None:
    member.tick(2)
    member.machine.did.clear()
    member.agent()
    member.tick(3)
    assert member.keeper.epoch == 1 and member.machine.did == []


def test_leftovers_on_a_host_that_owns_nothing_are_cleared(member: Member) -> None:
    member.tick(2)
    member.records.own("b", 2, S)
    (member.tmp / "marks" / "store1").unlink()
    member.agent()
    member.tick(1)
    assert member.machine.did[-3:] == ["stop", "unmount", "secondary"]


# --- handed over ------------------------------------------------------------------------------------------------


def order(member: Member, release_epoch: int) -> None:
    record = Run("run-1", "store1", "relay2", "new disk", RunState.RUNNING, "a", 0.0, to_host="b", planned=True)
    record = dataclasses.replace(record, release_epoch=release_epoch)
    member.records.data[keys.takeover("store1")] = record.to_json()


def test_an_order_to_release_is_carried_out_when_the_address_is_gone(member: Member) -> None:
    member.tick(2)
    order(member, 1)
    member.tick(1)
    report = member.report()
    assert (report.phase, report.epoch, report.run) == (Phase.STOPPED, 1, "run-1")
    assert not member.machine.track.read() and not member.machine.mounted


def test_no_word_that_it_has_stopped_while_keepalived_leaves_the_address_on(member: Member) -> None:
    """Its partner would put the same address on, and routers take both paths."""
    member.tick(2)
    member.machine.keepalived_hangs = True
    order(member, 1)
    member.tick(4)
    report = member.report()
    assert report.phase is Phase.FAILED and report.run == ""
    assert "keepalived did not take 10.255.3.1 off within 5 s" in report.error
    member.machine.keepalived_hangs = False
    member.tick(20)
    report = member.report()
    assert (report.phase, report.run) == (Phase.STOPPED, "run-1"), "the order is tried again"


def test_an_owner_whose_keepalived_hangs_goes_on_when_the_order_is_withdrawn(member: Member) -> None:
    member.tick(2)
    member.machine.keepalived_hangs = True
    order(member, 1)
    member.tick(4)
    order(member, 0)
    member.tick(20)
    assert member.report().phase is Phase.RUNNING and member.machine.mounted


# --- let in and taken out ---------------------------------------------------------------------------------------


def test_a_partner_that_has_everything_again_is_let_in(member: Member) -> None:
    member.tick(2)
    member.records.members("a")
    member.machine.state_now = State("Primary", "UpToDate", "SyncSource", "Secondary", "Inconsistent", 50.0)
    member.tick(30)
    assert member.records.data[SET]["members"] == ["a"]
    member.machine.state_now = GOOD
    member.tick(30)
    assert member.records.data[SET]["members"] == ["a", "b"]


def test_a_dead_unit_is_seen_without_the_coordinator(member: Member) -> None:
    """The look at the pair needs it; nobody could reclaim his locks from a server whose nfsdcld stays dead."""
    member.tick(2)
    member.records.reachable = False
    member.machine.running.discard("nfsdcld.service")
    assert member.works.dead() == "nfsdcld.service is inactive"


def test_a_mending_that_meets_a_coordinator_that_is_gone_leaves_what_serves(member: Member) -> None:
    member.tick(2)
    before, states = member.report(), member.machine.states

    def goes_away(units: Any) -> dict[str, str]:
        member.records.reachable = False  # between the agent's read and the mending
        return states(units)

    member.machine.states = goes_away  # type: ignore[method-assign]
    member.machine.running.discard("nfsdcld.service")
    member.machine.did.clear()
    member.tick(30)
    assert member.machine.did == [] and member.machine.track.read() and member.keeper.report == before
    assert member.log.said("mending_put_off")
    member.machine.states = states  # type: ignore[method-assign]
    member.records.reachable = True
    member.tick(15)
    assert "nfsdcld.service" in member.machine.running and member.machine.mounted
    assert "stop" not in member.machine.did and member.report().phase is Phase.RUNNING


def test_a_mending_that_learns_of_another_owner_takes_everything_down(member: Member) -> None:
    member.tick(2)
    states = member.machine.states

    def loses_it(units: Any) -> dict[str, str]:
        member.records.own("b", 2, S)
        return states(units)

    member.machine.states = loses_it  # type: ignore[method-assign]
    member.machine.running.discard("nfsdcld.service")
    member.tick(12)
    assert member.log.said("start_failed") and not member.log.said("mending_put_off")
    assert not member.machine.mounted and not member.machine.track.read()


def test_a_server_that_hangs_is_said_not_to_serve_and_begun_anew(member: Member) -> None:
    member.tick(2)
    begin, null, said = member.clock.boottime(), member.machine.null, []

    def watched(address: str, timeout: float = 2.0) -> str | None:
        report = member.keeper.report
        assert report is not None
        said.append((address, timeout, report.phase, member.clock.boottime() - begin))
        return null(address, timeout)

    member.works._probe = watched
    member.machine.nfsd_hangs = True
    member.tick(12)
    loopback, verify = said[0], said[1]
    assert loopback[:3] == ("127.0.0.1", 60.0, Phase.RUNNING)
    # Identities wait for a store that says so; relays blame their hosts from the fourth attempt on, at 90 s.
    assert verify[:3] == (S.address, 2.0, Phase.STARTING) and verify[3] < 75
    assert "NFS at 10.255.3.1: timed out" in str(member.log.said("start_failed")[0]["detail"])
    assert "stop" in member.machine.did
    member.machine.nfsd_hangs = False
    member.tick(60)
    assert member.report().phase is Phase.RUNNING and member.machine.mounted


def test_a_server_that_answers_late_goes_on(member: Member) -> None:
    member.tick(2)
    begin = member.clock.boottime()

    def late(address: str, timeout: float = 2.0) -> str | None:
        needed = 70.0 if member.clock.boottime() - begin < 70 else 1.0
        member.clock.sleep(min(needed, timeout))
        return None if needed < timeout else "timed out"

    member.works._probe = late
    member.machine.did.clear()
    member.tick(60)
    assert "stop" not in member.machine.did and member.report().phase is Phase.RUNNING


def test_without_the_coordinator_a_server_that_hangs_is_left_alone(member: Member) -> None:
    """Its threads may wait for writes that DRBD holds back, until the handler reaches the coordinator."""
    member.tick(2)
    member.records.reachable, member.machine.nfsd_hangs = False, True
    member.machine.did.clear()
    member.tick(30)
    assert member.machine.did == [] and member.machine.track.read()


def test_a_partner_that_lost_its_disk_is_taken_out_though_the_link_holds(member: Member) -> None:
    member.tick(2)
    member.machine.state_now = State("Primary", "UpToDate", "Connected", "Secondary", "Diskless")
    member.tick(30)
    assert member.records.data[SET]["members"] == ["a"]


def test_a_link_that_breaks_before_the_write_keeps_the_partner_out(member: Member) -> None:
    member.tick(2)
    member.records.members("a")

    class Breaks(Machine):
        def state(inner) -> State:  # noqa: N805
            # What DRBD's handler does right after the look.
            assert take_out(member) == fence_peer.GO_ON
            return GOOD

    member.works._drbd = Breaks()
    member.works._review()
    assert member.records.data[SET]["members"] == ["a"]


def take_out(member: Member, host: str = "a") -> int:
    return fence_peer.take_out(
        host, "store1", member.records, member.log, lambda: 1.0, member.clock.sleep, member.tmp / "epochs"
    )


def test_the_handler_takes_the_partner_out_as_owner_at_its_epoch(member: Member) -> None:
    member.tick(2)
    assert take_out(member) == 4, "drbd.conf(5): the partner's disk counts as outdated, DRBD goes on"
    assert member.records.data[SET]["members"] == ["a"]


@pytest.mark.parametrize("how", ["another owner", "another epoch", "outside", "not acting"])
def test_the_handler_leaves_writes_frozen(member: Member, how: str) -> None:
    member.tick(2)
    if how == "another owner":
        member.records.own("b", 2, S)
    elif how == "another epoch":
        member.records.own("a", 3, S)
    elif how == "outside":
        member.records.members("b")
    else:
        (member.tmp / "epochs" / "store1").unlink()
    before = dict(member.records.data[SET])
    assert take_out(member) == 1, "none of the codes after which DRBD goes on"
    assert member.records.data[SET] == before


def test_a_set_that_changes_before_the_handler_writes_is_read_anew(member: Member) -> None:
    """The partner is let in at that moment: DRBD must not go on while the set still has it."""
    member.tick(2)
    member.records.members("a")
    replace = member.records.replace

    def write_late(key: str, value: Mapping[str, object], unchanged: Mapping[str, int]) -> bool:
        member.records.replace = replace  # type: ignore[method-assign]
        member.records.members("a", "b")
        return replace(key, value, unchanged)

    member.records.replace = write_late  # type: ignore[method-assign]
    assert take_out(member) == fence_peer.GO_ON
    assert member.records.data[SET]["members"] == ["a"]


def test_the_handler_waits_for_the_coordinator(member: Member) -> None:
    member.tick(2)
    member.records.reachable = False
    asleep: list[float] = []

    def sleep(seconds: float) -> None:
        asleep.append(seconds)
        member.records.reachable = len(asleep) >= 20

    status = fence_peer.take_out("a", "store1", member.records, member.log, sleep=sleep, epochs=member.tmp / "epochs")
    assert status == fence_peer.GO_ON and len(asleep) == 20
    assert len(member.log.said("fence_peer_waits")) == 1


def test_a_file_system_that_went_read_only_is_mounted_anew(member: Member) -> None:
    member.tick(2)
    assert member.report().phase is Phase.RUNNING
    member.machine.read_only = True
    member.machine.did.clear()
    member.tick(3)
    assert member.report().phase is Phase.RUNNING and not member.machine.read_only
    did = member.machine.did
    assert did.index("unmount") < did.index("mount"), "e2fsck looks at it in between"
    lost = member.log.said("lost")[0]
    assert "read-only" in str(lost["why"]) and lost["level"] == "alert"


# --- ready ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("disk", "ready"), [("UpToDate", True), ("Consistent", True), ("Outdated", False)])
def test_a_member_with_an_outdated_disk_is_not_ready(tmp_path: Path, disk: str, ready: bool) -> None:
    machine: Any = Machine()
    machine.state_now = State("Secondary", disk, "Connecting", "Unknown", "DUnknown")
    place = StorePlace(S, "/dev/drbd0", 0, "/srv/store")
    drain, pair = tmp_path / "drain", {"store1": machine}
    checks = StoreChecks(str(drain), pair, pair, Clock(), Lines())
    assert (checks.reasons(place) == ()) is ready
    drain.write_text("new disk\n")
    assert "drained: new disk" in checks.reasons(place)


def test_a_disk_that_is_nearly_full_alarms_once_and_says_when_there_is_room_again(tmp_path: Path) -> None:
    machine: Any = Machine()
    machine.state_now, machine.mounted = GOOD, True
    log, rooms = Lines(), [Room(4000, free, free / 40) for free in (3000, 390, 380, 410)]
    checks = StoreChecks("/nowhere", {"store1": machine}, {"store1": machine}, Clock(), log, lambda root: rooms.pop(0))
    place = StorePlace(S, "/dev/drbd0", 0, "/srv/store", alarm_percent=10.0)
    assert [checks.half(place).low for _ in range(4)] == [False, True, True, False]
    said = log.said("store_room")
    assert [(s["low"], s["level"]) for s in said] == [(True, "alert"), (False, "info")]
    assert "390 of 4000 MB (9.8 %) left at /srv/store" in str(said[0]["detail"])
    machine.mounted = False
    assert checks.half(place).room is None, "the standby mounts nothing"

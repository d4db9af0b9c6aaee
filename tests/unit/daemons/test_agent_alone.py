"""Where the fence plan has the level `watchdog`, a host that is heard no more stops by itself, or is reset."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from edges import Lines
from holdfast.adapters.watchdog import Guard, Watchdog
from holdfast.core import fencing, keys
from holdfast.core.model import Access, Owner, Phase
from holdfast.core.ownership import Action, decide
from holdfast.core.ports import Unavailable
from holdfast.daemons.running import Found
from hypothesis import given
from hypothesis import strategies as st
from one_host import TTL, Host

OWNER, ADMITTED = Owner("mail1", 4, "r4", 0.0), Access(4, "r4", "mail1", 0.0)


class Dog:
    kind, timeout = "i6300ESB timer", 30.0

    def __init__(self) -> None:
        self.pats = 0
        self.patted = threading.Event()
        self.end = ""

    def pat(self) -> None:
        self.pats += 1
        self.patted.set()

    def disarm(self) -> None:
        self.end = "disarmed"

    def leave(self) -> None:
        self.end = "left"


class Alone(Host):
    def begin(self, boot: str = "boot-1", **more: Any) -> None:
        super().begin(boot, stops_alone=True)
        self.agent.dog = Dog()


@pytest.fixture
def host() -> Alone:
    made = Alone()
    made.own()
    made.begin()
    made.tick(2)
    assert made.report().phase is Phase.RUNNING
    return made


@pytest.mark.parametrize(
    ("running", "coordinator", "left", "action"),
    [
        (4, True, 15.0, Action.KEEP),
        (4, True, 5.0, Action.STOP),
        (4, False, 10.0, Action.KEEP),
        (4, False, 5.0, Action.STOP),
        (4, False, None, Action.KEEP),  # a plan without that level: a coordinator outage is no mail outage
        (None, True, 4.0, Action.WAIT),  # nothing is begun on a lease that ends
        (None, True, 15.0, Action.START),
    ],
)
def test_what_is_left_of_the_lease_decides(
    running: int | None, coordinator: bool, left: float | None, action: Action
) -> None:
    owner, access = (OWNER, ADMITTED) if coordinator else (None, None)
    assert decide("mail1", owner, access, running, coordinator, 1.0, 15.0, left) is action


@given(
    st.sampled_from([None, 3, 4]),
    st.booleans(),
    st.floats(0, 30),
    st.floats(-30, 15),
    st.sampled_from([None, OWNER, Owner("mail2", 5, "r5", 0.0)]),
)
def test_nothing_runs_on_an_ending_lease(
    running: int | None, coordinator: bool, gap: float, left: float, owner: Owner | None
) -> None:
    action = decide("mail1", owner, ADMITTED, running, coordinator, gap, 15.0, left)
    if left <= 5.0:
        assert action in (Action.STOP, Action.WAIT)
        assert (action is Action.STOP) is (running is not None)


def test_a_host_that_is_heard_no_more_stops_before_its_lease_ends(host: Alone) -> None:
    host.tick(20)  # some renewals behind it
    begin = host.clock.time
    host.coordinator.reachable = False
    did: list[str] = []
    while "down" not in did:
        did = host.tick()
        assert host.clock.time - begin < TTL, "the lease is over and it still runs"
    assert host.keepers[host.mx.place.identity.name].idle
    host.coordinator.reachable = True
    host.tick(3)
    assert host.report().phase is Phase.RUNNING, "it is the owner still"


def test_a_renewal_counts_from_its_sending(host: Alone) -> None:
    """The answer took six seconds: the coordinator may have counted from the first of them."""
    keepalive = host.coordinator.keepalive

    def slow(lease: int) -> bool:
        done = keepalive(lease)
        host.clock.time += 6
        host.coordinator.reachable = False
        return done

    host.coordinator.keepalive = slow  # type: ignore[method-assign]
    while host.coordinator.reachable:
        host.tick()
    end = max(host.coordinator.leases.values())
    while not host.agent.idle:
        host.tick()
        assert host.clock.time < end


def test_a_short_outage_stops_nothing(host: Alone) -> None:
    host.coordinator.reachable = False
    assert "down" not in host.tick(4)
    host.coordinator.reachable = True
    assert "down" not in host.tick(60)


def test_the_watchdog_is_recorded_behind_every_lease(host: Alone) -> None:
    puts = host.coordinator.puts
    assert puts.index(keys.lease("mail1")) < puts.index(keys.watchdog("mail1"))
    record = fencing.Watchdog.from_json(host.coordinator.data[keys.watchdog("mail1")])
    assert (record.boot_id, record.armed, record.kind, record.timeout) == ("boot-1", True, "i6300ESB timer", 30.0)
    assert record.stops_alone
    before = puts.count(keys.watchdog("mail1"))
    host.coordinator.leases.clear()
    host.tick(10)
    assert puts.count(keys.watchdog("mail1")) == before + 1


def test_a_new_agent_does_not_make_the_watchdog_count_anew_for_what_runs_without_a_lease(host: Alone) -> None:
    """The agent before it died with its lease: whoever waits for that watchdog to reset this host waits once."""
    host.coordinator.reachable = False
    host.mx.fails["down"] = "umount hangs"
    host.mx.left = Found(1, ())
    host.begin()
    opened: list[Dog] = []

    def arm() -> Dog:
        opened.append(Dog())
        return opened[-1]

    host.agent.dog, host.agent.arm = None, arm
    host.tick(5)
    assert not opened, "what is left of its time is what it has"
    host.mx.fails.clear()
    host.tick(80)
    assert len(opened) == 1, "nothing runs here: to be reset would help nobody"
    host.coordinator.reachable = True
    host.tick(2)
    assert fencing.Watchdog.from_json(host.coordinator.data[keys.watchdog("mail1")]).armed


def test_a_new_agent_opens_the_watchdog_behind_its_lease_and_says_so(host: Alone) -> None:
    host.mx.left = Found(1, ())
    host.begin()
    host.agent.dog, host.agent.arm = None, Dog
    host.tick()
    record = fencing.Watchdog.from_json(host.coordinator.data[keys.watchdog("mail1")])
    assert host.agent.dog is not None and record.armed and host.coordinator.puts[-1] != keys.lease("mail1")
    assert host.report().phase is Phase.RUNNING, "the restart of an agent stops nothing"


def test_a_lease_whose_record_could_not_be_written_is_not_relied_on(host: Alone) -> None:
    """Else an invoker could see no lease at two looks and no sign of the one in between."""
    host.coordinator.leases.clear()
    put = host.coordinator.put

    def refuses(key: str, value: object, lease: int | None = None) -> None:
        if key == keys.watchdog("mail1"):
            raise Unavailable("connection lost")
        put(key, value, lease)  # type: ignore[arg-type]

    host.coordinator.put = refuses  # type: ignore[method-assign,assignment]
    host.tick(TTL)
    assert host.agent.idle


def test_a_plain_host_records_its_boot_too() -> None:
    plain = Host()
    plain.own()
    plain.begin("boot-7")
    plain.tick(2)
    record = fencing.Watchdog.from_json(plain.coordinator.data[keys.watchdog("mail1")])
    assert (record.boot_id, record.armed, record.stops_alone) == ("boot-7", False, False)
    plain.coordinator.reachable = False
    assert "down" not in plain.tick(600)


def test_what_does_not_stop_is_not_guarded_any_longer(host: Alone) -> None:
    host.mx.fails["down"] = "umount hangs"
    host.coordinator.reachable = False
    host.tick(TTL - 3)
    assert host.agent.safe()
    host.tick(5)
    assert not host.agent.safe(), "the watchdog must reset this host now"
    host.mx.fails.clear()
    host.tick(80)
    assert host.agent.safe(), "nothing runs here"


def test_the_guard_pats_while_it_is_safe() -> None:
    dog, log = Dog(), Lines()
    dog.timeout = 0.04
    safe = threading.Event()
    safe.set()
    guard = Guard(dog, safe.is_set, log)  # type: ignore[arg-type]
    guard.start()
    assert dog.patted.wait(5)
    safe.clear()
    while not log.said("watchdog"):
        threading.Event().wait(0.01)
    pats = dog.pats
    threading.Event().wait(0.1)
    assert dog.pats == pats and log.said("watchdog")[0]["level"] == "alert"
    guard.close(idle=False)
    assert dog.end == "left"
    guard = Guard(dog, safe.is_set, log)  # type: ignore[arg-type]
    guard.start()
    guard.close(idle=True)
    assert dog.end == "disarmed"


def test_what_is_no_watchdog(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="none: No such file"):
        Watchdog(str(tmp_path / "none"), 30)
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="is no watchdog"):
        Watchdog(str(tmp_path / "file"), 30)

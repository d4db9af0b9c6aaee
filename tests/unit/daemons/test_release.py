"""The agent and a planned run's order: stop, say so for this very run, and go on when the order is withdrawn."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from edges import MX, Clock
from holdfast.adapters import command, machine
from holdfast.core import keys
from holdfast.core.model import Phase, Run, RunState
from holdfast.core.ports import Unavailable
from holdfast.daemons.instance import SPOOL_WITHIN, Instance
from holdfast.daemons.keeper import BACK_OFF, then_awake
from holdfast.daemons.running import POLL, Cancelled, Found
from one_host import STEPS, Host, place


@pytest.fixture
def host() -> Host:
    made = Host()
    made.begin()
    made.own()
    made.tick()
    return made


def order(host: Host, epoch: int, run: str = "run-1", state: RunState = RunState.RUNNING) -> None:
    """`epoch` 0: the order is withdrawn."""
    record = Run(run, MX.name, "relay2", "test", state, "mail1", host.clock.time, "mail2")
    data = {**record.to_json(), "planned": True, "release_epoch": epoch}
    host.coordinator.data[keys.takeover(MX.name)] = data


def told(host: Host) -> tuple[Phase, int, str]:
    report = host.report()
    return report.phase, report.epoch, report.run


def test_stops_once_and_says_for_which_run(host: Host) -> None:
    order(host, 1)
    assert host.tick(5) == ["release"]
    assert told(host) == (Phase.STOPPED, 1, "run-1")


def test_says_nothing_before_all_is_down(host: Host) -> None:
    order(host, 1)
    host.later = []
    host.tick(3)
    assert told(host) == (Phase.RUNNING, 1, "")
    for work in host.later:
        work()
    host.tick()
    assert told(host) == (Phase.STOPPED, 1, "run-1")


def test_a_stop_that_fails_is_no_stop(host: Host) -> None:
    order(host, 1)
    host.mx.fails = {"release": "it hangs"}
    host.tick(3)
    assert told(host) == (Phase.FAILED, 1, "") and "it hangs" in host.report().error
    host.mx.fails = {}
    assert host.tick(6) == ["release"]
    assert told(host) == (Phase.STOPPED, 1, "run-1")


def test_goes_on_when_the_order_is_withdrawn(host: Host) -> None:
    order(host, 1)
    host.tick(3)
    order(host, 0, state=RunState.HELD)
    assert host.tick(3) == [*STEPS, "mark 1"]
    assert told(host) == (Phase.RUNNING, 1, "")


def test_every_run_gets_a_word_of_its_own(host: Host) -> None:
    order(host, 1)
    host.tick(3)
    order(host, 1, run="run-2")
    assert host.tick(3) == ["release"]
    assert told(host) == (Phase.STOPPED, 1, "run-2")


def test_an_order_to_an_earlier_owner_is_none(host: Host) -> None:
    host.own(2)
    host.tick(3)
    order(host, 1)
    assert host.tick(3) == []
    assert told(host) == (Phase.RUNNING, 2, "")


def test_a_start_under_way_is_broken_off(host: Host) -> None:
    host.own(2)
    host.later = []
    host.tick(2)  # stops the older epoch
    host.later.pop()()
    host.tick()
    start = host.later.pop()
    order(host, 2)

    def next_tick(name: str) -> None:
        if name == "queue":
            host.agent.tick()

    host.mx.did.clear()
    host.mx.on_step = next_tick
    start()
    assert host.mx.did == ["store", "queue", "down"]
    host.later = None
    host.tick(2)
    assert told(host) == (Phase.STOPPED, 2, "run-1")


def test_an_owner_that_could_not_start_it_hands_it_over_without_waiting(host: Host) -> None:
    host.mx.fails = {"verify": "no"}
    host.mx.gone = "it is not mounted"
    host.tick(200)  # by now it waits for BACK_OFF[1]
    assert host.report().phase is Phase.FAILED
    order(host, 1)
    assert host.tick(2)[-1] == "release"
    assert told(host) == (Phase.STOPPED, 1, "run-1")
    assert BACK_OFF[1] > 2


def test_a_restarted_agent_does_not_begin_anew(host: Host) -> None:
    order(host, 1)
    host.tick(3)
    host.mx.left = Found(None, ())
    host.begin()
    assert [d for d in host.tick(3) if d in STEPS] == []
    assert told(host) == (Phase.STOPPED, 1, "run-1")


def test_the_outcome_of_a_piece_of_work_wakes_the_agent() -> None:
    wake, over = threading.Event(), threading.Event()
    then_awake(wake)(lambda: assert_waits(over))
    assert not wake.is_set()
    over.set()
    assert wake.wait(10)


def assert_waits(over: threading.Event) -> None:
    assert over.wait(10)


class Recorder:
    """Units, mount and track file of an identity: what is done to them, in order."""

    def __init__(self, busy: int) -> None:
        self.did: list[str] = []
        self.busy = busy  # looks for which a delivery goes on

    jobs = 0  # looks for which a start goes on
    ended = "active"

    def started(self, units: tuple[str, ...], within: float) -> bool:
        self.did += [f"start {u.split('@')[0]}" for u in units]
        self.jobs -= 1
        if self.jobs < 0 and self.ended != "active":
            raise command.CommandError("systemctl start: status 1: a job has failed")
        return self.jobs < 0

    def states(self, units: tuple[str, ...]) -> dict[str, str]:
        return dict.fromkeys(units, self.ended)

    def begin(self, units: tuple[str, ...]) -> None:
        self.did += [f"begin {u}" for u in units]

    def stop(self, units: tuple[str, ...]) -> None:
        self.did += [u.split("@")[0] for u in units]

    def write(self, owner: bool) -> None:
        self.did.append(f"address {owner}")

    def tell(self, name: str, epoch: int) -> None:
        self.did.append(f"epoch {epoch}")

    source = target = ""

    def mount(self) -> None:
        self.did.append("mount")

    def unmount(self) -> None:
        self.did.append("unmount")

    def connections(self, path: str) -> int:
        assert path == f"/run/dovecot-{MX.name}/lmtp"
        self.did.append("look")
        self.busy -= 1
        return max(0, self.busy + 1)


@pytest.mark.parametrize(("busy", "looks"), [(0, 1), (2, 3), (1000, 21)])
def test_released_in_an_order_that_leaves_nobody_waiting(
    busy: int, looks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edges = Recorder(busy)
    monkeypatch.setattr(machine, "connections", edges.connections)
    made: Any = Instance(place(MX), edges, edges, edges, edges, Clock(), tmp_path)  # type: ignore[arg-type]
    made.release()
    assert edges.did[: looks + 2] == ["holdfast-postfix", *["look"] * looks, "holdfast-dovecot"]
    last = ["address False", "holdfast-dovecot", "holdfast-postfix", "holdfast-queue", "unmount"]
    assert edges.did[looks + 2 :] == last


class TestStart:
    def made(self, edges: Recorder, clock: Clock) -> Any:
        return Instance(place(MX), edges, edges, edges, edges, clock)  # type: ignore[arg-type]

    def test_routers_learn_the_epoch_before_there_is_an_address(self) -> None:
        """Else it would be announced for a moment with the MED of an earlier epoch, or of none."""
        edges = Recorder(0)
        self.made(edges, Clock())._attach(3, lambda: False)
        assert edges.did == ["epoch 3", "address True", "mount"]

    def test_a_long_queue_is_waited_for(self) -> None:
        edges, clock = Recorder(0), Clock()
        edges.jobs = 2000
        said = self.made(edges, clock)._start(lambda: False)
        assert clock.time == 1000.0 + 2000 * POLL
        assert edges.did[-2:] == ["start holdfast-dovecot", "start holdfast-postfix"] and "holdfast-postfix@" in said

    def test_an_owner_no_more_waits_for_nothing(self) -> None:
        edges, clock = Recorder(0), Clock()
        edges.jobs = 2000
        with pytest.raises(Cancelled):
            self.made(edges, clock)._start(lambda: clock.time >= 1003.0)
        assert clock.time == 1003.0

    def test_what_does_not_come_up_or_to_an_end_is_told(self) -> None:
        edges = Recorder(0)
        edges.ended = "failed"
        with pytest.raises(Unavailable, match=r"holdfast-dovecot@\S+ is failed, .*journal"):
            self.made(edges, Clock())._start(lambda: False)
        edges.jobs = 1_000_000
        with pytest.raises(Unavailable, match=r"holdfast-queue@\S+ did not end within 1830 s"):
            self.made(edges, Clock())._start(lambda: False)

    def test_what_systemd_tries_anew_is_left_to_the_dialogue(self) -> None:
        edges = Recorder(0)
        edges.ended = "activating"
        assert "holdfast-postfix@" in self.made(edges, Clock())._start(lambda: False)


class TestSpool:
    """The unit of its end of the transfer: there where its file is, and needed by nobody who is served."""

    UNIT = f"holdfast-spool@{MX.name}.service"

    def made(self, edges: Recorder, clock: Clock, folder: Path) -> Any:
        here = dataclasses.replace(place(MX), configuration=str(folder / "configuration"))
        return Instance(here, edges, edges, edges, edges, clock, folder)  # type: ignore[arg-type]

    def test_an_identity_without_one_lacks_nothing(self, tmp_path: Path) -> None:
        edges = Recorder(0)
        edges.ended = "failed"
        made = self.made(edges, Clock(), tmp_path)
        assert made.lacks() is None and edges.did == []
        assert self.UNIT not in made.place.everything

    def test_one_that_is_down_is_started_and_after_a_while_told(self, tmp_path: Path) -> None:
        (tmp_path / "spool.yml").touch()
        edges, clock = Recorder(0), Clock()
        made = self.made(edges, clock, tmp_path)
        clock.sleep(1000)
        made.mark(1)
        edges.ended = "failed"
        assert made.lacks() is None and edges.did == [f"begin {self.UNIT}"]
        clock.sleep(SPOOL_WITHIN)
        assert made.lacks() == f"{self.UNIT} is failed; it serves, and what is for the other side waits"
        edges.did.clear()
        # Begun anew by systemd each second, or adopting: an order to start it would add nothing.
        edges.ended = "activating"
        assert made.lacks() == f"{self.UNIT} is activating; it serves, and what is for the other side waits"
        assert edges.did == []
        edges.ended = "active"
        assert made.lacks() is None
        edges.ended = "activating"
        clock.sleep(SPOOL_WITHIN - 1)
        assert made.lacks() is None

    def test_it_is_stopped_with_the_rest_and_a_trace_of_it_is_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "spool.yml").touch()
        edges = Recorder(0)
        made = self.made(edges, Clock(), tmp_path)
        made.down()
        assert edges.did[1:] == ["holdfast-dovecot", "holdfast-postfix", "holdfast-spool", "holdfast-queue", "unmount"]
        states = dict.fromkeys((*made.place.units, self.UNIT), "inactive") | {self.UNIT: "active"}
        monkeypatch.setattr(edges, "states", lambda units: {u: states[u] for u in units})
        monkeypatch.setattr(edges, "path", tmp_path, raising=False)
        monkeypatch.setattr(edges, "read", lambda: False, raising=False)
        monkeypatch.setattr(edges, "is_mounted", lambda: True, raising=False)
        assert made.found() == Found(None, (self.UNIT, "mount"))
        made.mark(3)
        states = dict.fromkeys(made.place.units, "active") | {self.UNIT: "failed"}
        assert made.found() == Found(3, ()), "an identity runs without its spool, too"


def test_a_relay_has_its_own_unit_and_no_mailboxes(tmp_path: Path) -> None:
    edges, relay = Recorder(0), dataclasses.replace(MX, kind="relay", domains=())
    here = dataclasses.replace(place(relay), mount=str(tmp_path), mailboxes=None)
    made: Any = Instance(here, edges, edges, edges, edges, Clock(), tmp_path)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match="queue is missing"):
        made._adopt(lambda: False)
    (tmp_path / "queue").mkdir()
    assert made._adopt(lambda: False) == "there"
    made.release()
    assert edges.did == ["holdfast-relay", "address False", "holdfast-relay", "holdfast-queue", "unmount"]


def test_a_store_that_answers_nobody_holds_up_no_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    edges, clock = Recorder(0), Clock()
    made: Any = Instance(place(MX), edges, edges, edges, edges, clock)  # type: ignore[arg-type]

    def hangs(argv: Sequence[str], *, timeout: float) -> None:
        clock.sleep(timeout)
        raise command.CommandError(f"{argv[0]}: no end after {timeout:g} s")

    monkeypatch.setattr(command, "attempt", hangs)
    with pytest.raises(Unavailable, match="queue: the store does not answer"):
        made._adopt(lambda: False)
    begin = clock.time
    with pytest.raises(Cancelled):
        made._adopt(lambda: clock.time > begin + 1)
    assert clock.time - begin < 10


def test_connections_to_a_socket(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/unix").write_text(
        "Num       RefCount Protocol Flags    Type St Inode Path\n"
        "000000: 00000002 00000000 00010000 0001 01 111 /run/dovecot-mx/lmtp\n"
        "000000: 00000003 00000000 00000000 0001 03 112 /run/dovecot-mx/lmtp\n"
        "000000: 00000003 00000000 00000000 0001 03 113 /run/dovecot-im/lmtp\n"
        "000000: 00000003 00000000 00000000 0001 03 114\n"
    )
    assert machine.connections("/run/dovecot-mx/lmtp", tmp_path) == 1

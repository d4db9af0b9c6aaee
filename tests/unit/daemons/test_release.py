"""The agent and a planned run's order: stop, say so for this very run, and go on when the order is withdrawn."""

from __future__ import annotations

import threading

import pytest
from edges import MX
from holdfast.core import keys
from holdfast.core.model import Phase, Run, RunState
from holdfast.daemons.agent import BACK_OFF, then_awake
from holdfast.daemons.instance import Found
from test_agent import STEPS, Host


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
    assert host.tick(5) == ["down"]
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
    host.mx.fails = {"down": "it hangs"}
    host.tick(3)
    assert told(host) == (Phase.FAILED, 1, "") and "it hangs" in host.report().error
    host.mx.fails = {}
    assert host.tick(6) == ["down"]
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
    assert host.tick(3) == ["down"]
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
    assert host.tick(2)[-1] == "down"
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

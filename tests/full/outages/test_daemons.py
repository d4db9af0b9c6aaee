"""A program of the owner's dies: it is started again where it is, and nobody takes anything over."""

from __future__ import annotations

import time

import pytest

from tests.story.faults import all_once, sending
from tests.story.machines import wait_for
from tests.story.outage import IDENTITY, RELAY
from tests.story.pair import Pair, Writer
from tests.story.service import watched
from tests.story.stage import Stage

UNITS = (f"holdfast-postfix@{IDENTITY}", f"holdfast-dovecot@{IDENTITY}", "holdfast-agent", "keepalived", "frr")


def main_process(stage: Stage, host: str, unit: str) -> str:
    return stage.lab.shell(host, f"systemctl show --property=MainPID --value {unit}").strip()


@pytest.mark.parametrize("whom", ["main", "all"])
@pytest.mark.parametrize("unit", UNITS)
def test_a_killed_program_of_the_owner(stage: Stage, unit: str, whom: str) -> None:
    """`main`: the first process alone, whose children may be in the way of the next; `all`: with its children."""
    before, runs, since = stage.owner(), stage.runs(), time.time()
    host = before.host
    old = main_process(stage, host, unit)
    with watched(stage.lab) as service, sending(stage, 30, 1.0, "daemon") as written:
        held = stage.send_to_relay(2, "daemon-relay")
        stage.lab.shell(host, f"systemctl kill --kill-whom={whom} -s KILL {unit}")

        def again() -> bool:
            state = stage.lab.shell(host, f"systemctl is-active {unit} || true").strip()
            return state == "active" and main_process(stage, host, unit) not in ("0", old)

        wait_for(f"{unit} running again", again, 90)
        took = time.time() - since
        stage.wait_rounds(4)
        assert stage.wait_running() == before
        print(all_once(stage, [*written, *held]))
    print(service, f"{unit} runs again after {took:.1f} s")
    assert stage.runs() == runs
    assert stage.lab.shell(RELAY, "systemctl is-active holdfast-monitor").strip() == "active"


# nfs-server.service has no process of its own: the kernel serves. The programs beside it say who is let in.
STORE_UNITS = (
    "holdfast-agent",
    "holdfast-store",
    "holdfast-store-monitor",
    "keepalived",
    "frr",
    "nfsdcld",
    "nfs-mountd",
)


@pytest.mark.parametrize("unit", STORE_UNITS)
def test_a_killed_program_of_a_stores_owner(stage: Stage, pair: Pair, unit: str) -> None:
    before, mail, runs = pair.owner(), stage.owner(), stage.runs()
    old = main_process(stage, before.host, unit)
    writer = Writer(stage.lab, mail.host, f"daemon{int(time.time())}", 60)
    with watched(stage.lab) as service, sending(stage, 20, 1.0, "store-daemon") as written:
        begun = time.time()
        stage.lab.shell(before.host, f"systemctl kill --kill-whom=all -s KILL {unit}")

        def again() -> bool:
            state = stage.lab.shell(before.host, f"systemctl is-active {unit} || true").strip()
            return state == "active" and main_process(stage, before.host, unit) not in ("0", old)

        wait_for(f"{unit} running again", again, 90)
        took = time.time() - begun
        done = writer.end()
        print(all_once(stage, written))
    assert done.error == "" and pair.missing(done) == []
    print(service, f"{unit} runs again after {took:.1f} s; writes stalled for {done.stall().seconds:.1f} s")
    assert (pair.wait_running(), stage.wait_running()) == (before, mail)
    assert stage.runs() == runs, "a daemon that comes back at once moves nothing"

"""A host that hangs, and what it does when it wakes: it believes that it owns what another host owns by now."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from holdfast.core.model import Owner, Run, RunState

from tests.story.faults import (
    BY_STORE,
    GATEWAY,
    Routes,
    all_once,
    bgp_is_up,
    connections_taken,
    legs,
    monitor_with,
    scribe,
    sending,
    written_by_scribe,
)
from tests.story.machines import wait_for
from tests.story.pair import Pair
from tests.story.service import watched
from tests.story.stage import Stage


def test_a_host_that_hangs_is_taken_over_and_off(stage: Stage) -> None:
    """At the pace of an outage that nobody hurries: the threshold is passed after 90 s or so."""
    before, since = stage.owner(), time.time()
    with watched(stage.lab) as service, sending(stage, 60, 1.0, "hang") as written:
        stage.lab.word("pause", before.host)
        run = stage.wait_run(since, RunState.DONE, 300)
        assert run.proof is not None and (run.proof.level, run.proof.host) == ("power", before.host)
        print(all_once(stage, written))
    print(service, f"asked {run.time - since:.1f} s behind the hang")
    assert stage.state(before.host) == "off"
    assert stage.owner().epoch == before.epoch + 1


@contextlib.contextmanager
def taken_from_a_sleeper(stage: Stage) -> Iterator[tuple[Owner, Run]]:
    """The owner hangs, its store and its address are taken from it, and another host owns the identity."""
    before, since = stage.owner(), time.time()
    host = before.host
    stage.lab.word("switch", "deny", host)
    with monitor_with(stage.lab, fence_plan=BY_STORE), scribe(stage.lab, host):
        stage.lab.word("pause", host)
        try:
            run = stage.wait_run(since, RunState.DONE, 300, hurry=True)
            assert run.proof is not None and run.proof.level == "store_revocation", run
            assert (run.to_host, run.epoch) == (stage.owner().host, before.epoch + 1)
            yield before, run
        finally:
            # Fenced by its store, it is shut out until it has been started anew.
            stage.lab.word("switch", "allow", host)
            stage.lab.word("kill", host)
            stage.lab.word("start", host)


def judge_the_zombie(stage: Stage, server: str, zombie: str, woke: float, kept: str, routes: Routes) -> None:
    """By effect: what its store holds, whom it has answered, where the gateway sends people."""
    assert written_by_scribe(stage.lab, server) == kept, f"{zombie} has written to the store"
    assert connections_taken(stage.lab, zombie, woke) == []
    sent = set(legs(stage.lab, zombie).values()) & routes.gateways()
    assert not sent, f"the gateway has sent people to {zombie}"


def test_a_zombie_writes_nothing_answers_nobody_and_stops_by_itself(stage: Stage, pair: Pair) -> None:
    with sending(stage, 60, 1.0, "zombie") as written, taken_from_a_sleeper(stage) as (before, run):
        zombie, server = before.host, pair.owner().host
        kept, routes = written_by_scribe(stage.lab, server), Routes(stage.lab)
        stage.lab.word("resume", zombie)
        woke = time.time()
        with watched(stage.lab) as service:
            wait_for(f"{zombie} has stopped", lambda: not stage.runs_here(zombie), 120, 2)
            print(f"stopped {time.time() - woke:.1f} s behind its waking")
            held = stage.send_to_relay(3, "zombie-relay")
            stage.wait_rounds(4)
            print(all_once(stage, [*written, *held]))
        print(service)
        judge_the_zombie(stage, server, zombie, woke, kept, routes)
        routes.end()
        assert stage.owner().host == run.to_host


def test_a_zombie_whose_agent_is_frozen_too_writes_nothing_and_is_sent_nobody(stage: Stage, pair: Pair) -> None:
    """Only export and routes protect, which are bound to the epoch; even when the new owner's routes come and go."""
    sleeper = stage.owner().host
    # Else systemd would start the agent anew, which stops all of it at once.
    stage.lab.shell(sleeper, "systemctl service-watchdogs no; systemctl kill --kill-whom=main -s STOP holdfast-agent")
    with sending(stage, 60, 1.0, "frozen") as written, taken_from_a_sleeper(stage) as (before, run):
        zombie, server = before.host, pair.owner().host
        assert zombie == sleeper
        kept, routes = written_by_scribe(stage.lab, server), Routes(stage.lab)
        stage.lab.word("resume", zombie)
        woke = time.time()
        old, new = legs(stage.lab, zombie), legs(stage.lab, run.to_host or "")
        for use in ("internet", "isolated"):
            wait_for("the zombie's routes", lambda use=use: bgp_is_up(stage.lab, old[use]), 120, 2)  # type: ignore[misc]
        assert stage.runs_here(zombie), "a frozen agent has stopped something"
        held = stage.send_to_relay(3, "frozen-relay")
        stage.wait_rounds(4)
        print(all_once(stage, [*written, *held]))
        judge_the_zombie(stage, server, zombie, woke, kept, routes)
        # The new owner's sessions are cut off: now the zombie's are the only ones, and then the older ones.
        for use in ("internet", "isolated"):
            neighbour = new[use]
            stage.lab.shell(GATEWAY, f"vtysh -c 'clear bgp vrf all {neighbour}'")
            wait_for("the new owner's routes", lambda n=neighbour: bgp_is_up(stage.lab, n), 120, 2)  # type: ignore[misc]
        again = stage.send_to_relay(3, "frozen-again")
        stage.wait_rounds(4)
        print(all_once(stage, again))
        judge_the_zombie(stage, server, zombie, woke, kept, routes)
        # Thawed, it finds out by itself.
        stage.lab.shell(zombie, "systemctl kill --kill-whom=main -s CONT holdfast-agent")
        wait_for(f"{zombie} has stopped", lambda: not stage.runs_here(zombie), 120, 2)
        judge_the_zombie(stage, server, zombie, woke, kept, routes)
        routes.end()
        assert stage.owner().host == run.to_host

"""The agent: its lease, what it tells, and all of its keepers together under whatever happens."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from edges import IM, MX
from holdfast.core import keys
from holdfast.core.certificates import ALARM_DAYS, DAY, Ending
from holdfast.core.model import Phase, Report, Run, RunState
from holdfast.core.ownership import FORSAKEN
from holdfast.daemons.agent import READY_EVERY, SAID_AGAIN
from holdfast.daemons.keeper import BACK_OFF
from holdfast.daemons.running import Found
from hypothesis import given, settings
from hypothesis import strategies as st
from one_host import TTL, Host


@pytest.fixture
def host() -> Host:
    made = Host()
    made.begin()
    return made


class TestLease:
    def lease(self, host: Host) -> dict[str, Any] | None:
        host.coordinator._enter()
        return host.coordinator.data.get(keys.lease("mail1"))

    def test_kept(self, host: Host) -> None:
        for _ in range(100):
            host.tick()
            lease = self.lease(host)
            assert lease is not None
            assert lease["boot_id"] == "boot-1"
        assert len(host.log.said("lease_taken")) == 1

    def test_renewed_three_times_in_its_life(self, host: Host) -> None:
        host.tick()
        calls = host.coordinator.calls
        host.tick(TTL)
        reads_and_ready = TTL + 2
        assert host.coordinator.calls - calls <= reads_and_ready + 3

    def test_a_new_one_after_an_outage(self, host: Host) -> None:
        host.tick()
        host.coordinator.reachable = False
        host.tick(TTL + 5)
        host.coordinator.reachable = True
        host.tick()
        assert self.lease(host) is not None
        assert len(host.log.said("lease_lost")) == 1

    def test_a_new_one_when_the_key_is_gone(self, host: Host) -> None:
        host.tick()
        host.coordinator.data.pop(keys.lease("mail1"))
        host.tick()
        assert self.lease(host) is not None

    def test_ends_with_the_agent(self, host: Host) -> None:
        host.tick()
        host.clock.sleep(TTL + 1)
        assert self.lease(host) is None


def test_the_routing_daemon_is_told_the_epoch_now_and_then(host: Host) -> None:
    """It may have been started anew, and then knows none."""
    host.own()
    host.tick(25)
    assert host.mx.announced == [1, 1]


class TestReady:
    def word(self, host: Host) -> dict[str, Any]:
        return host.coordinator.data[keys.ready("mail1", MX.name)]

    def test_told_and_told_again(self, host: Host) -> None:
        host.tick()
        first = self.word(host)
        assert (first["ready"], first["reasons"]) == (True, [])
        host.tick(int(SAID_AGAIN) - 1)
        assert self.word(host) == first, "what still holds is not written again"
        host.tick(int(READY_EVERY))
        assert self.word(host)["time"] > first["time"], "but now and then it is: somebody may have removed it"
        host.reasons = ("no room",)
        host.tick(int(READY_EVERY))
        assert self.word(host)["reasons"] == ["no room"]

    def test_reasons(self, host: Host) -> None:
        host.reasons = ("drained: new disk",)
        host.tick()
        assert (self.word(host)["ready"], self.word(host)["reasons"]) == (False, ["drained: new disk"])
        host.tick(30)
        assert len(host.log.said("ready")) == 1

    def test_a_planned_run_that_names_this_host_is_answered_at_once_and_by_name(self, host: Host) -> None:
        host.tick()
        assert self.word(host)["run"] == ""
        run = Run(
            identity=MX.name,
            run="r7",
            invoker="relay1",
            state=RunState.RUNNING,
            reason="failback",
            time=1.0,
            from_host="mail2",
            to_host="mail1",
            planned=True,
        )
        for one, answer in ((run, "r7"), (dataclasses.replace(run, to_host="mail3", run="r8"), "")):
            host.coordinator.data[keys.takeover(MX.name)] = one.to_json()
            host.tick()
            assert self.word(host)["run"] == answer

    def test_the_first_certificate_to_end_is_told_and_an_alert_a_day_once_it_is_time(self) -> None:
        host = Host()
        end = [Ending("mail1", host.clock.now() + ALARM_DAYS * DAY + 15)]
        host.begin(certificate=lambda: end[0])
        host.tick()
        assert self.word(host)["certificate"] == end[0].to_json() and not host.log.said("certificate")
        host.tick(30)
        (said,) = host.log.said("certificate")
        assert said["level"] == "alert" and f"ends in {ALARM_DAYS - 1} days" in str(said["detail"])
        end[0] = Ending("mail1", end[0].end - DAY)
        host.tick(30)
        assert len(host.log.said("certificate")) == 2
        end[0] = Ending("mail1", end[0].end + 300 * DAY)
        host.tick(30)
        assert len(host.log.said("certificate")) == 2 and self.word(host)["certificate"]["end"] == end[0].end

    def test_ends_with_the_lease_and_is_told_at_once_with_the_next(self, host: Host) -> None:
        host.tick(2)
        host.coordinator.reachable = False
        host.tick(TTL + 5)
        host.coordinator.reachable = True
        assert host.coordinator.read([keys.ready("mail1", MX.name)])[keys.ready("mail1", MX.name)].value is None
        host.tick()
        assert self.word(host)["ready"] is True


class TestForsaken:
    """Neither coordinator nor store answers: a fence may have come to this host by shutting it out of its store."""

    @pytest.fixture
    def alone(self, host: Host) -> Host:
        host.own()
        host.tick(2)
        host.coordinator.reachable = False
        host.silent.add(MX.store)
        return host

    def test_gives_up_once_and_says_why(self, alone: Host) -> None:
        assert "down" not in alone.tick(FORSAKEN * TTL)
        assert "down" in alone.tick(2)
        alone.tick(FORSAKEN * TTL)
        (said,) = alone.log.said("forsaken")
        assert said["level"] == "alert" and said["identity"] == MX.name

    def test_a_store_that_answers_now_and_then_is_enough(self, alone: Host) -> None:
        for _ in range(3):
            assert "down" not in alone.tick(FORSAKEN * TTL - 1)
            alone.silent.clear()
            assert "down" not in alone.tick()
            alone.silent.add(MX.store)

    def test_starts_again_as_the_owner_still(self, alone: Host) -> None:
        alone.tick(FORSAKEN * TTL + 2)
        alone.silent.clear()
        assert not alone.tick(5), "who owns it is not known"
        alone.coordinator.reachable = True
        alone.tick(2)
        assert alone.report().phase is Phase.RUNNING

    def test_a_stop_that_ends_while_its_store_is_asked_leaves_nothing_to_look_at(self, alone: Host) -> None:
        """The store's word takes seconds where it does not answer."""
        alone.later, alone.gap = [], TTL + 1.0  # it stood still: a stop begins, and takes its time
        alone.tick()
        (stop,) = alone.later

        class Asked(set[str]):
            def __contains__(self, store: object) -> bool:
                if alone.keepers[MX.name].epoch is not None:
                    stop()
                return True

        alone.silent = Asked()
        assert alone.tick() == ["down"] and alone.keepers[MX.name].epoch is None

    def test_with_a_coordinator_a_silent_store_stops_nobody(self, alone: Host) -> None:
        alone.coordinator.reachable = True
        assert "down" not in alone.tick(3 * FORSAKEN * TTL)


def test_a_report_that_was_overwritten_is_told_again(host: Host) -> None:
    host.own()
    host.tick()
    host.coordinator.data[keys.report("mail1", MX.name)] = Report("mail1", 1, Phase.STARTING, 1.0).to_json()
    host.tick()
    assert host.report().phase is Phase.RUNNING


def test_two_identities_do_not_wait_for_each_other() -> None:
    host = Host(MX, IM)
    host.begin()
    host.own(identity=MX)
    host.own(identity=IM)
    host.works[MX.name].fails = {"store": "no"}
    host.tick()
    assert host.report(MX).phase is Phase.FAILED
    assert host.report(IM).phase is Phase.RUNNING


def test_one_call_a_tick(host: Host) -> None:
    host.own()
    host.tick(2)
    calls = host.coordinator.calls
    host.tick(3)
    assert host.coordinator.calls - calls <= 4


event = st.sampled_from(["mine", "theirs", "revoke", "cut", "join", "freeze", "restart", "fail", "mend", "tick"])


@settings(max_examples=200, deadline=None)
@given(events=st.lists(event, max_size=30))
def test_runs_only_what_it_owned_when_it_last_asked(events: list[str]) -> None:
    """And once everybody can be reached and nothing is broken, the owner runs it and nobody else does."""
    host = Host()
    host.begin()
    epoch, mine = 0, False
    for what in events:
        match what:
            case "mine" | "theirs":
                epoch += 1
                mine = what == "mine"
                host.own(epoch, "mail1" if mine else "mail2")
            case "revoke":
                mine = False
                host.coordinator.admit(None, epoch)
            case "cut" | "join":
                host.coordinator.reachable = what == "join"
            case "freeze":
                host.gap = TTL + 5.0
            case "restart":
                running = host.keepers[MX.name].epoch
                host.mx.left = Found(running, ())
                host.begin()
            case "fail":
                host.mx.fails = {"verify": "no"}
            case "mend":
                host.mx.fails = {}
        host.tick()
        if what == "freeze" or (host.coordinator.reachable and not mine):
            assert host.keepers[MX.name].epoch is None
    host.coordinator.reachable, host.mx.fails = True, {}
    host.tick(int(BACK_OFF[1]) + 2)
    assert (host.keepers[MX.name].epoch == epoch) is (mine and epoch > 0)
    if mine:
        assert host.report().phase is Phase.RUNNING

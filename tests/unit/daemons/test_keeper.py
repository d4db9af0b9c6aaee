"""The keeper of one identity on its host: what it starts and stops, in which order, and what it mends."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from edges import MX
from holdfast.core import keys, telling
from holdfast.core.model import Owner, Phase, Report
from holdfast.daemons.keeper import BACK_OFF, BLIND, LOOK_EVERY
from holdfast.daemons.running import Found
from one_host import STEPS, TTL, Host


@pytest.fixture
def host() -> Host:
    made = Host()
    made.begin()
    return made


class TestLacks:
    """What nobody who is served needs: it is told, and neither stopped for nor begun anew for."""

    def test_is_told_and_no_reason_to_do_anything(self, host: Host) -> None:
        host.own()
        host.tick()
        assert "lacks" not in host.coordinator.data[keys.report("mail1", MX.name)]
        host.mx.lacking = "holdfast-spool@mx.alpha.example.service is failed"
        assert set(host.tick(3 * int(LOOK_EVERY))) == {"look"}
        report = host.report()
        assert (report.phase, report.error, report.lacks) == (Phase.RUNNING, "", host.mx.lacking)
        assert telling.unserved(known_by(report)) == []
        (said,) = host.log.said("lacks")
        assert said["level"] == "alert" and said["detail"] == host.mx.lacking
        host.mx.lacking = None
        host.tick(int(LOOK_EVERY) + 1)
        assert host.report().lacks == "" and host.log.said("lacks")[-1]["level"] == "info"

    def test_is_over_with_a_stop(self, host: Host) -> None:
        host.own()
        host.tick()
        host.mx.lacking = "holdfast-spool@mx.alpha.example.service is failed"
        host.tick(int(LOOK_EVERY) + 1)
        host.own(2, host="mail2")
        host.tick(2)
        assert (host.report().phase, host.report().lacks) == (Phase.STOPPED, "")


class TestBlind:
    """Looks that fail: the host keeps its lease, so nobody else would ever know."""

    @pytest.mark.parametrize(
        ("fails", "said"),
        [
            ("no_look", "whether all of it runs is not known: systemctl: no answer within 20 s"),
            ("no_announcement", "routers do not learn its epoch: vtysh: could not lock candidate DS"),
        ],
    )
    def test_is_told_after_a_minute_and_no_reason_to_stop(self, host: Host, fails: str, said: str) -> None:
        host.own()
        host.tick()
        host.mx.lacking = "its spool is failed"
        host.tick(int(LOOK_EVERY))
        setattr(host.mx, fails, True)
        host.tick(int(BLIND))
        assert host.report().lacks == "its spool is failed"
        assert set(host.tick(int(LOOK_EVERY))) == {"look"}
        report = host.report()
        assert (report.phase, report.error, report.lacks) == (Phase.RUNNING, "", said)
        assert telling.lacking(known_by(report)) == [f"{MX.name}: on mail1 {said}"]
        assert [line["level"] for line in host.log.said("lacks")] == ["alert", "alert"]
        host.mx.lacking = None
        setattr(host.mx, fails, False)
        host.tick(int(LOOK_EVERY))
        assert host.report().lacks == ""

    def test_one_now_and_then_is_nothing(self, host: Host) -> None:
        host.own()
        host.tick()
        for _ in range(10):
            host.mx.no_look = not host.mx.no_look
            host.tick(int(LOOK_EVERY))
        assert len(host.log.said("look_failed")) == 5 and not host.log.said("lacks")

    def test_counts_anew_behind_a_stop(self, host: Host) -> None:
        host.own()
        host.tick()
        host.mx.no_look = True
        host.tick(int(BLIND))
        host.own(2, host="mail2")
        host.tick(2)
        host.own(3)
        host.tick(2 * int(LOOK_EVERY))
        assert (host.report().epoch, host.report().lacks) == (3, "")


def known_by(report: Report) -> telling.Known:
    owner = Owner("mail1", report.epoch, "deploy", 0.0)
    return telling.Known(MX, owner, None, None, False, None, {"mail1": report}, {}, {"mail1": True}, {})


class TestStart:
    def test_all_steps_in_their_order_with_their_times(self, host: Host) -> None:
        host.own()
        host.mx.on_step = lambda name: host.clock.sleep(2.0)
        assert host.tick() == [*STEPS, "mark 1"]
        report = host.report()
        assert (report.host, report.epoch, report.phase, report.error) == ("mail1", 1, Phase.RUNNING, "")
        assert [s.name for s in report.steps] == list(STEPS)
        assert all(s.end is not None and s.end - s.start == 2.0 and s.result == "ok" for s in report.steps)

    def test_only_once(self, host: Host) -> None:
        host.own()
        host.tick()
        assert host.tick(5) == []

    def test_steps_can_be_followed(self, host: Host) -> None:
        host.own()
        host.later = []
        host.tick()
        assert host.report().phase is Phase.STARTING
        host.later.pop()()
        host.tick()
        assert host.report().phase is Phase.RUNNING

    def test_not_before_the_store_admits(self, host: Host) -> None:
        host.coordinator.own("mail1", 2)
        host.coordinator.admit("mail1", 1)
        assert host.tick(3) == []
        host.coordinator.admit(None, 2)
        assert host.tick(3) == []
        host.coordinator.admit("mail1", 2)
        assert host.tick()[-1] == "mark 2"

    def test_not_somebody_elses(self, host: Host) -> None:
        host.own(host="mail2")
        assert host.tick(3) == []
        assert host.report().phase is Phase.STOPPED

    def test_not_without_the_coordinator(self, host: Host) -> None:
        host.own()
        host.coordinator.reachable = False
        assert host.tick(3) == []
        assert len(host.log.said("coordinator_unreachable")) == 1

    @pytest.mark.parametrize("step", STEPS)
    def test_a_failed_step_takes_everything_down(self, host: Host, step: str) -> None:
        host.own()
        host.mx.fails = {step: "it is broken"}
        did = host.tick()
        assert did == [*STEPS[: STEPS.index(step) + 1], "down"]
        report = host.report()
        assert report.phase is Phase.FAILED
        assert report.error == f"{step}: it is broken"
        assert report.steps[-1].result == "failed"

    def test_tried_again_more_and_more_seldom(self, host: Host) -> None:
        host.own()
        host.mx.fails = {"store": "no"}
        tries = [n for n in range(300) if "store" in host.tick()]
        gaps = [b - a for a, b in itertools.pairwise(tries)]
        assert gaps[0] == BACK_OFF[0]
        assert gaps == sorted(gaps)
        assert gaps[-1] == BACK_OFF[1]
        host.mx.fails = {}
        host.tick(70)
        assert host.report().phase is Phase.RUNNING

    def test_another_owner_meanwhile(self, host: Host) -> None:
        host.own()
        host.later = []
        host.tick()
        work = host.later.pop()

        def next_tick(name: str) -> None:
            if name == "queue":
                host.own(2, "mail2")
                host.agent.tick()

        host.mx.on_step = next_tick
        work()
        assert host.mx.did == ["store", "queue", "down"]
        host.later = None
        host.tick()
        assert host.report().phase is Phase.STOPPED


class TestStop:
    def test_another_owner(self, host: Host) -> None:
        host.own()
        host.tick()
        host.own(2, "mail2")
        assert host.tick() == ["down"]
        report = host.report()
        assert (report.phase, report.epoch) == (Phase.STOPPED, 1)
        assert host.tick(3) == []

    def test_access_withdrawn(self, host: Host) -> None:
        host.own()
        host.tick()
        host.coordinator.admit(None, 1)
        assert host.tick() == ["down"]

    def test_a_failed_stop_is_told_and_tried_again(self, host: Host) -> None:
        host.own()
        host.tick()
        host.own(2, "mail2")
        host.mx.fails = {"down": "it hangs"}
        host.tick()
        assert host.report().phase is Phase.FAILED
        assert "it hangs" in host.report().error
        host.mx.fails = {}
        assert host.tick(3) == ["down"]
        assert host.report().phase is Phase.STOPPED

    def test_not_because_the_coordinator_is_away(self, host: Host) -> None:
        host.own()
        host.tick()
        host.coordinator.reachable = False
        assert [d for d in host.tick(60) if d != "look"] == []

    def test_after_a_standstill_first_stop_then_ask(self, host: Host) -> None:
        host.own()
        host.tick()
        calls = host.coordinator.calls
        host.gap = TTL + 1.0
        assert host.tick() == ["down"]
        assert host.coordinator.calls == calls
        assert host.tick() == [*STEPS, "mark 1"]
        assert len(host.log.said("stood_still")) == 1

    @pytest.mark.parametrize("dead", [None, "holdfast-postfix@mx.alpha.example.service is failed"])
    def test_a_standstill_in_the_middle_of_a_look(self, host: Host, dead: str | None) -> None:
        host.own()
        host.tick(1)
        host.clock.sleep(LOOK_EVERY)
        host.later = []
        host.tick()  # begins the look
        host.mx.dead_units = dead
        host.gap = TTL + 1
        host.tick()
        looks, host.later = host.later, None
        assert len(looks) == 1
        host.mx.did.clear()
        looks[0]()
        assert host.mx.did[-1] == "down" and not set(host.mx.did) & set(STEPS), "at once, and nothing is begun anew"

    @pytest.mark.parametrize("last", STEPS)
    @pytest.mark.parametrize("begun", ["as its owner", "anew, since units were dead"])
    def test_a_standstill_in_any_step_of_a_start(self, host: Host, begun: str, last: str) -> None:
        """The last step, too: no further one is there that would not be begun."""

        def standing_still(name: str) -> None:
            if name == last:
                host.mx.on_step = lambda _: None
                host.gap = TTL + 1
                host.agent.tick()

        host.own()
        if begun != "as its owner":
            host.tick()
            host.mx.dead_units = "holdfast-postfix@mx.alpha.example.service is failed"
            host.clock.sleep(LOOK_EVERY)
        host.mx.on_step = standing_still
        host.tick()
        assert [d for d in host.mx.did if d in STEPS] == list(STEPS[: STEPS.index(last) + 1])
        assert host.mx.did[-1] == "down" and host.mx.did.count("down") == 1
        assert host.tick(10)[-1] != "down", "and it goes on as its owner"

    @pytest.mark.parametrize("call", ["keepalive", "read"])
    def test_a_standstill_in_the_middle_of_asking_ends_the_asking(
        self, host: Host, call: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The lease is lost, so more calls would follow, each as long as a coordinator that does not answer."""
        host.own()
        host.tick()
        real = getattr(host.coordinator, call)

        def slow(*arguments: Any) -> Any:
            host.gap = TTL + 1.0
            monkeypatch.setattr(host.coordinator, call, real)
            answer = real(*arguments)
            monkeypatch.setattr(host.coordinator, "grant", never)
            return answer

        def never(ttl: int) -> int:
            raise AssertionError("asked on")

        monkeypatch.setattr(host.coordinator, call, slow)
        host.clock.sleep(TTL + 1.0)  # the lease is over, a new one would be taken
        assert host.tick() == ["down"]
        assert len(host.log.said("stood_still")) == 1

    def test_a_short_standstill_is_none(self, host: Host) -> None:
        host.own()
        host.tick()
        host.gap = TTL - 1.0
        assert host.tick() == []


class TestMending:
    def test_a_lost_mount_at_once(self, host: Host) -> None:
        host.own()
        host.tick()
        host.mx.gone = "it is not mounted"
        assert host.tick(2) == ["down", *STEPS, "mark 1"]
        assert host.report().phase is Phase.RUNNING

    @pytest.mark.parametrize("no_announcement", [False, True])
    def test_a_dead_unit_at_the_next_look(self, host: Host, no_announcement: bool) -> None:
        """Whether or not the routing daemon takes anything: a lock that it kept for good hid a dead server for good."""
        host.own()
        host.tick()
        host.mx.no_announcement = no_announcement
        host.mx.dead_units = "holdfast-postfix@mx.alpha.example.service is failed"
        did = host.tick(int(LOOK_EVERY) + 1)
        assert did == ["look", *STEPS, "mark 1"]
        assert "is failed" in str(host.log.said("start")[-1]["why"])

    def test_looks_are_rare(self, host: Host) -> None:
        host.own()
        host.tick()
        assert len(host.tick(100)) == 100 // int(LOOK_EVERY)

    def test_a_missing_address_alarms_once(self, host: Host) -> None:
        host.own()
        host.tick()
        host.mx.no_address = True
        host.tick(50)
        assert [f["level"] for f in host.log.said("address")] == ["alert"]


class TestWallClock:
    def test_set_back_what_runs_is_reloaded_at_once_and_once(self, host: Host) -> None:
        host.own()
        host.tick()
        host.clock.ahead -= 3600
        assert host.tick(3) == ["look", "reload"]
        assert [f["seconds"] for f in host.log.said("clock_set_back")] == [3600.0]

    def test_set_back_while_it_starts(self, host: Host) -> None:
        host.own()

        def step(name: str) -> None:
            if name == STEPS[-1]:
                host.clock.ahead -= 3600

        host.mx.on_step = step
        host.tick()
        assert host.tick(3) == ["look", "reload"]

    @pytest.mark.parametrize("seconds", [3600.0, -4.0])
    def test_set_forward_or_corrected_a_little_nothing_is(self, host: Host, seconds: float) -> None:
        host.own()
        host.tick()
        for _ in range(5):
            host.clock.ahead += seconds
            assert host.tick() == []

    def test_a_reload_that_fails_is_tried_again_at_the_next_look(self, host: Host) -> None:
        host.own()
        host.tick()
        host.mx.fails["reload"] = "no answer"
        host.clock.ahead -= 3600
        assert host.tick(3) == ["look", "reload"]
        host.mx.fails.clear()
        assert host.tick(int(LOOK_EVERY)) == ["look", "reload"]
        assert host.tick(int(LOOK_EVERY)) == ["look"]


class TestRestartOfTheAgent:
    def test_what_runs_is_adopted(self, host: Host) -> None:
        host.own()
        host.tick()
        before = host.report()
        host.mx.left = Found(1, ())
        host.begin()
        assert host.tick(3) == ["look"]
        assert host.report() == before

    def test_what_runs_of_an_older_epoch_is_stopped_first(self, host: Host) -> None:
        host.own(3)
        host.mx.left = Found(1, ())
        host.begin()
        assert host.tick(2) == ["down", *STEPS, "mark 3"]

    def test_what_another_host_owns_by_now_is_stopped(self, host: Host) -> None:
        host.own(2, "mail2")
        host.mx.left = Found(1, ())
        host.begin()
        assert host.tick() == ["down"]

    def test_traces_are_removed_when_it_is_sure_that_they_may(self, host: Host) -> None:
        host.own(2, "mail2")
        host.mx.left = Found(None, ("mount",))
        host.begin()
        host.coordinator.reachable = False
        assert host.tick(3) == []
        host.coordinator.reachable = True
        assert host.tick(3) == ["down"]

    def test_a_reboot_corrects_the_last_word(self, host: Host) -> None:
        host.own()
        host.tick()
        host.own(1, "mail2")
        host.begin("boot-2")
        host.tick()
        assert host.report().phase is Phase.STOPPED

"""The agent: what it starts and stops, in which order, and what it tells."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from edges import IM, MX, Clock, Coordinator, Lines
from holdfast.core import keys
from holdfast.core.model import Identity, Phase, Report, Run, RunState
from holdfast.core.ports import Unavailable
from holdfast.daemons.agent import READY_EVERY, SAID_AGAIN, Agent
from holdfast.daemons.instance import Mailboxes, Place
from holdfast.daemons.keeper import BACK_OFF, LOOK_EVERY, Keeper
from holdfast.daemons.running import Cancel, Found
from hypothesis import given, settings
from hypothesis import strategies as st

TTL = 15
STEPS = ("store", "queue", "address", "start", "verify")


def place(identity: Identity) -> Place:
    folder = f"/etc/holdfast/identity/{identity.name}"
    return Place(
        identity,
        f"10.1.3.21:/srv/store/{identity.name}",
        f"/srv/holdfast/{identity.name}",
        f"{folder}/postfix",
        "/etc/holdfast/tls/ca.pem",
        "postmaster@alpha.example",
        Mailboxes(f"{folder}/dovecot/dovecot.conf", "probe@alpha.example", "/etc/holdfast/probe"),
    )


class Works:
    """An identity's machinery: remembers what was done, and fails where it is told to."""

    def __init__(self, identity: Identity) -> None:
        self.place = place(identity)
        self.did: list[str] = []
        self.fails: dict[str, str] = {}
        self.on_step: Callable[[str], None] = lambda name: None
        self.left = Found(None, ())
        self.gone: str | None = None
        self.dead_units: str | None = None
        self.no_address = False
        self.announced: list[int] = []

    def _do(self, name: str) -> str:
        self.did.append(name)
        self.on_step(name)
        if name in self.fails:
            raise Unavailable(self.fails[name])
        return f"{name} done"

    def steps(self, epoch: int, cancel: Cancel) -> Sequence[tuple[str, Callable[[], str]]]:
        return [(name, lambda name=name: self._do(name)) for name in STEPS]  # type: ignore[misc]

    def mark(self, epoch: int) -> None:
        self.did.append(f"mark {epoch}")
        self.gone = self.dead_units = None

    def down(self) -> None:
        self._do("down")

    def release(self) -> None:
        self._do("release")

    def lost(self) -> str | None:
        return self.gone

    def dead(self) -> str | None:
        self.did.append("look")
        return self.dead_units

    def address_missing(self) -> bool:
        return self.no_address

    def announce(self, epoch: int) -> None:
        self.announced.append(epoch)

    def reload(self) -> None:
        self._do("reload")

    def found(self) -> Found:
        return self.left


class Host:
    """mail1 with an agent. Work is done at once unless `later` holds it back."""

    def __init__(self, *identities: Identity) -> None:
        self.clock = Clock()
        self.coordinator = Coordinator(self.clock)
        self.log = Lines()
        self.works = {i.name: Works(i) for i in identities or (MX,)}
        self.later: list[Callable[[], None]] | None = None
        self.gap = 0.0
        self.reasons: tuple[str, ...] = ()

    def spawn(self, work: Callable[[], None]) -> None:
        if self.later is None:
            work()
        else:
            self.later.append(work)

    def begin(self, boot: str = "boot-1") -> None:
        self.keepers = {n: Keeper("mail1", w, self.clock, self.log, self.spawn) for n, w in self.works.items()}
        for keeper in self.keepers.values():
            keeper.find()
        self.agent = Agent(
            "mail1",
            TTL,
            [(k, self.works[n].place) for n, k in self.keepers.items()],
            self.coordinator,
            lambda place: self.reasons,
            self.take_gap,
            boot,
            self.clock,
            self.log,
        )

    def take_gap(self) -> float:
        gap, self.gap = self.gap, 0.0
        return gap

    def tick(self, times: int = 1) -> list[str]:
        for work in self.works.values():
            work.did.clear()
        for _ in range(times):
            self.clock.sleep(1.0)
            self.agent.tick()
        return [d for w in self.works.values() for d in w.did]

    def own(self, epoch: int = 1, host: str = "mail1", identity: Identity = MX) -> None:
        self.coordinator.own(host, epoch, identity)
        self.coordinator.admit(host, epoch, identity)

    def report(self, identity: Identity = MX) -> Report:
        return Report.from_json(self.coordinator.data[keys.report("mail1", identity.name)])

    @property
    def mx(self) -> Works:
        return self.works[MX.name]


@pytest.fixture
def host() -> Host:
    made = Host()
    made.begin()
    return made


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

    def test_a_dead_unit_at_the_next_look(self, host: Host) -> None:
        host.own()
        host.tick()
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

    def test_ends_with_the_lease_and_is_told_at_once_with_the_next(self, host: Host) -> None:
        host.tick(2)
        host.coordinator.reachable = False
        host.tick(TTL + 5)
        host.coordinator.reachable = True
        assert host.coordinator.read([keys.ready("mail1", MX.name)])[keys.ready("mail1", MX.name)].value is None
        host.tick()
        assert self.word(host)["ready"] is True


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

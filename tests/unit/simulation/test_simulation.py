"""The simulator itself, where a mistake in it would hide mistakes in the product."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from holdfast.core.fencing import SOFTDOG
from holdfast.core.ports import Lock, LockLost, Unavailable
from holdfast.core.rights import Grant

from tests.simulation.__main__ import Mistake, Part, main, parse_part, parse_seeds
from tests.simulation.coordinator import Client, Cluster
from tests.simulation.hosts import Daemon, Dog, Host, Service
from tests.simulation.kernel import Group, Kernel
from tests.simulation.network import ALL, GATEWAY, MAIL_ROUTES, MANAGEMENT, Network
from tests.simulation.report import fingerprint
from tests.simulation.scenario import Scenario

ROOT = Path(__file__).resolve().parent.parent.parent.parent
EVERYTHING = (Grant("", prefix=True),)


class Lab:
    """Three members, two clients, and no product."""

    def __init__(self) -> None:
        self.kernel = Kernel(1)
        self.failures: list[Exception] = []
        self.kernel.on_failure = lambda process, why: self.failures.append(why)
        names = ("a", "b", "c", "one", "two")
        self.hosts = {name: Host(self.kernel, name, "dc1") for name in names}
        self.network = Network(names, self.kernel.random)
        self.cluster = Cluster(self.kernel, self.network, [self.hosts[n] for n in ("a", "b", "c")])
        for host in self.hosts.values():
            host.on_change = lambda host, what: self.cluster.look()
        self.group = self.kernel.group("test")

    def does(self, body: Callable[[Client], None], host: str = "one", seconds: float = 100.0) -> None:
        """Run `body` in a process of that host and let time pass."""
        self.kernel.spawn(self.group, host, lambda: body(Client(self.cluster, self.hosts[host], EVERYTHING)))
        self.kernel.run(self.kernel.now + seconds)
        if self.failures:
            raise self.failures[0]


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.kernel.close()


class TestKernel:
    def test_time_passes_only_where_somebody_sleeps(self, lab: Lab) -> None:
        seen: list[tuple[str, float]] = []

        def body(name: str, seconds: float) -> None:
            for _ in range(2):
                lab.kernel.sleep(seconds)
                seen.append((name, lab.kernel.now))

        lab.kernel.spawn(lab.group, "slow", lambda: body("slow", 3.0))
        lab.kernel.spawn(lab.group, "quick", lambda: body("quick", 2.0))
        lab.kernel.run(10.0)
        assert seen == [("quick", 2.0), ("slow", 3.0), ("quick", 4.0), ("slow", 6.0)]
        assert lab.kernel.now == 10.0

    def test_a_killed_process_has_no_effect_any_more(self, lab: Lab) -> None:
        def body(client: Client) -> None:
            try:
                lab.kernel.sleep(1000.0)
            finally:
                client.put("/holdfast/x/y/z", {})

        lab.does(body)
        lab.kernel.kill(lab.group)
        lab.kernel.run(5000.0)
        assert "/holdfast/x/y/z" not in lab.cluster.state.records

    def test_a_halted_group_goes_on_where_it_stood(self, lab: Lab) -> None:
        seen: list[float] = []

        def body(client: Client) -> None:
            for _ in range(3):
                lab.kernel.sleep(10.0)
                seen.append(lab.kernel.now)

        lab.kernel.at(5.0, lambda: lab.kernel.halt(lab.group))
        lab.kernel.at(50.0, lambda: lab.kernel.go_on(lab.group))
        lab.does(body)
        assert seen == [50.0, 60.0, 70.0]

    def test_an_exception_is_told(self, lab: Lab) -> None:
        def body(client: Client) -> None:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            lab.does(body)


class TestClocks:
    def test_boottime_goes_on_in_a_pause_and_knows_no_steps(self, lab: Lab) -> None:
        host = lab.hosts["one"]
        before, wall = host.clock.boottime(), host.clock.now()
        host.pause()
        lab.kernel.run(100.0)
        host.go_on()
        host.clock_error = 3600.0
        assert host.clock.boottime() - before == pytest.approx(100.0)
        assert host.clock.now() - wall == pytest.approx(3700.0)

    def test_a_boot_begins_boottime_anew_and_forgets_run(self, lab: Lab) -> None:
        host = lab.hosts["one"]
        host.services["mx"] = Service(mounted=True, track=True, address=True, units=True, mark=4, sick=True)
        boot = host.boot_id
        host.power_off()
        host.power_on()
        lab.kernel.run(60.0)
        assert host.up and host.boot_id != boot and host.clock.boottime() < 60.0
        assert host.services["mx"] == Service(sick=True)

    @pytest.mark.parametrize(("kind", "reset"), [("i6300esb", True), (SOFTDOG, False)])
    def test_a_watchdog_resets_a_host_that_stands_still_unless_it_is_part_of_it(
        self, lab: Lab, kind: str, reset: bool
    ) -> None:
        host = lab.hosts["one"]
        dog = Dog(host, kind, 10.0)
        dog.pat()
        host.pause()
        boot = host.boot_id
        lab.kernel.run(60.0)
        assert (host.boot_id != boot) is reset
        host.go_on()
        lab.kernel.run(120.0)
        assert host.boot_id != boot

    def test_a_watchdog_that_is_patted_waits_and_one_without_power_forgets(self, lab: Lab) -> None:
        host = lab.hosts["one"]
        dog = host.dog = Dog(host, "i6300esb", 10.0)
        boot = host.boot_id
        for time in range(0, 50, 7):
            lab.kernel.at(time, dog.pat)
        lab.kernel.run(55.0)
        assert host.boot_id == boot
        host.power_off()
        lab.kernel.run(100.0)
        assert not host.up

    def test_a_daemon_comes_back_after_a_crash(self, lab: Lab) -> None:
        started: list[float] = []

        def body(group: Group) -> None:
            started.append(lab.kernel.now)
            lab.kernel.sleep(1e6)

        daemon = lab.hosts["one"].daemons["d"] = Daemon(lab.hosts["one"], "d", body)
        daemon.start()
        lab.kernel.run(10.0)
        daemon.crash()
        lab.kernel.run(20.0)
        assert len(started) == 2


class TestNetwork:
    def test_a_cut_has_a_direction_and_may_lie_over_another(self, lab: Lab) -> None:
        ways = lab.network.around("one", (MANAGEMENT,), inwards=True, outwards=False)
        lab.network.cut(ways)
        lab.network.cut(ways)
        assert lab.network.carries(MANAGEMENT, "one", "a") and not lab.network.carries(MANAGEMENT, "a", "one")
        assert not lab.network.joined(MANAGEMENT, "one", "a") and lab.network.joined("internet", "one", "a")
        lab.network.mend(ways)
        assert not lab.network.joined(MANAGEMENT, "one", "a")
        lab.network.mend(ways)
        assert lab.network.joined(MANAGEMENT, "one", "a")


class TestCoordinator:
    KEY = "/holdfast/x/y/z"

    def test_revisions_and_copies(self, lab: Lab) -> None:
        def body(client: Client) -> None:
            value = {"steps": [{"name": "one"}]}
            client.put(self.KEY, value)
            value["steps"].append({"name": "two"})
            first = client.get(self.KEY)
            assert first.value == {"steps": [{"name": "one"}]}
            first.value["steps"].clear()  # type: ignore[index]
            assert client.get(self.KEY) == client.read([self.KEY])[self.KEY] == client.list("/holdfast/x/")[self.KEY]
            assert client.get(self.KEY).value == {"steps": [{"name": "one"}]}
            client.put(self.KEY, {})
            assert client.get(self.KEY).revision > first.revision
            assert not client.create(self.KEY, {"other": 1})
            assert client.delete(self.KEY) and not client.delete(self.KEY)
            assert client.get(self.KEY).revision == 0 and client.create(self.KEY, {})

        lab.does(body)

    def test_a_lease_takes_its_keys_along(self, lab: Lab) -> None:
        def body(client: Client) -> None:
            lease = client.grant(10)
            client.put(self.KEY, {}, lease)
            for _ in range(4):
                lab.kernel.sleep(8.0)
                assert client.keepalive(lease) and client.get(self.KEY).value == {}
            lab.kernel.sleep(10.5)
            assert client.get(self.KEY).value is None and not client.keepalive(lease)
            with pytest.raises(Unavailable, match="lease"):
                client.put(self.KEY, {}, lease)

        lab.does(body)

    def test_a_lock_excludes_and_binds_every_write(self, lab: Lab) -> None:
        held: list[Lock] = []

        def first(client: Client) -> None:
            lock = client.lock(self.KEY, {"run": "1"}, 10)
            assert lock is not None
            held.append(lock)
            assert client.write(lock, {"/holdfast/a/b/c": {"n": 1}}, {"/holdfast/a/b/c": 0})
            assert not client.write(lock, {"/holdfast/a/b/c": {"n": 2}}, {"/holdfast/a/b/c": 0})
            lab.kernel.sleep(20.0)
            with pytest.raises(LockLost):
                client.write(lock, {"/holdfast/a/b/c": {"n": 3}}, {})
            with pytest.raises(LockLost):
                client.refresh(lock)

        def second() -> None:
            client = Client(lab.cluster, lab.hosts["two"], EVERYTHING)
            lab.kernel.sleep(1.0)
            assert client.lock(self.KEY, {"run": "2"}, 10) is None
            lab.kernel.sleep(12.0)
            assert client.lock(self.KEY, {"run": "2"}, 100) is not None

        lab.kernel.spawn(lab.group, "two", second)
        lab.does(first)
        assert held and lab.cluster.state.records["/holdfast/a/b/c"].read() == {"n": 1}

    def test_without_a_majority_nothing_is_read_and_leases_stand_still(self, lab: Lab) -> None:
        def body(client: Client) -> None:
            lease = client.grant(10)
            client.put(self.KEY, {}, lease)
            lab.hosts["a"].power_off()
            lab.hosts["b"].power_off()
            begin = lab.kernel.now
            with pytest.raises(Unavailable):
                client.get(self.KEY)
            assert lab.kernel.now - begin == pytest.approx(9.0)
            lab.kernel.sleep(30.0)
            lab.hosts["b"].up = True
            lab.cluster.look()
            lab.kernel.sleep(5.0)
            assert client.get(self.KEY).value == {}, "a new leader extends all leases"

        lab.does(body, seconds=200.0)

    def test_a_minority_side_is_not_served_and_the_other_is(self, lab: Lab) -> None:
        lab.network.cut(lab.network.between(["a", "one"], ["b", "c", "two"], ALL))
        lab.cluster.look()

        def alone(client: Client) -> None:
            with pytest.raises(Unavailable):
                client.get(self.KEY)

        def among(client: Client) -> None:
            client.put(self.KEY, {})

        lab.kernel.run(10.0)
        assert lab.cluster.leader is not None and lab.cluster.leader.name in ("b", "c")
        lab.does(alone, "one")
        lab.does(among, "two")

    def test_a_write_without_the_right_is_the_products_mistake(self) -> None:
        lab = Lab()
        mine = Grant("/holdfast/host/one/lease")
        client = Client(lab.cluster, lab.hosts["one"], [mine])
        for write in (
            lambda: client.put("/holdfast/identity/i/owner", {}),
            lambda: client.create("/holdfast/identity/i/owner", {}),
            lambda: client.delete("/holdfast/host/two/lease"),
            lambda: client.write(Lock(mine.key, 1, 1), {"/holdfast/identity/i/owner": {}}, {}),
        ):
            with pytest.raises(AssertionError, match="one has no right to write /holdfast/"):
                write()

    def test_an_answer_that_finds_no_way_back_was_carried_out_all_the_same(self, lab: Lab) -> None:
        lab.network.cut(lab.network.around("one", (MANAGEMENT,), inwards=True, outwards=False))
        lab.cluster.look()

        def body(client: Client) -> None:
            with pytest.raises(Unavailable):
                client.put(self.KEY, {"n": 1})

        lab.does(body)
        assert lab.cluster.state.records[self.KEY].read() == {"n": 1}

    def test_a_write_is_done_once_although_its_answers_are_lost(self, lab: Lab) -> None:
        def body(client: Client) -> None:
            lock = None
            while lock is None:
                try:
                    lock = client.lock(self.KEY, {"run": "1"}, 1000)
                except Unavailable:
                    continue
            lab.cluster.doubt = 0.4
            done = 0
            while done < 20:
                try:
                    assert client.write(lock, {"/holdfast/a/b/c": {"n": done}}, {})
                    done += 1
                except Unavailable:
                    continue

        lab.does(body, seconds=900.0)
        assert lab.cluster.state.records["/holdfast/a/b/c"].read() == {"n": 19}

    def test_a_member_that_stands_still_carries_out_late(self, lab: Lab) -> None:
        lab.hosts["b"].paused = True
        lab.cluster.look()

        def body(client: Client) -> None:
            client._now = 1
            client.put(self.KEY, {"n": 1})
            client.put(self.KEY, {"n": 2})

        lab.does(body)
        assert lab.cluster.state.records[self.KEY].read() == {"n": 2}
        lab.hosts["b"].go_on()
        lab.kernel.run(lab.kernel.now + 20.0)
        assert lab.cluster.state.records[self.KEY].read() == {"n": 1}, "the first request, from the stuck member"


class TestWorld:
    def test_a_gateway_takes_the_latest_epoch_of_those_that_it_reaches(self) -> None:
        world = Scenario(3).world
        old, new = world.hosts["mail1"], world.hosts["mail2"]
        for epoch, host in enumerate((old, new), 1):
            host.services["mx"] = Service(address=True, units=True, announced=epoch)
        route = MAIL_ROUTES[0]
        assert world.chosen(route, "mx") is new
        world.network.cut([(route, "mail2", GATEWAY)])
        assert world.chosen(route, "mx") is old
        old.pause()
        assert world.chosen(route, "mx") is None
        assert world.answering("mx") == ["mail1", "mail2"], "elsewhere all count that have address and servers"
        world.by_routes = {"mail1", "mail2"}
        assert world.answering("mx") == ["mail2"]
        world.kernel.close()

    def test_what_an_operator_does_stands_still_and_dies_with_the_host(self) -> None:
        world = Scenario(3).world
        seen: list[float] = []

        def body() -> None:
            while True:
                world.kernel.sleep(1.0)
                seen.append(world.kernel.now)

        world.operator("relay2", "looks", body)
        world.kernel.run(1.5)
        world.hosts["relay2"].pause()
        world.kernel.run(5.0)
        world.hosts["relay2"].go_on()
        world.kernel.run(7.2)
        world.hosts["relay2"].power_off()
        world.kernel.run(20.0)
        assert seen == [1.0, 5.0, 6.0, 7.0]
        world.kernel.close()

    def test_whom_a_firewall_drops_the_store_does_not_admit(self) -> None:
        world = Scenario(3).world
        world.exports["store1"] = {("/srv/store/mx", world.addresses["mail1"])}
        assert world.admitted("mx") == ["mail1"] and world.admits(world.hosts["mail1"], "mx")
        world.dropped["store1"] = frozenset({world.addresses["mail1"]})
        assert world.admitted("mx") == [] and not world.admits(world.hosts["mail1"], "mx")
        world.kernel.close()


class TestDeterminism:
    SEEDS = (3, 11, 48)

    def test_the_same_seed_twice(self) -> None:
        assert fingerprint(Scenario(s).run() for s in self.SEEDS) == fingerprint(Scenario(s).run() for s in self.SEEDS)

    def test_other_seeds_differ(self) -> None:
        assert fingerprint([Scenario(3).run()]) != fingerprint([Scenario(11).run()])

    def test_across_processes_with_other_hashes(self) -> None:
        program = (
            "from tests.simulation.report import fingerprint; from tests.simulation.scenario import Scenario;"
            "from tests.simulation.pair_scenario import PairScenario;"
            f"print(fingerprint(play(s).run() for s in {self.SEEDS} for play in (Scenario, PairScenario)))"
        )
        said = set()
        for hash_seed in ("0", "1", "4711"):
            env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{ROOT}/build/python:{ROOT}"}
            done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
            said.add(done.stdout.strip())
        assert len(said) == 1


class TestWords:
    @pytest.mark.parametrize(
        ("text", "seeds"), [("17", range(17, 18)), (" 1-20000 ", range(1, 20001)), ("5 - 5", range(5, 6))]
    )
    def test_seeds(self, text: str, seeds: range) -> None:
        assert parse_seeds(text) == seeds

    @pytest.mark.parametrize(
        ("text", "part"),
        [("17", Part(range(17, 18))), ("p17", Part(range(17, 18), True)), (" p1-9 ", Part(range(1, 10), True))],
    )
    def test_seeds_of_pairs(self, text: str, part: Part) -> None:
        assert parse_part(text) == part

    @pytest.mark.parametrize("text", ["abc", "p", "p-3", "pp1", "-3", "1-", "9-3", "1,2", "1.5", "9" * 40])
    def test_bad_seeds_get_one_line(self, text: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(Mistake, match="SEEDS is"):
            parse_part(text)
        assert main([f"--seeds={text}"]) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1 and said[0].startswith(f"simulate: SEEDS is {text!r}: ")

    def test_one_seed_of_a_pair_is_told_whole(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--seeds", "p3"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[-2].startswith("seed p3: ") and "drbd" in "".join(lines)

    def test_one_seed_is_told_whole(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--seeds", "3"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1] == "1 passed, 0 failed" and "fingerprint" in lines[-2] and len(lines) > 50

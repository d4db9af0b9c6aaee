"""The coordinator against a real etcd cluster; skipped where no `etcd` is on PATH (the lab's guests have one)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import ETCD, Cluster, free_port, losing_answers
from holdfast.adapters import etcd
from holdfast.adapters.etcd import EtcdCoordinator
from holdfast.core.ports import Coordinator, Entry, Lock, LockLost, Unavailable
from hypothesis import given
from hypothesis import strategies as st

real = pytest.mark.skipif(ETCD is None, reason="no etcd on PATH")


def test_prefix_end_is_the_first_key_behind() -> None:
    assert etcd.prefix_end("/a/") == etcd.encode("/a0")


@given(st.text(min_size=1), st.text())
def test_prefix_end_covers_every_key_of_the_prefix(prefix: str, rest: str) -> None:
    raw = prefix.encode()
    end = etcd.base64.b64decode(etcd.prefix_end(prefix))
    assert raw <= (prefix + rest).encode() < end


def test_record_reads_left_out_numbers_as_zero() -> None:
    record = etcd.parse_record({"key": etcd.encode("/k"), "value": etcd.encode('{"a":1}'), "mod_revision": "12"})
    assert (record.key, record.value, record.mod, record.create, record.lease) == ("/k", {"a": 1}, 12, 0, 0)


@pytest.mark.parametrize("raw", ["", "text", "[1]"])
def test_a_value_that_is_no_object_is_held_not_guessed(raw: str) -> None:
    with pytest.raises(Unavailable, match="/k"):
        etcd.parse_record({"key": etcd.encode("/k"), "value": etcd.encode(raw)})


def test_write_compares_lock_and_revisions() -> None:
    txn = etcd.txn_write(Lock("/l", 7, 99), 3, {"run": "r"}, {"/a": {"x": 1}}, {"/b": 5, "/c": 0})
    assert [(c["target"], c["result"]) for c in txn["compare"]] == [
        ("CREATE", "EQUAL"),
        ("VERSION", "EQUAL"),
        ("MOD", "EQUAL"),
        ("MOD", "EQUAL"),
    ]
    assert [p["request_put"]["lease"] for p in txn["success"]] == [0, 99]


def test_nobody_there_names_every_member() -> None:
    urls = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    with pytest.raises(Unavailable) as said:
        EtcdCoordinator(urls, timeout=0.5).get("/holdfast/x")
    assert all(url in str(said.value) for url in urls)


def test_a_client_comes_back_to_the_member_at_which_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or one slow moment of each member moves all clients to the last one, for good."""
    client = EtcdCoordinator([f"http://127.0.0.{n}:2379" for n in (1, 2, 3)], first=1)
    now, slow, asked = [1000.0], {"http://127.0.0.2:2379"}, []

    def answer(member: Any, path: str, body: Any) -> dict[str, Any]:
        url = next(url for url, other in client._members if other is member)
        asked.append(url[15])
        if url in slow:
            raise ValueError("too late")
        return {}

    monkeypatch.setattr(client, "_ask", answer)
    monkeypatch.setattr(etcd.time, "monotonic", lambda: now[0])
    client._post("/kv/range", {})
    slow.clear()
    now[0] += etcd.HOME_AFTER - 1
    client._post("/kv/range", {})
    now[0] += 1
    client._post("/kv/range", {})
    client._post("/kv/range", {})
    assert asked == ["2", "3", "3", "2", "2"]
    # While it is dead, it is asked once in that time.
    slow.add("http://127.0.0.2:2379")
    for _ in range(3):
        client._post("/kv/range", {})
    assert asked[5:] == ["2", "3", "3", "3"]


def test_endpoint_without_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="10\\.0\\.0\\.1:2379"):
        EtcdCoordinator(["10.0.0.1:2379"])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("etcd"), 3) as running:
        yield running


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    return f"/holdfast/test/{request.node.name}"


@pytest.fixture
def one(cluster: Cluster) -> Iterator[EtcdCoordinator]:
    made = EtcdCoordinator(cluster.urls, timeout=5)
    yield made
    made.close()


@real
class TestKeys:
    def test_get_put_delete(self, one: Coordinator, key: str) -> None:
        assert one.get(key) == Entry(None, 0)
        one.put(key, {"name": "ü", "n": 1.5})
        found = one.get(key)
        assert found.value == {"name": "ü", "n": 1.5}
        assert found.revision > 0
        assert one.delete(key)
        assert not one.delete(key)

    def test_list_holds_the_prefix_only(self, one: Coordinator, key: str) -> None:
        for name in (f"{key}/a", f"{key}/b", f"{key}0"):
            one.put(name, {"k": name})
        assert sorted(one.list(f"{key}/")) == [f"{key}/a", f"{key}/b"]

    def test_create_only_once(self, one: Coordinator, key: str) -> None:
        assert one.create(key, {"n": 1})
        assert not one.create(key, {"n": 2})
        assert not one.create(key, {"n": 1})

    def test_read_of_many_keys(self, cluster: Cluster, key: str) -> None:
        one = EtcdCoordinator(cluster.urls)
        one.put(f"{key}/7", {"n": 7})
        names = [f"{key}/{n}" for n in range(250)]
        found = one.read(names)
        assert len(found) == 250
        assert [k for k, e in found.items() if e.value is not None] == [f"{key}/7"]

    def test_lease_ends_and_takes_its_key_along(self, one: Coordinator, key: str) -> None:
        lease = one.grant(2)
        one.put(key, {"a": 1}, lease)
        assert one.keepalive(lease)
        deadline = time.monotonic() + 10
        while one.get(key).value is not None:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert not one.keepalive(lease)
        with pytest.raises(Unavailable, match="lease"):
            one.put(key, {"a": 1}, lease)


@real
class TestLocks:
    def test_one_holder(self, one: Coordinator, cluster: Cluster, key: str) -> None:
        other = EtcdCoordinator(cluster.urls)
        lock = one.lock(key, {"run": "a"}, 30)
        assert lock is not None
        assert other.lock(key, {"run": "a"}, 30) is None
        one.unlock(lock)
        assert other.lock(key, {"run": "b"}, 30) is not None

    def test_write_on_the_lock(self, one: Coordinator, key: str) -> None:
        lock = one.lock(f"{key}/lock", {"run": "a", "invoker": "me"}, 30)
        assert lock is not None
        assert one.write(lock, {f"{key}/x": {"n": 1}}, {f"{key}/x": 0})
        assert not one.write(lock, {f"{key}/x": {"n": 2}}, {f"{key}/x": 0})
        revision = one.get(f"{key}/x").revision
        assert one.write(lock, {f"{key}/x": {"n": 3}, f"{key}/y": {"n": 4}}, {f"{key}/x": revision})
        assert one.get(f"{key}/y").value == {"n": 4}
        held = one.get(f"{key}/lock").value
        assert held is not None
        assert held["invoker"] == "me"

    def test_the_lease_still_binds_the_lock_after_a_write(self, one: Coordinator, key: str) -> None:
        lock = one.lock(key, {"run": "a"}, 30)
        assert lock is not None
        one.write(lock, {f"{key}/x": {}}, {})
        one.unlock(lock)
        assert one.get(key).value is None

    def test_lost_lock(self, one: Coordinator, cluster: Cluster, key: str) -> None:
        lock = one.lock(key, {"run": "a"}, 30)
        assert lock is not None
        EtcdCoordinator(cluster.urls).unlock(lock)
        with pytest.raises(LockLost):
            one.write(lock, {f"{key}/x": {"n": 1}}, {})
        with pytest.raises(LockLost):
            one.refresh(lock)
        again = one.lock(key, {"run": "a"}, 30)
        assert again is not None
        with pytest.raises(LockLost):
            one.write(lock, {f"{key}/x": {"n": 1}}, {})
        assert one.get(f"{key}/x").value is None

    def test_lock_not_of_this_process(self, one: Coordinator, key: str) -> None:
        with pytest.raises(LockLost):
            one.write(Lock(key, 1, 1), {}, {})


@real
class TestLostAnswers:
    """What was carried out is not taken for a failure, and not done twice."""

    @pytest.fixture
    def lossy(self, cluster: Cluster) -> Iterator[tuple[EtcdCoordinator, set[str]]]:
        paths: set[str] = set()
        with losing_answers(cluster.urls[0], paths) as proxy:
            yield EtcdCoordinator([proxy, cluster.urls[1]], first=0), paths

    def back(self, coordinator: EtcdCoordinator) -> None:
        """The next call begins at the proxy again."""
        coordinator._now = 0

    def test_create(self, lossy: tuple[EtcdCoordinator, set[str]], key: str) -> None:
        one, paths = lossy
        paths.add("/v3/kv/txn")
        assert one.create(key, {"run": "a"})
        self.back(one)
        assert not one.create(key, {"run": "b"})

    def test_lock(self, lossy: tuple[EtcdCoordinator, set[str]], key: str) -> None:
        one, paths = lossy
        paths.add("/v3/kv/txn")
        lock = one.lock(key, {"run": "a"}, 30)
        assert lock is not None
        assert one.write(lock, {f"{key}/x": {}}, {})

    def test_lock_that_somebody_else_holds(self, lossy: tuple[EtcdCoordinator, set[str]], key: str) -> None:
        one, paths = lossy
        assert one.lock(key, {"run": "a"}, 30) is not None
        paths.add("/v3/kv/txn")
        assert one.lock(key, {"run": "a"}, 30) is None
        assert one.get(key).value is not None

    def test_write_is_counted_once(self, lossy: tuple[EtcdCoordinator, set[str]], key: str) -> None:
        one, paths = lossy
        lock = one.lock(f"{key}/lock", {"run": "a"}, 30)
        assert lock is not None
        paths.add("/v3/kv/txn")
        self.back(one)
        # The second copy finds /x changed, by the first copy.
        assert one.write(lock, {f"{key}/x": {"n": 1}}, {f"{key}/x": 0})
        before = one.get(f"{key}/x").revision
        self.back(one)
        assert not one.write(lock, {f"{key}/x": {"n": 2}}, {f"{key}/x": 0})
        assert one.get(f"{key}/x") == Entry({"n": 1}, before)

    def test_write_of_which_nobody_answered(self, cluster: Cluster, key: str) -> None:
        paths: set[str] = set()
        with losing_answers(cluster.urls[0], paths) as proxy:
            one = EtcdCoordinator([proxy])
            lock = one.lock(f"{key}/lock", {"run": "a"}, 30)
            assert lock is not None
            paths.add("/v3/kv/txn")
            with pytest.raises(Unavailable):
                one.write(lock, {f"{key}/x": {"n": 1}}, {})
            paths.clear()
            assert one.write(lock, {f"{key}/x": {"n": 2}}, {})
            assert one.get(f"{key}/x").value == {"n": 2}

    def test_a_late_copy_of_an_older_write_changes_nothing(self, one: EtcdCoordinator, key: str) -> None:
        lock = one.lock(f"{key}/lock", {"run": "a"}, 30)
        assert lock is not None
        late: dict[str, Any] = etcd.txn_write(lock, 1, {"run": "a", "write": 1}, {f"{key}/x": {"n": "old"}}, {})
        assert one.write(lock, {f"{key}/x": {"n": "new"}}, {})
        one._post("/kv/txn", late)
        assert one.get(f"{key}/x").value == {"n": "new"}
        assert one.write(lock, {f"{key}/x": {"n": "newer"}}, {})


@real
def test_members_come_and_go(tmp_path: Path) -> None:
    with Cluster(tmp_path, 3) as cluster:
        one = EtcdCoordinator(cluster.urls, timeout=5, first=0)
        one.put("/holdfast/k", {"n": 1})
        cluster.kill(0)
        deadline = time.monotonic() + 20
        while True:  # until the others have a leader
            try:
                assert one.get("/holdfast/k").value == {"n": 1}
                break
            except Unavailable:
                assert time.monotonic() < deadline
        cluster.kill(1)
        start = time.monotonic()
        with pytest.raises(Unavailable) as said:
            EtcdCoordinator(cluster.urls, timeout=1).get("/holdfast/k")
        assert time.monotonic() - start < 6
        assert all(url in str(said.value) for url in cluster.urls)
        with pytest.raises(Unavailable):
            EtcdCoordinator(cluster.urls, timeout=1).put("/holdfast/k", {"n": 2})
        cluster.start(0)
        cluster.start(1)
        cluster.wait_healthy()
        assert one.get("/holdfast/k").value in ({"n": 1}, {"n": 2})


@real
def test_a_member_without_the_others_tells_nothing_of_the_past(tmp_path: Path) -> None:
    """Every read, and every comparison, asks the majority: what is known may be of an earlier owner."""
    with Cluster(tmp_path, 3) as cluster:
        one = EtcdCoordinator(cluster.urls[:1], timeout=2)
        one.put("/holdfast/identity/i/owner", {"epoch": 1})
        cluster.kill(1)
        cluster.kill(2)
        past = {"key": etcd.encode("/holdfast/identity/i/owner"), "serializable": True}
        told = etcd.parsed(one._post("/kv/range", past)["kvs"])
        assert told["/holdfast/identity/i/owner"].value == {"epoch": 1}, "etcd does tell, if it is asked for that"
        for read in (
            lambda: one.get("/holdfast/identity/i/owner"),
            lambda: one.read(["/holdfast/identity/i/owner"]),
            lambda: one.list("/holdfast/identity/"),
            lambda: one.create("/holdfast/identity/i/owner", {"epoch": 2}),
            lambda: one.replace("/holdfast/identity/i/owner", {"epoch": 2}, {"/holdfast/identity/i/owner": 0}),
        ):
            with pytest.raises(Unavailable):
                read()


@real
def test_calls_reuse_one_connection(cluster: Cluster, key: str) -> None:
    connections: set[str] = set()
    with losing_answers(cluster.urls[0], set(), connections) as proxy:
        one = EtcdCoordinator([proxy])
        for _ in range(20):
            one.get(key)
        one.close()
    assert len(connections) == 1

"""One read for a crowd, never older than who asks; in a real etcd cluster where there is an `etcd` on PATH."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from cluster import ETCD, Cluster
from holdfast.adapters import etcd_shared
from holdfast.adapters.etcd import EtcdCoordinator
from holdfast.adapters.etcd_shared import SharedCoordinator, SharedReads
from holdfast.core import keys
from holdfast.core.ports import Unavailable

pytestmark = pytest.mark.skipif(ETCD is None, reason="no etcd on PATH")
CROWD = 12


class Slow(EtcdCoordinator):
    """Reads one after the other as they are let through, and counts them."""

    reads = 0
    gate: threading.Semaphore | None = None

    def fetch(self, *prefixes: str) -> dict[str, dict[str, object]]:
        found = super().fetch(*prefixes)
        self.reads += 1
        if self.gate is not None:
            assert self.gate.acquire(timeout=10)
        return found


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Slow]:
    with Cluster(tmp_path, 1) as cluster:
        yield Slow(cluster.urls, timeout=1.0)


def shared(etcd: Slow) -> SharedReads:
    return SharedReads(etcd, (keys.IDENTITIES, keys.lease("h")))


def test_a_crowd_costs_two_reads_and_nobody_is_told_what_was_before_he_asked(
    etcd: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(time.monotonic())  # one second later with each look, so that looks can be counted
    looks: list[float] = []

    def monotonic() -> float:
        looks.append(next(clock))
        return looks[-1]

    monkeypatch.setattr(etcd_shared, "time", SimpleNamespace(monotonic=monotonic))
    reads, writer = shared(etcd), etcd.another()
    etcd.gate = threading.Semaphore(0)
    writer.put(keys.owner("i"), {"epoch": 1})
    with ThreadPoolExecutor(CROWD) as crowd:
        first = crowd.submit(reads.fetch)
        while etcd.reads < 1:  # it has read, and is not let go
            pass
        writer.put(keys.owner("i"), {"epoch": 2})
        others = [crowd.submit(SharedCoordinator(writer, reads).list, keys.IDENTITIES) for _ in range(CROWD - 1)]
        while len(looks) < 2 + len(others):  # whoever asks later than the second read has a right to a third one
            pass
        etcd.gate.release(2)
        assert first.result(10).keys() == {keys.owner("i")}
        seen = [one.result(10)[keys.owner("i")].value for one in others]
    assert seen == [{"epoch": 2}] * (CROWD - 1)
    assert etcd.reads == 2


def test_what_others_read_is_not_read_elsewhere_and_the_rest_is(etcd: Slow) -> None:
    one = SharedCoordinator(etcd.another(), shared(etcd))
    for key in (keys.owner("i"), keys.owner("ix"), keys.lease("h"), keys.lease("other")):
        one.put(key, {"x": 1})
    assert set(one.list(f"{keys.IDENTITIES}i/", keys.lease("h"))) == {keys.lease("h"), keys.owner("i")}
    assert etcd.reads == 1
    assert list(one.list(keys.lease("other"))) == [keys.lease("other")] and etcd.reads == 1


def test_one_spoilt_record_is_the_fault_of_whoever_asks_for_it(etcd: Slow) -> None:
    one = SharedCoordinator(etcd.another(), shared(etcd))
    one.put(keys.owner("good"), {"x": 1})
    etcd._post("/kv/put", {"key": "L2hvbGRmYXN0L2lkZW50aXR5L2JhZC9vd25lcg==", "value": "eA=="})
    assert one.list(f"{keys.IDENTITIES}good/")[keys.owner("good")].value == {"x": 1}
    with pytest.raises(Unavailable, match="bad/owner holds b'x'"):
        one.list(f"{keys.IDENTITIES}bad/")


def test_without_an_answer_each_is_told_so_and_the_next_one_asks_again(tmp_path: Path) -> None:
    with Cluster(tmp_path, 1) as cluster:
        one = SharedCoordinator(EtcdCoordinator(cluster.urls), shared(Slow(cluster.urls, timeout=1.0)))
        cluster.kill(0)
        with pytest.raises(Unavailable):
            one.list(keys.IDENTITIES)
        cluster.start(0)
        cluster.wait_healthy()
        assert one.list(keys.IDENTITIES) == {}

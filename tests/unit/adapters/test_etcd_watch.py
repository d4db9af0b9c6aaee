"""Being woken by a change in a real etcd cluster; skipped where no `etcd` is on PATH."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import pytest
from cluster import ETCD, Cluster
from holdfast.adapters import etcd_watch
from holdfast.adapters.etcd import EtcdCoordinator, Tls
from holdfast.adapters.etcd_watch import ChangeWatch
from holdfast.core import keys

real = pytest.mark.skipif(ETCD is None, reason="no etcd on PATH")
SOON = 10.0  # seconds; a look without a watch comes only after the thread's own silence of 60


def test_a_line_without_events_is_no_change() -> None:
    assert not etcd_watch.changed(b'{"result":{"header":{"revision":"4"},"created":true}}')
    assert etcd_watch.changed(b'{"result":{"header":{},"events":[{"kv":{"key":"L2E="}}]}}')


@pytest.mark.parametrize(
    "line", [b'{"error":{"grpc_code":14}}', b'{"result":{"canceled":true,"cancel_reason":"compacted"}}']
)
def test_an_error_in_the_stream_ends_it(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"grpc_code|compacted"):
        etcd_watch.changed(line)


@real
def test_wakes_for_its_prefixes_and_no_others_and_outlives_a_member(tmp_path: Path) -> None:
    with Cluster(tmp_path, 3) as cluster:
        wake = threading.Event()
        watch = ChangeWatch(cluster.urls, Tls(), ("/holdfast/identity/", "/holdfast/store/"), wake, silence=60.0)
        watch.start()
        try:
            etcd = EtcdCoordinator(cluster.urls)
            assert wake.wait(SOON), "once when the watch begins"
            for key in ("/holdfast/identity/i/owner", "/holdfast/store/s/access/i"):
                wake.clear()
                etcd.put(key, {"x": 1})
                assert wake.wait(SOON), key
            wake.clear()
            etcd.put("/holdfast/host/h/ready/i", {"x": 1})
            assert not wake.wait(1.0)
            cluster.kill(0)  # the member whose stream it is
            wake.clear()
            assert wake.wait(SOON), "a new watch at the next member"
            wake.clear()
            etcd.put("/holdfast/identity/i/owner", {"x": 2})
            assert wake.wait(SOON)
        finally:
            watch.stop()


@real
def test_a_host_that_is_off_keeps_no_watch_waiting(tmp_path: Path) -> None:
    """It answers no SYN, as here a listener whose queue is full."""
    with Cluster(tmp_path, 1) as cluster, socket.create_server(("127.0.0.1", 0), backlog=0) as off:
        port = off.getsockname()[1]
        with contextlib.ExitStack() as full:
            with contextlib.suppress(TimeoutError):
                for _ in range(16):
                    full.enter_context(socket.create_connection(("127.0.0.1", port), 0.5))
            wake = threading.Event()
            watch = ChangeWatch([f"http://127.0.0.1:{port}", *cluster.urls], Tls(), ("/x/",), wake)
            watch.start()
            try:
                assert wake.wait(SOON)
            finally:
                watch.stop()


@real
def test_evidence_wakes_nobody(tmp_path: Path) -> None:
    """Relays write it all the time: every daemon that woke up would ask all members, and be sent each word."""
    with Cluster(tmp_path, 1) as cluster:
        etcd = EtcdCoordinator(cluster.urls)
        wake = etcd_watch.woken_by(etcd, keys.IDENTITIES)
        assert wake.wait(SOON), "once when the watch begins"
        wake.clear()
        etcd.put(keys.evidence("i", "r"), {"x": 1})
        assert not wake.wait(1.0)
        etcd.put(keys.owner("i"), {"x": 1})
        assert wake.wait(SOON)

"""Connections are shared between a pair of redirectors by the order in which a name server tells their addresses."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from rendering import Host, inventory

KNOTD = shutil.which("knotd")


def written(name: str, host: str) -> str:
    return Host("dns", host, inventory(name)).text({"src": "knot.conf.j2"})


def test_where_there_are_no_redirectors_nothing_is_said_of_it() -> None:
    assert "answer-rotation" not in written("compact", "witness1")


def test_where_there_are_redirectors_addresses_take_turns() -> None:
    settings = yaml.safe_load(written("full", "ns-iso").replace("{{", ""))
    assert settings["server"]["answer-rotation"] is True


def ask(port: int, number: int) -> bytes:
    """The first address that is told of x.test, by a query with that id (RFC 1035, 4.1)."""
    query = struct.pack(">HHHHHH", number, 0, 1, 0, 0, 0) + b"\x01x\x04test\x00" + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(2)
        asking.sendto(query, ("127.0.0.1", port))
        answer = asking.recv(512)
    return answer[len(query) + 12 :][:4]  # behind name, type, class, lifetime and length


@pytest.mark.skipif(KNOTD is None, reason="no knotd on PATH")
def test_knot_tells_either_first_as_often_as_the_other(tmp_path: Path) -> None:
    """With what is written for the server; by the id of the query, which resolvers choose by chance."""
    assert KNOTD is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rotation = next(line for line in written("full", "ns-iso").splitlines() if "answer-rotation" in line)
    (tmp_path / "test.zone").write_text(
        "@ 60 SOA ns a 1 1 1 1 1\n@ NS ns\nns A 127.0.0.1\nx A 10.1.2.7\nx A 10.1.2.8\n"
    )
    (tmp_path / "knot.conf").write_text(
        f"server:\n    rundir: {tmp_path}\n    listen: 127.0.0.1@{port}\n{rotation}\n"
        f"database:\n    storage: {tmp_path}/db\n"
        f'template:\n  - id: default\n    storage: {tmp_path}\n    file: "%s.zone"\nzone:\n  - domain: test\n'
    )
    server = subprocess.Popen([KNOTD, "-c", str(tmp_path / "knot.conf")], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                first = [ask(port, number) for number in range(100)]
            except OSError:
                first = []
            if first and all(first):  # without an answer while the zone is loaded
                break
            assert server.poll() is None and time.monotonic() < deadline, "knotd does not answer"
            time.sleep(0.1)
    finally:
        server.terminate()
        server.wait()
    assert {first.count(socket.inet_aton(address)) for address in ("10.1.2.7", "10.1.2.8")} == {50}

"""The NULL call over a real socket, against servers that answer, refuse, say nonsense or nothing."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from holdfast.adapters.clock import SystemClock
from holdfast.adapters.nfs_probe import NfsProber, call, null
from holdfast.core.model import Identity, Result, Route


@contextmanager
def server(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """One connection: reads one record, sends what `answer` makes of it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.sendall(answer(connection.recv(4096)))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
    thread.join(2)


def reply(request: bytes, status: int = 0, result: int = 0) -> bytes:
    """RFC 5531: REPLY, MSG_ACCEPTED, no verifier, SUCCESS."""
    body = request[4:8] + struct.pack(">5I", 1, status, 0, 0, result)
    return struct.pack(">I", 0x80000000 | len(body)) + body


def test_the_call_is_a_null_of_nfs_version_4() -> None:
    head = "80000028 00000007 00000000 00000002 000186a3 00000004"
    assert call(7) == bytes.fromhex(head) + bytes(20)


def test_a_server_that_answers() -> None:
    with server(reply) as port:
        assert null("127.0.0.1", port=port) is None


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda r: reply(r, result=2), "accept status 2"),
        (lambda r: reply(r, status=1), "call denied"),
        (lambda r: reply(r[:4] + b"\0\0\0\0" + r[8:]), "another call"),
        (lambda r: b"", "connection ended"),
        (lambda r: struct.pack(">I", 0x80000004) + b"\0\0\0\0", "answer of 4 bytes"),
    ],
)
def test_what_is_no_answer(answer: Callable[[bytes], bytes], why: str) -> None:
    with server(answer) as port:
        assert why in (null("127.0.0.1", port=port) or "")


def test_nobody_listens_and_nobody_speaks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert "timed out" in (null("127.0.0.1", timeout=0.2, port=port) or "")
    assert "refused" in (null("127.0.0.1", timeout=0.2, port=port) or "")


def test_the_prober_tells_whom_it_asked() -> None:
    store = Identity("store1", "127.0.0.2", "store", (), "a", ("a", "b"), "store1")
    route = Route("storage", "127.0.0.1")
    with server(reply) as port:
        made = NfsProber(SystemClock(), "127.0.0.1", port=port).probe(store, route)
    assert made.result is Result.OK and made.detail == "127.0.0.1: answers"
    down = NfsProber(SystemClock(), port=port).probe(store, route)
    assert down.result is Result.DOWN and down.detail.startswith("127.0.0.2: ")

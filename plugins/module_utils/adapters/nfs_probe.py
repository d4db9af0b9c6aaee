"""Does an NFS server answer? Procedure NULL of program 100003, version 4, over TCP (RFC 5531, RFC 7530 16.1)."""

from __future__ import annotations

import os
import socket
import struct

from ..core.model import Attempt, Identity, Method, Result, Route
from ..core.ports import Clock

PORT = 2049
PROGRAM, VERSION, NULL = 100003, 4, 0
LAST = 0x80000000  # record marking: the last fragment


def call(xid: int) -> bytes:
    """RFC 5531 section 9: CALL, RPC version 2, no credentials, no verifier."""
    body = struct.pack(">10I", xid, 0, 2, PROGRAM, VERSION, NULL, 0, 0, 0, 0)
    return struct.pack(">I", LAST | len(body)) + body


def accepted(xid: int, reply: bytes) -> str | None:
    """Why the reply is no success, None when it is one."""
    if len(reply) < 24:
        return f"answer of {len(reply)} bytes"
    said, kind, status, _, verifier = struct.unpack(">5I", reply[:20])
    if (said, kind) != (xid, 1):
        return "answer to another call"
    if status != 0 or len(reply) < 24 + verifier:
        return "call denied"
    (result,) = struct.unpack(">I", reply[20 + verifier : 24 + verifier])
    return None if result == 0 else f"accept status {result}"


def null(address: str, bind: str = "", timeout: float = 2.0, port: int = PORT) -> str | None:
    """Call it; why not, None when it answered. `timeout`: seconds for connecting, and for each wait afterwards."""
    xid = int.from_bytes(os.urandom(4), "big")
    try:
        with socket.create_connection((address, port), timeout, (bind, 0) if bind else None) as s:
            s.sendall(call(xid))
            (mark,) = struct.unpack(">I", _exactly(s, 4))
            return accepted(xid, _exactly(s, min(mark & ~LAST, 4096)))
    except OSError as why:
        return f"{why.strerror or why}"


def _exactly(s: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = s.recv(count - len(data))
        if not more:
            raise ConnectionResetError(f"connection ended after {len(data)} bytes")
        data += more
    return data


class NfsProber:
    """Implements `core.ports.Prober` for stores. `target`: the address to ask, the identity's own if not given."""

    def __init__(self, clock: Clock, target: str | None = None, timeout: float = 2.0, port: int = PORT) -> None:
        self._clock = clock
        self._target = target
        self._timeout = timeout
        self._port = port

    def probe(self, identity: Identity, route: Route) -> Attempt:
        start = self._clock.now()
        address = self._target or identity.address
        why = null(address, route.bind_address, self._timeout, self._port)
        result = Result.OK if why is None else Result.DOWN
        return Attempt(Method.PROBE, route.name, result, start, self._clock.now(), f"{address}: {why or 'answers'}")

    def topology(self, identity: Identity, route: Route) -> Attempt:
        raise NotImplementedError("stores are probed only")

    def deliver(self, identity: Identity, route: Route) -> Attempt | None:
        return None  # nothing is delivered to a store

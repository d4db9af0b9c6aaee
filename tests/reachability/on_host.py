"""Runs on a host, by its own Python: tries everything it is told at once, and tells what came back.

    python3 - JSON    {targets: [{address, source, device, held}], tcp: [ports], udp: [ports], timeout, at_once}

A target with `held` is tried only if its source is one of this host's addresses now.

Prints JSON: {found: [{address, source, tcp: {open, refused}, udp: {open, refused}, echo}], addresses: [...],
listening: {tcp: [...], udp: [...]}}.
What is in neither list got no answer, or a router's word that there is no way. Nothing is sent but an opening of a
connection, one octet or a question for a name, and an echo request.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import select
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from typing import Any

# RFC 1035: the root's SOA record. A server that knows nothing of the root refuses, which is an answer.
QUESTION = struct.pack(">6H", 0x4846, 0, 1, 0, 0, 0) + b"\0" + struct.pack(">2H", 6, 1)
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: no connection is left behind
ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}  # request, reply


def family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def whither(target: dict[str, Any], port: int) -> tuple[Any, ...]:
    """An address of IPv6 on a wire needs the interface, too."""
    if ":" not in target["address"]:
        return (target["address"], port)
    return (target["address"], port, 0, socket.if_nametoindex(target["device"]))


def opened(target: dict[str, Any], kind: int) -> socket.socket:
    s = socket.socket(family(target["address"]), kind)
    s.setblocking(False)
    if target.get("source"):
        s.bind((target["source"], 0))
    return s


def source_of(target: dict[str, Any]) -> str | None:
    """From which address it goes there; None where there is no way. Nothing is sent."""
    try:
        with opened(target, socket.SOCK_DGRAM) as s:
            s.connect(whither(target, 9))
            return str(s.getsockname()[0])
    except OSError:
        return None


# Target, kind of socket, port, and where the result goes.
Probe = tuple[dict[str, Any], int, int, dict[str, list[int]]]


class Wave:
    """As many probes as may be open at a time; the next one begins when one has ended."""

    def __init__(self, timeout: float, at_once: int) -> None:
        self.timeout, self.at_once = timeout, at_once
        self.poll = select.epoll()
        self.open: dict[int, tuple[int, socket.socket, dict[str, list[int]], int]] = {}
        # In the order of their ends, since all have the same time: (when, descriptor, number). Descriptors come again.
        self.ending: deque[tuple[float, int, int]] = deque()
        self.number = 0

    def run(self, probes: list[Probe]) -> None:
        waiting = deque(probes)
        while waiting or self.open:
            while waiting and len(self.open) < self.at_once:
                self.begin(*waiting.popleft())
            for descriptor, _ in self.poll.poll(0.05, 512):
                self.end(descriptor)
            now = time.monotonic()
            while self.ending and self.ending[0][0] <= now:
                _, descriptor, number = self.ending.popleft()
                if descriptor in self.open and self.open[descriptor][0] == number:
                    self.forget(descriptor)

    def begin(self, target: dict[str, Any], kind: int, port: int, result: dict[str, list[int]]) -> None:
        try:
            s = opened(target, kind)
        except OSError as why:
            sys.exit(f"from {target.get('source')} to {target['address']}: {why.strerror}")
        try:
            if kind == socket.SOCK_STREAM:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with contextlib.suppress(BlockingIOError):
                s.connect(whither(target, port))
            if kind == socket.SOCK_DGRAM:
                s.send(QUESTION if port == 53 else b"\0")
        except OSError as why:
            if why.errno == errno.ECONNREFUSED:
                result["refused"].append(port)
            s.close()
            return
        self.number += 1
        self.open[s.fileno()] = (self.number, s, result, port)
        self.ending.append((time.monotonic() + self.timeout, s.fileno(), self.number))
        self.poll.register(s, select.EPOLLOUT if kind == socket.SOCK_STREAM else select.EPOLLIN)

    def end(self, descriptor: int) -> None:
        _, s, result, port = self.open[descriptor]
        error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error == errno.ECONNREFUSED:
            result["refused"].append(port)
        elif not error:
            result["open"].append(port)
        self.forget(descriptor)

    def forget(self, descriptor: int) -> None:
        s = self.open.pop(descriptor)[1]
        self.poll.unregister(s)
        s.close()


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def echoes(targets: list[dict[str, Any]], timeout: float) -> set[int]:
    """Which of the targets, by number, answer an echo request (RFC 792, RFC 4443). Root's work."""
    answered: set[int] = set()
    for kind, protocol in ((socket.AF_INET, socket.IPPROTO_ICMP), (socket.AF_INET6, socket.IPPROTO_ICMPV6)):
        mine = [(n, t) for n, t in enumerate(targets) if family(t["address"]) == kind and n < 65536]
        if not mine:
            continue
        request, reply = ECHO[kind]
        identity = os.getpid() & 0xFFFF
        with socket.socket(kind, socket.SOCK_RAW, protocol) as s:
            s.setblocking(False)
            for n, target in mine:
                # For IPv6 the kernel counts the sum itself.
                sum_of = checksum(struct.pack(">BBHHH", request, 0, 0, identity, n))
                head = struct.pack(">BBHHH", request, 0, sum_of, identity, n)
                sender = s
                with contextlib.ExitStack() as own, contextlib.suppress(OSError):
                    if target.get("source"):
                        sender = own.enter_context(socket.socket(kind, socket.SOCK_RAW, protocol))
                        sender.bind((target["source"], 0))
                    sender.sendto(head, whither(target, 0))
            end = time.monotonic() + timeout
            while len(answered) < len(mine) and (left := end - time.monotonic()) > 0:
                if not select.select([s], [], [], left)[0]:
                    break
                data, _ = s.recvfrom(2048)
                if kind == socket.AF_INET:
                    data = data[(data[0] & 15) * 4 :]
                if len(data) >= 8 and data[0] == reply:
                    _, _, _, whose, number = struct.unpack(">BBHHH", data[:8])
                    if whose == identity:
                        answered.add(number)
    return answered


def listening() -> dict[str, list[str]]:
    """{protocol: [address%device:port]}, as ss(8) tells them."""
    found: dict[str, list[str]] = {}
    for protocol, flag in (("tcp", "-t"), ("udp", "-u")):
        said = subprocess.run(["ss", "-H", "-l", "-n", flag], capture_output=True, text=True, check=True).stdout
        found[protocol] = sorted({line.split()[3] for line in said.splitlines() if line.strip()})
    return found


def addresses() -> list[str]:
    """This host's own, those that have moved here among them."""
    said = subprocess.run(["ip", "-json", "address"], capture_output=True, text=True, check=True).stdout
    return sorted(a["local"] for device in json.loads(said) for a in device["addr_info"])


def main(words: list[str]) -> int:
    wanted = json.loads(words[0])
    own = set(addresses())
    targets = [target for target in wanted["targets"] if not target.get("held") or target["source"] in own]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, wanted["at_once"] + 64), hard))
    found: list[dict[str, Any]] = []
    probes: list[Probe] = []
    for target in targets:
        empty: dict[str, Any] = {protocol: {"open": [], "refused": []} for protocol in ("tcp", "udp")}
        result: dict[str, Any] = {
            "address": target["address"],
            "source": source_of(target),
            "echo": False,
            "tried": {},
            **empty,
        }
        result["tried"] |= {p: target[p] for p in ("tcp", "udp") if p in target}
        found.append(result)
        if result["source"] is None:
            continue
        for protocol, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
            ports = target.get(protocol, wanted[protocol])
            probes += [(target, kind, port, result[protocol]) for port in ports]
    answered = echoes(targets, wanted["timeout"]) if os.geteuid() == 0 else set()
    for n in answered:
        found[n]["echo"] = True
    # One port of all hosts after the other, so that nobody gets all of his at once.
    probes.sort(key=lambda probe: probe[2])
    Wave(wanted["timeout"], wanted["at_once"]).run(probes)
    print(json.dumps({"found": found, "listening": listening(), "addresses": addresses()}, separators=(",", ":")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

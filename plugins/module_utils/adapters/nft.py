"""The store's own packet filter: hosts whose NFS traffic is dropped, in both directions.

nft(8), a table of our own in the family inet: nobody else's rules are touched. A change is one transaction, checked
with `nft -c` before it is made; afterwards the kernel is asked what it holds. Connections that were open are closed
with ss(8) and looked for in /proc/net/tcp, where only the kernel writes.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from ..core.ports import Clock, Unavailable
from . import command

TABLE = "holdfast_store"
PORT = 2049  # NFSv4 needs no other
TIMEOUT = 20.0
GONE_WITHIN = 2.0  # seconds in which closed connections must have left
# include/net/tcp_states.h: those in which data can still be taken.
OPEN_STATES = {0x01: "ESTABLISHED", 0x04: "FIN_WAIT1", 0x05: "FIN_WAIT2", 0x08: "CLOSE_WAIT"}


def script(addresses: Iterable[str]) -> str:
    """Replaces the whole table in one transaction. Raises ValueError for an address that is none."""
    known = sorted({ipaddress.ip_address(a) for a in addresses}, key=lambda a: (a.version, int(a)))

    def elements(version: int) -> str:
        mine = ", ".join(str(a) for a in known if a.version == version)
        return f" elements = {{ {mine} }};" if mine else ""

    return f"""table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  set dropped4 {{ type ipv4_addr;{elements(4)} }}
  set dropped6 {{ type ipv6_addr;{elements(6)} }}
  chain input {{
    type filter hook input priority -10; policy accept;
    ip saddr @dropped4 tcp dport {PORT} counter drop
    ip6 saddr @dropped6 tcp dport {PORT} counter drop
  }}
  chain output {{
    type filter hook output priority -10; policy accept;
    ip daddr @dropped4 tcp sport {PORT} counter drop
    ip6 daddr @dropped6 tcp sport {PORT} counter drop
  }}
}}
"""


def parse_table(text: str) -> frozenset[str]:
    """Addresses in the sets of `nft -j list table`. Raises ValueError when the table is not the one above."""
    found: set[str] = set()
    sets, drops = set(), 0
    for item in json.loads(text)["nftables"]:
        if "set" in item:
            sets.add(item["set"]["name"])
            found.update(str(e) for e in item["set"].get("elem", ()))
        elif "rule" in item:
            drops += any("drop" in expression for expression in item["rule"]["expr"])
    if sets != {"dropped4", "dropped6"} or drops != 4:
        raise ValueError(f"table {TABLE} has the sets {sorted(sets)} and {drops} rules that drop; it was changed")
    return frozenset(str(ipaddress.ip_address(a)) for a in found)


def parse_tcp(text: str) -> list[tuple[int, str, int]]:
    """Local port, remote address and state of each line of /proc/net/tcp or tcp6 (proc(5))."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) > 3:
            port = int(words[1].rpartition(":")[2], 16)
            raw = words[2].rpartition(":")[0]
            # Four octets at a time in the machine's own order.
            octets = b"".join(struct.pack("=I", int(raw[i : i + 8], 16)) for i in range(0, len(raw), 8))
            address = ipaddress.ip_address(
                socket.inet_ntop(socket.AF_INET if len(octets) == 4 else socket.AF_INET6, octets)
            )
            mapped = getattr(address, "ipv4_mapped", None)
            found.append((port, str(mapped or address), int(words[3], 16)))
    return found


class Firewall:
    """Every method raises Unavailable with the reason."""

    def __init__(self, clock: Clock, run: command.Run = command.run, proc: Path = Path("/proc")) -> None:
        self._clock = clock
        self._run = run
        self._proc = proc

    def dropped(self) -> frozenset[str]:
        """What the kernel drops now; nothing where the table is not there."""
        try:
            return parse_table(self._run(["nft", "-j", "list", "table", "inet", TABLE], timeout=TIMEOUT))
        except command.CommandError as why:
            if "No such file or directory" in str(why) and "status" in str(why):
                return frozenset()
            raise
        except (ValueError, KeyError, TypeError) as why:
            raise Unavailable(f"nft: {why}") from why

    def drop(self, addresses: Iterable[str]) -> None:
        """Drop these addresses and no others, close their connections, and make sure of both."""
        wanted = frozenset(str(ipaddress.ip_address(a)) for a in addresses)
        text = script(wanted)
        self._run(["nft", "-c", "-f", "-"], timeout=TIMEOUT, stdin=text)
        self._run(["nft", "-f", "-"], timeout=TIMEOUT, stdin=text)
        there = self.dropped()
        if there != wanted:
            raise Unavailable(f"nft: drops {sorted(there)} instead of {sorted(wanted)}")
        self._close(wanted)

    def connected(self, addresses: frozenset[str]) -> list[str]:
        """Those with a connection to the NFS server in which data could still come."""
        found: set[str] = set()
        for name in ("tcp", "tcp6"):
            try:
                lines = parse_tcp((self._proc / "net" / name).read_text())
            except FileNotFoundError:
                continue  # a kernel without IPv6
            except (OSError, ValueError) as why:
                raise Unavailable(f"{self._proc}/net/{name}: {why}") from why
            found.update(a for port, a, state in lines if port == PORT and a in addresses and state in OPEN_STATES)
        return sorted(found)

    def _close(self, addresses: frozenset[str]) -> None:
        start = self._clock.boottime()
        while left := self.connected(addresses):
            if self._clock.boottime() - start > GONE_WITHIN:
                raise Unavailable(f"connections of {', '.join(left)} to port {PORT} do not close")
            for address in left:
                self._run(["ss", "-K", "-H", "-t", "dst", address, "sport", "=", f":{PORT}"], timeout=TIMEOUT)
            self._clock.sleep(0.05)

"""The store's packet filter: what it says to nft, what it believes, and the real thing in a network of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from clocks import Clock
from holdfast.adapters import command
from holdfast.adapters.nft import Firewall, parse_table, parse_tcp, script
from holdfast.core.ports import Unavailable

DROPS = [{"rule": {"expr": [{"match": {}}, {"counter": {}}, {"drop": None}]}}] * 4


def table(four: Sequence[str] = (), six: Sequence[str] = (), rules: Sequence[object] = DROPS) -> str:
    """`nft -j list table`, as nft 1.0.6 and 1.1 print it, without what is not looked at."""
    sets = [{"set": {"name": "dropped4", **({"elem": list(four)} if four else {})}}]
    sets.append({"set": {"name": "dropped6", **({"elem": list(six)} if six else {})}})
    return json.dumps({"nftables": [{"metainfo": {}}, {"table": {}}, *sets, {"chain": {}}, *rules]})


# 10.1.3.11 is connected to port 2049 here, 10.1.3.12 was a moment ago (TIME_WAIT), 10.1.3.13 to another port.
TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0801 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 1503010A:0801 0B03010A:02F1 01 00000000:00000000 00:00000000 00000000     0        0 2
   2: 1503010A:0801 0C03010A:02F2 06 00000000:00000000 00:00000000 00000000     0        0 3
   3: 1503010A:0016 0D03010A:C350 01 00000000:00000000 00:00000000 00000000     0        0 4
"""
TCP6 = """  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 0000000000000000FFFF00001503010A:0801 0000000000000000FFFF00000E03010A:02F1 01 00000000:00000000
"""


class Host:
    """What nft and ss do to the kernel's tables."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder
        (folder / "net").mkdir()
        (folder / "net/tcp").write_text(TCP)
        self.table: str | None = None
        self.did: list[str] = []
        self.refuses = ""
        self.kills = True

    def run(self, argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        self.did.append(" ".join(argv))
        if self.refuses and " ".join(argv).startswith(self.refuses):
            raise command.CommandError(f"{self.refuses}: status 1: Error: Operation not permitted")
        if argv[:3] == ["nft", "-j", "list"]:
            if self.table is None:
                raise command.CommandError("nft: status 1: Error: No such file or directory list table inet …")
            return self.table
        if argv == ["nft", "-f", "-"]:
            assert stdin is not None
            self.table = table(*([a for a in ("10.1.3.11", "10.1.3.12") if a in stdin],))
        if argv[0] == "ss" and self.kills:
            (self.proc / "net/tcp").write_text(TCP.replace(" 01 ", " 07 "))
        return ""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def firewall(host: Host) -> Firewall:
    return Firewall(Clock(), host.run, host.proc)


def test_checked_then_changed_then_read_then_connections_closed(host: Host) -> None:
    firewall(host).drop(["10.1.3.12", "10.1.3.11"])
    assert host.did == [
        "nft -c -f -",
        "nft -f -",
        "nft -j list table inet holdfast_store",
        "ss -K -H -t dst 10.1.3.11 sport = :2049",
    ]
    assert firewall(host).dropped() == {"10.1.3.11", "10.1.3.12"}


def test_a_host_without_the_table_drops_nobody(host: Host) -> None:
    assert firewall(host).dropped() == frozenset()


@pytest.mark.parametrize("refuses", ["nft -c", "nft -f", "nft -j", "ss"])
def test_what_fails_is_told(host: Host, refuses: str) -> None:
    host.refuses = refuses
    with pytest.raises(Unavailable, match="Operation not permitted"):
        firewall(host).drop(["10.1.3.11"])
    assert ("nft -f -" in host.did) is (refuses != "nft -c")


def test_a_connection_that_stays_is_no_revocation(host: Host) -> None:
    host.kills = False
    with pytest.raises(Unavailable, match=r"connections of 10\.1\.3\.11 to port 2049 do not close"):
        firewall(host).drop(["10.1.3.11"])


def test_a_kernel_that_holds_something_else_is_not_believed(host: Host) -> None:
    with pytest.raises(Unavailable, match=r"drops \[\] instead of \['10\.1\.3\.13'\]"):
        firewall(host).drop(["10.1.3.13"])


@pytest.mark.parametrize("text", ["", "{}", '{"nftables": []}', table(rules=DROPS[:3]), table(rules=[])])
def test_a_table_that_was_changed(host: Host, text: str) -> None:
    host.table = text
    with pytest.raises(Unavailable, match="nft"):
        firewall(host).dropped()


def test_tables_of_connections() -> None:
    assert parse_tcp(TCP)[1:] == [(2049, "10.1.3.11", 1), (2049, "10.1.3.12", 6), (22, "10.1.3.13", 1)]
    assert parse_tcp(TCP6) == [(2049, "10.1.3.14", 1)]


def test_addresses() -> None:
    assert parse_table(table(["10.1.3.11"], ["2001:db8::1"])) == {"10.1.3.11", "2001:db8::1"}
    assert "elements = { 10.1.3.11, 10.1.3.12 };" in script(["10.1.3.12", "10.1.3.11", "10.1.3.11"])
    assert script([]).count("elements") == 0
    with pytest.raises(ValueError, match="mail1"):
        script(["mail1"])


REAL = """
import socket, subprocess, sys
from holdfast.adapters.clock import SystemClock
from holdfast.adapters.nft import Firewall

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
server = socket.create_server(("127.0.0.1", 2049))
def client(address):
    made = socket.create_connection(("127.0.0.1", 2049), 1.0, (address, 0))
    return made, server.accept()[0]
bad, good = client("127.0.0.2"), client("127.0.0.3")
wall = Firewall(SystemClock())
assert wall.dropped() == frozenset()
wall.drop(["127.0.0.2", "2001:db8::1"])
assert wall.dropped() == {"127.0.0.2", "2001:db8::1"}
assert wall.connected(frozenset(["127.0.0.2", "127.0.0.3"])) == ["127.0.0.3"]
good[0].sendall(b"x")
assert good[1].recv(1) == b"x"
try:
    client("127.0.0.2")
    sys.exit("a dropped host got a connection")
except TimeoutError:
    pass
wall.drop([])
client("127.0.0.2")
print("proved")
"""


@pytest.mark.skipif(
    shutil.which("nft") is None or shutil.which("ss") is None or os.geteuid() != 0, reason="no nft and ss as root"
)
def test_in_a_network_of_its_own() -> None:
    done = subprocess.run(["unshare", "-n", sys.executable, "-c", REAL], capture_output=True, text=True, check=False)
    assert done.stdout == "proved\n", done.stderr

"""The kernel's NFS server: whom it exports what to, and which clients it knows.

exportfs(8) keeps the table of exports in `etab` and empties the kernel's cache of it, so an export that is withdrawn is
gone with the next request. An NFSv4 client that is expired has lost its opens and locks (nfsd's `clients/N/ctl`, Linux
5.3 and newer).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.ports import Clock, Unavailable
from . import command

ETAB = Path("/var/lib/nfs/etab")
PROC = Path("/proc/fs/nfsd")
TIMEOUT = 20.0
GONE_WITHIN = 5.0  # seconds in which an expired client must have left

# File handles carry the fsid: it must be the same for good, on whatever server the files lie.
NAMESPACE = uuid.UUID("6f0d2f3c-6c46-5d5b-9d0f-0d6b2a6a4a52")

Export = tuple[str, str]  # path, client's address


def unescape(text: str) -> str:
    """Blanks and the like stand as \\ooo in the kernel's and mount's tables (getmntent(3))."""
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), text)


def parse_etab(text: str) -> set[Export]:
    """Lines `PATH<tab>CLIENT(options)`."""
    found = set()
    for line in text.splitlines():
        path, _, rest = line.partition("\t")
        client = rest.partition("(")[0].strip()
        if path.startswith("/") and client:
            found.add((unescape(path), client))
    return found


def options(identity: str, root: str, root_stays: bool = True) -> str:
    """Of one identity's export: written through before it is acknowledged, root stays root, the device is there."""
    fsid = uuid.uuid5(NAMESPACE, identity)
    squash = "no_root_squash" if root_stays else "root_squash"
    return f"rw,sync,no_subtree_check,{squash},sec=sys,fsid={fsid},mountpoint={root}"


class Exports:
    """The table of exports. Every method raises Unavailable with the reason."""

    def __init__(self, etab: Path = ETAB, run: command.Run = command.run) -> None:
        self._etab = etab
        self._run = run

    def table(self) -> set[Export]:
        """Costs no program start: who asks every second reads a file."""
        try:
            return parse_etab(self._etab.read_text())
        except FileNotFoundError:
            return set()
        except OSError as why:
            raise Unavailable(f"{self._etab}: {why.strerror}") from why

    def grant(self, path: str, client: str, with_options: str) -> None:
        self._run(["exportfs", "-o", with_options, f"{client}:{path}"], timeout=TIMEOUT)
        self._must(path, client, there=True)

    def withdraw(self, path: str, client: str) -> None:
        self._run(["exportfs", "-u", f"{client}:{path}"], timeout=TIMEOUT)
        self._must(path, client, there=False)

    def _must(self, path: str, client: str, there: bool) -> None:
        if ((path, client) in self.table()) is not there:
            raise Unavailable(f"exportfs: {client}:{path} is {'not ' if there else 'still '}in {self._etab}")


@dataclass(frozen=True)
class Client:
    """One NFSv4 client that the server keeps state for."""

    number: str
    address: str
    name: str = ""


def parse_info(number: str, text: str) -> Client | None:
    """`clients/N/info`; the address without its port. None for one that is just being made."""
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    address = fields.get("address", "").strip().strip('"')
    host = address.rpartition(":")[0].strip("[]") if address.count(":") else address
    return Client(number, host, fields.get("name", "").strip().strip('"')) if host else None


class Clients:
    """The server's NFSv4 clients."""

    def __init__(self, clock: Clock, proc: Path = PROC) -> None:
        self._clock = clock
        self._proc = proc

    def serving(self) -> bool:
        """Does the server run at all?"""
        try:
            return int((self._proc / "threads").read_text()) > 0
        except (OSError, ValueError):
            return False

    def known(self) -> list[Client]:
        """All clients; none where no server runs."""
        found = []
        for folder in sorted((self._proc / "clients").glob("*")):
            try:
                client = parse_info(folder.name, (folder / "info").read_text())
            except OSError:
                continue  # it left meanwhile
            if client is not None:
                found.append(client)
        return found

    def expire(self, addresses: Sequence[str]) -> int:
        """Take all state from the clients at these addresses. How many there were; Unavailable when some stay."""
        start, gone = self._clock.boottime(), set()
        while mine := [c for c in self.known() if c.address in addresses]:
            if self._clock.boottime() - start > GONE_WITHIN:
                left = ", ".join(f"{c.address} ({c.name})" for c in mine)
                raise Unavailable(f"NFS clients do not expire: {left}")
            for client in mine:
                gone.add(client.number)
                try:
                    (self._proc / "clients" / client.number / "ctl").write_text("expire\n")
                except OSError:
                    continue  # it left meanwhile, or it stays and the next look tells
            self._clock.sleep(0.05)
        return len(gone)

"""DRBD, 8.4 and 9: what a resource says of itself, and its role (drbdadm(8), drbdsetup(8)).

DRBD 8.4 tells its state in /proc/drbd, which costs no program start; DRBD 9 does so by `drbdsetup status --json`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.model import Json
from ..core.ports import Unavailable
from . import command

PROC = Path("/proc/drbd")
TIMEOUT = 20.0
PROMOTE_TIMEOUT = 60.0  # it waits for the fence-peer handler, which waits for the coordinator

UP_TO_DATE = "UpToDate"


@dataclass(frozen=True)
class State:
    """A resource with one volume and one peer, in DRBD's own words; `percent` while a resync runs."""

    role: str
    disk: str
    connection: str
    peer_role: str
    peer_disk: str
    percent: float | None = None
    suspended: bool = False

    @property
    def primary(self) -> bool:
        return self.role == "Primary"

    @property
    def mirrored(self) -> bool:
        """Is every write on both disks before it is acknowledged, and nothing left to be copied?"""
        both = self.disk == self.peer_disk == UP_TO_DATE
        return both and self.connection in ("Connected", "Established") and not self.suspended

    def to_json(self) -> Json:
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        copied = "" if self.percent is None else f", {self.percent:.1f} % copied"
        frozen = ", I/O is frozen" if self.suspended else ""
        return f"{self.role}/{self.peer_role} {self.disk}/{self.peer_disk} {self.connection}{copied}{frozen}"


_LINE = re.compile(
    r"^ *(?P<minor>\d+): cs:(?P<cs>\w+) ro:(?P<role>\w+)/(?P<peer>\w+) ds:(?P<disk>\w+)/(?P<pdisk>\w+) \w "
    r"(?P<flags>\S+)"
)


def parse_proc(text: str, minor: int) -> State | None:
    """/proc/drbd of DRBD 8.4 (its user's guide, "DRBD status"); None when that device is not up."""
    mine, found = False, None
    for line in text.splitlines():
        if match := _LINE.match(line):
            mine = int(match["minor"]) == minor
            if mine:
                suspended = match["flags"].startswith("s")
                found = State(
                    match["role"], match["disk"], match["cs"], match["peer"], match["pdisk"], suspended=suspended
                )
        elif mine and found is not None and (copied := re.search(r"sync'ed: *([\d.]+)%", line)):
            found = State(
                found.role,
                found.disk,
                found.connection,
                found.peer_role,
                found.peer_disk,
                float(copied[1]),
                found.suspended,
            )
    return found


def parse_json(text: str, resource: str) -> State | None:
    """`drbdsetup status --json` of DRBD 9; None when that resource is not up."""
    for one in json.loads(text):
        if one.get("name") != resource:
            continue
        device: dict[str, Any] = next(iter(one.get("devices", ())), {})
        link: dict[str, Any] = next(iter(one.get("connections", ())), {})
        peer: dict[str, Any] = next(iter(link.get("peer_devices", ())), {})
        replication = str(peer.get("replication-state", "Off"))
        connection = str(link.get("connection-state", "StandAlone"))
        resync = replication not in ("Off", "Established")
        return State(
            role=str(one.get("role", "Unknown")),
            disk=str(device.get("disk-state", "Diskless")),
            connection=replication if connection == "Connected" else connection,
            peer_role=str(link.get("peer-role", "Unknown")),
            peer_disk=str(peer.get("peer-disk-state", "DUnknown")),
            percent=float(peer["percent-in-sync"]) if resync and "percent-in-sync" in peer else None,
            suspended=bool(one.get("suspended", False)),
        )
    return None


class Drbd:
    """One resource on this host. Methods raise Unavailable."""

    def __init__(self, resource: str, minor: int = 0, proc: Path = PROC, run: command.Run = command.run) -> None:
        self.resource = resource
        self._minor = minor
        self._proc = proc
        self._run = run

    def state(self) -> State:
        try:
            text = self._proc.read_text()
        except OSError as why:
            raise Unavailable(f"{self._proc}: {why.strerror}: DRBD is not loaded") from why
        try:
            if text.startswith("version: 8."):
                found = parse_proc(text, self._minor)
            else:
                found = parse_json(self._run(["drbdsetup", "status", "--json"], timeout=TIMEOUT), self.resource)
        except ValueError as why:
            raise Unavailable(f"drbdsetup status --json: {why}") from why
        if found is None:
            raise Unavailable(f"DRBD resource {self.resource} is not up; start holdfast-drbd.service")
        return found

    def up(self) -> None:
        """As the files say, without taking a role. Nothing to do when it is up."""
        self._run(["drbdadm", "adjust", self.resource], timeout=TIMEOUT)

    def primary(self) -> None:
        """DRBD refuses while the peer is primary, or may be and the fence-peer handler does not say otherwise."""
        self._run(["drbdadm", "primary", self.resource], timeout=PROMOTE_TIMEOUT)

    def secondary(self) -> None:
        self._run(["drbdadm", "secondary", self.resource], timeout=TIMEOUT)

    def skip_first_copy(self) -> None:
        """Of two new disks, call what lies on them the same: nothing has been written that anybody wants to read."""
        self._run(["drbdadm", "new-current-uuid", "--clear-bitmap", f"{self.resource}/0"], timeout=TIMEOUT)

"""Processes that outlive the command that started them, found again by their session."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

PROC = Path("/proc")
GONE_WITHIN = 60.0


@dataclass(frozen=True)
class Stat:
    """The fields of /proc/PID/stat that matter here (proc(5))."""

    pid: int
    state: str
    session: int
    started: int  # clock ticks since boot


def read_stat(pid: int) -> Stat | None:
    """None when there is no such process (any more)."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(pid, fields[0], int(fields[3]), int(fields[19]))


def boot_id() -> str:
    """Differs after each boot of the machine: process numbers from before mean nothing."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class Session:
    """A session led by a process we started. Its members are that process and all that it started."""

    leader: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Session:
        """Of a process that has just been started as leader of its own session."""
        stat = read_stat(pid)
        return cls(pid, stat.started if stat else 0, boot_id())

    def members(self) -> list[Stat]:
        """All that live; a zombie holds nothing and doesn't count.

        A process number is not given away while it names a session. So when it names a process with another
        start time, the session has ended.
        """
        if self.boot != boot_id():
            return []
        leader = read_stat(self.leader)
        if leader is not None and leader.started != self.started:
            return []
        found = []
        for entry in PROC.iterdir():
            if entry.name.isdigit():
                stat = read_stat(int(entry.name))
                if stat and stat.session == self.leader and stat.state not in "ZX" and stat.started >= self.started:
                    found.append(stat)
        return sorted(found, key=lambda stat: stat.pid != self.leader)

    def leader_state(self) -> str | None:
        """R, S, D, T… or None when the leader is gone."""
        if self.boot != boot_id():
            return None
        stat = read_stat(self.leader)
        return stat.state if stat and stat.started == self.started and stat.state not in "ZX" else None

    def signal(self, number: signal.Signals) -> None:
        """To every member, leader first."""
        for stat in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(stat.pid, number)

    def kill(self) -> None:
        """Return only when no member is left; raise LabError if that does not come true."""
        deadline = time.monotonic() + GONE_WITHIN
        pause = 0.001
        while members := self.members():
            if time.monotonic() > deadline:
                left = ", ".join(str(stat.pid) for stat in members)
                raise LabError(
                    "processes survive SIGKILL", left, "look at them with ps; the machine may be out of order"
                )
            for stat in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(stat.pid, signal.SIGKILL)
            time.sleep(pause)
            pause = min(pause * 2, 0.1)

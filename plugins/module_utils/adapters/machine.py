"""What a host knows of itself, read from files: nothing here starts a program, so it may be asked every second."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path

DRAIN = Path("/etc/holdfast/drain")
PROC = Path("/proc")


def boot_id(proc: Path = PROC) -> str:
    """Differs after every boot."""
    return (proc / "sys/kernel/random/boot_id").read_text().strip()


def available_memory_mb(proc: Path = PROC) -> int:
    """MemAvailable (proc(5)), 0 where it is not told."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", (proc / "meminfo").read_text(), re.MULTILINE)
    return int(found.group(1)) // 1024 if found else 0


def load(proc: Path = PROC) -> float:
    """Average of the last minute (proc(5), /proc/loadavg), for each processor that this process may use."""
    return float((proc / "loadavg").read_text().split()[0]) / len(os.sched_getaffinity(0))


def free_disk_mb(path: str) -> int:
    """Room for programs that are not root."""
    space = os.statvfs(path)
    return space.f_bavail * space.f_frsize // (1024 * 1024)


def local_addresses(fib_trie: str) -> set[str]:
    """The IPv4 addresses that the kernel takes for its own: `/32 host LOCAL` in /proc/net/fib_trie."""
    found, address = set(), ""
    for line in fib_trie.splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            address = words[1]
        elif words == ["/32", "host", "LOCAL"]:
            found.add(address)
    return found


def set_aside(mark: Path = DRAIN) -> str:
    """Why an operator has set this host aside; empty when nobody has."""
    try:
        return " ".join(mark.read_text().split()) or "no reason given"
    except FileNotFoundError:
        return ""


def has_address(address: str, proc: Path = PROC) -> bool:
    return address in local_addresses((proc / "net/fib_trie").read_text())


def connections(path: str, proc: Path = PROC) -> int:
    """Connections to the Unix socket at `path` that are open on the server's side (proc(5), /proc/net/unix)."""
    lines = (line.split() for line in (proc / "net/unix").read_text().splitlines())
    return sum(len(words) >= 8 and words[5] == "03" and words[7] == path for words in lines)


class Pulse(threading.Thread):
    """Notices that this host stood still, by a clock that goes on meanwhile (CLOCK_BOOTTIME).

    A thread of its own: the work of others may take as long as a coordinator does not answer, which is no standstill.
    """

    def __init__(self, interval: float = 1.0) -> None:
        super().__init__(name="pulse", daemon=True)
        self._interval = interval
        self._lock = threading.Lock()
        self._last = self._now()
        self._longest = 0.0

    @staticmethod
    def _now() -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def run(self) -> None:
        while True:
            time.sleep(self._interval)
            with self._lock:
                self._beat()

    def _beat(self) -> None:
        now = self._now()
        self._longest = max(self._longest, now - self._last)
        self._last = now

    def take(self) -> float:
        """Seconds of the longest gap since the last call."""
        with self._lock:
            self._beat()
            longest, self._longest = self._longest, 0.0
        return longest

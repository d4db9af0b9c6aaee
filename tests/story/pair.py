"""A pair of store servers on the stage: who owns the store, what DRBD says, and power cuts under write load."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.adapters.drbd import State, parse_proc
from holdfast.core import keys
from holdfast.core.model import Owner, Phase, Report, Run, RunState
from holdfast.core.stores import InSync

from .coordinator import Records
from .machines import Lab, StoryError, wait_for
from .outage import IDENTITY

STORE = "store1"
PAIRS = {"store1": ("store1a", "store1b"), "store2": ("store2a", "store2b")}
ADDRESSES = {"store1": "10.255.3.1", "store2": "10.255.3.2"}
MEMBERS = PAIRS[STORE]
ON_MAIL = Path(__file__).parent / "on_mail"
SERVED = Path("/srv/store") / IDENTITY
MOUNTED = Path("/srv/holdfast") / IDENTITY


@dataclass(frozen=True)
class Record:
    """One record that the writer calls safe: its number, when (Unix seconds), how long it took (seconds), and whether a
    call that had been done was answered as if it had not (on_mail/write.py)."""

    number: int
    time: float
    seconds: float
    replayed: bool


@dataclass(frozen=True)
class Written:
    """What a writer has said. `error` is empty when no call failed."""

    folder: str
    records: Sequence[Record]
    error: str

    def stall(self) -> Record:
        return max(self.records, key=lambda r: r.seconds)

    def replayed(self) -> int:
        return sum(record.replayed for record in self.records)


class Writer:
    """Writes on `host` for `seconds`; `end` waits for it."""

    def __init__(self, lab: Lab, host: str, name: str, seconds: float) -> None:
        self.folder, self._seconds = name, seconds
        command = lab.command("exec", host, "--", "python3", "-", str(MOUNTED / name), str(seconds))
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._process.stdin is not None
        self._process.stdin.write((ON_MAIL / "write.py").read_bytes())
        self._process.stdin.close()
        self._process.stdin = None

    def end(self) -> Written:
        out, err = self._process.communicate(timeout=self._seconds + 180)
        records = []
        for line in out.decode().splitlines():
            number, when, seconds, replayed = line.split()
            records.append(Record(int(number), float(when), float(seconds), replayed == "1"))
        error = err.decode().strip() if self._process.returncode != 0 else ""
        return Written(self.folder, records, error)


@dataclass
class Pair:
    """`store` is the store's name; the one of the identity if not given."""

    lab: Lab
    records: Records
    store: str = STORE

    @property
    def members(self) -> tuple[str, str]:
        return PAIRS[self.store]

    # --- questions --------------------------------------------------------------------------------------------------

    def owner(self) -> Owner:
        found = self.records.owner(self.store)
        if found is None:
            raise StoryError(f"{self.store} has no owner")
        return found

    def standby(self) -> str:
        owner = self.owner().host
        return next(h for h in self.members if h != owner)

    def insync(self) -> InSync:
        return InSync.from_json(self.records.get(keys.insync(self.store))[keys.insync(self.store)])

    def run(self) -> Run | None:
        return self.records.run(self.store)

    def drbd(self, host: str) -> State:
        found = parse_proc(self.lab.shell(host, "cat /proc/drbd"), 0)
        if found is None:
            raise StoryError(f"{host}: {self.store} is not up")
        return found

    def serves(self, host: str) -> bool:
        """Does anything of the store run on that host, by the host's own word?"""
        said = self.lab.shell(
            host,
            "systemctl is-active nfs-server holdfast-store; ip -4 -o addr show dev svc0; "
            "grep -c ' /srv/store ' /proc/self/mountinfo; grep -o 'ro:Primary' /proc/drbd; true",
        )
        return "\nactive" in f"\n{said}" or ADDRESSES[self.store] in said or "\n1" in said or "ro:Primary" in said

    def _bears_address(self, host: str) -> bool:
        """The last thing that a start puts on: then all of the store is there. A member has no other one there."""
        return " inet " in self.lab.shell(host, "ip -4 -o addr show dev svc0", check=False)

    def missing(self, written: Written) -> list[int]:
        """Records called safe that the owner's disk does not hold, by its own eyes: the client's cache says nothing."""
        owner = self.owner().host
        script = (
            "import json, sys; from pathlib import Path; p = Path(sys.argv[1])\n"
            "whole = lambda n, t: t.startswith(f'{n} ') and len(t.strip()) == len(f'{n} ') + 2000\n"
            "lines = [l for l in (p / 'journal').read_text().splitlines()]\n"
            "files = {int(f.name): f.read_text() for f in p.glob('0*')}\n"
            "good = {int(l.split()[0]) for l in lines if whole(l.split()[0], l)}\n"
            "print(json.dumps(sorted(n for n, t in files.items() if whole(n, t) and n in good)))"
        )
        there = set(json.loads(self.lab.run(owner, "python3", "-c", script, str(SERVED / written.folder))))
        return [r.number for r in written.records if r.number not in there]

    # --- waiting ----------------------------------------------------------------------------------------------------

    def wait_running(self, seconds: float = 120) -> Owner:
        """Until the recorded owner says that it runs at its epoch, and bears the store's address.

        The word alone is not enough: it outlives a power cut, and is read with the lease of the new start for as long
        as the agent needs to say that it begins.
        """

        def look() -> Owner | None:
            owner = self.owner()
            value: dict[str, Any] | None = self.records.get(keys.report(owner.host, self.store)).get(
                keys.report(owner.host, self.store)
            )
            report = None if value is None else Report.from_json(value)
            runs = report is not None and report.epoch == owner.epoch and report.phase is Phase.RUNNING
            lives = runs and self.records.get(keys.lease(owner.host))
            return owner if lives and self._bears_address(owner.host) else None

        return wait_for(f"{self.store} running", look, seconds)

    def wait_whole(self, seconds: float = 300) -> None:
        """Until both members are in the set, the disks are the same and the standby could take over."""

        def look() -> bool:
            key = keys.ready(self.standby(), self.store)
            value = self.records.get(key).get(key)  # ends with its lease
            return bool(value and value["ready"] and set(self.insync().members) == set(self.members))

        wait_for(f"both members of {self.store} in sync", look, seconds, every=2)

    def wait_taken(self, before: Owner, seconds: float = 120) -> Run:
        """Until another host owns it and the run is done."""

        def look() -> Run | None:
            run = self.run()
            return run if run is not None and run.epoch == before.epoch + 1 and run.state is RunState.DONE else None

        return wait_for(f"the takeover of {self.store}", look, seconds, every=1)

    # --- doing ------------------------------------------------------------------------------------------------------

    def cut_owner(self) -> tuple[Owner, float]:
        owner = self.owner()
        self.lab.word("kill", owner.host)
        return owner, time.time()

    def fill(self, leave_mb: int) -> None:
        """The owner's file system until so many MB are left for identities."""
        script = (
            f"free=$(df --output=avail -B1M /srv/store | tail -1); fallocate -l $((free - {leave_mb}))M /srv/store/full"
            f"; df -B1M /srv/store"
        )
        self.lab.shell(self.owner().host, script)

    def empty(self) -> None:
        self.lab.shell(self.owner().host, "rm -f /srv/store/full")

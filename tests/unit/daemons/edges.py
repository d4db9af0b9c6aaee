"""The edges of the daemons in memory: a coordinator, a clock that waits for nobody, and what they were told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.core import keys
from holdfast.core.model import Access, Identity, Owner, Proof, Run, RunState
from holdfast.core.ports import Entry, Unavailable

MX = Identity("mx.alpha.example", "203.0.113.10", "internet", ("alpha.example",), "mail1", ("mail1", "mail2"), "store1")
IM = Identity("im.alpha.example", "203.0.113.11", "intranet", ("alpha.example",), "mail1", ("mail1", "mail2"), "store1")


class Clock:
    """Time goes on only when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.ahead = 0.0  # of the wall clock

    def now(self) -> float:
        return self.time + self.ahead

    def boottime(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class Coordinator:
    """Keys, leases and revisions; `reachable` is what a test makes of the network."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.data: dict[str, dict[str, Any]] = {}
        self.leases: dict[int, float] = {}
        self.bound: dict[str, int] = {}
        self.reachable = True
        self.puts: list[str] = []
        self.calls = 0

    def _enter(self) -> None:
        self.calls += 1
        if not self.reachable:
            raise Unavailable("no quorum")
        for key, lease in list(self.bound.items()):
            if self.leases.get(lease, 0.0) <= self.clock.time:
                self.data.pop(key, None)
                del self.bound[key]

    def read(self, keys: Sequence[str]) -> dict[str, Entry]:
        self._enter()
        return {k: Entry(self.data.get(k), int(k in self.data)) for k in keys}

    def put(self, key: str, value: Mapping[str, object], lease: int | None = None) -> None:
        self._enter()
        self.puts.append(key)
        self.data[key] = dict(value)
        self.bound.pop(key, None)
        if lease is not None:
            self.bound[key] = lease

    def list(self, *prefixes: str) -> dict[str, Entry]:
        self._enter()
        return {k: Entry(v, 1) for k, v in self.data.items() if k.startswith(prefixes)}

    def create(self, key: str, value: Mapping[str, object]) -> bool:
        self._enter()
        if key in self.data:
            return False
        self.data[key] = dict(value)
        return True

    def grant(self, ttl: int) -> int:
        self._enter()
        number = len(self.leases) + 1
        self.leases[number] = self.clock.time + ttl
        return number

    def keepalive(self, lease: int) -> bool:
        self._enter()
        if self.leases.get(lease, 0.0) <= self.clock.time:
            return False
        self.leases[lease] = self.clock.time + 15
        return True

    # what others write
    def own(self, host: str, epoch: int, identity: Identity = MX, run: str = "deploy") -> None:
        self.data[keys.owner(identity.name)] = Owner(host, epoch, run, self.clock.time).to_json()

    def admit(self, host: str | None, epoch: int, identity: Identity = MX) -> None:
        record = Access(epoch, "deploy", host, self.clock.time)
        self.data[keys.access(identity.store, identity.name)] = record.to_json()

    def revoke(self, epoch: int, identity: Identity = MX, proved: str | None = None, run: str = "run-1") -> None:
        record = Run(run, identity.name, "relay2", "down", RunState.RUNNING, "mail1", self.clock.time)
        proof = None if proved is None else Proof("power", "lab-switch", proved, self.clock.time)
        record = dataclasses.replace(record, revoke_epoch=epoch, proof=proof)
        self.data[keys.takeover(identity.name)] = record.to_json()


class Lines:
    """A log."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def __call__(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    def said(self, event: str) -> list[dict[str, object]]:
        return [fields for name, fields in self.events if name == event]

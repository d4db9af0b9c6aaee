"""One run under its lock: what it needs from outside, how it waits, and how it writes its record.

Every change in the coordinator is a transaction on the run's lock. Who loses the lock stops at once (LockLost).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import keys
from .fencing import LONGEST, AddressView
from .model import Identity, Json, Run, RunState, Step
from .ports import Clock, Coordinator, Lock, Log, NameService, PowerSwitch, Prober, RelayQueue

# Seconds of a look besides what its run waits for: attempts before it and to verify it, names, the relay's queue.
BESIDE = 300.0


class Held(Exception):
    """A run stopped where going on would be guessing: mail is kept, operators are told."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds. They bound waiting, they are not delays; production values may be lower."""

    lock: int = 60  # lease of the lock; longer than the longest single call of a fence device
    revoke: float = 30.0
    store: float = 0.0  # more of `revoke` and of `start`, where a program opens and closes the store
    release: float = 20.0  # a planned run's owner goes on while it does not stop
    start: float = 90.0
    verify: float = 30.0
    poll: float = 0.3

    @property
    def look(self) -> float:
        """What a look may take that carries out a whole run; one that takes longer hangs."""
        return LONGEST + self.revoke + self.start + 2 * self.store + self.verify + BESIDE


@dataclass(frozen=True)
class Ports:
    """Everything outside that a run needs."""

    coordinator: Coordinator
    switches: Mapping[str, Sequence[PowerSwitch]]  # by host, in the order in which they are tried
    prober: Prober
    names: NameService
    queue: RelayQueue
    clock: Clock
    log: Log
    new_id: Callable[[], str]
    addresses: AddressView | None = None  # for plans that have an address withdrawn by routes


class LockedRun:
    """One run under its lock: `run` is the record as it was last written.

    `revoked_for_good`: what the record says is revoked stays so, though the run is held without a proof.
    """

    def __init__(
        self, identity: Identity, ports: Ports, timeouts: Timeouts, lock: Lock, run: Run, revoked_for_good: bool = True
    ) -> None:
        self.identity = identity
        self.ports = ports
        self.timeouts = timeouts
        self.lock = lock
        self.refreshed = self.ports.clock.boottime()
        self.run = run
        self.revoked_for_good = revoked_for_good

    def refresh(self) -> None:
        self.ports.coordinator.refresh(self.lock)
        self.refreshed = self.ports.clock.boottime()

    def keep_lock(self) -> None:
        """To be called now and then: before each call outside that may take long."""
        if self.ports.clock.boottime() - self.refreshed > self.timeouts.lock / 4:
            self.refresh()

    def wait[T](self, condition: Callable[[], T | None], timeout: float) -> T | None:
        """Poll until `condition` gives something, None after `timeout` seconds. Keeps the lock alive meanwhile."""
        deadline = self.ports.clock.boottime() + timeout
        while True:
            self.keep_lock()
            found = condition()
            if found is not None or self.ports.clock.boottime() >= deadline:
                return found
            self.ports.clock.sleep(self.timeouts.poll)

    def write(
        self,
        puts: Mapping[str, Json] | None = None,
        unchanged: Mapping[str, int] | None = None,
        **changes: Any,
    ) -> bool:
        """The record with `changes`, and `puts`, in one transaction on the lock. False: `unchanged` had changed."""
        run = dataclasses.replace(self.run, **changes)
        everything = {keys.takeover(run.identity): run.to_json(), **(puts or {})}
        if run.state is not RunState.RUNNING or run.epoch > 0:
            everything[keys.run(run.identity, run.run)] = run.to_json()
        if not self.ports.coordinator.write(self.lock, everything, unchanged or {}):
            return False
        self.run = run
        return True

    def step(
        self,
        name: str,
        start: float,
        result: str,
        detail: str = "",
        puts: Mapping[str, Json] | None = None,
        **changes: Any,
    ) -> None:
        """Add a finished step to the record and write it, with `puts`."""
        step = Step(name, start, self.ports.clock.now(), result, detail)
        self.write(puts, steps=(*self.run.steps, step), **changes)
        self.say(step)

    def say(self, step: Step) -> None:
        self.ports.log(
            "takeover_step",
            identity=self.identity.name,
            run=self.run.run,
            step=step.name,
            result=step.result,
            detail=step.detail,
            seconds=round((step.end or step.start) - step.start, 3),
            epoch=self.run.epoch,
        )

    def hold(self, why: Exception) -> Run:
        """Record that the run stopped. Without quorum the record stays RUNNING, which is true: nobody ended it.

        An owner that was shut out by a level that proved nothing in the end is let in again: it is the owner still.
        """
        self.ports.log("takeover_held", identity=self.identity.name, run=self.run.run, why=str(why), level="alert")
        now = self.ports.clock.now()
        step = Step("hold", now, now, "held", str(why))
        taken_back = self.run.proof is None and not self.revoked_for_good
        revoke_epoch = 0 if taken_back else self.run.revoke_epoch
        self.write(state=RunState.HELD, steps=(*self.run.steps, step), revoke_epoch=revoke_epoch)
        return self.run

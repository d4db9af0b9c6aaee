"""The word of the one host that opens and closes a store from elsewhere (docs/decisions/0021-external-stores.md).

`store/S/manager` names that host for good: two that act at once could open the door to a fenced owner. `store/S/door`
is its word, bound to a lease: without it no takeover of an identity on the store begins, since its fence would lead
nowhere (core/stores.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ..core import keys
from ..core.ports import Clock, Entry, Log

TTL = 20  # seconds
TELL_EVERY = 5.0
LOOK_EVERY = 30.0  # seconds between looks at the service


class Coordinator(Protocol):
    """What this needs of it."""

    def read(self, keys: Sequence[str]) -> dict[str, Entry]: ...

    def create(self, key: str, value: Mapping[str, object]) -> bool: ...

    def put(self, key: str, value: Mapping[str, object], lease: int | None = None) -> None: ...

    def grant(self, ttl: int) -> int: ...

    def keepalive(self, lease: int) -> bool: ...


class Door:
    """`unfit`: why the service must not hold mail now, None when it may. Call `tick` about once a second."""

    def __init__(
        self,
        store: str,
        host: str,
        coordinator: Coordinator,
        unfit: Callable[[], str | None],
        clock: Clock,
        log: Log,
    ) -> None:
        self._store = store
        self._host = host
        self._coordinator = coordinator
        self._unfit = unfit
        self._clock = clock
        self._log = log
        self._lease: int | None = None
        self._tell_at = self._look_at = clock.boottime()
        self._said: str | None = None
        self._told: str | None = None

    def tick(self) -> bool:
        """Whether this host may act. Raises Unavailable."""
        key = keys.manager(self._store)
        manager = self._coordinator.read([key])[key].value
        if manager is None:
            mine = {"host": self._host, "time": self._clock.now()}
            if self._coordinator.create(key, mine):
                self._log("manager", store=self._store, host=self._host)
            return False  # the next look tells whose it is
        if manager["host"] != self._host:
            self._say(f"{manager['host']} is its manager, not {self._host}: docs/runbooks/store.md, Another manager")
            return False
        self._tell()
        return True

    def _tell(self) -> None:
        now = self._clock.boottime()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            self._say(self._unfit() or "")
        if now < self._tell_at and self._said == self._told:
            return
        self._tell_at = now + TELL_EVERY
        if self._lease is not None and not self._coordinator.keepalive(self._lease):
            self._lease = None
        if self._lease is None:
            self._lease, self._told = self._coordinator.grant(TTL), None
        if self._said != self._told:
            word = {"host": self._host, "unfit": self._said or "", "time": self._clock.now()}
            self._coordinator.put(keys.door(self._store), word, self._lease)
            self._told = self._said

    def _say(self, why: str) -> None:
        if why != self._said:
            event, level = ("external_unfit", "alert") if why else ("external_fit", "info")
            self._log(event, store=self._store, detail=why or None, level=level)
        self._said = why

"""Which transfer host carries from which spool: a lock in the coordinator for each spool, spread over those that live.

Times are CLOCK_BOOTTIME, and a lease is counted from before it was asked for: so this host stops believing in a claim
before the coordinator gives it to another one.

One thread looks after all of them, and asks the coordinator; those that carry only ask what it has found. So a claim
does not depend on what is done under it, nor for how long.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence

from . import keys
from .ports import Clock, Coordinator, Lock, LockLost, Log, Unavailable
from .transfer import share

TTL = 20  # seconds of a lease


class ClaimLost(Exception):
    """Somebody else may carry from this spool by now."""


class Claims:
    """Call `look` every other second or so, from one thread, and from any `check` before each thing done in a spool."""

    def __init__(
        self, host: str, spools: Sequence[str], coordinator: Coordinator, clock: Clock, log: Log, ttl: int = TTL
    ) -> None:
        self._host = host
        self._spools = tuple(spools)
        self._coordinator = coordinator
        self._clock = clock
        self._log = log
        self._ttl = ttl
        self._held: dict[str, tuple[Lock, float]] = {}  # and when it was asked for last
        self._seen: list[str] = []
        self._presence: tuple[int, float, list[str]] | None = None  # lease, when asked for last, what the word says

    def held(self) -> list[str]:
        return sorted(self._held)

    def look(self, seen: Collection[str]) -> None:
        """Keep, give up and take claims. `seen`: the spools that this host can reach; the others go to who sees them.

        Raises Unavailable: what is held then runs out by itself.
        """
        self._seen = sorted(s for s in self._spools if s in seen)
        self._be_there()
        # Those of the other site look after other spools. One of the release before says no more than that it sees all.
        words = [e.value for e in self._coordinator.list(keys.TRANSFER_HOSTS).values() if e.value is not None]
        with_me = [word for word in words if word.get("spools") == sorted(self._spools)]
        sees = {word["host"]: word.get("sees", word["spools"]) for word in with_me}
        mine = share(self._spools, {**sees, self._host: self._seen}, self._host)
        for spool in [s for s in self._held if s not in mine]:
            self._coordinator.unlock(self._held.pop(spool)[0])
            self._log("claim_given_up", identity=spool)
        for spool in list(self._held):
            self._keep(spool)
        for spool in mine:
            if spool not in self._held:
                asked = self._clock.boottime()
                value = {"host": self._host, "since": self._clock.now()}
                lock = self._coordinator.lock(keys.transfer_claim(spool), value, self._ttl)
                if lock is not None:
                    self._held[spool] = lock, asked
                    self._log("claim_taken", identity=spool)

    def check(self, spool: str) -> None:
        """Raises ClaimLost unless this host has the claim now and for some seconds more."""
        found = self._held.get(spool)
        if found is None or self._clock.boottime() - found[1] > self._ttl / 2:
            raise ClaimLost(spool)

    def first(self, claimed: Collection[str]) -> str | None:
        """Of these keys of the coordinator the first one that is of a spool of this site, if this host has it.

        So of all hosts of a site one is told apart, for what only one is to do.
        """
        found = min((s for s in self._spools if keys.transfer_claim(s) in claimed), default=None)
        return found if found in self._held else None

    def _keep(self, spool: str) -> None:
        lock, since = self._held[spool]
        now = self._clock.boottime()
        if now - since <= self._ttl / 4:
            return
        try:
            self._coordinator.refresh(lock)
            # A host that was paused in between has heard an answer that is old by now.
            if self._clock.boottime() - now > self._ttl / 2:
                raise LockLost(f"the answer for {spool} took too long")
        except LockLost as why:
            del self._held[spool]
            self._log("claim_lost", identity=spool, detail=str(why), level="warning")
            return
        self._held[spool] = lock, now

    def _be_there(self) -> None:
        now = self._clock.boottime()
        if not self._seen:
            return  # the word runs out
        if self._presence is not None and self._presence[2] == self._seen:
            lease, since, _ = self._presence
            if now - since <= self._ttl / 4:
                return
            if self._coordinator.keepalive(lease):
                self._presence = lease, now, self._seen
                return
        lease = self._coordinator.grant(self._ttl)
        word = {"host": self._host, "spools": sorted(self._spools), "sees": self._seen, "since": self._clock.now()}
        self._coordinator.put(keys.transfer_host(self._host), word, lease)
        self._presence = lease, now, self._seen

    def close(self) -> None:
        """The others need not wait for leases to run out."""
        for lock, _ in self._held.values():
            self._coordinator.unlock(lock)
        self._held.clear()
        if self._presence is not None:
            with contextlib.suppress(Unavailable):
                self._coordinator.delete(keys.transfer_host(self._host))
            self._presence = None

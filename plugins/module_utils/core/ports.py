"""What the core needs of the outside world, as protocols: the adapters implement them, tests bring fakes.

Errors: an adapter raises `Unavailable` when the outside thing did not answer (no quorum, time-out, refused
connection); the core then holds, it never guesses. Anything else that an adapter raises is a defect.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from .model import Attempt, Identity, Route


class Unavailable(Exception):
    """The outside thing gave no certain answer: who asked must hold."""


class LockLost(Exception):
    """A write was refused because the lock that it stands on is gone: who wrote must stop."""


@dataclass(frozen=True)
class Entry:
    """A key's value with the revision at which it was last written (etcd `mod_revision`, 0: no such key)."""

    value: dict[str, Any] | None
    revision: int


@dataclass(frozen=True)
class Lock:
    """A held lock: its key, the create revision that every write on it is bound to, and its lease (opaque)."""

    key: str
    revision: int
    lease: int


AT_ONCE = 100  # keys or prefixes in one read; etcd refuses more than 128 operations in a transaction (--max-txn-ops)


class Coordinator(Protocol):
    """Linearizable reads and transactions (etcd). Every method raises Unavailable without quorum."""

    def get(self, key: str) -> Entry: ...

    def list(self, *prefixes: str) -> dict[str, Entry]:
        """All keys that begin with one of `prefixes`, AT_ONCE or less, read at one revision."""
        ...

    def create(self, key: str, value: Mapping[str, Any]) -> bool:
        """Put only if the key does not exist; whether it was put."""
        ...

    def put(self, key: str, value: Mapping[str, Any], lease: int | None = None) -> None:
        """Unconditional: for keys with one writer (reports, evidence)."""
        ...

    def delete(self, key: str) -> bool:
        """Whether the key existed."""
        ...

    def lock(self, key: str, value: Mapping[str, Any], ttl: int) -> Lock | None:
        """Create `key` bound to a new lease of `ttl` seconds; None when somebody else holds it."""
        ...

    def refresh(self, lock: Lock) -> None:
        """Keep the lock's lease alive. Raises LockLost when it has run out."""
        ...

    def write(self, lock: Lock, puts: Mapping[str, Mapping[str, Any]], unchanged: Mapping[str, int]) -> bool:
        """One transaction: put all of `puts` if the lock lives and every key of `unchanged` is at that revision.

        False when a revision differs; raises LockLost when the lock is gone.
        """
        ...

    def unlock(self, lock: Lock) -> None: ...

    def grant(self, ttl: int) -> int:
        """A new lease of `ttl` seconds."""
        ...

    def keepalive(self, lease: int) -> bool:
        """Renew; False when the lease is gone (a new one must be granted)."""
        ...


class Power(enum.StrEnum):
    ON = "on"
    OFF = "off"


class PowerSwitch(Protocol):
    """Fences a host by power. Never talks to the host itself."""

    method: str

    def off(self, host: str) -> str:
        """Switch off. Returns the switch's own words; raises Unavailable when not certain.

        The proof is what `status` says behind it, asked for apart.
        """
        ...

    def status(self, host: str) -> Power:
        """Raises Unavailable when not certain."""
        ...


@runtime_checkable
class SwitchesOn(Protocol):
    """A fence device that can also give a host its power back."""

    def on(self, host: str) -> str:
        """Switch on and confirm. Returns the device's own words; raises Unavailable when not certain."""
        ...


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds."""
        ...

    def boottime(self) -> float:
        """CLOCK_BOOTTIME seconds: goes on while the machine sleeps."""
        ...

    def sleep(self, seconds: float) -> None: ...


class Prober(Protocol):
    """Makes attempts. A method never raises for an identity that is down: that is its result."""

    def probe(self, identity: Identity, route: Route) -> Attempt:
        """Connect over `route`, EHLO, MAIL, RCPT, RSET, QUIT (RFC 5321)."""
        ...

    def topology(self, identity: Identity, route: Route) -> Attempt:
        """Is there a routed path to the identity's address over `route`?"""
        ...

    def deliver(self, identity: Identity, route: Route) -> Attempt | None:
        """Deliver the oldest waiting message over `route`; None when no message waits."""
        ...


class NameService(Protocol):
    def publish(self, identity: Identity, owner: str, epoch: int, *, primary: bool = True) -> str:
        """RFC 2136: identity's address, MX of its domains, and a TXT that tells the owner. Raises Unavailable.

        Not `primary`: the domains' MX name the relays only, which carry the mail to the identity's address (R1.9).
        """
        ...


class RelayQueue(Protocol):
    def waiting(self, identity: Identity) -> int:
        """How many messages wait for the identity's domains; of a long queue at least so many."""
        ...

    def flush(self, identity: Identity) -> None:
        """Try all of them now."""
        ...

    def use_route(self, identities: Sequence[Identity], route: Route) -> None:
        """Make `route` the one that the relay's own retries take for these identities."""
        ...


class Log(Protocol):
    def __call__(self, event: str, /, **fields: object) -> None:
        """One structured line (event plus fields)."""
        ...

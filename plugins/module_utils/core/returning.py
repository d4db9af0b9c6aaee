"""When nobody can take an identity over (R1.10): which of its held messages are archived and returned to their senders.

Pure. Off unless the inventory says `no_candidate: {archive_after: SECONDS}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from .model import Identity, Run, RunState


@dataclass(frozen=True)
class Held:
    """A message in the relay's queue. `arrival`: Unix seconds; `recipients`: those that have not got it yet."""

    queue_id: str
    queue: str
    sender: str
    recipients: tuple[str, ...]
    arrival: float


@dataclass(frozen=True)
class Order:
    """What is due for one identity: its messages that arrived before `before` (Unix seconds)."""

    identity: str
    before: float
    reason: str = ""


class Returns(Protocol):
    """Where a monitor asks for it."""

    def order(self, identity: Identity, reason: str) -> None:
        """Raises Unavailable. Safe to repeat."""
        ...


def without_candidate(run: Run) -> bool:
    """Was a run held because nobody could have taken over?"""
    step = run.step("candidate")
    return run.state is RunState.HELD and step is not None and step.result == "none"


def outlasted(lasted: float | None, archive_after: float | None) -> bool:
    """Has the time without a candidate, `lasted` seconds, been as long as messages are to be held?"""
    return archive_after is not None and lasted is not None and lasted >= archive_after


def due(messages: Iterable[Held], orders: Iterable[Order], domains: Mapping[str, str]) -> Iterator[tuple[Held, Order]]:
    """What to archive and return, with the order that it falls under. `domains`: domain to identity.

    A message that also waits for an identity without an order, or too young for the order of one of its recipients,
    stays: Postfix returns a message for all its recipients or for none. So does one that an operator put on hold.
    """
    known = {o.identity: o for o in orders}
    for message in messages:
        found = [known.get(domains.get(r.rpartition("@")[2].lower(), "")) for r in message.recipients]
        mine = [o for o in found if o is not None and message.arrival <= o.before]
        if mine and len(mine) == len(found) and message.queue != "hold":
            yield message, mine[0]

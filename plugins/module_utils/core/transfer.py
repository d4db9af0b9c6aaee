"""What is to be done with a message that waits to cross between the sides, decided from what lies where (R3).

The order of a crossing: archive, log, hand over, mark delivered. Each is durable before the next begins, so whoever
comes after a crash, or is another host, looks what is there and goes on. Pure: no I/O, no clock.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .spool import Adoption, Header, Recipient, crossings

INTERNET, INTRANET = "internet", "intranet"


class Direction(enum.StrEnum):
    INWARD = "inward"  # from the Internet side to the isolated one
    OUTWARD = "outward"


# --- where to ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """Who holds which recipient, from the inventory.

    `sides`: of each identity with a spool. `domains`, `users` (addresses, in lower case): the identity that has the
    mailboxes. `outlets`: of an intranet identity the Internet one that sends what is for other domains.
    """

    sides: Mapping[str, str]
    domains: Mapping[str, str]
    users: Mapping[str, str]
    outlets: Mapping[str, str]

    def direction(self, source: str) -> Direction:
        return Direction.INWARD if self.sides[source] == INTERNET else Direction.OUTWARD

    def holder(self, source: str, address: str) -> str | None:
        """The identity on the other side that is to get what `source` has for that recipient; None: nobody."""
        # Local parts go by exact case in theory (RFC 5321, 2.4) and by none in every mailbox table of ours.
        low = address.lower()
        found = self.users.get(low) or self.domains.get(low.rpartition("@")[2]) or self.outlets.get(source)
        if found is None or self.sides.get(found) in (None, self.sides[source]):
            return None
        return found

    def split(self, source: str, recipients: Iterable[Recipient]) -> dict[str, list[Recipient]]:
        """Destination to its recipients, in the order of the envelope. Raises Stays when somebody is nowhere."""
        found: dict[str, list[Recipient]] = {}
        for recipient in recipients:
            to = self.holder(source, recipient.address)
            if to is None:
                raise Stays(f"no identity on the other side holds {recipient.address}")
            found.setdefault(to, []).append(recipient)
        return found


class Stays(Exception):
    """A message is not carried now; it waits where it is."""


class Soon(Stays):
    """As Stays, for a reason that ends by itself within seconds."""


class Poison(Exception):
    """A message must never be carried as it is: it goes to quarantine."""


# --- whether ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """`size` in octets. `crossings`, `received`: fields that a message may have of either kind; it is in a loop above.

    A letter that is forwarded there and back has crossed twice. Postfix allows 50 Received fields (hopcount_limit).
    `attempts`: how often carrying it may end without an end before it goes to quarantine.
    """

    size: int
    crossings: int = 4
    received: int = 50
    attempts: int = 3

    def check(self, size: int, top: bytes) -> None:
        """`top`: its beginning, where each server that has had it put its fields. Raises Poison."""
        if size > self.size:
            raise Poison(f"has {size} octets, more than the {self.size} that any server takes")
        crossed, received = crossings(top)
        if crossed > self.crossings:
            raise Poison(f"has crossed {crossed} times already: a loop")
        if received > self.received:
            raise Poison(f"has {received} Received fields: a loop")


def admit(header: Header, adoption: Adoption | None, owner_epoch: int | None) -> None:
    """Was this file in `out` written by the owner of its time? Raises Stays when that is not known yet, and Poison.

    `owner_epoch`: by the coordinator, None when it has no owner. Behind a change of owner one waits until the new one
    has said what it found: afterwards, what is of an earlier epoch and was not there came from somebody shut out.
    """
    if adoption is None:
        raise Stays("its spool has no record of an owner")
    if owner_epoch is not None and adoption.epoch < owner_epoch:
        raise Soon(f"the owner at epoch {owner_epoch} has not looked into the spool yet")
    if header.epoch > adoption.epoch:
        raise Stays(f"it is of epoch {header.epoch}, and the spool of {adoption.epoch}: was it set back?")
    if not adoption.holds(header.id, header.epoch):
        raise Poison(f"it is of epoch {header.epoch} and was not there when epoch {adoption.epoch} began")


# --- what next --------------------------------------------------------------------------------------------------


class Act(enum.StrEnum):
    ARCHIVE = "archive"
    LOG = "log"
    HAND_OVER = "hand_over"
    MARK = "mark"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Lies:
    """What lies where of one message. `out`: it waits at its source. `logged`: by who asks, since it began: the log is

    written to and not searched. `reached`: destinations that have it in `in` or in `done`.
    """

    out: bool
    archived: bool
    logged: bool
    reached: frozenset[str]


def next_act(lies: Lies, destinations: Sequence[str]) -> tuple[Act, str]:
    """And for whom, for HAND_OVER. Marked last: as long as it is in `out`, somebody will look at it again."""
    if not lies.out:
        return Act.NOTHING, ""
    if not lies.archived:
        return Act.ARCHIVE, ""
    if not lies.logged:
        return Act.LOG, ""
    left = next((d for d in destinations if d not in lies.reached), None)
    return (Act.MARK, "") if left is None else (Act.HAND_OVER, left)


class Taken(enum.StrEnum):
    """What the destination does with an entry of `in`."""

    SUBMIT = "submit"
    DROP = "drop"  # its server has had it
    QUARANTINE = "quarantine"


def taken(done: bool, begun: int, refused: int, attempts: int) -> Taken:
    """`done`: the id is in `done` already. `begun`: attempts that never ended; `refused`: that ended with a 5xx.

    A carrier that was paused for long may link an id that has been through: the destination has one owner, so here it
    is certain.
    """
    if done:
        return Taken.DROP
    return Taken.QUARANTINE if max(begun, refused) >= attempts else Taken.SUBMIT


# --- who --------------------------------------------------------------------------------------------------------


def share(spools: Collection[str], sees: Mapping[str, Collection[str]], host: str) -> list[str]:
    """The spools that `host` is to look after, spread evenly over the hosts that live.

    `sees`: of each of these hosts the spools that it can reach. In the order of a digest, so that spools of one site,
    which have names alike, are spread too.
    """
    found = []
    for n, spool in enumerate(sorted(spools, key=lambda s: hashlib.sha256(s.encode()).digest())):
        able = sorted(h for h, those in sees.items() if spool in those)
        if able and able[n % len(able)] == host:
            found.append(spool)
    return found


# --- how much waits -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Backlog:
    """What waits in one spool; `oldest` in seconds, 0 when nothing does."""

    count: int
    oldest: float

    @classmethod
    def of(cls, times: Sequence[float], now: float) -> Backlog:
        return cls(len(times), max(0.0, now - min(times)) if times else 0.0)

    def over(self, count: int, seconds: float) -> bool:
        return self.count > count or self.oldest > seconds

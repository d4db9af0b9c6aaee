"""What is special about a store: its in-sync set, and what follows from it (DESIGN, "Storage").

`store/S/insync` names the members whose disks hold all that was ever acknowledged. It changes in two ways only: before
I/O goes on without the partner, the owner takes the partner out; after a resync the owner lets it in again. Only a
member of the set may own the store, so an outdated disk is never promoted, whatever DRBD itself believes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import keys
from .fencing import LevelName
from .model import Access, Identity, Json, Owner, Phase, Readiness, Report
from .ports import Coordinator

KIND = "store"

# Nobody but its own kernel can take a disk from a host: neither an export nor a route stands between the two, and a
# watchdog's time says nothing of writes that are frozen and go on later.
FENCED_BY = frozenset({LevelName.POWER, LevelName.OPERATOR})
ONLY_FENCED_BY = "no proof against a store: its owner holds the disk itself; only power and operator count"


@dataclass(frozen=True)
class InSync:
    """`epoch`: the owner's who wrote it. `serial` grows with every write, so that no two values are the same."""

    members: tuple[str, ...]
    epoch: int
    serial: int
    time: float

    def to_json(self) -> Json:
        return {**dataclasses.asdict(self), "members": list(self.members)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> InSync:
        return cls(tuple(data["members"]), int(data["epoch"]), int(data["serial"]), float(data["time"]))


@dataclass(frozen=True)
class Half:
    """What a member says of its half of the pair, for people: nothing is decided by it.

    `drbd`: State of adapters/drbd.py, None when DRBD does not say. `room`: {size_mb, free_mb, free_percent}, on the
    owner alone; `low`: that is less than the inventory wants.
    """

    time: float
    error: str
    drbd: Json | None
    room: Json | None
    low: bool

    def to_json(self) -> Json:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Half:
        return cls(float(data["time"]), str(data["error"]), data["drbd"], data["room"], bool(data["low"]))


def parse(value: Json | None) -> InSync | None:
    return None if value is None else InSync.from_json(value)


def outside(insync: InSync | None, store: str, host: str) -> str | None:
    """Why `host` must not be promoted, None when it may be."""
    if insync is None:
        return f"store {store} has no in-sync set yet; deploy it first (playbooks/site.yml)"
    if host not in insync.members:
        return f"not in the in-sync set of {store} ({', '.join(insync.members)}): its disk may lack acknowledged writes"
    return None


def not_owner(host: str, epoch: int | None, owner: Owner | None) -> str | None:
    """Why `host` does not own the store at `epoch`, None when it does."""
    if owner is None or owner.host != host:
        return f"{host} does not own the store; {'nobody' if owner is None else owner.host} does"
    if epoch != owner.epoch:
        return f"{host} acts at epoch {epoch}, the store is at {owner.epoch}"
    return None


class NotAllowed(Exception):
    """The in-sync set must not be changed as asked; the text says why."""


def alone(host: str, epoch: int | None, owner: Owner | None, insync: InSync | None, store: str, now: float) -> InSync:
    """The set with which `host` goes on without its partner.

    It is written even if the partner was out already: every write of the set ends a `rejoined` that was decided before
    it. Raises NotAllowed.
    """
    why = not_owner(host, epoch, owner) or outside(insync, store, host)
    if why is not None or insync is None or owner is None:
        raise NotAllowed(why)
    return InSync((host,), owner.epoch, insync.serial + 1, now)


def rejoined(
    host: str, epoch: int | None, owner: Owner | None, insync: InSync | None, peer: str, store: str, now: float
) -> InSync | None:
    """The set with `peer` in it again, None when it is in it. Raises NotAllowed.

    To be asked by the owner, which reads owner and set first, looks at its DRBD afterwards, and writes on condition
    that both are as they were read: a link that broke in between has changed the set (`alone`).
    """
    why = not_owner(host, epoch, owner) or outside(insync, store, host)
    if why is not None or insync is None or owner is None:
        raise NotAllowed(why)
    if peer in insync.members:
        return None
    return InSync((*insync.members, peer), owner.epoch, insync.serial + 1, now)


def as_access(owner: Owner | None, insync: InSync | None) -> Access | None:
    """The set in the words of core/ownership.py: the owner is admitted to its disk only as a member."""
    if owner is None or insync is None:
        return None
    admitted = owner.host if owner.host in insync.members else None
    return Access(owner.epoch, owner.run, admitted, insync.time)


# --- what a takeover asks ---------------------------------------------------------------------------------------


def not_serving(coordinator: Coordinator, store: str) -> str | None:
    """Why an identity on `store` must wait for the store's own takeover. Raises Unavailable.

    A store from elsewhere is owned by nobody here, but must be open to a new owner and closed to the old one: without
    its manager's word a fence would lead nowhere.
    """
    value = coordinator.get(keys.owner(store)).value
    if value is None:
        return not_opened(coordinator, store)
    owner = Owner.from_json(value)
    word = coordinator.get(keys.report(owner.host, store)).value
    report = None if word is None else Report.from_json(word)
    if coordinator.get(keys.lease(owner.host)).value is None:
        return f"store {store} is not serving: its owner {owner.host} has no live lease"
    if report is None or report.epoch != owner.epoch or report.phase is not Phase.RUNNING:
        said = "says nothing" if report is None else f"says {report.phase} at epoch {report.epoch}"
        return f"store {store} is not serving: {owner.host} {said}, the store is at {owner.epoch}"
    return None


def not_admitting(coordinator: Coordinator, identity: Identity) -> str | None:
    """Why `identity` alone is not served by its store: no other host would be admitted either. Raises Unavailable."""
    word = coordinator.get(keys.access(identity.store, identity.name)).value
    error = "" if word is None else Access.from_json(word).error
    return f"store {identity.store} does not serve {identity.name}: {error}" if error else None


def not_opened(coordinator: Coordinator, store: str) -> str | None:
    """Why a store from elsewhere cannot be opened to a new owner; None for one that has never had a manager.

    Raises Unavailable.
    """
    manager = coordinator.get(keys.manager(store)).value
    return None if manager is None else closed(store, manager, coordinator.get(keys.door(store)).value)


def closed(store: str, manager: Mapping[str, Any] | None, door: Mapping[str, Any] | None) -> str | None:
    """The same by what was read at `keys.manager` and `keys.door`."""
    if manager is None:
        return None
    if door is None:
        return f"store {store} cannot be opened: its manager {manager['host']} is not heard"
    return f"store {store} cannot be opened: {door['unfit']}" if door["unfit"] else None


def only_members(
    coordinator: Coordinator, store: Identity, readiness: Mapping[str, Readiness], now: float
) -> dict[str, Readiness]:
    """`readiness` with everyone outside the in-sync set taken out, by a read of this moment. Raises Unavailable."""
    insync = parse(coordinator.get(keys.insync(store.name)).value)
    found = dict(readiness)
    for host in store.candidates:
        if (why := outside(insync, store.name, host)) is not None:
            found[host] = Readiness(False, (why,), now)
    return found

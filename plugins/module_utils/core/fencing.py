"""The levels of a fence plan, and what counts as a proof that a host can no longer act (DESIGN, "Fence levels").

Each level either proves something about one boot of one host, or says why it does not; only then the next one is
tried. Pure: records in, verdicts out. core/fence_run.py carries the levels out.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from . import keys
from .model import Access, Identity, Json, Owner, Phase, Report, Route
from .ports import Entry


class LevelName(enum.StrEnum):
    POWER = "power"
    STORE_REVOCATION = "store_revocation"
    WATCHDOG = "watchdog"
    OPERATOR = "operator"


class Withdrawal(enum.StrEnum):
    """How it is confirmed that a host no longer answers on an identity's address.

    AGENT: the host's own agent, whose lease lives, reports that it has stopped. ROUTES: every router that this invoker
    has a living session with announces no path to the address any more.
    """

    AGENT = "agent"
    ROUTES = "routes"


@dataclass(frozen=True)
class Level:
    """One level of a plan.

    `device`: for POWER, the one fence device to use; None: all that know the host, in the inventory's order.
    `timeout`: seconds that the level may wait for its proof; a power device brings its own time-out.
    `margin`: for WATCHDOG, seconds beyond the watchdog's own time, for clocks that do not go alike.
    `address_withdrawal`: for STORE_REVOCATION, without which that level proves nothing.
    """

    level: LevelName
    device: str | None = None
    timeout: float = 120.0
    margin: float = 5.0
    address_withdrawal: Withdrawal | None = None


DEFAULT_LEVELS = (Level(LevelName.POWER), Level(LevelName.OPERATOR))

# Seconds, by which daemons tell a fence that takes its time from a hang (Timeouts.look of core/locked_run.py).
LONGEST = 600.0
ASKED = 2  # times that a fence device is asked: off, and its status
AGENT_TIMEOUT, SWITCH_TIMEOUT = 40.0, 20.0  # seconds of one call where the inventory says nothing


def longest(levels: Iterable[Level], devices: Mapping[str, float]) -> float:
    """Seconds until the last level has had its say. `devices`: those that know the host, with their time-outs."""
    seconds = 0.0
    for level in levels:
        if level.level is LevelName.POWER:
            seconds += ASKED * sum(t for name, t in devices.items() if level.device in (None, name))
        elif level.level is not LevelName.OPERATOR:  # whose word is there or not
            seconds += level.timeout
    return seconds


@dataclass(frozen=True)
class FencePlan:
    """Levels in the order in which they are tried: those of a host of `hosts`, else the default ones."""

    default: tuple[Level, ...] = DEFAULT_LEVELS
    hosts: Mapping[str, tuple[Level, ...]] = field(default_factory=dict)

    def levels(self, host: str) -> tuple[Level, ...]:
        return self.hosts.get(host, self.default)

    def stops_alone(self, host: str) -> bool:
        """Must the agent on this host stop its identities by itself before its lease ends?"""
        return any(level.level is LevelName.WATCHDOG for level in self.levels(host))


class NotProved(Exception):
    """A level gave no proof; the text says why. The next level is tried."""


class AddressView(Protocol):
    """What the routers say."""

    def withdrawn(self, identity: Identity, routes: Iterable[Route]) -> str:
        """Words of the confirmation. Raises Unavailable unless every router is up and announces no path."""
        ...


SOFTDOG = "softdog"


@dataclass(frozen=True)
class Watchdog:
    """`host/H/watchdog`: the boot that an agent runs in and the watchdog that guards it.

    Written anew with every lease that the agent takes, before it relies on that lease: so a revision of this key that
    stayed the same says that no lease was taken meanwhile.
    """

    boot_id: str
    armed: bool
    kind: str
    timeout: float
    since: float
    stops_alone: bool = False

    def to_json(self) -> Json:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Watchdog:
        return cls(
            str(data["boot_id"]),
            bool(data["armed"]),
            str(data["kind"]),
            float(data["timeout"]),
            float(data["since"]),
            bool(data.get("stops_alone", False)),
        )


@dataclass(frozen=True)
class ConfirmedOff:
    """`host/H/confirmed_off`: an operator's word that the host can no longer act. `epochs`: identity to epoch then."""

    by: str
    reason: str
    time: float
    boot_id: str
    epochs: Mapping[str, int]

    def to_json(self) -> Json:
        return {**dataclasses.asdict(self), "epochs": dict(self.epochs)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ConfirmedOff:
        return cls(
            str(data["by"]),
            str(data["reason"]),
            float(data["time"]),
            str(data.get("boot_id", "")),
            {str(k): int(v) for k, v in dict(data["epochs"]).items()},
        )


class MarkState(enum.StrEnum):
    ORDERED = "ordered"  # the level is being tried
    PROVED = "proved"
    OPEN = "open"  # no level proved anything


@dataclass(frozen=True)
class Mark:
    """`host/H/fence/I`: the order to fence a host, and what came of it. `boot_id`: of the boot that was meant."""

    run: str
    identity: str
    epoch: int
    level: str
    state: MarkState
    boot_id: str
    time: float

    def to_json(self) -> Json:
        return {**dataclasses.asdict(self), "state": str(self.state)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Mark:
        return cls(
            str(data["run"]),
            str(data["identity"]),
            int(data["epoch"]),
            str(data["level"]),
            MarkState(data["state"]),
            str(data["boot_id"]),
            float(data["time"]),
        )


@dataclass(frozen=True)
class HostView:
    """What the coordinator holds of one host, read at one revision."""

    lease: Mapping[str, Any] | None
    watchdog: Watchdog | None
    watchdog_revision: int
    confirmed_off: ConfirmedOff | None
    marks: tuple[Mark, ...] = ()

    @property
    def boot_id(self) -> str:
        """Of the boot that was heard of last; empty: never heard."""
        if self.lease is not None and self.lease.get("boot_id"):
            return str(self.lease["boot_id"])
        return "" if self.watchdog is None else self.watchdog.boot_id

    @classmethod
    def of(cls, host: str, entries: Mapping[str, Entry]) -> HostView:
        """From the keys below `host/H/`."""
        none = Entry(None, 0)
        lease = entries.get(keys.lease(host), none).value
        dog = entries.get(keys.watchdog(host), none)
        word = entries.get(keys.confirmed_off(host), none).value
        marks = [e.value for k, e in entries.items() if k.startswith(keys.fences(host))]
        return cls(
            lease,
            None if dog.value is None else Watchdog.from_json(dog.value),
            dog.revision,
            None if word is None else ConfirmedOff.from_json(word),
            tuple(Mark.from_json(m) for m in marks if m is not None),
        )


def stands(mark: Mark, boot_id: str) -> bool:
    """Is a host that was fenced still the boot that was fenced?

    Without knowledge of the boot a host that was powered off is another one when it is heard again; after any other
    level it may be the old one, and an operator must say that it is not (the mark is removed).
    """
    if mark.boot_id and boot_id:
        return mark.boot_id == boot_id
    return mark.level != LevelName.POWER


def fenced_by(view: HostView) -> Mark | None:
    """The mark that keeps this host from being a candidate, and the store from hearing it."""
    return next((m for m in view.marks if m.state is MarkState.PROVED and stands(m, view.boot_id)), None)


def revoked_words(access: Access | None, owner: Owner, run: str) -> str:
    """The store's confirmation that it has shut out this owner for this run. Raises NotProved for anything less."""
    if access is None or access.run != run or access.epoch != owner.epoch or access.admitted is not None:
        raise NotProved("the store has not withdrawn the export")
    if owner.host not in access.expired:
        raise NotProved(f"the store keeps NFS state of {owner.host}, which another identity uses too")
    if owner.host not in access.dropped:
        raise NotProved(f"the store's firewall does not drop {owner.host}")
    return f"export withdrawn, {owner.host} expired and dropped"


def stopped_words(view: HostView, report: Report | None, owner: Owner) -> str:
    """The agent's confirmation that it has taken the address down. Raises NotProved for anything less."""
    if view.lease is None:
        raise NotProved(f"{owner.host} has no live lease, so its agent can confirm nothing")
    if report is None or report.epoch != owner.epoch or report.phase is not Phase.STOPPED:
        said = "nothing" if report is None else f"{report.phase} at epoch {report.epoch}"
        raise NotProved(f"the agent on {owner.host} says {said}")
    return f"the agent on {owner.host} has stopped it"


def check_watchdog(view: HostView, host: str) -> Watchdog:
    """May the end of this host's lease count as the beginning of its end? Raises NotProved with the reason."""
    dog = view.watchdog
    if view.lease is not None:
        raise NotProved(f"{host} keeps its lease")
    if dog is None:
        raise NotProved(f"{host} never recorded a watchdog")
    if not dog.armed:
        raise NotProved(f"the watchdog of {host} is not armed")
    if dog.kind == SOFTDOG:
        raise NotProved(f"{host} has only the kernel's softdog, which dies with the kernel")
    if not dog.stops_alone:
        raise NotProved(f"the agent on {host} does not stop by itself; deploy it with this plan")
    return dog


def check_word(view: HostView, identity: str, owner: Owner) -> ConfirmedOff:
    """Does an operator's word hold against this owner now? Raises NotProved with the reason."""
    word = view.confirmed_off
    if word is None:
        raise NotProved(f"no operator has confirmed that {owner.host} is off (playbooks/confirm_fenced.yml)")
    if view.lease is not None:
        raise NotProved(f"{word.by} confirmed that {owner.host} is off, but it has a live lease")
    if word.epochs.get(identity) != owner.epoch:
        raise NotProved(f"{word.by} confirmed an epoch other than {owner.epoch}")
    if word.boot_id != view.boot_id:
        raise NotProved(f"{owner.host} has been started since {word.by} confirmed that it is off")
    return word

"""The words of the project as data: identities, owners, attempts, takeover runs.

Everything that is kept in the coordinator (docs/architecture.md, "What stands in the coordinator") has its class here,
with `from_json` and `to_json`. Times are Unix seconds as float (UTC). No I/O, no clock.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .certificates import Ending

Json = dict[str, Any]


class Method(enum.StrEnum):
    """How an attempt finds out whether an identity can be reached (R1.4)."""

    DELIVERY = "delivery"
    TOPOLOGY = "topology"
    PROBE = "probe"


class Result(enum.StrEnum):
    """What an attempt found. Only DOWN counts towards a threshold; REFUSED is a live server's 4xx or 5xx."""

    OK = "ok"
    DOWN = "down"
    REFUSED = "refused"


@dataclass(frozen=True)
class Route:
    """A way to an identity: a network of `mail_routes`, bound to this host's own address in it (R1.5).

    `routers`: addresses of those that tell this host there what reaches an identity.
    """

    name: str
    bind_address: str
    routers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attempt:
    """One try to reach an identity."""

    method: Method
    route: str
    result: Result
    start: float
    end: float
    detail: str = ""
    message: str | None = None  # queue id, for deliveries
    temporary: bool = False  # a live server's 4xx: senders try again

    def to_json(self) -> Json:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Attempt:
        return cls(
            method=Method(data["method"]),
            route=str(data["route"]),
            result=Result(data["result"]),
            start=float(data["start"]),
            end=float(data["end"]),
            detail=str(data.get("detail", "")),
            message=data.get("message"),
            temporary=bool(data.get("temporary", False)),
        )


MAIL_KINDS = frozenset({"internet", "intranet"})
RELAY_KIND = "relay"


@dataclass(frozen=True)
class Identity:
    """A movable mail service (DESIGN, "Words").

    `domains`: those of its mailboxes; a relay has none, it holds mail for those of others. `relays`: hosts whose
    monitors watch it; what they carry for its domains is held by the relays at home there. `networks`: over which it is
    reached, of those that a relay has routes over; empty: all.
    """

    name: str
    address: str
    kind: str
    domains: tuple[str, ...]
    home: str
    candidates: tuple[str, ...]
    store: str
    relays: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()

    @property
    def side(self) -> str:
        """The first of its networks, empty where none is named: a relay holds mail for its own side alone."""
        return self.networks[0] if self.networks else ""

    @property
    def has_mailboxes(self) -> bool:
        """Is it a goal of mail, for which relays hold what cannot be delivered? A relay and a store are none."""
        return self.kind in MAIL_KINDS

    @classmethod
    def from_json(cls, name: str, data: Mapping[str, Any]) -> Identity:
        return cls(
            name=name,
            address=str(data["address"]),
            kind=str(data["kind"]),
            domains=tuple(data["domains"]),
            home=str(data["home"]),
            candidates=tuple(data["candidates"]),
            store=str(data["store"]),
            relays=tuple(data.get("relays", ())),
            networks=tuple(data.get("networks", ())),
        )


FIRST_RUN = "deploy"  # of the owner that a deploy has named, for want of one


@dataclass(frozen=True)
class Owner:
    """The host that may run an identity now. `epoch` only grows, by one per change of owner (I2)."""

    host: str
    epoch: int
    run: str
    since: float

    def to_json(self) -> Json:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Owner:
        return cls(str(data["host"]), int(data["epoch"]), str(data["run"]), float(data["since"]))


def first_owner(host: str, now: float) -> Owner:
    """For want of one; `now`: seconds, Unix time.

    Its epoch is the minute, not 1. The coordinator may have lost its data, while DNS, spools and routers still know
    the epochs of before, refuse older ones, and have seen fewer changes of owner than minutes.
    """
    return Owner(host, max(1, int(now // 60)), FIRST_RUN, now)


class Phase(enum.StrEnum):
    """What an agent reports of an identity on its host."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"


@dataclass(frozen=True)
class Step:
    """One timed step of a takeover run or of an agent's start."""

    name: str
    start: float
    end: float | None = None
    result: str = ""
    detail: str = ""

    def to_json(self) -> Json:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Step:
        return cls(
            str(data["name"]),
            float(data["start"]),
            None if data.get("end") is None else float(data["end"]),
            str(data.get("result", "")),
            str(data.get("detail", "")),
        )


@dataclass(frozen=True)
class Configuration:
    """What a deploy has given a host for an identity.

    `digest`: of the inventory's data that decides what the identity accepts, the same for all its candidates (roles
    mail and relay). `since`: when it last became another one there, by that host's clock.
    """

    digest: str
    since: float

    def to_json(self) -> Json:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Configuration:
        return cls(str(data["digest"]), float(data["since"]))


@dataclass(frozen=True)
class Report:
    """An agent's word on one identity on its host; it outlives the host's lease.

    `run`: the planned run whose order to stop it has carried out. `configuration`: None for a store.
    `stuck`: FAILED in a stop, so that something of it may run. `lacks`: what of it does not run though it serves,
    or why the agent cannot tell; no reason to move it.
    """

    host: str
    epoch: int
    phase: Phase
    time: float
    steps: tuple[Step, ...] = ()
    error: str = ""
    run: str = ""
    configuration: Configuration | None = None
    stuck: bool = False
    lacks: str = ""

    def to_json(self) -> Json:
        data = {**dataclasses.asdict(self), "steps": [s.to_json() for s in self.steps]}
        if not self.lacks:
            del data["lacks"]  # nearly always: what is not there costs nobody anything
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        configuration = data.get("configuration")  # an agent from before an upgrade tells none
        return cls(
            str(data["host"]),
            int(data["epoch"]),
            Phase(data["phase"]),
            float(data["time"]),
            tuple(Step.from_json(s) for s in data.get("steps", ())),
            str(data.get("error", "")),
            str(data.get("run", "")),
            None if configuration is None else Configuration.from_json(configuration),
            bool(data.get("stuck", False)),
            str(data.get("lacks", "")),
        )


@dataclass(frozen=True)
class Readiness:
    """Whether a host could run an identity now, and if not, why not.

    `run`: the planned run that is about to give it to this host and that this word answers, if any. `certificate`: the
    first of the host's certificates to end.
    """

    ready: bool
    reasons: tuple[str, ...]
    time: float
    run: str = ""
    certificate: Ending | None = None

    def to_json(self) -> Json:
        return {
            "ready": self.ready,
            "reasons": list(self.reasons),
            "time": self.time,
            "run": self.run,
            "certificate": None if self.certificate is None else self.certificate.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Readiness:
        # An agent from before an upgrade names neither.
        run, certificate = str(data.get("run", "")), data.get("certificate")
        return cls(
            bool(data["ready"]),
            tuple(data.get("reasons", ())),
            float(data["time"]),
            run,
            None if certificate is None else Ending.from_json(certificate),
        )


@dataclass(frozen=True)
class Access:
    """What the store admits for one identity: the receiver's own word, with the epoch it acts at.

    `error`: why the owner that is to be admitted now is not; the rest is what was done last.
    """

    epoch: int
    run: str
    admitted: str | None
    time: float
    expired: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()  # by the store's firewall
    error: str = ""

    def to_json(self) -> Json:
        return {**dataclasses.asdict(self), "expired": list(self.expired), "dropped": list(self.dropped)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Access:
        return cls(
            int(data["epoch"]),
            str(data["run"]),
            data.get("admitted"),
            float(data["time"]),
            tuple(data.get("expired", ())),
            tuple(data.get("dropped", ())),
            str(data.get("error", "")),
        )


@dataclass(frozen=True)
class Proof:
    """Why it is certain that a host can no longer act as owner."""

    level: str
    method: str
    host: str
    time: float
    detail: str = ""

    def to_json(self) -> Json:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Proof:
        return cls(
            str(data["level"]), str(data["method"]), str(data["host"]), float(data["time"]), str(data.get("detail", ""))
        )


class RunState(enum.StrEnum):
    """RUNNING: somebody works on it, or must go on with it. HELD: stopped, mail is kept, an operator is told."""

    RUNNING = "running"
    DONE = "done"
    HELD = "held"


@dataclass(frozen=True)
class Run:
    """One takeover run, as the coordinator holds it. `epoch` is the new owner's, 0 before a candidate is chosen.

    `release_epoch`: the epoch whose living owner is ordered to stop and to say so, in a planned run (handover.py).
    """

    run: str
    identity: str
    invoker: str
    reason: str
    state: RunState
    from_host: str
    time: float
    to_host: str | None = None
    epoch: int = 0
    revoke_epoch: int = 0
    automatic: bool = True
    proof: Proof | None = None
    steps: tuple[Step, ...] = field(default=())
    planned: bool = False
    release_epoch: int = 0

    def to_json(self) -> Json:
        return {
            "run": self.run,
            "identity": self.identity,
            "invoker": self.invoker,
            "reason": self.reason,
            "state": str(self.state),
            "from": self.from_host,
            "to": self.to_host,
            "epoch": self.epoch,
            "revoke_epoch": self.revoke_epoch,
            "automatic": self.automatic,
            "proof": None if self.proof is None else self.proof.to_json(),
            "steps": [s.to_json() for s in self.steps],
            "time": self.time,
            "planned": self.planned,
            "release_epoch": self.release_epoch,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Run:
        return cls(
            run=str(data["run"]),
            identity=str(data["identity"]),
            invoker=str(data["invoker"]),
            reason=str(data["reason"]),
            state=RunState(data["state"]),
            from_host=str(data["from"]),
            time=float(data["time"]),
            to_host=data.get("to"),
            epoch=int(data.get("epoch", 0)),
            revoke_epoch=int(data.get("revoke_epoch", 0)),
            automatic=bool(data.get("automatic", True)),
            proof=None if data.get("proof") is None else Proof.from_json(data["proof"]),
            steps=tuple(Step.from_json(s) for s in data.get("steps", ())),
            planned=bool(data.get("planned", False)),
            release_epoch=int(data.get("release_epoch", 0)),
        )

    def step(self, name: str) -> Step | None:
        """The newest step of that name."""
        return next((s for s in reversed(self.steps) if s.name == name), None)

"""A relay without the right to fence asks another host's monitor for the takeover (R1.11). Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from .model import Json


@dataclass(frozen=True)
class Request:
    """`identity/I/request`: who asks, why, against the owner of which epoch. `time`: Unix seconds."""

    relay: str
    reason: str
    epoch: int
    time: float

    def to_json(self) -> Json:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Request:
        return cls(str(data["relay"]), str(data["reason"]), int(data["epoch"]), float(data["time"]))


def granted(
    request: Request,
    evidence: Mapping[str, Any] | None,
    relays: Collection[str],
    epoch: int,
    lease: bool,
    now: float,
    fresh: float,
) -> str | None:
    """The reason for a takeover that a request gives, None when it gives none.

    A request alone moves nothing: the relay must be one of the identity's, its shared `evidence` must have passed the
    threshold against the present owner, all of it within `fresh` seconds, and the owner's lease must be lost, as the
    one who executes sees by itself.
    """
    if lease or request.relay not in relays or request.epoch != epoch or now - request.time > fresh:
        return None
    if evidence is None or int(evidence["epoch"]) != epoch or now - float(evidence["time"]) > fresh:
        return None
    if not evidence["passed"]:
        return None
    return f"asked by {request.relay}: {request.reason}; lease lost"

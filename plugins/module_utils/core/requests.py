"""A relay without the right to fence asks another host's monitor for the takeover (R1.11). Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
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
    epoch: int,
    lease: bool,
) -> str | None:
    """The reason for a takeover that a request gives, None when it gives none.

    A request alone moves nothing: the relay's shared `evidence` (None: it is none of the identity's relays, or has not
    spoken lately) must have passed the threshold against the present owner, and the owner's lease must be lost, as the
    one who executes sees by itself.
    """
    if lease or request.epoch != epoch or evidence is None or int(evidence["epoch"]) != epoch:
        return None
    if not evidence["passed"]:
        return None
    return f"asked by {request.relay}: {request.reason}; lease lost"

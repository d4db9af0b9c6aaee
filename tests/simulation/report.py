"""What a run is told as: its trace in lines, and a fingerprint that is the same whenever the seed is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from .faults import Outcome
from .stage import Event

SHORT = 45  # lines of a short trace

# What explains a verdict; the rest is in the whole trace.
TELLING = {
    "VIOLATION",
    "access",
    "booted",
    "changed",
    "exports",
    "fault",
    "fault_over",
    "fence_ordered",
    "goes on",
    "leader",
    "fence_peer",
    "fence_peer_refused",
    "insync",
    "lease_lost",
    "link",
    "mended",
    "off",
    "paused",
    "running",
    "start",
    "start_failed",
    "stood_still",
    "stop",
    "takeover_asked",
    "takeover_ended",
    "takeover_held",
    "takeover_refused",
    "takeover_step",
}


def line(event: Event) -> str:
    time, who, what, fields = event
    said = " ".join(f"{key}={value}" for key, value in fields if value not in (None, "", "info"))
    return f"{time:9.2f}  {who:16} {what} {said}".rstrip()


def telling(event: Event) -> bool:
    _, _, what, fields = event
    if what == "wrote":
        return str(dict(fields)["key"]).endswith("/owner")
    return what in TELLING or (what == "attempt" and dict(fields)["result"] != "ok")


def short(outcome: Outcome) -> list[str]:
    return [line(event) for event in outcome.events if telling(event)][-SHORT:]


def fingerprint(outcomes: Iterable[Outcome]) -> str:
    digest = hashlib.sha256()
    for outcome in outcomes:
        digest.update(f"{outcome.seed} {outcome.violation} {outcome.seconds!r}\n".encode())
        for event in outcome.events:
            digest.update(f"{event!r}\n".encode())
    return digest.hexdigest()

"""Which host may take an identity over (DESIGN, "Never fence without a way forward")."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from .model import Identity, Readiness

READY_FOR = 60.0  # seconds that an agent's word about its readiness is believed; it is renewed every 10


@dataclass(frozen=True)
class Choice:
    """The chosen host, None when there is none, and why each other candidate was skipped."""

    host: str | None
    skipped: Mapping[str, str]

    def reasons(self) -> str:
        return "; ".join(f"{host}: {why}" for host, why in self.skipped.items())


def choose(
    identity: Identity,
    owner: str,
    alive: Collection[str],
    readiness: Mapping[str, Readiness],
    now: float,
    wanted: str | None = None,
) -> Choice:
    """First candidate in the inventory's order that could run the identity now; only `wanted` if that is given."""
    skipped: dict[str, str] = {}
    for host in identity.candidates:
        word = readiness.get(host)
        if host == owner:
            skipped[host] = "is the present owner"
        elif wanted is not None and host != wanted:
            skipped[host] = f"{wanted} was asked for"
        elif host not in alive:
            skipped[host] = "no live lease"
        elif word is None or now - word.time > READY_FOR:
            skipped[host] = "its agent says nothing about being ready"
        elif not word.ready:
            skipped[host] = ", ".join(word.reasons) or "not ready"
        else:
            return Choice(host, skipped)
    if wanted is not None and wanted not in identity.candidates:
        skipped[wanted] = "is no candidate of this identity"
    return Choice(None, skipped)

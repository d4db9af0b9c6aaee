"""Which host may take an identity over (DESIGN, "Never fence without a way forward")."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from .model import Configuration, Identity, Readiness


class Placement(enum.StrEnum):
    """Whose site comes first: that of the identity's store and home, where its data is, or the invoking relay's own."""

    LOCAL_FIRST = "local_first"
    RELAY_FIRST = "relay_first"


@dataclass(frozen=True)
class Choice:
    """The chosen host, None when there is none, and why each other candidate was skipped."""

    host: str | None
    skipped: Mapping[str, str]

    def reasons(self) -> str:
        return "; ".join(f"{host}: {why}" for host, why in self.skipped.items())


def ranked(identity: Identity, placement: Placement, sites: Mapping[str, str], invoker: str) -> tuple[str, ...]:
    """The identity's candidates in the order in which they are asked; those of equal rank in the inventory's.

    `sites`: host or store to site; what is not in it is nowhere, and comes last.
    """
    if placement is Placement.RELAY_FIRST:
        first = [sites.get(invoker)]
    else:
        # The data's site goes before that of the home, where the two differ.
        first = [sites.get(identity.store), sites.get(identity.home)]

    def rank(host: str) -> int:
        site = sites.get(host)
        return first.index(site) if site is not None and site in first else len(first)

    return tuple(sorted(identity.candidates, key=rank))


def outdated(host: str, its: Configuration | None, other: str, others: Configuration | None) -> str | None:
    """Why `host` would serve an identity otherwise than `other` does, for having missed a deploy; None if it would not.

    It would refuse for good what the other accepts: mail is held rather. The later deploy wins, so that a dead owner
    that has missed one keeps nobody from taking over. Two hosts' clocks are compared only where the digests differ, and
    a deploy makes them the same.
    """
    if others is None or (its is not None and (its.digest == others.digest or its.since >= others.since)):
        return None
    return f"its configuration is older than that of {other} (deploy it: playbooks/site.yml --limit {host})"


def choose(
    identity: Identity,
    owner: str,
    alive: Collection[str],
    readiness: Mapping[str, Readiness],
    wanted: str | None = None,
    fenced: Mapping[str, str] | None = None,
) -> Choice:
    """First candidate in the identity's order that could run it now; only `wanted` if that is given.

    `readiness`: the words that stand in the coordinator, where none outlives the lease of who said it; their times are
    of other hosts' clocks and say nothing here.
    `fenced`: hosts that were fenced or are being fenced, with the reason.
    """
    skipped: dict[str, str] = {}
    for host in identity.candidates:
        word = readiness.get(host)
        if host == owner:
            skipped[host] = "is the present owner"
        elif wanted is not None and host != wanted:
            skipped[host] = f"{wanted} was asked for"
        elif fenced and host in fenced:
            skipped[host] = fenced[host]
        elif host not in alive:
            skipped[host] = "no live lease"
        elif word is None:
            skipped[host] = "its agent says nothing about being ready"
        elif not word.ready:
            skipped[host] = ", ".join(word.reasons) or "not ready"
        else:
            return Choice(host, skipped)
    if wanted is not None and wanted not in identity.candidates:
        skipped[wanted] = "is no candidate of this identity"
    return Choice(None, skipped)

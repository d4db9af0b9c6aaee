"""Whose NFS traffic a store's firewall drops: hosts that were shut out and may still run (DESIGN, "Safety rules")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .fencing import HostView, LevelName, MarkState, stands
from .model import Identity, Owner, Run


def to_drop(
    identities: Iterable[Identity],
    owners: Mapping[str, Owner | None],
    runs: Mapping[str, Run | None],
    views: Mapping[str, HostView],
    admitted: Iterable[str],
) -> tuple[str, ...]:
    """Hosts to drop, of those that `identities` of this store name.

    Those that a run has ordered to be fenced and shut out, and those that were, until they are started anew. A host
    that was powered off needs no dropping: what starts there later is another boot. Nor does one that gives an identity
    up of its own accord: it must still write what it holds. One that an identity here is open to (`admitted`) is never
    dropped, since that would take this identity from it, too: then the withdrawn export alone keeps it out.
    """
    served = set(admitted)
    found: dict[str, None] = {}
    for identity in identities:
        owner, run = owners.get(identity.name), runs.get(identity.name)
        revoked = owner is not None and run is not None and run.revoke_epoch == owner.epoch
        for host, view in views.items():
            for mark in (m for m in view.marks if m.identity == identity.name and m.level != LevelName.POWER):
                ordered = mark.state is MarkState.ORDERED and revoked and run is not None and mark.run == run.run
                if ordered or (mark.state is MarkState.PROVED and stands(mark, view.boot_id)):
                    found[host] = None
    return tuple(h for h in found if h not in served)

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

    A host that was powered off needs no dropping: what starts there later is another boot. One that an identity here
    is open to (`admitted`) is never dropped, since that would take this identity from it, too: then the withdrawn
    export alone keeps it out.
    """
    served = set(admitted)
    found: dict[str, None] = {}
    for identity in identities:
        owner, run = owners.get(identity.name), runs.get(identity.name)
        powered_off = run is not None and run.proof is not None and run.proof.level == LevelName.POWER
        if owner is not None and run is not None and run.revoke_epoch == owner.epoch and not powered_off:
            found[owner.host] = None
        for host, view in views.items():
            for mark in view.marks:
                shut_out = mark.state is MarkState.PROVED and mark.level != LevelName.POWER
                if mark.identity == identity.name and shut_out and stands(mark, view.boot_id):
                    found[host] = None
    return tuple(h for h in found if h not in served)

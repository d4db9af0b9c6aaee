"""The store's decision: whom does it admit to an identity's files (I2, "an export admits only its confirmed owner")."""

from __future__ import annotations

from dataclasses import dataclass

from .model import Identity, Owner, Run


@dataclass(frozen=True)
class Wanted:
    """What the store should look like for one identity.

    `expire`: hosts of which no NFS client state may be left for this identity (locks of the dead owner would
    block the new one).
    """

    epoch: int
    run: str
    admit: str | None
    expire: tuple[str, ...]


def decide(identity: Identity, owner: Owner | None, run: Run | None) -> Wanted:
    """Admit the recorded owner, unless the run at hand has ordered that this very epoch's access be withdrawn."""
    if owner is None:
        return Wanted(0, "", None, tuple(identity.candidates))
    revoked = run is not None and run.revoke_epoch == owner.epoch
    admit = None if revoked else owner.host
    run_id = run.run if revoked and run is not None else owner.run
    hosts = dict.fromkeys((*identity.candidates, owner.host))
    return Wanted(owner.epoch, run_id, admit, tuple(h for h in hosts if h != admit))

"""Who takes the mail of an identity after a takeover (R1.9)."""

from __future__ import annotations

import enum

from .model import Identity


class Promote(enum.StrEnum):
    """PRIMARY: senders go to the new owner directly. RELAY: the relays keep carrying the mail until failback."""

    PRIMARY = "primary"
    RELAY = "relay"


def is_primary(promote: Promote, identity: Identity, owner: str) -> bool:
    """Should DNS name the identity itself as mail exchanger while `owner` runs it?

    At home it is always its own primary: that ends what RELAY began.
    """
    return promote is Promote.PRIMARY or owner == identity.home

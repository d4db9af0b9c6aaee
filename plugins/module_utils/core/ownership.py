"""The agent's decision: start, keep or stop an identity on this host (DESIGN, "Ownership and takeover")."""

from __future__ import annotations

import enum

from .model import Access, Owner, Run, RunState

# Leases long neither the coordinator nor the store has answered an owner that then gives up. Longer than a takeover of
# the store and an election in the coordinator together take on a crowded machine.
FORSAKEN = 4


class Action(enum.StrEnum):
    START = "start"
    KEEP = "keep"
    STOP = "stop"
    WAIT = "wait"  # not running, and not to be started now
    RELEASE = "release"  # stop, whatever runs or not, and say that the planned run's order is carried out


def decide(
    host: str,
    owner: Owner | None,
    access: Access | None,
    running_epoch: int | None,
    coordinator_ok: bool,
    gap: float,
    lease_ttl: float,
    lease_left: float | None = None,
    run: Run | None = None,
    forsaken: float = 0.0,
) -> Action:
    """What to do with one identity on `host`.

    `running_epoch`: the epoch at which it runs here, None when it does not run. `gap`: seconds of CLOCK_BOOTTIME since
    the last decision; a gap longer than the lease means that this host stood still, and somebody else may own the
    identity by now: stop first, ask afterwards. An unreachable coordinator stops nothing, since a takeover
    needs a positive proof against this host, and starts nothing either. `run`: the present or last run, read together
    with the owner; its order to release counts for the epoch that it names and for no other.

    `lease_left`: where the fence plan has the level `watchdog` for this host, seconds of its lease, counted on
    CLOCK_BOOTTIME from the sending of the last good renewal; None elsewhere. Others may own the identity once the lease
    is over, so what runs is stopped while a third of it is left, whatever else is known.

    `forsaken`: seconds for which neither the coordinator nor the identity's store has answered this host. Without its
    store it serves nobody, and being shut out of it is what the fence level `store_revocation` does: it may have been
    taken over long ago, and would answer on the address again as soon as a gateway has lost the way to the new owner.
    """
    running = running_epoch is not None
    if running and gap > lease_ttl:
        return Action.STOP
    ending = lease_left is not None and lease_left <= lease_ttl / 3
    if ending:
        return Action.STOP if running else Action.WAIT
    if not coordinator_ok:
        if not running:
            return Action.WAIT
        return Action.STOP if forsaken > FORSAKEN * lease_ttl else Action.KEEP
    if owner is None or owner.host != host:
        return Action.STOP if running else Action.WAIT
    if run is not None and run.release_epoch == owner.epoch:
        return Action.RELEASE
    admitted = access is not None and access.epoch == owner.epoch and access.admitted == host
    revoked = access is not None and access.epoch == owner.epoch and access.admitted is None
    if not running and run is not None and run.revoke_epoch == owner.epoch:
        # A run that has fenced this host takes its files away; the store has only not heard of it yet.
        return Action.WAIT
    if running:
        return Action.KEEP if running_epoch == owner.epoch and not revoked else Action.STOP
    return Action.START if admitted else Action.WAIT


def asked_by(host: str, run: Run | None) -> str:
    """The planned run that is about to give the identity to `host` and waits for its word; empty if there is none."""
    if run is None or not run.planned or run.state is not RunState.RUNNING or run.to_host != host:
        return ""
    return run.run


def leaves(host: str, run: Run | None) -> bool:
    """Is a planned run about to take the identity from `host`? From its beginning on, before the order to release."""
    return run is not None and run.planned and run.state is RunState.RUNNING and run.from_host == host

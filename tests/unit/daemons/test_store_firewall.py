"""The store drops hosts that were shut out and may still run: first of all, and never one that it serves."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from edges import IM, MX
from holdfast.core import keys
from holdfast.core.fencing import Mark, MarkState
from holdfast.core.model import Identity
from holdfast.core.ports import Unavailable
from holdfast.daemons.store import LOOK_EVERY, Store
from test_store import ADDRESSES, MountPoint, Site


class Wall:
    """A packet filter that notes what it is told among what happens to the NFS server."""

    def __init__(self, did: list[str]) -> None:
        self.did = did
        self.held: frozenset[str] = frozenset()
        self.broken = False
        self.looks = 0

    def dropped(self) -> frozenset[str]:
        self.looks += 1
        if self.broken:
            raise Unavailable("nft: not permitted")
        return self.held

    def connected(self, addresses: frozenset[str]) -> list[str]:
        return []

    def drop(self, addresses: Iterable[str]) -> None:
        self.held = frozenset(addresses)
        self.did.append(f"drop {' '.join(sorted(self.held)) or 'none'}")


class Guarded(Site):
    def begin(self) -> None:
        super().begin()
        self.wall = Wall(self.nfs.did)
        parts = self.store
        self.store = Store(
            parts._settings,
            self.coordinator,
            self.nfs,  # type: ignore[arg-type]
            self.nfs,  # type: ignore[arg-type]
            self.clock,
            self.log,
            self.wall,  # type: ignore[arg-type]
        )

    def mark(
        self, host: str, level: str, boot: str, identity: Identity = MX, state: MarkState = MarkState.PROVED
    ) -> None:
        value = Mark("run-1", identity.name, 1, level, state, boot, self.clock.time).to_json()
        self.coordinator.data[keys.fence(host, identity.name)] = value

    def order(self) -> None:
        """A run tries the level `store_revocation` against mail1."""
        self.coordinator.revoke(1)
        self.mark("mail1", "store_revocation", "boot-1", state=MarkState.ORDERED)

    def lease(self, host: str, boot: str) -> None:
        self.coordinator.data[keys.lease(host)] = {"host": host, "boot_id": boot}


def guarded(folder: Path, *identities: Identity) -> Guarded:
    MountPoint.mounted = True
    made = Guarded(folder, *identities)
    made.coordinator.own("mail1", 1)
    if IM in identities:
        made.coordinator.own("mail1", 1, IM)
    made.tick()
    return made


pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="folders are given to other users: root only")


def test_dropped_then_withdrawn_then_expired_then_told(tmp_path: Path) -> None:
    site = guarded(tmp_path)
    site.order()
    assert site.tick() == [
        "drop 10.1.3.11 10.1.3.12",
        f"withdraw {MX.name} 10.1.3.11",
        f"withdraw {MX.name} 10.1.3.12",
        "expire 10.1.3.11 10.1.3.12 10.2.3.11",
    ]
    access = site.access()
    assert access is not None and (access.admitted, access.dropped) == (None, ("mail1",))
    assert site.tick(5) == []


def test_a_host_that_was_powered_off_is_not_dropped(tmp_path: Path) -> None:
    site = guarded(tmp_path)
    site.coordinator.revoke(1, proved="mail1")
    site.tick()
    assert site.wall.held == frozenset()
    access = site.access()
    assert access is not None and access.dropped == ()


def test_it_stays_dropped_behind_the_new_owner_until_it_has_been_started_anew(tmp_path: Path) -> None:
    site = guarded(tmp_path)
    site.lease("mail1", "boot-1")
    site.order()
    site.tick()
    site.mark("mail1", "store_revocation", "boot-1")
    site.coordinator.own("mail2", 2, run="run-1")
    site.tick(3)
    assert site.wall.held == set(ADDRESSES["mail1"]) and site.admitted() == set(ADDRESSES["mail2"])
    site.lease("mail1", "boot-2")
    assert site.tick() == ["drop none", "expire 10.1.3.11 10.1.3.12"]
    access = site.access()
    assert access is not None and access.dropped == ()


def test_a_restarted_daemon_finds_what_to_drop(tmp_path: Path) -> None:
    site = guarded(tmp_path)
    site.mark("mail1", "watchdog", "boot-1")
    site.coordinator.own("mail2", 2)
    site.lease("mail1", "boot-1")
    site.tick()
    site.begin()
    assert "drop 10.1.3.11 10.1.3.12" in site.tick()


def test_a_host_that_is_served_is_never_dropped_and_that_is_no_confirmation(tmp_path: Path) -> None:
    site = guarded(tmp_path, MX, IM)
    site.order()
    site.tick()
    assert site.wall.held == frozenset() and site.admitted() == set()
    access = site.access()
    assert access is not None and access.dropped == () and "mail1" not in access.expired


def test_a_firewall_that_fails_holds_back_the_word_but_not_the_withdrawal(tmp_path: Path) -> None:
    site = guarded(tmp_path)
    site.wall.broken = True
    site.order()
    site.tick(3)
    access = site.access()
    assert site.admitted() == set() and access is not None and access.dropped == ()
    assert len(site.log.said("not_firewall_set")) == 1
    site.wall.broken = False
    site.tick()
    access = site.access()
    assert access is not None and access.dropped == ("mail1",)


def test_a_store_is_not_ready_before_its_firewall_is_set(tmp_path: Path) -> None:
    """Its address follows that: a host that was shut out from the partner must not reach this one."""
    site = guarded(tmp_path)
    site.order()
    site.begin()
    site.wall.broken = True
    assert not site.store.tick()
    site.wall.broken = False
    assert site.store.tick() and site.wall.held


def test_what_the_firewall_holds_is_looked_at_now_and_then(tmp_path: Path) -> None:
    site = guarded(tmp_path)
    site.order()
    site.tick()
    looks = site.wall.looks
    site.wall.held = frozenset()  # somebody flushed the rules
    site.tick(int(LOOK_EVERY) - 2)
    assert site.wall.looks == looks
    assert "drop 10.1.3.11 10.1.3.12" in site.tick(4)


def test_a_firewall_that_can_no_longer_be_read_takes_the_word_back(tmp_path: Path) -> None:
    site = guarded(tmp_path)
    site.order()
    site.tick()
    site.wall.broken = True
    site.tick(int(LOOK_EVERY) + 2)
    access = site.access()
    assert access is not None and access.dropped == ()


def test_a_host_that_gives_it_up_of_its_own_accord_is_not_dropped(tmp_path: Path) -> None:
    site = guarded(tmp_path)
    site.coordinator.revoke(1)
    site.tick()
    assert site.wall.held == frozenset() and site.admitted() == set()


def test_an_order_of_another_run_drops_nobody(tmp_path: Path) -> None:
    site = guarded(tmp_path)
    site.order()
    site.coordinator.revoke(1, run="run-2")
    site.tick()
    assert site.wall.held == frozenset()


def test_an_order_that_ended_without_a_proof_drops_nobody(tmp_path: Path) -> None:
    site = guarded(tmp_path)
    site.order()
    site.mark("mail1", "operator", "boot-1", state=MarkState.OPEN)
    site.tick()
    assert site.wall.held == frozenset()

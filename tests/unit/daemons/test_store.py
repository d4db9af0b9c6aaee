"""The store daemon: who is admitted, in which order, and what it says of it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from edges import IM, MX, Clock, Coordinator, Lines
from holdfast.adapters.nfsd import Client
from holdfast.core import keys
from holdfast.core.model import Access, Identity
from holdfast.core.ports import Unavailable
from holdfast.daemons import store as daemon
from holdfast.daemons.store import Config, Store
from hypothesis import given, settings
from hypothesis import strategies as st

ADDRESSES = {"mail1": ("10.1.3.11", "10.1.3.12"), "mail2": ("10.2.3.11",)}


class Nfs:
    """Exports and clients of one server, in the order in which they were changed."""

    def __init__(self) -> None:
        self.exported: set[tuple[str, str]] = set()
        self.options: dict[tuple[str, str], str] = {}
        self.connected: list[Client] = []
        self.did: list[str] = []
        self.runs = True
        self.broken = ""

    def table(self) -> set[tuple[str, str]]:
        return set(self.exported)

    def _enter(self, what: str) -> None:
        if self.broken and what.startswith(self.broken):
            raise Unavailable(f"{what} fails")
        self.did.append(what)

    def grant(self, path: str, client: str, with_options: str) -> None:
        self._enter(f"grant {Path(path).name} {client}")
        self.exported.add((path, client))
        self.options[path, client] = with_options

    def withdraw(self, path: str, client: str) -> None:
        self._enter(f"withdraw {Path(path).name} {client}")
        self.exported.discard((path, client))

    def serving(self) -> bool:
        return self.runs

    def expire(self, addresses: Sequence[str]) -> int:
        self._enter(f"expire {' '.join(addresses)}".strip())
        gone = [c for c in self.connected if c.address in addresses]
        self.connected = [c for c in self.connected if c not in gone]
        return len(gone)


class MountPoint(type(Path())):  # type: ignore[misc]
    """A folder that passes for a mount point while `mounted` says so."""

    mounted = True

    def is_mount(self) -> bool:
        return MountPoint.mounted


class Site:
    """One store and the rest of the world."""

    def __init__(self, root: Path, *identities: Identity) -> None:
        self.clock = Clock()
        self.coordinator = Coordinator(self.clock)
        self.nfs = Nfs()
        self.log = Lines()
        self.root = root
        self.identities = identities or (MX,)
        self.begin()

    def begin(self) -> None:
        """A start of the daemon."""
        made = Config(
            store="store1",
            root=MountPoint(self.root),
            tick=1.0,
            coordinator=self.coordinator,  # type: ignore[arg-type]
            identities={i.name: i for i in self.identities},
            hosts=ADDRESSES,
            mail_owner=(os.getuid(), os.getgid()),
        )
        self.store = Store(
            made,
            self.coordinator,
            self.nfs,  # type: ignore[arg-type]
            self.nfs,  # type: ignore[arg-type]
            self.clock,
            self.log,
        )

    def tick(self, times: int = 1) -> list[str]:
        """What the daemon did to the NFS server."""
        self.nfs.did.clear()
        for _ in range(times):
            self.clock.sleep(1.0)
            self.store.tick()
        return list(self.nfs.did)

    def admitted(self, identity: Identity = MX) -> set[str]:
        return {client for path, client in self.nfs.exported if path == str(self.root / identity.name)}

    def access(self, identity: Identity = MX) -> Access | None:
        value = self.coordinator.data.get(keys.access("store1", identity.name))
        return None if value is None else Access.from_json(value)


@pytest.fixture(autouse=True)
def mounted() -> None:
    MountPoint.mounted = True


@pytest.fixture
def site(tmp_path: Path) -> Site:
    if os.getuid() != 0:
        pytest.skip("folders are given to other users: root only")
    return Site(tmp_path)


def test_a_relay_gets_a_queue_and_no_mailboxes(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("folders are given to other users: root only")
    site = Site(tmp_path, dataclasses.replace(MX, kind="relay", domains=()))
    site.coordinator.own("mail1", 1)
    site.tick()
    assert site.admitted() == set(ADDRESSES["mail1"])
    assert [p.name for p in (site.root / MX.name).iterdir()] == ["queue"]


def test_the_owner_is_admitted_with_all_of_its_addresses(site: Site) -> None:
    site.coordinator.own("mail1", 1)
    site.tick()
    assert site.admitted() == set(ADDRESSES["mail1"])
    access = site.access()
    assert access is not None
    assert (access.epoch, access.run, access.admitted, access.expired) == (1, "deploy", "mail1", ("mail2",))
    assert all("no_root_squash" in o and "fsid=" in o and "mountpoint=" in o for o in site.nfs.options.values())
    assert (site.root / MX.name / "queue").is_dir()
    assert (site.root / MX.name / "mail").stat().st_mode & 0o777 == 0o700


def test_nothing_is_done_or_said_twice(site: Site) -> None:
    site.coordinator.own("mail1", 1)
    site.tick()
    events = len(site.log.events)
    assert site.tick(10) == []
    assert len(site.log.events) == events
    assert site.coordinator.puts == [keys.access("store1", MX.name)]


def test_nobody_is_admitted_before_there_is_an_owner(site: Site) -> None:
    site.tick(3)
    assert site.nfs.exported == set()
    access = site.access()
    assert access is not None
    assert (access.epoch, access.admitted) == (0, None)
    site.coordinator.own("mail1", 1)
    site.tick()
    assert site.admitted() == set(ADDRESSES["mail1"])


def test_nothing_is_exported_before_the_first_read(site: Site) -> None:
    site.coordinator.own("mail1", 1)
    site.coordinator.reachable = False
    assert site.tick(3) == []
    assert len(site.log.said("coordinator_unreachable")) == 1
    site.coordinator.reachable = True
    site.tick()
    assert site.admitted() == set(ADDRESSES["mail1"])


def test_a_store_is_not_ready_before_its_first_read(site: Site) -> None:
    """Its address follows that: clients would be told that what they hold open is gone."""
    site.coordinator.own("mail1", 1)
    site.coordinator.reachable = False
    assert not site.store.tick()
    site.coordinator.reachable = True
    assert site.store.tick()
    assert site.admitted() == set(ADDRESSES["mail1"])


def test_the_daemon_says_that_it_is_up_when_a_look_has_done_all(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [False, False, True]
    left: list[int] = []
    nothing: Any = SimpleNamespace(close=None)
    for name in ("Exports", "Clients", "Firewall", "woken_by"):
        monkeypatch.setattr(daemon, name, lambda *_: None)
    monkeypatch.setattr(daemon, "Store", lambda *_: SimpleNamespace(tick=lambda: looks.pop(0)))
    monkeypatch.setattr(daemon.service, "run", lambda *_, **__: left.append(len(looks)))
    daemon.start(dataclasses.replace(site.store._settings, tick=0.0, coordinator=nothing))
    assert left == [0]


def test_without_the_coordinator_the_owner_goes_on(site: Site) -> None:
    site.coordinator.own("mail1", 1)
    site.tick()
    site.coordinator.reachable = False
    assert site.tick(5) == []
    assert site.admitted() == set(ADDRESSES["mail1"])
    site.coordinator.reachable = True
    site.tick()
    assert [e for e, _ in site.log.events if e.startswith("coordinator")] == [
        "coordinator_unreachable",
        "coordinator_reached",
    ]


class TestTakeover:
    def begin(self, site: Site) -> None:
        site.coordinator.own("mail1", 1)
        site.tick()
        site.nfs.connected = [Client("1", "10.1.3.11", "mail1")]

    def test_withdrawn_then_expired_then_told(self, site: Site) -> None:
        self.begin(site)
        site.coordinator.revoke(1, proved="mail1")
        did = site.tick()
        assert did == [
            f"withdraw {MX.name} 10.1.3.11",
            f"withdraw {MX.name} 10.1.3.12",
            "expire 10.1.3.11 10.1.3.12 10.2.3.11",
        ]
        access = site.access()
        assert access is not None
        assert (access.epoch, access.run, access.admitted, access.expired) == (1, "run-1", None, ("mail1", "mail2"))
        assert site.nfs.connected == []

    def test_the_next_owner(self, site: Site) -> None:
        self.begin(site)
        site.coordinator.revoke(1, proved="mail1")
        site.tick()
        site.coordinator.own("mail2", 2, run="run-1")
        did = site.tick()
        assert did[-1] == f"grant {MX.name} 10.2.3.11"
        access = site.access()
        assert access is not None
        assert (access.epoch, access.admitted) == (2, "mail2")
        assert site.tick(5) == []

    @pytest.mark.parametrize("broken", ["withdraw", "expire"])
    def test_what_was_not_done_is_not_told(self, site: Site, broken: str) -> None:
        self.begin(site)
        site.coordinator.revoke(1, proved="mail1")
        site.nfs.broken = broken
        site.tick(3)
        access = site.access()
        assert access is not None
        assert access.admitted == "mail1"
        assert len(site.log.said("not_settled")) == 1
        site.nfs.broken = ""
        site.tick()
        access = site.access()
        assert access is not None
        assert access.admitted is None

    def test_a_failed_expiry_admits_nobody_else(self, site: Site) -> None:
        self.begin(site)
        site.coordinator.own("mail2", 2)
        site.nfs.broken = "expire"
        site.tick(2)
        assert site.admitted() == set()

    def test_a_word_that_did_not_get_through_is_said_again(self, site: Site) -> None:
        self.begin(site)
        site.coordinator.revoke(1, proved="mail1")
        put = site.coordinator.put
        site.coordinator.put = lambda *_: (_ for _ in ()).throw(Unavailable("lost"))  # type: ignore[method-assign]
        site.tick()
        site.coordinator.put = put  # type: ignore[method-assign]
        site.tick()
        access = site.access()
        assert access is not None
        assert access.admitted is None


class TestTwoIdentitiesOnOneHost:
    @pytest.fixture
    def both(self, tmp_path: Path) -> Site:
        site = Site(tmp_path, MX, IM)
        for identity in (MX, IM):
            site.coordinator.own("mail1", 1, identity)
        site.tick()
        return site

    def test_a_host_that_serves_another_identity_keeps_its_state(self, both: Site) -> None:
        both.coordinator.revoke(1)
        did = both.tick()
        assert "expire 10.2.3.11" in did
        access = both.access()
        assert access is not None
        assert (access.admitted, access.expired) == (None, ("mail2",))
        assert both.admitted(IM) == set(ADDRESSES["mail1"])

    def test_unless_it_is_proved_to_be_off(self, both: Site) -> None:
        both.coordinator.revoke(1, proved="mail1")
        assert "expire 10.1.3.11 10.1.3.12 10.2.3.11" in both.tick()

    def test_an_old_proof_is_none(self, both: Site) -> None:
        """mail1 was off in the run of epoch 1; by now it is back and serves the other identity."""
        both.coordinator.revoke(1, proved="mail1")
        both.tick()
        both.coordinator.own("mail2", 2, MX, run="run-1")
        both.tick()
        both.begin()
        both.coordinator.data.pop(keys.access("store1", MX.name))
        assert not any("10.1.3.11" in d for d in both.tick() if d.startswith("expire"))


class TestOneThatCannotBeServed:
    """The folder of one identity is gone, on a store that another member has just taken over."""

    @pytest.fixture
    def both(self, tmp_path: Path) -> Site:
        site = Site(tmp_path, MX, IM)
        for identity in (MX, IM):
            site.coordinator.own("mail1", 1, identity)
        site.tick()
        (site.root / MX.name).rename(site.root / "away")
        site.nfs.exported.clear()
        site.begin()
        return site

    def test_the_others_are_and_the_store_is_up(self, both: Site) -> None:
        both.clock.sleep(1.0)
        assert both.store.tick()
        assert both.admitted() == set() and both.admitted(IM) == set(ADDRESSES["mail1"])

    def test_it_is_named_until_it_is_served(self, both: Site) -> None:
        before = both.access()
        both.coordinator.puts.clear()
        both.tick(5)
        access, other = both.access(), both.access(IM)
        assert before is not None and access is not None and other is not None
        assert "is gone" in access.error and other.error == ""
        assert dataclasses.replace(access, error="", time=before.time) == before, "what was done last stays said"
        assert both.coordinator.puts == [keys.access("store1", MX.name)], "once"
        (alert,) = both.log.said("not_settled")
        assert (alert["identity"], alert["level"]) == (MX.name, "alert")
        (both.root / "away").rename(both.root / MX.name)
        both.tick()
        access = both.access()
        assert access is not None
        assert access.error == "" and both.admitted() == set(ADDRESSES["mail1"])

    def test_a_word_that_did_not_get_through_is_said_again(self, both: Site) -> None:
        put = both.coordinator.put
        both.coordinator.put = lambda *_: (_ for _ in ()).throw(Unavailable("lost"))  # type: ignore[method-assign]
        both.tick()
        both.coordinator.put = put  # type: ignore[method-assign]
        both.tick()
        access = both.access()
        assert access is not None and access.error


class TestExports:
    def test_gone_after_a_restart_of_the_server(self, site: Site) -> None:
        site.coordinator.own("mail1", 1)
        site.tick()
        site.nfs.exported.clear()
        assert site.tick() == [f"grant {MX.name} 10.1.3.11", f"grant {MX.name} 10.1.3.12"]
        assert site.tick() == []

    def test_those_of_nobody_below_the_root_are_removed(self, site: Site) -> None:
        site.coordinator.own("mail1", 1)
        site.nfs.exported |= {
            (str(site.root), "10.1.3.11"),
            (str(site.root / "old.example"), "10.2.3.11"),
            ("/srv/else", "10.2.3.11"),
            (str(site.root / MX.name), "10.9.9.9"),
        }
        site.tick()
        assert site.admitted() == set(ADDRESSES["mail1"])
        assert {path for path, _ in site.nfs.exported} == {"/srv/else", str(site.root / MX.name)}

    def test_granted_anew_with_the_right_options_at_a_start(self, site: Site) -> None:
        site.coordinator.own("mail1", 1)
        site.tick()
        site.nfs.options.clear()
        site.begin()
        site.tick()
        assert len(site.nfs.options) == 2

    def test_not_without_a_server(self, site: Site) -> None:
        site.coordinator.own("mail1", 1)
        site.nfs.runs = False
        site.tick(3)
        access = site.access()
        assert access is not None
        assert (access.epoch, access.admitted, access.error) == (0, None, "the NFS server does not run")
        site.nfs.runs = True
        site.tick()
        access = site.access()
        assert access is not None
        assert (access.epoch, access.admitted, access.error) == (1, "mail1", "")


class TestFolders:
    def test_not_without_the_disk(self, site: Site) -> None:
        MountPoint.mounted = False
        site.coordinator.own("mail1", 1)
        site.tick(2)
        assert site.nfs.exported == set()
        access = site.access()
        assert access is not None
        assert access.admitted is None and "no mount point" in access.error
        assert not (site.root / MX.name).exists()
        assert "no mount point" in str(site.log.said("not_settled")[0]["detail"])

    def test_an_identity_that_was_served_is_not_made_anew(self, site: Site) -> None:
        """Its folder is gone: a wrong disk or a lost one. Empty mailboxes would hide that."""
        site.coordinator.own("mail1", 1)
        site.tick()
        for folder in ("queue", "mail", ""):
            (site.root / MX.name / folder).rmdir()
        site.nfs.exported.clear()
        site.begin()
        site.tick(2)
        assert site.admitted() == set()
        assert "gone" in str(site.log.said("not_settled")[0]["detail"])

    def test_files_that_are_there_stay_as_they_are(self, site: Site) -> None:
        folder = site.root / MX.name / "mail"
        folder.mkdir(parents=True)
        folder.chmod(0o750)
        (folder / "x").write_text("x")
        site.coordinator.own("mail1", 1)
        site.tick()
        assert folder.stat().st_mode & 0o777 == 0o750
        assert (folder / "x").read_text() == "x"


def test_an_owner_whose_address_is_not_known_here(site: Site) -> None:
    site.coordinator.own("mail9", 4)
    site.tick(2)
    assert site.nfs.exported == set()
    assert site.access() is None
    assert "mail9" in str(site.log.said("not_settled")[0]["detail"])


event = st.sampled_from(["own1", "own2", "revoke", "cut", "join", "nfs", "restart", "tick", "break", "mend"])


@settings(max_examples=150, deadline=None)
@given(events=st.lists(event, max_size=25))
def test_never_two_hosts_and_never_somebody_else(tmp_path_factory: pytest.TempPathFactory, events: list[str]) -> None:
    """Whatever happens: one host's addresses at most, and none but an owner's as of the last successful look."""
    if os.getuid() != 0:
        pytest.skip("folders are given to other users: root only")
    site = Site(tmp_path_factory.mktemp("store"))
    epoch, allowed = 0, set[str]()
    for what in events:
        match what:
            case "own1" | "own2":
                epoch += 1
                site.coordinator.own(f"mail{what[-1]}", epoch)
            case "revoke":
                site.coordinator.revoke(epoch, proved="mail1")
            case "cut" | "join":
                site.coordinator.reachable = what == "join"
            case "nfs":
                site.nfs.exported.clear()
            case "restart":
                site.begin()
            case "break":
                site.nfs.broken = "expire"
            case "mend":
                site.nfs.broken = ""
        site.tick()
        if site.coordinator.reachable:
            owner = site.coordinator.data.get(keys.owner(MX.name))
            run = site.coordinator.data.get(keys.takeover(MX.name))
            revoked = owner is None or (run is not None and run["revoke_epoch"] == owner["epoch"])
            allowed = set() if revoked or owner is None else set(ADDRESSES[owner["host"]])
        assert site.admitted() <= allowed
        access = site.access()
        if access is not None and access.admitted is None and site.coordinator.reachable and not site.nfs.broken:
            assert site.admitted() == set()

"""What a store opens to transfer hosts: spools and records, whoever owns identities, and nothing else (R3.1, R3.5)."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
import yaml
from edges import IM, MX
from holdfast.core.model import Identity
from holdfast.daemons import store as daemon
from holdfast.daemons.config import ConfigError
from holdfast.daemons.store import Store
from test_store import MountPoint, Site

RELAY = Identity("relay.dc1.alpha.example", "203.0.113.21", "relay", (), "relay1", ("mail1",), "store1")
T1, T2 = "10.1.3.61", "10.1.3.62"


def begin(site: Site, **carriers: tuple[str, ...]) -> None:
    """A start of the daemon with transfer hosts."""
    made = dataclasses.replace(site.store._settings, carriers=carriers, carrier_owner=(os.getuid(), os.getgid()))
    site.store = Store(made, site.coordinator, site.nfs, site.nfs, site.clock, site.log)  # type: ignore[arg-type]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path, MX, IM, RELAY)
    begin(made, transfer1=(T1,), transfer2=(T2,))
    return made


def admitted(site: Site) -> set[tuple[str, str]]:
    return {(str(Path(p).relative_to(site.root)), c) for p, c in site.nfs.exported}


def test_spools_once_their_owner_has_made_them_and_the_records(site: Site) -> None:
    for identity in (MX, IM, RELAY):
        site.coordinator.own("mail1", 1, identity)
    site.tick()
    assert {(p, c) for p, c in admitted(site) if c in (T1, T2)} == {("transfer", T1), ("transfer", T2)}
    assert (site.root / "transfer").stat().st_mode & 0o777 == 0o750
    for identity in (MX, IM, RELAY):
        (site.root / identity.name / "spool").mkdir()
    site.tick()
    spools = {(f"{i.name}/spool", c) for i in (MX, IM) for c in (T1, T2)}
    assert {(p, c) for p, c in admitted(site) if c in (T1, T2)} == spools | {("transfer", T1), ("transfer", T2)}
    assert site.tick(3) == []


def test_a_change_of_owner_leaves_spools_open_and_closes_the_rest(site: Site) -> None:
    site.coordinator.own("mail1", 1)
    site.tick()
    (site.root / MX.name / "spool").mkdir()
    site.tick()
    site.coordinator.revoke(1)
    site.tick()
    assert {p for p, _ in admitted(site)} == {f"{MX.name}/spool", "transfer"}


def test_root_of_a_transfer_host_is_nobody_and_each_export_has_its_own_name(site: Site) -> None:
    site.coordinator.own("mail1", 1)
    site.tick()
    (site.root / MX.name / "spool").mkdir()
    site.tick()
    options = site.nfs.options
    own, spool = options[str(site.root / MX.name), "10.1.3.11"], options[str(site.root / MX.name / "spool"), T1]
    assert ",root_squash," in spool and ",no_root_squash," in own
    assert spool.partition("fsid=")[2] != own.partition("fsid=")[2]


def test_who_carries_no_more_is_shut_out(site: Site) -> None:
    site.tick()
    begin(site, transfer1=(T1,))
    site.nfs.exported.add((str(site.root / "transfer"), "10.9.9.9"))
    site.tick()
    assert admitted(site) == {("transfer", T1)}
    begin(site)
    site.tick()
    assert admitted(site) == set()


def test_without_the_disk_nothing_is_made(site: Site) -> None:
    MountPoint.mounted = False
    try:
        site.tick()
    finally:
        MountPoint.mounted = True
    assert admitted(site) == set() and not (site.root / "transfer").exists()


def test_not_with_a_service_from_elsewhere(tmp_path: Path) -> None:
    data = {
        "store": "nas",
        "identities": {},
        "hosts": {},
        "carriers": {"transfer1": [T1]},
        "coordinator": {"endpoints": ["http://127.0.0.1:1"], "ca": "/ca", "cert": "/c", "key": "/k"},
    }
    file = tmp_path / "store.yml"
    file.write_text(yaml.safe_dump(data))
    assert daemon.load(str(file)).carriers == {"transfer1": (T1,)}
    data["external"] = {"address": "192.0.2.9", "program": "/p", "host": "door1"}
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError, match="carriers"):
        daemon.load(str(file))

"""What programs and files of a mail host say, read back."""

from __future__ import annotations

from pathlib import Path

from holdfast.adapters.drbd import Drbd
from holdfast.adapters.mail_host import mount_traces, parse_versions, store_traces, tree_hash, unit_traces

UNITS = """\
holdfast-dovecot@mx.alpha.example.service loaded active   running Dovecot of the identity mx.alpha.example
holdfast-postfix@mx.alpha.example.service loaded inactive dead    Postfix of the identity mx.alpha.example
holdfast-postfix@im.alpha.example.service loaded deactivating stop-sigterm Postfix of the identity im.alpha.example
"""
MOUNTS = """\
25 1 98:0 / / rw,relatime shared:1 - ext4 /dev/root rw
61 25 0:45 / /srv/holdfast/mx.alpha.example rw,nosuid,nodev - nfs4 10.1.3.21:/srv/store/mx.alpha.example rw,vers=4.2
"""


def test_units_with_something_left() -> None:
    assert unit_traces(UNITS) == [
        ("mx.alpha.example", "holdfast-dovecot@mx.alpha.example.service"),
        ("im.alpha.example", "holdfast-postfix@im.alpha.example.service"),
    ]
    assert unit_traces("") == []


def test_mounts_of_identities() -> None:
    assert mount_traces(MOUNTS) == [
        ("mx.alpha.example", "10.1.3.21:/srv/store/mx.alpha.example at /srv/holdfast/mx.alpha.example")
    ]


def test_versions_of_what_is_installed() -> None:
    assert parse_versions("postfix 3.10.5-1+deb13u1\npostfix-lmdb \n\n") == {"postfix": "3.10.5-1+deb13u1"}


def test_the_hash_tells_another_core(tmp_path: Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core/a.py").write_text("x = 1\n")
    before = tree_hash(tmp_path)
    (tmp_path / "core/a.pyc").write_text("compiled")
    assert tree_hash(tmp_path) == before
    (tmp_path / "core/a.py").write_text("x = 2\n")
    changed = tree_hash(tmp_path)
    (tmp_path / "core/a.py").rename(tmp_path / "core/b.py")
    assert len({before, changed, tree_hash(tmp_path)}) == 3


def test_what_of_a_store_is_there(tmp_path: Path) -> None:
    mounts = "31 25 147:0 / /srv/store rw - ext4 /dev/drbd0 rw\n32 25 0:9 / /srv/holdfast/x rw - nfs4 a:/b rw\n"
    (tmp_path / "drbd").write_text(
        "version: 8.4.11\n 0: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n"
    )
    found = store_traces({"nfs-server.service": "active"}, mounts, Drbd("store1", proc=tmp_path / "drbd"))
    assert found[:2] == ["nfs-server.service", "/dev/drbd0 at /srv/store"] and "Primary" in found[2]
    (tmp_path / "drbd").write_text(
        "version: 8.4.11\n 0: cs:Connected ro:Secondary/Primary ds:UpToDate/UpToDate C r-----\n"
    )
    assert store_traces({"nfs-server.service": "failed"}, "", Drbd("store1", proc=tmp_path / "drbd")) == []
    assert store_traces({}, "", Drbd("store1", proc=tmp_path / "none")) == []

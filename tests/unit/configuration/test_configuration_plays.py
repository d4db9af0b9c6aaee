"""From a deploy to the store, and from there back to a host: playbooks, action plugins and modules together."""

from __future__ import annotations

import gzip
import re
import stat
from pathlib import Path

import pytest
from machines import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def changed(said: str) -> int:
    return sum(map(int, re.findall(r"changed=(\d+)", said)))


def test_a_deploy_stores_each_host_once(site: Site) -> None:
    said = site.deploy()
    assert [len(site.versions(h)) for h in ("mail1", "mail2", "door")] == [1, 1, 0], said
    folder = site.store / ".configuration"
    assert [stat.S_IMODE(p.stat().st_mode) for p in (folder, folder / "mail1")] == [0o700, 0o700]
    (archive,) = (folder / "mail1").iterdir()
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    data = gzip.decompress(archive.read_bytes())
    assert b"a = 1" in data and b"secret-of-then" not in data
    # The same once more: nothing is stored and nothing has changed.
    again = site.deploy()
    assert changed(again) == 0, again
    assert len(site.versions("mail1")) == 1


def test_a_version_for_each_change_and_no_more_than_are_kept(site: Site) -> None:
    for n in range(4):
        assert changed(site.deploy("--limit", "mail1", setting=f"a = {n}", stored_configuration_keep=2))
    assert len(site.versions("mail1")) == 2
    assert site.versions("mail2") == []


def test_check_mode_stores_nothing_and_says_what_it_would(site: Site) -> None:
    site.deploy()
    assert changed(site.deploy("--check", setting="a = 2")) > 0
    assert len(site.versions("mail1")) == 1


def test_a_run_that_leaves_something_out_is_no_version(site: Site) -> None:
    """With other tags roles are missing; switched off, nothing is noted."""
    for words, values in ((("--tags", "x"), {}), (("--skip-tags", "x"), {}), ((), {"stored_configuration": False})):
        site.deploy(*words, **values)
        assert not (site.store / ".configuration").exists()


def test_a_run_of_some_roles_keeps_what_was_stored_of_the_others(site: Site) -> None:
    site.deploy("--limit", "mail1")
    site.deploy("--limit", "mail1", roles=("mail",), whole=False, setting="a = 2")
    said = site.show("-e", "host=mail1", "-e", f"since={site.versions('mail1')[0].split('.')[0]}")
    assert "+a = 2" in said and "-base:" not in said


def test_a_store_that_is_away_is_told_and_stops_no_deploy(site: Site) -> None:
    site.store.rmdir()
    said = " ".join(site.deploy().split())
    line = "store nas: the configuration of mail1, mail2 is not stored (door: does not serve it); the next deploy"
    assert line in said
    assert site.read("mail1", "main.cf") == "a = 1\n"
    site.store.write_text("no folder")
    site.store.unlink()
    site.store.mkdir()
    (site.store / ".configuration").write_text("no folder")
    said = " ".join(site.deploy().split())
    assert "is not stored (door: " in said and "is the store well?" in said
    (site.store / ".configuration").unlink()
    site.deploy()
    assert len(site.versions("mail1")) == 1


def test_a_host_without_a_store(site: Site) -> None:
    said = " ".join(site.deploy(external_stores={}).split())
    assert "The configuration of no host is stored" in said


def test_a_host_is_as_it_was_then_with_the_secrets_of_now(site: Site) -> None:
    site.deploy("--limit", "mail1")
    then = site.versions("mail1")[0].split(".")[0]
    site.deploy("--limit", "mail1", setting="a = 2")
    rotated = {"setting": "a = 3", "tsig": "secret-of-now"}
    said = site.rebuild("mail1", **rotated)
    assert site.read("mail1", "main.cf") == "a = 2\n"
    assert site.read("mail1", "key") == "secret-of-now\n"
    assert site.read("mail1", "knot.conf") == "zone a = 2; key secret-of-now;\n"
    assert "(the newest)" in said and "packages: openssl, postfix" in said
    said = site.rebuild("mail1", then, **rotated)
    assert site.read("mail1", "main.cf") == "a = 1\n"
    assert f"mail1 as it was deployed at {then} (NOT the newest" in said
    # What a rebuild puts there is no new version.
    assert len(site.versions("mail1")) == 2


def test_lists_and_differences(site: Site) -> None:
    site.deploy()
    site.deploy("--limit", "mail1", setting="a = 2")
    old, new = (name.split(".")[0] for name in site.versions("mail1"))
    said = site.show()
    assert f"mail1, store nas, 2 versions: {new}" in said and "mail2, store nas, 1 versions" in said
    assert f"2 versions: {old} {new}" in site.show("-e", "host=mail1")
    said = site.show("-e", "host=mail1", "-e", f"since={old}")
    assert "-a = 1" in said and "+a = 2" in said and "main.cf" in said
    # What was in force later is the same.
    assert "nothing" in site.show("-e", "host=mail1", "-e", "since=20990101T000000Z")


def test_what_cannot_be_shown(site: Site) -> None:
    said = " ".join(site.show("-e", "host=mail9", fails=True).split())
    assert "host is mail9; give -e host=NAME with one of: door, mail1, mail2" in said
    said = " ".join(site.show("-e", "host=mail1", "-e", "since=20200101T000000Z", fails=True).split())
    assert "door: mail1: nothing is stored of it; deploy it once by playbooks/site.yml. Nothing was changed" in said


def test_a_damaged_archive_is_named(site: Site) -> None:
    site.deploy("--limit", "mail1")
    (archive,) = (site.store / ".configuration/mail1").iterdir()
    archive.write_bytes(b"damaged")
    said = " ".join(site.show("-e", "host=mail1", "-e", "since=20990101T000000Z", fails=True).split())
    assert "is damaged" in said and "take another version" in said

"""From a deploy to the store, and from there back to a host: playbooks, action plugins and modules together."""

from __future__ import annotations

import gzip
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from machines import Site


def changed(said: str) -> int:
    return sum(map(int, re.findall(r"changed=(\d+)", said)))


def words(said: str) -> str:
    return " ".join(said.split())


@dataclass
class Story:
    """Deploys of one site, what each said, and how many versions there were of mail1 then."""

    site: Site
    said: dict[str, str] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)

    def tell(self, chapter: str, said: str) -> None:
        self.said[chapter], self.versions[chapter] = said, len(self.site.versions("mail1"))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    site = Site(tmp_path_factory.mktemp("story"))
    told = Story(site)
    told.tell("first", site.deploy())
    told.tell("again", site.deploy())
    told.tell("check", site.deploy("--check", setting="a = 2"))
    told.tell("some", site.deploy("--limit", "mail1", roles=("mail",), whole=False, setting="a = 2"))
    return told


def test_a_deploy_stores_each_host_once(story: Story) -> None:
    assert [len(story.site.versions(h)) for h in ("mail2", "door")] == [1, 0]
    folder = story.site.store / ".configuration"
    assert [stat.S_IMODE(p.stat().st_mode) for p in (folder, folder / "mail1")] == [0o700, 0o700]
    (archive,) = (folder / "mail2").iterdir()
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    data = gzip.decompress(archive.read_bytes())
    assert b"a = 1" in data and b"secret-of-then" not in data


def test_an_unchanged_deploy_stores_nothing_and_changes_nothing(story: Story) -> None:
    assert changed(story.said["again"]) == 0, story.said["again"]
    assert (story.versions["first"], story.versions["again"]) == (1, 1)


def test_check_mode_says_what_it_would_and_stores_nothing(story: Story) -> None:
    assert changed(story.said["check"]) == 3  # the role on both hosts, and the store
    assert story.versions["check"] == 1


def test_a_run_of_some_roles_keeps_what_was_stored_of_the_others(story: Story) -> None:
    assert story.versions["some"] == 2
    old, new = (name.split(".")[0] for name in story.site.versions("mail1"))
    said = story.site.show("-e", "host=mail1", "-e", f"since={old}")
    assert "-a = 1" in said and "+a = 2" in said and "main.cf" in said
    assert "base: packages" not in said
    said = story.site.show()
    assert f"mail1, store nas, 2 versions: {new}" in said and "mail2, store nas, 1 versions" in said


def test_a_host_is_as_it_was_then_with_the_secrets_of_now(story: Story) -> None:
    site = story.site
    then = site.versions("mail1")[0].split(".")[0]
    rotated = {"setting": "a = 3", "tsig": "secret-of-now"}
    said = site.rebuild("mail1", **rotated)
    assert "(the newest)" in said and "packages: openssl, postfix" in said
    found = [site.read("mail1", name) for name in ("main.cf", "key", "knot.conf")]
    assert found == ["a = 2\n", "secret-of-now\n", "zone a = 2; key secret-of-now;\n"]
    said = site.rebuild("mail1", then, **rotated)
    assert f"mail1 as it was deployed at {then} (NOT the newest" in said
    assert site.read("mail1", "main.cf") == "a = 1\n"
    assert len(site.versions("mail1")) == 2  # what a rebuild puts there is no new version


def test_what_cannot_be_shown(story: Story) -> None:
    said = words(story.site.show("-e", "host=mail9", fails=True))
    assert "host is mail9; give -e host=NAME with one of: door, mail1, mail2" in said
    said = words(story.site.show("-e", "host=door", "-e", "since=20200101T000000Z", fails=True))
    assert "nothing is stored of it; deploy it once by playbooks/site.yml" in said


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_run_that_leaves_something_out_is_no_version(site: Site) -> None:
    """With other tags roles are missing; switched off, nothing is noted."""
    site.deploy("--skip-tags", "x")
    site.deploy(stored_configuration=False)
    assert not (site.store / ".configuration").exists()


def test_a_store_that_is_away_is_told_and_stops_no_deploy(site: Site) -> None:
    site.store.rmdir()
    said = words(site.deploy())
    line = "store nas: the configuration of mail1, mail2 is not stored (door: does not serve it); the next deploy"
    assert line in said
    assert site.read("mail1", "main.cf") == "a = 1\n"
    site.store.mkdir()
    (site.store / ".configuration").write_text("no folder")
    said = words(site.deploy())
    assert "is not stored (door: " in said and "is the store well?" in said
    (site.store / ".configuration").unlink()
    site.deploy()
    assert len(site.versions("mail1")) == 1


def test_a_host_without_a_store(site: Site) -> None:
    assert "The configuration of no host is stored" in words(site.deploy(external_stores={}))

"""From a deploy to the store, and from there back to a host: playbooks, action plugins and modules together."""

from __future__ import annotations

import gzip
import re
import shutil
import stat
from dataclasses import dataclass, field

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
        self.said[chapter], self.versions[chapter] = words(said), len(self.site.versions("mail1"))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    site = Site(tmp_path_factory.mktemp("story"))
    told = Story(site)
    for name in ("off", "ill"):
        (site.place / name).mkdir()
    (site.place / "ill/.configuration").write_text("no folder")
    off, away, ill = ({"external_stores": site.nas(name)} for name in ("off", "away", "ill"))
    nothing_noted = site.put(stored_configuration=False) + site.keep(**off)
    not_stored = site.keep(**off, stored_configuration=False) + site.keep(**away) + site.keep(**ill)
    no_store = site.keep(external_stores={})
    again = site.put() + site.keep()
    told.tell("first", site.run(nothing_noted + site.put() + not_stored + no_store + site.keep() + again))
    new = {"setting": "a = 2"}
    told.tell("check", site.run(site.put(**new) + site.keep(), "--check"))
    told.tell("tags", site.run(site.put(**new) + site.keep(), "--skip-tags", "x"))
    some = site.put("mail", **new) + site.keep(stored_configuration_whole=False)
    told.tell("some", site.run(some, "--limit", "mail1"))
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
    assert changed(story.said["first"]) == 5, story.said["first"]  # both roles on both hosts, and the store
    assert story.versions["first"] == 1


def test_a_store_that_is_away_is_told_and_stops_no_deploy(story: Story) -> None:
    said = story.said["first"]
    lost = "store nas: the configuration of door, mail1, mail2 is not stored (door: "
    assert f"{lost}does not serve it); the next deploy stores it" in said
    assert said.count(lost) == 2 and "is the store well?" in said


def test_a_host_without_a_store(story: Story) -> None:
    assert "The configuration of no host is stored" in story.said["first"]


def test_check_mode_says_what_it_would_and_stores_nothing(story: Story) -> None:
    assert changed(story.said["check"]) == 3  # the role on both hosts, and the store
    assert story.versions["check"] == 1


def test_a_run_that_leaves_something_out_is_no_version(story: Story) -> None:
    """With other tags roles are missing; switched off, nothing is noted."""
    assert changed(story.said["tags"]) == 2
    assert story.versions["tags"] == 1
    assert not list((story.site.place / "off").iterdir())


def test_a_run_of_some_roles_keeps_what_was_stored_of_the_others(story: Story) -> None:
    assert story.versions["some"] == 2
    old, new = (name.split(".")[0] for name in story.site.versions("mail1"))
    show = story.site.show
    nothing = show(host="door", since="20200101T000000Z")
    said = words(story.site.run(show(host="mail1", since=old) + show() + nothing, fails=True))
    assert "-a = 1" in said and "+a = 2" in said and "main.cf" in said
    assert "base: packages" not in said
    assert f"mail1, store nas, 2 versions: {new}" in said and "mail2, store nas, 1 versions" in said
    assert "nothing is stored of it; deploy it once by playbooks/site.yml" in said


def test_what_cannot_be_shown(story: Story) -> None:
    said = words(story.site.run(story.site.show(host="mail9"), fails=True))
    assert "host is mail9; give -e host=NAME with one of: door, mail1, mail2" in said


def test_a_host_is_as_it_was_then_with_the_secrets_of_now(story: Story) -> None:
    site = story.site
    then = site.versions("mail1")[0].split(".")[0]
    shutil.rmtree(site.place / "hosts")
    rotated = {"setting": "a = 3", "tsig": "secret-of-now"}
    said = words(site.run(site.rebuild("mail1", then, **rotated) + site.rebuild("mail2", **rotated) + site.keep()))
    assert f"mail1 as it was deployed at {then} (NOT the newest" in said
    assert "(the newest)" in said and "packages: openssl, postfix" in said
    for host in ("mail1", "mail2"):
        found = [site.read(host, name) for name in ("main.cf", "key", "knot.conf")]
        assert found == ["a = 1\n", "secret-of-now\n", "zone a = 1; key secret-of-now;\n"]
    assert len(site.versions("mail1")) == 2  # what a rebuild puts there is no new version

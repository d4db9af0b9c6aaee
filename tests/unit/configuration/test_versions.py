"""Which version of a host's configuration is meant, and what a new one is called."""

from __future__ import annotations

import pytest
from ansible_collections.holdfast.mail.plugins.plugin_utils import versions
from ansible_collections.holdfast.mail.plugins.plugin_utils.versions import NoSuchVersion, Version

OCTOBER, NOVEMBER = Version("20261001T120000Z", "a" * 64), Version("20261129T102500Z", "b" * 64)
KNOWN = [OCTOBER, NOVEMBER]


def test_names_of_files() -> None:
    others = [".20261001T120000Z.tar.gz.x", "notes", f"20261001T120000Z.{'A' * 64}.tar.gz"]
    assert versions.read([NOVEMBER.name, *others, OCTOBER.name]) == KNOWN
    assert NOVEMBER.seconds == 1795947900


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (None, NOVEMBER),
        ("", NOVEMBER),
        ("20261129T102500Z", NOVEMBER),
        ("20261129T102459Z", OCTOBER),
        ("20261001T120000Z", OCTOBER),
        ("20991231T000000Z", NOVEMBER),
    ],
)
def test_a_time_means_what_was_in_force_then(wanted: str | None, found: Version) -> None:
    assert versions.chosen(KNOWN, wanted) == found


@pytest.mark.parametrize(
    ("known", "wanted", "words"),
    [
        ([], None, "nothing is stored of it"),
        (KNOWN, "yesterday", "version yesterday: give a time like 20261129T102500Z"),
        (KNOWN, "20261399T000000Z", "give a time like"),
        (KNOWN, "20260101T000000Z", "the oldest that is stored is 20261001T120000Z"),
    ],
)
def test_what_is_not_there(known: list[Version], wanted: str | None, words: str) -> None:
    with pytest.raises(NoSuchVersion, match=words):
        versions.chosen(known, wanted)


def test_a_new_version_comes_behind_all_others_whatever_the_clock_says() -> None:
    assert versions.following("20261129T102501Z", KNOWN) == "20261129T102501Z"
    assert versions.following("20261129T102500Z", KNOWN) == "20261129T102501Z"
    assert versions.following("20200101T000000Z", KNOWN) == "20261129T102501Z"
    assert versions.following("20200101T000000Z", []) == "20200101T000000Z"

"""A deploy that would take a host away from what it owns is refused at once: playbooks/owners.yml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from relays import FAILED, Said, asked, play


def owned(stores: dict[str, str] | None = None, **identities: str | None) -> Said:
    def known(some: dict[str, Any]) -> Said:
        return {name: {"owner": host and {"host": host, "epoch": 3}} for name, host in some.items()}

    return {"changed": False, "identities": known(identities), "stores": known(stores or {})}


def deploy(folder: Path, relays: list[Said | None], *words: str) -> tuple[int, str]:
    return play("owners.yml", folder, relays, *words)


def test_an_owner_that_is_no_candidate_any_more(tmp_path: Path) -> None:
    """Also where the deploy leaves the relays out, and one of them is off."""
    said_by_one = owned({"store1": "store1c"}, mx="mail1", im="mail1")
    status, said = deploy(tmp_path, [None, said_by_one], "--limit", "mail2")
    assert status != 0
    assert "im is owned by mail1, which is no candidate of it any more; store1 is owned by store1c" in said
    assert "Nothing was changed. Put it back into the inventory" in said
    assert "mx is owned" not in said


def test_owners_that_are_candidates(tmp_path: Path) -> None:
    status, said = deploy(tmp_path, [None, owned({"store1": "store1b"}, mx="mail1", im=None, gone="mail9")])
    assert status == 0, said
    assert "Before the first deploy" not in said


def test_a_relay_that_knows_all_of_them_is_enough(tmp_path: Path) -> None:
    all_of_them = owned({"store1": None}, mx="mail1", im=None)
    status, said = deploy(tmp_path, [FAILED, None, all_of_them, owned({"store1": "store1c"}, mx="mail9")])
    assert status == 0, said
    assert asked(tmp_path) == ["relay1", "relay3"]
    assert "- 'relay1: /etc/holdfast/monitor.yml: No such file or directory' - 'relay2: no answer: " in said
    assert "UNREACHABLE" not in said and "epoch" not in said, "what the others said is nobody's business"


def test_one_whose_configuration_lacks_a_name_is_not(tmp_path: Path) -> None:
    old, new = owned({"store1": None}, mx="mail1"), owned({"store1": None}, mx="mail1", im="mail1")
    status, said = deploy(tmp_path, [old, new])
    assert status != 0
    assert asked(tmp_path) == ["relay1", "relay2"]
    assert "im is owned by mail1, which is no candidate of it any more" in said


def test_a_deploy_that_brings_or_mends_the_coordinator_goes_on_and_says_so(tmp_path: Path) -> None:
    status, said = deploy(tmp_path, [None, FAILED])
    assert status == 0, said
    assert "take no host out of the inventory now" in said
    assert "relay2: /etc/holdfast/monitor.yml: No such file or directory" in said


def test_first_owners_must_be_candidates(tmp_path: Path) -> None:
    """A name that is misspelt would leave the identity to its home."""
    first = json.dumps({"first_owners": {"mx": "mail1", "im": "mail1", "xm": "mail2", "store1": "store1b"}})
    status, said = deploy(tmp_path, [owned(), owned()], "-e", first)
    assert status != 0
    assert "first_owners: mail1 is no candidate of im; candidates: mail2; xm is no identity or store" in said
    assert "there are mx, im, store1. Nothing was changed" in said

"""On which store the configuration of which host lies."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.holdfast.mail.plugins.module_utils.core.checks import Inventory
from ansible_collections.holdfast.mail.plugins.plugin_utils import places
from ansible_collections.holdfast.mail.plugins.plugin_utils.places import Misplaced

STORES = {
    "store1": {"site": "dc1", "members": ["s1a", "s1b"]},
    "store2": {"site": "dc2", "members": ["s2a", "s2b"]},
    "more2": {"site": "dc2", "members": ["m2a", "m2b"]},
}
SITES = {"mail1": "dc1", "mail2": "dc2", "s2a": "dc2", "witness": "third", "gw": "hub"}


def hosts(found: places.Places) -> dict[str, list[str]]:
    return {name: place["hosts"] for name, place in found.items()}


def test_each_host_has_the_store_of_its_site() -> None:
    found = places.places(STORES, {}, SITES, {"third": "dc2"})
    assert hosts(found) == {"store1": ["mail1", "gw"], "store2": ["mail2", "s2a", "witness"]}
    assert found["store1"] == {
        "site": "dc1", "hosts": ["mail1", "gw"], "reached": ["s1a", "s1b"], "root": "/srv/store", "mounted": True,
    }  # fmt: skip


def test_a_store_from_elsewhere_keeps_what_it_has_a_folder_for() -> None:
    nas: dict[str, dict[str, Any]] = {"nas": {"site": "dc1", "manager": "door"}}
    assert places.places({}, nas, SITES, {}) == {}
    nas["nas"]["configuration"] = "/mnt/configuration"
    assert places.places({}, nas, {"mail1": "dc1"}, {}) == {
        "nas": {"site": "dc1", "hosts": ["mail1"], "reached": ["door"], "root": "/mnt/configuration", "mounted": False}
    }


def test_a_setting_that_leads_nowhere() -> None:
    for at, words in (
        (
            {"third": "hub"},
            "stored_configuration_at.third is 'hub': name a site with a store that keeps it; there are dc1, dc2",
        ),
        ({"moon": "dc1"}, "no host is in moon; leave it out"),
    ):
        with pytest.raises(Misplaced, match=words):
            places.places(STORES, {}, SITES, at)
        inventory = Inventory(
            {h: {"site": s} for h, s in SITES.items()},
            {"stores": STORES, "stored_configuration_at": at},
            {"stored_configuration_at": "group_vars/all/stores.yml"},
        )
        (mistake,) = places.check(inventory)
        assert str(mistake).startswith("group_vars/all/stores.yml: stored_configuration_at.")
        assert str(mistake).split(": ", 2)[2] in words or words in str(mistake)


def test_what_is_no_table() -> None:
    (mistake,) = places.check(Inventory({}, {"stored_configuration_at": "dc1"}))
    assert "stored_configuration_at is 'dc1': give {site without a store: a site with one}" in str(mistake)
    assert places.check(Inventory({}, {"stores": STORES})) == []


@pytest.mark.parametrize(
    ("value", "right"),
    [
        *((value, True) for value in (True, False, "no", "True", None, {})),
        *((value, False) for value in ("perhaps", "", 2, ["dc1"])),
    ],
)
def test_whether_it_is_kept_is_yes_or_no(value: object, right: bool) -> None:
    """As text, too, as -e has it. {}: not resolvable, which inventory_check has said."""
    given = {"stored_configuration": "group_vars/all/stores.yml"}
    found = places.check(Inventory({}, {"stored_configuration": value}, given))
    said = f"group_vars/all/stores.yml: stored_configuration is {value!r}: give true or false; or leave it out for true"
    assert [str(mistake) for mistake in found] == ([] if right else [said])

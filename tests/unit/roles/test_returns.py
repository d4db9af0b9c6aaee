"""Whose held mail each relay returns (R1.10), by the inventory: the two identities of a domain are of two relays."""

from __future__ import annotations

from typing import Any

from rendering import Host, inventory

ENDS = {"archive_after": 86400}


def relays(**endings: Any) -> dict[str, Any]:
    """Of a relay host of the inventory `full`, under what its identities say of `no_candidate`."""
    values = inventory("full")
    for identity in values["identities"].values():
        if identity["kind"] in endings:
            identity["no_candidate"] = endings[identity["kind"]]
    settings = Host("monitor", "sjc-relay1", values).value("__monitor_return_settings")
    return {name: one.get("identities") for name, one in settings["relays"].items()}


def test_each_relay_returns_mail_of_its_own_side() -> None:
    values = inventory("full")["identities"]
    found = relays(internet=ENDS, intranet=ENDS)
    assert found
    for relay, names in found.items():
        side = values[relay]["networks"][0]
        assert names and {values[n]["networks"][0] for n in names} == {side}


def test_where_one_side_is_held_for_good_its_relay_returns_nothing() -> None:
    values = inventory("full")["identities"]
    sides = {values[relay]["networks"][0]: names for relay, names in relays(internet=ENDS).items()}
    assert sides["isolated"] == [] and sides["internet"] != []


def test_with_one_side_alone_nothing_needs_to_be_said() -> None:
    values = inventory("compact")
    values["no_candidate"] = ENDS
    settings = Host("monitor", "relay1", values).value("__monitor_return_settings")
    assert settings["relays"] and all("identities" not in one for one in settings["relays"].values())

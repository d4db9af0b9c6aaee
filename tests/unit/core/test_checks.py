"""Every mistake of an inventory is found, named by file and key, and a right one has none."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from holdfast.core.checks import Inventory, check

Data = dict[str, Any]


def relay(home: str, address: str) -> Data:
    hosts = ["relay1", "relay2"]
    places = {"home": home, "candidates": list(hosts), "store": "store1", "relays": list(hosts)}
    return {"address": address, "kind": "relay", "domains": [], **places}


def right() -> Data:
    """A small inventory without mistakes."""
    hosts = {
        "mail1": {"site": "dc1", "legs": {"dmz1": "10.1.1.11", "iso1": "10.1.2.11"}, "groups": ["mail"]},
        "mail2": {"site": "dc2", "legs": {"dmz2": "10.2.1.11", "iso2": "10.2.2.11"}, "groups": ["mail"]},
        "store1a": {
            "site": "dc1",
            "legs": {"storage1": "10.1.3.21"},
            "groups": ["store", "coordinator"],
            "store_device": "/dev/sdb",
        },
        "store1b": {"site": "dc1", "legs": {"storage1": "10.1.3.22"}, "groups": ["store"], "store_device": "/dev/sdb"},
        "relay1": {"site": "dc1", "legs": {"dmz1": "10.1.1.31", "iso1": "10.1.2.31"}, "groups": ["relay"]},
        "relay2": {
            "site": "dc2",
            "legs": {"dmz2": "10.2.1.31", "iso2": "10.2.2.31"},
            "groups": ["relay", "coordinator"],
        },
        "witness1": {"site": "third", "legs": {"dmz1": "10.1.1.41"}, "groups": ["coordinator"]},
    }
    settings: Data = {
        "sites": {"dc1": {}, "dc2": {}, "third": {}},
        "segments": {
            "dmz1": {"network": "internet", "prefix": "10.1.1.0/24", "gateway": "10.1.1.1"},
            "iso1": {"network": "isolated", "prefix": "10.1.2.0/24"},
            "dmz2": {"network": "internet", "prefix": "10.2.1.0/24"},
            "iso2": {"network": "isolated", "prefix": "10.2.2.0/24"},
            "storage1": {"network": "storage", "prefix": "10.1.3.0/24"},
        },
        "service_prefix": "203.0.113.0/24",
        "store_prefix": "10.255.3.0/24",
        "stores": {
            "store1": {
                "address": "10.255.3.1",
                "site": "dc1",
                "members": ["store1a", "store1b"],
                "home": "store1a",
                "threshold_seconds": 5,
            }
        },
        "store_lease_ttl": 10,
        "drbd_secret": "x",
        "coordinator_secret": "x" * 32,
        "mail_routes": ["internet", "isolated"],
        "identities": {
            "mx.alpha.example": {
                "address": "203.0.113.10",
                "kind": "internet",
                "domains": ["alpha.example"],
                "home": "mail1",
                "candidates": ["mail1", "mail2"],
                "store": "store1",
                "relays": ["relay2", "relay1"],
            },
            "relay.dc1": relay("relay1", "203.0.113.21"),
            "relay.dc2": relay("relay2", "203.0.113.22"),
        },
        "mail_users": [{"address": "alice@alpha.example", "password": "x"}],
        "monitor_interval": 30,
        "monitor_methods": ["delivery", "topology", "probe"],
        "threshold_attempts": 4,
        "threshold_seconds": 120,
        "lease_ttl": 15,
        "fence_devices": {
            "pdu": {
                "address": "10.0.0.9",
                "user": "u",
                "host_key": "k",
                "client_key": "k",
                "hosts": ["mail1", "mail2", "relay1", "relay2", "store1a", "store1b"],
            }
        },
        "tsig_secret": "x",
        "probe_password": "x",
    }
    return {"hosts": hosts, "settings": settings}


MX = "mx.alpha.example"
FILES = {"identities": "group_vars/all/identities.yml", "segments": "group_vars/all/network.yml"}


def mistakes(data: Data) -> list[str]:
    return [str(m) for m in check(Inventory(data["hosts"], data["settings"], FILES))]


def test_a_right_inventory_has_no_mistake() -> None:
    assert mistakes(right()) == []


def at(d: Data) -> Data:
    """The relay of dc2."""
    return d["settings"]["identities"]["relay.dc2"]  # type: ignore[no-any-return]


def no_leg(data: Data, host: str, segment: str) -> None:
    """Of a candidate, where the identity says over which networks it is reached."""
    identity(data).update(networks=["internet", "isolated"])
    data["hosts"][host]["legs"].pop(segment)


def identity(data: Data) -> Data:
    found: Data = data["settings"]["identities"][MX]
    return found


def store(data: Data) -> Data:
    found: Data = data["settings"]["stores"]["store1"]
    return found


def other_store(data: Data) -> None:
    data["settings"]["stores"]["store2"] = {**store(data), "address": "10.255.3.2"}


def second(data: Data, **changes: Any) -> None:
    other = {**copy.deepcopy(identity(data)), "address": "203.0.113.11", "domains": ["beta.example"], **changes}
    data["settings"]["identities"]["mx.beta.example"] = other


def far_outlet(data: Data) -> None:
    other_store(data)
    data["settings"]["stores"]["store2"]["site"] = "dc2"
    second(data, kind="intranet", store="store2", outlet=MX)


CASES: list[tuple[str, Callable[[Data], Any], str, str]] = [
    ("site", lambda d: d["hosts"]["mail1"].update(site="dc9"), "mail1.site", "'dc9'"),
    ("candidate", lambda d: identity(d).update(candidates=["mail1", "mail9"]), ".candidates", "no host of the inv"),
    ("group", lambda d: identity(d).update(candidates=["mail1", "store1a"]), ".candidates", "no host of group mail"),
    ("home", lambda d: identity(d).update(home="mail9"), ".home", "'mail9'"),
    ("store", lambda d: identity(d).update(store="store1a"), ".store", "name one of the stores: store1"),
    ("outlet of none", lambda d: identity(d).update(outlet=MX), f"{MX}.outlet", "of kind intranet only; remove it"),
    ("outlet", lambda d: second(d, kind="intranet", outlet="relay.dc1"), ".outlet is 'relay.dc1'", f"in dc1: {MX}"),
    ("far outlet", far_outlet, ".outlet is 'mx.alpha.example'", "in dc2: there is none"),
    ("member", lambda d: store(d).update(members=["store1a", "mail1"]), "store1.members", "no host of group store"),
    ("no member", lambda d: store(d).update(members=["store1a", "store9"]), "store1.members", "no host of the inv"),
    ("one member", lambda d: store(d).update(members=["store1a"]), "store1.members", "the two hosts of the pair"),
    ("one twice", lambda d: store(d).update(members=["store1a"] * 2), "store1.members", "the two hosts of the pair"),
    ("member site", lambda d: d["hosts"]["store1b"].update(site="dc2"), "store1.members", "stands in site dc2"),
    ("member disk", lambda d: d["hosts"]["store1b"].pop("store_device"), "store1b.store_device", "is missing"),
    ("member leg", lambda d: d["hosts"]["store1b"].update(legs={"dmz1": "10.1.1.22"}), "store1b.legs", "storage"),
    ("member of two", other_store, "store2.members", "is also a member of store1"),
    ("store home", lambda d: store(d).update(home="store1c"), "store1.home", "name one of its members"),
    ("store address", lambda d: store(d).update(address="10.1.3.9"), "store1.address", "take one from store_prefix"),
    ("store seconds", lambda d: store(d).update(threshold_seconds=0), "store1.threshold_seconds", "1 or more"),
    ("store fence", lambda d: d["settings"]["fence_devices"]["pdu"]["hosts"].pop(), "hosts", "'store1b'"),
    ("idle store", lambda d: d["hosts"].update(store9={**d["hosts"]["store1b"], "legs": {}}), "store", "no store"),
    ("store name", lambda d: d["settings"]["stores"].update({MX: store(d)}), f"stores.{MX}", "also an identity"),
    ("store lease", lambda d: d["settings"].update(store_lease_ttl=None), "store_lease_ttl", "3 or more"),
    (
        "coordinator secret",
        lambda d: d["settings"].update(coordinator_secret=None),
        "coordinator_secret",
        "32 characters",
    ),
    (
        "short secret",
        lambda d: d["settings"].update(coordinator_secret="x" * 31),
        "coordinator_secret",
        "32 characters",
    ),
    ("a host called root", lambda d: d["hosts"].update(root=dict(d["hosts"]["mail1"])), "root", "is a user"),
    ("store secret", lambda d: d["settings"].update(drbd_secret=None), "drbd_secret", "is missing"),
    ("store prefix", lambda d: d["settings"].update(store_prefix="10.1.3.0/24"), "storage1", "overlaps store_prefix"),
    ("relays", lambda d: identity(d).update(relays=[]), ".relays", "at least one relay"),
    ("outside", lambda d: d["hosts"]["mail1"]["legs"].update(dmz1="10.9.1.11"), "legs.dmz1", "inside 10.1.1.0/24"),
    ("segment", lambda d: d["hosts"]["mail1"]["legs"].update(dmz9="10.9.1.1"), "legs.dmz9", "no such segment"),
    ("no address", lambda d: d["hosts"]["mail1"]["legs"].update(dmz1="ten"), "legs.dmz1", "not an IP"),
    ("inside", lambda d: identity(d).update(address="10.1.1.77"), f"{MX}.address", "inside segment dmz1"),
    ("prefix", lambda d: identity(d).update(address="192.0.2.1"), f"{MX}.address", "take one from 203.0.113.0/24"),
    ("twice", lambda d: d["hosts"]["mail1"]["legs"].update(dmz1="10.1.1.41"), "legs.dmz1", "is also mail1.legs.dmz1"),
    ("identity twice", lambda d: second(d, address="203.0.113.10"), "mx.beta.example.address", "is also identities."),
    ("one candidate", lambda d: identity(d).update(candidates=["mail1"]), ".candidates", "at least two"),
    ("same candidate", lambda d: identity(d).update(candidates=["mail1", "mail1"]), ".candidates", "at least two"),
    ("limits", lambda d: d["settings"].update(threshold_attempts=None, threshold_seconds=None), "threshold_", "both"),
    ("limit", lambda d: d["settings"].update(threshold_attempts=0), "threshold_attempts", "above 0"),
    ("interval low", lambda d: d["settings"].update(monitor_interval=29), "monitor_interval", "30 to 60"),
    ("interval high", lambda d: d["settings"].update(monitor_interval=61), "monitor_interval", "30 to 60"),
    # Behind 100 days Postfix's queue manager does not start.
    ("held too long", lambda d: d["settings"].update(relay_queue_lifetime="101d"), "relay_queue_lifetime", "100d"),
    ("weeks", lambda d: d["settings"].update(mail_inside_queue_lifetime="15w"), "mail_inside_queue_lifetime", "100d"),
    ("a bare number is days", lambda d: d["settings"].update(mail_queue_lifetime=365), "mail_queue_lifetime", "100d"),
    ("no time", lambda d: d["settings"].update(mail_queue_lifetime="long"), "mail_queue_lifetime", "100d"),
    ("nothing is held", lambda d: d["settings"].update(relay_queue_lifetime="0s"), "relay_queue_lifetime", "1 s"),
    ("interval text", lambda d: d["settings"].update(monitor_interval="30"), "monitor_interval", "30 to 60"),
    ("method", lambda d: d["settings"].update(monitor_methods=["carrier pigeon"]), "monitor_methods", "pigeon"),
    ("domain", lambda d: second(d, domains=["alpha.example"]), "mx.beta.example.domains", f"served by {MX}"),
    ("secret", lambda d: d["settings"].update(tsig_secret=None), "tsig_secret", "is missing"),
    ("password", lambda d: d["settings"]["mail_users"].append({"address": "b@alpha.example"}), "password", "missing"),
    (
        "user",
        lambda d: d["settings"]["mail_users"].append({"address": "b@x.example", "password": "x"}),
        "[1]",
        "domain",
    ),
    ("user twice", lambda d: d["settings"]["mail_users"].extend(d["settings"]["mail_users"][:]), "[1]", "stands twice"),
    ("fence", lambda d: d["settings"]["fence_devices"]["pdu"]["hosts"].remove("mail2"), "hosts", "'mail2'"),
    ("fence key", lambda d: d["settings"]["fence_devices"]["pdu"].pop("client_key"), "client_key", "is missing"),
    ("members", lambda d: d["hosts"]["witness1"].update(groups=[]), "coordinator", "odd number"),
    ("places", lambda d: d["hosts"]["witness1"].update(site="dc1"), "coordinator", "spread them"),
    ("overlap", lambda d: d["settings"]["segments"]["iso1"].update(prefix="10.1.0.0/16"), "dmz1", "overlaps iso1"),
    ("legs", lambda d: d["hosts"]["relay2"]["legs"].pop("iso2"), "relay2.legs", "two networks"),
    ("no such network", lambda d: identity(d).update(networks=["internet", "wan"]), f"{MX}.networks", "name some of"),
    ("one network", lambda d: identity(d).update(networks=["internet"]), "relay1.legs", "two networks"),
    ("off the network", lambda d: no_leg(d, "mail2", "iso2"), f"{MX}.candidates", "has no leg in isolated"),
    ("relay domains", lambda d: at(d).update(domains=["x.example"]), "relay.dc2.domains", "leave it empty"),
    ("relay host", lambda d: at(d).update(home="mail1"), "relay.dc2.home", "no host of group relay"),
    ("no relay at home", lambda d: d["settings"]["identities"].pop("relay.dc2"), f"{MX}.relays", "home of no identity"),
    ("two at home", lambda d: at(d).update(home="relay1"), f"{MX}.relays", "home of relay.dc1, relay.dc2"),
    ("unwatched", lambda d: identity(d).update(relays=["relay2"]), f"{MX}.relays", "add relay1"),
    ("watched by some", lambda d: at(d).update(relays=["relay1"]), "relay.dc2.relays", "add relay2: each host"),
    ("published", lambda d: d["settings"].update(drbd_secret="lab-drbd"), "drbd_secret", "is the lab's"),
    ("published key", lambda d: d["settings"].update(tsig_secret="bGFiLX8="), "tsig_secret", "is the lab's"),
    ("alone", lambda d: at(d).update(relays=["relay2"]), "relay.dc2.relays", "nobody watches himself"),
    ("lease", lambda d: d["settings"].update(lease_ttl=1), "lease_ttl", "3 or more"),
]


@pytest.mark.parametrize("value", ["100d", "14d", "14", 30, "8640000s", "2w", "36h", None])
def test_lifetimes_that_postfix_takes(value: object) -> None:
    data = right()
    names = ("relay_queue_lifetime", "mail_queue_lifetime", "mail_inside_queue_lifetime")
    data["settings"] |= dict.fromkeys(names, value)
    assert mistakes(data) == []


def test_one_site_alone_needs_no_third_place() -> None:
    data = right()
    for host in data["hosts"].values():
        host["site"] = "dc1"
    assert not [m for m in mistakes(data) if "coordinator" in m]
    data["hosts"]["mail2"]["site"] = "dc2"
    assert [m for m in mistakes(data) if "spread them" in m]


@pytest.mark.parametrize(("change", "key", "remedy"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_mistake_is_named_with_its_key_and_remedy(change: Callable[[Data], Any], key: str, remedy: str) -> None:
    data = right()
    change(data)
    assert any(key in m and remedy in m for m in mistakes(data)), mistakes(data)


def test_the_lab_may_use_the_labs_secrets() -> None:
    data = right()
    data["settings"].update(drbd_secret="lab-drbd")
    assert [str(m) for m in check(Inventory(data["hosts"], data["settings"], lab=True))] == []


def elsewhere() -> Data:
    """The identity's files lie on an NFS service that is not ours."""
    data = right()
    data["hosts"]["door1"] = {"site": "third", "legs": {"dmz1": "10.1.1.51"}, "groups": ["external_store"]}
    nas = {"address": "192.0.2.9", "site": "dc1", "path": "/mail", "program": "/usr/local/sbin/nas", "manager": "door1"}
    data["settings"]["external_stores"] = {"nas": nas}
    identity(data).update(store="nas")
    return data


def test_a_store_from_elsewhere_is_as_good_as_a_pair() -> None:
    data = elsewhere()
    assert mistakes(data) == []
    data["settings"]["external_stores"]["nas"]["address"] = "10.1.1.51"  # runs on its own manager
    assert mistakes(data) == []


@pytest.mark.parametrize(
    ("change", "key", "remedy"),
    [
        ({"address": "nas.example"}, "nas.address", "IP address"),
        ({"address": "10.1.1.31"}, "nas.address", "is also relay1.legs.dmz1"),
        ({"path": "mail"}, "nas.path", "absolute path"),
        ({"path": "/mail/"}, "nas.path", "without a slash"),
        ({"manager": "mail1"}, "nas.manager", "the door would be lost with the owner"),
        ({"program": None}, "nas.program", "absolute path"),
        ({"site": "dc9"}, "nas.site", "name one of: dc1, dc2, third"),
        ({"manager": "relay1"}, "nas.manager", "no host of group external_store; hosts there: door1"),
        ({"manager": "relay1"}, "external_store is 'door1'", "manager of no store"),
    ],
)
def test_a_mistake_about_a_store_from_elsewhere(change: Data, key: str, remedy: str) -> None:
    data = elsewhere()
    data["settings"]["external_stores"]["nas"].update(change)
    assert any(key in m and remedy in m for m in mistakes(data)), mistakes(data)


def test_a_host_opens_one_store_from_elsewhere_and_is_no_server_of_a_pair() -> None:
    data = elsewhere()
    stores = data["settings"]["external_stores"]
    stores["nas2"] = {**stores["nas"], "address": "192.0.2.10"}
    stores["store1"] = {**stores["nas"], "address": "192.0.2.11", "manager": "store1a"}
    data["hosts"]["store1a"]["groups"] = ["store", "external_store"]
    found = mistakes(data)
    for words in ("is also the manager of nas", "stands in stores too", "also a server of a pair"):
        assert any(words in m for m in found), found


def test_an_intranet_identity_may_name_its_outlet() -> None:
    data = right()
    second(data, kind="intranet", outlet=MX)
    assert not [m for m in mistakes(data) if "outlet" in m]


def test_all_mistakes_come_in_one_list_with_their_files() -> None:
    data = right()
    identity(data).update(home="mail9", candidates=["mail1"])
    data["settings"]["segments"]["dmz1"]["gateway"] = "10.9.9.9"
    found = mistakes(data)
    assert len(found) >= 4
    assert any(
        m.startswith("group_vars/all/identities.yml: identities.mx.alpha.example.home is 'mail9'") for m in found
    )
    assert any(m.startswith("group_vars/all/network.yml: segments.dmz1.gateway") for m in found)

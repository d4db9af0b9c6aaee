"""Mistakes about fencing, placement and endings: each named with its key, value and remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from holdfast.core.checks import Inventory
from holdfast.core.checks import check as check_all
from holdfast.core.takeover_checks import check
from test_checks import FILES, MX, Data, identity, right


def planned() -> Data:
    data = right()
    settings = data["settings"]
    settings["fence_devices"]["bmc"] = {
        "agent": "fence_ipmilan",
        "options": {"ip": "10.0.0.5", "lanplus": 1},
        "secrets": {"password": "x"},
        "files": {"key": "line\nline\n"},
        "hosts": ["mail1"],
    }
    settings["fence_plan"] = {
        "default": [{"level": "power"}, {"level": "operator"}],
        "mail1": [
            {"level": "power", "device": "bmc", "timeout": 60},
            {"level": "store_revocation", "address_withdrawal": "agent", "timeout": 20},
            {"level": "watchdog", "margin": 5},
        ],
    }
    settings.update(placement="relay_first", promote="relay", no_candidate={"archive_after": 86400})
    identity(data).update(placement="local_first", promote="primary", no_candidate="keep")
    return data


def mistakes(data: Data) -> list[str]:
    return [str(m) for m in check(Inventory(data["hosts"], data["settings"], FILES))]


def test_right_ones_have_none() -> None:
    assert mistakes(right()) == [] and mistakes(planned()) == []
    data = planned()
    assert check_all(Inventory(data["hosts"], data["settings"], FILES)) == []


def test_a_plan_for_a_store_server_is_a_mistake() -> None:
    data = planned()
    data["settings"]["fence_plan"]["store1b"] = [{"level": "watchdog"}]
    assert [m for m in mistakes(data) if "fence_plan.store1b" in m and "a store server is fenced by power" in m]


def level(data: Data, n: int = 0) -> Data:
    found: Data = data["settings"]["fence_plan"]["mail1"][n]
    return found


def bmc(data: Data) -> Data:
    found: Data = data["settings"]["fence_devices"]["bmc"]
    return found


CASES: list[tuple[str, Callable[[Data], Any], str, str]] = [
    ("agent", lambda d: bmc(d).update(agent="reboot"), "fence_devices.bmc.agent is 'reboot'", "like fence_ipmilan"),
    ("options", lambda d: bmc(d).update(options=["ip"]), "bmc.options is ['ip']", "mapping"),
    ("secret", lambda d: bmc(d).update(secrets={"password": ""}), "bmc.secrets.password is None", "one line"),
    ("files", lambda d: bmc(d).update(files=["key"]), "bmc.files is None", "mapping"),
    ("file", lambda d: bmc(d).update(files={"key": ""}), "bmc.files.key is None", "hold"),
    ("file name", lambda d: bmc(d).update(files={"../key": "x"}), "bmc.files is '../key'", "small letters"),
    ("file and secret", lambda d: bmc(d).update(files={"password": "x"}), "bmc.files is 'password'", "no secret"),
    ("plugs", lambda d: bmc(d).update(hosts=["mail1", "mail2"], plugs={"mail1": "3"}), "bmc.hosts is 'mail2'", "plugs"),
    ("plan", lambda d: d["settings"].update(fence_plan=["power"]), "fence_plan is ['power']", "{default: [levels]}"),
    ("host", lambda d: d["settings"]["fence_plan"].update(mail9=[{"level": "power"}]), "fence_plan.mail9", "no host"),
    ("empty", lambda d: d["settings"]["fence_plan"].update(default=[]), "fence_plan.default is []", "at least one"),
    ("level", lambda d: level(d).update(level="prayer"), "fence_plan.mail1[0].level is 'prayer'", "power, store_rev"),
    (
        "no level",
        lambda d: d["settings"]["fence_plan"].update(mail1=["power"]),
        "mail1[0].level is 'power'",
        "name one",
    ),
    ("key", lambda d: level(d).update(patience=1), "fence_plan.mail1[0].patience is 1", "is unknown"),
    ("timeout", lambda d: level(d).update(timeout=0), "fence_plan.mail1[0].timeout is 0", "1 or more"),
    ("device timeout", lambda d: bmc(d).update(timeout="40"), "fence_devices.bmc.timeout is '40'", "1 or more"),
    ("margin", lambda d: level(d, 2).update(margin="5"), "fence_plan.mail1[2].margin is '5'", "1 or more"),
    ("device", lambda d: level(d).update(device="gone"), "mail1[0].device is 'gone'", "fence_devices: pdu, bmc"),
    ("other", lambda d: level(d, 2).update(device="bmc"), "mail1[2].device is 'bmc'", "level power only"),
    ("covers", lambda d: bmc(d).update(hosts=["mail2"]), "mail1[0].device is 'bmc'", "does not switch mail1"),
    (
        "address",
        lambda d: level(d, 1).pop("address_withdrawal"),
        "mail1[1].address_withdrawal is None",
        "agent, routes",
    ),
    ("needless", lambda d: level(d).update(address_withdrawal="agent"), "address_withdrawal is 'agent'", "only"),
    ("placement", lambda d: d["settings"].update(placement="near"), "placement is 'near'", "local_first, relay_first"),
    ("promote", lambda d: identity(d).update(promote="x"), f"identities.{MX}.promote is 'x'", "primary, relay"),
    ("ending", lambda d: d["settings"].update(no_candidate="archive"), "no_candidate is 'archive'", "give keep"),
    ("soon", lambda d: identity(d).update(no_candidate={"archive_after": 5}), f"{MX}.no_candidate is", "60 or more"),
]


@pytest.mark.parametrize(("change", "key", "remedy"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_mistake_is_named_with_its_key_and_remedy(change: Callable[[Data], Any], key: str, remedy: str) -> None:
    data = planned()
    change(data)
    assert any(key in m and remedy in m for m in mistakes(data)), mistakes(data)


def test_a_plan_that_takes_longer_than_a_hang_is_a_mistake() -> None:
    """600 s are the most: two calls of a device, and what the other levels may wait for."""
    data = planned()
    bmc(data)["timeout"] = 231
    level(data, 1)["timeout"] = 20
    level(data, 2)["timeout"] = 118
    assert mistakes(data) == []
    level(data, 2)["timeout"] = 119
    (mistake,) = mistakes(data)
    assert "fence_plan.mail1 is 601: seconds that fencing mail1 may take" in mistake and "600 at the most" in mistake


def test_devices_that_are_all_asked_count_for_whoever_they_switch() -> None:
    data = planned()
    devices, plan = data["settings"]["fence_devices"], data["settings"]["fence_plan"]
    del plan["mail1"]
    for n in range(4):
        devices[f"more{n}"] = {"agent": "fence_ipmilan", "hosts": ["mail2"], "timeout": 75}
    (mistake,) = mistakes(data)
    assert "fence_plan.default is 6" in mistake and "fencing mail2 may take" in mistake
    plan["mail2"] = [{"level": "power", "device": "more0"}, {"level": "operator"}]
    assert mistakes(data) == []
    del data["settings"]["fence_plan"], plan["mail2"]
    (mistake,) = mistakes(data)
    assert "fence_devices is 6" in mistake


def test_a_store_server_has_no_plan_and_devices_all_the_same() -> None:
    data = planned()
    for n in range(2):
        device = {"agent": "fence_ipmilan", "hosts": ["store1a"], "timeout": 151}
        data["settings"]["fence_devices"][f"slow{n}"] = device
    (mistake,) = mistakes(data)
    assert "fence_devices is" in mistake and "fencing store1a may take" in mistake

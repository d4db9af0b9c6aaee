"""A relay's monitor.yml: how hosts are fenced, who is asked first, and what happens when nobody is left."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from holdfast.adapters import smtp
from holdfast.adapters.external_nfs import longest
from holdfast.adapters.postfix import Instance, PostfixQueue
from holdfast.core.fencing import DEFAULT_LEVELS, LONGEST, LevelName, Withdrawal
from holdfast.core.locked_run import Timeouts
from holdfast.core.model import Result
from holdfast.core.promotion import Promote
from holdfast.daemons import wiring
from holdfast.daemons.config import ConfigError
from test_config import COORDINATOR, IDENTITY

MX = "mx.alpha.example"
SSH = {"address": "10.0.0.9", "user": "u", "host_key": "k", "client_key_file": "/k", "hosts": ["mail1", "mail2"]}
IPMI: dict[str, Any] = {
    "agent": "fence_ipmilan",
    "options": {"ip": "10.0.0.5", "lanplus": 1},
    "secret_files": {"password": "/etc/holdfast/fence/bmc.password"},
    "hosts": ["mail1"],
    "timeout": 50,
}


def monitor_file() -> dict[str, Any]:
    return {
        "host": "relay2",
        "interval": 30,
        "methods": ["delivery"],
        "threshold": {"attempts": 4, "seconds": 120},
        "routes": [
            {"name": "internet", "bind_address": "10.2.1.31", "routers": ["10.2.1.1"]},
            {"name": "isolated", "bind_address": "10.2.2.31", "routers": ["10.2.2.1"]},
        ],
        "coordinator": dict(COORDINATOR),
        "identities": {MX: {**IDENTITY, "probe_recipient": "postmaster@alpha.example"}},
        "fence_devices": {"pdu": dict(SSH), "bmc": dict(IPMI)},
        "dns": {
            "servers": {"10.3.3.41": ["mx.alpha.example"]},
            "zones": ["alpha.example"],
            "key_name": "holdfast",
            "secret_file": "/s",
            "relay_names": {},
        },
    }


def load(tmp_path: Path, data: dict[str, Any]) -> wiring.Config:
    file = tmp_path / "monitor.yml"
    file.write_text(yaml.safe_dump(data))
    made = wiring.load(str(file))
    made.coordinator.close()
    return made


def test_what_was_enough_before_is_enough(tmp_path: Path) -> None:
    data = monitor_file()
    del data["fence_devices"]["bmc"]
    made = load(tmp_path, data)
    assert made.fence_plan.levels("mail1") == DEFAULT_LEVELS and not made.fence_plan.stops_alone("mail1")
    assert made.endings[MX].promote is Promote.PRIMARY and made.endings[MX].archive_after is None
    assert made.identities[MX].candidates == ("mail1", "mail2") and made.lock == Timeouts.lock


@pytest.mark.parametrize(
    ("probe", "nexthop"), [({}, "[203.0.113.10]:25"), ({"port": 2525}, "[203.0.113.10]:2525, [203.0.113.10]:25")]
)
def test_what_is_held_goes_to_the_port_that_is_probed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probe: dict[str, int], nexthop: str
) -> None:
    table = tmp_path / "transport"
    data = monitor_file() | {"probe": probe, "relay": {"transport": str(table)}}
    monkeypatch.setattr(PostfixQueue, "_write", lambda self, text: table.write_text(text))
    asked: list[smtp.Dialogue] = []

    def talk(what: smtp.Dialogue) -> smtp.Outcome:
        asked.append(what)
        return smtp.Outcome(Result.OK, "")

    monkeypatch.setattr(smtp, "talk", talk)
    made = load(tmp_path, data)
    no_names: Any = None
    parts = wiring.build(dataclasses.replace(made, switches=dict, names=lambda name: no_names), MX)
    parts.queue.use_route([parts.identity], made.routes[0])
    assert f":{nexthop}\n" in table.read_text()
    parts.prober.probe(parts.identity, made.routes[0])
    assert asked[0].ports == ((25,) if not probe else (2525, 25))


def test_plan_and_devices(tmp_path: Path) -> None:
    data = monitor_file()
    data["fence_devices"].pop("pdu")
    data["fence_plan"] = {
        "default": [{"level": "power", "device": "bmc"}, {"level": "operator"}],
        "mail2": [
            {"level": "store_revocation", "timeout": 20, "address_withdrawal": "agent"},
            {"level": "watchdog", "margin": 7},
        ],
    }
    made = load(tmp_path, data)
    assert [level.level for level in made.fence_plan.levels("mail1")] == [LevelName.POWER, LevelName.OPERATOR]
    first, second = made.fence_plan.levels("mail2")
    assert (first.timeout, first.address_withdrawal, second.margin) == (20.0, Withdrawal.AGENT, 7.0)
    assert made.fence_plan.stops_alone("mail2") and not made.fence_plan.stops_alone("mail1")
    (switch,) = made.switches()["mail1"]
    assert switch.method == "bmc" and "mail2" not in made.switches()
    assert made.lock == 120, "a device of 50 s is asked twice under the lock"


def test_a_run_has_the_time_that_a_plan_may_take_and_its_steps_wait() -> None:
    """More of any of them makes the look longer that is not yet a hang."""
    assert Timeouts().look > LONGEST + Timeouts().revoke + Timeouts().start + Timeouts().verify
    assert Timeouts(store=100.0).look == Timeouts().look + 200


def test_the_program_of_a_store_from_elsewhere_gets_its_time(tmp_path: Path) -> None:
    data = monitor_file()
    assert load(tmp_path, data).store_programs == {}
    data["external_stores"] = {"nas1": {MX: ["mail1", "mail2"], "relay.dc2": ["relay1", "relay2"]}}
    made = load(tmp_path, data)
    assert made.store_programs == {"nas1": longest([("mail1", "mail2"), ("relay1", "relay2")])}
    data["external_stores"]["nas1"][MX] = "mail1"
    with pytest.raises(ConfigError, match=f"external_stores.nas1.{MX} is 'mail1': give a list of texts"):
        load(tmp_path, data)


def test_for_all_and_for_one(tmp_path: Path) -> None:
    data = monitor_file()
    other = {**data["identities"][MX], "address": "203.0.113.11", "domains": ["beta.example"]}
    data["identities"]["mx.beta.example"] = {
        **other,
        "placement": "local_first",
        "promote": "primary",
        "no_candidate": "keep",
    }
    data["identities"]["relay.dc2"] = {**other, "kind": "relay", "domains": []}
    data.update(
        placement="relay_first",
        promote="relay",
        no_candidate={"archive_after": 7200},
        sites={"mail1": "dc1", "store1": "dc1", "mail2": "dc2", "relay2": "dc2"},
    )
    made = load(tmp_path, data)
    assert made.identities[MX].candidates == ("mail2", "mail1")
    assert (made.endings[MX].promote, made.endings[MX].archive_after) == (Promote.RELAY, 7200.0)
    beta = made.endings["mx.beta.example"]
    assert made.identities["mx.beta.example"].candidates == ("mail1", "mail2")
    assert (beta.promote, beta.archive_after) == (Promote.PRIMARY, None)
    assert made.endings["relay.dc2"].archive_after is None, "nobody holds anything for a relay"


def test_a_relay_without_the_right_to_fence(tmp_path: Path) -> None:
    data = {**monitor_file(), "invoker": "host", "fence_devices": {}}
    made = load(tmp_path, data)
    assert made.invoker == "host" and made.switches() == {}


Change = Callable[[dict[str, Any]], object]


def planned(*levels: dict[str, Any]) -> Change:
    return lambda d: d.update(fence_plan={"default": list(levels)})


WRONG: list[tuple[Change, str]] = [
    (planned(), "fence_plan.default is []: name at least one level"),
    (planned({"level": "prayer"}), "fence_plan.default[0].level is 'prayer': name one of power, store_revocation"),
    (planned({"level": "power", "device": "gone"}), "fence_plan.default[0].device is 'gone': goes with level power"),
    (planned({"level": "operator", "device": "pdu"}), "device is 'pdu': goes with level power"),
    (planned({"level": "power", "address_withdrawal": "agent"}), "goes with level store_revocation only"),
    (planned({"level": "store_revocation", "address_withdrawal": "hope"}), "'hope': name one of agent, routes"),
    (planned({"level": "watchdog", "margin": 0}), "margin is 0: give a number, 1 or more"),
    (planned({"level": "watchdog", "patience": 1}), "fence_plan.default[0].patience is unknown"),
    (lambda d: d.update(placement="home_first"), "placement is 'home_first': name one of local_first, relay_first"),
    (lambda d: d["identities"][MX].update(promote="both"), f"identities.{MX}.promote is 'both': name one of primary"),
    (lambda d: d.update(invoker="host"), "invoker is 'host': this relay has no right to fence"),
    (lambda d: d.update(invoker="me"), "invoker is 'me': name one of self, host"),
    (lambda d: d.update(no_candidate="archive"), "no_candidate is 'archive': give keep, or"),
    (lambda d: d.update(no_candidate={"archive_after": 5}), "no_candidate.archive_after is 5: give a number, 60"),
    (lambda d: d["fence_devices"]["bmc"].update(agent="reboot"), "fence_devices.bmc.agent is 'reboot'"),
    (lambda d: d["fence_devices"]["bmc"]["options"].update(action="on"), "option 'action' is not for you to give"),
    (lambda d: d["fence_devices"]["bmc"].update(address="10.0.0.5"), "fence_devices.bmc.address is unknown"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_wrong(tmp_path: Path, change: Change, said: str) -> None:
    data = monitor_file()
    data["fence_devices"]["bmc"]["options"] = dict(data["fence_devices"]["bmc"]["options"])
    change(data)
    with pytest.raises(ConfigError) as why:
        load(tmp_path, data)
    assert said in str(why.value) and "\n" not in str(why.value)


def test_a_fence_key_that_is_not_there_is_told_when_it_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fence_devices\.pdu\.client_key_file is '/k'"):
        load(tmp_path, monitor_file()).switches()


def test_a_file_of_the_release_before_is_read(tmp_path: Path) -> None:
    """The code is new on all hosts before any of their files is."""
    data, secret = monitor_file(), tmp_path / "secret"
    secret.write_text("c2VjcmV0")
    data["dns"] |= {"secret_file": str(secret), "relay_names": {MX: {"relay2": "relay.dc2"}}}
    old = copy.deepcopy(data)
    for route in old["routes"]:
        (route["gateway"],) = route.pop("routers")
    (old["dns"]["server"],) = old["dns"].pop("servers")
    old["dns"]["relay_names"] = {"relay2": "relay.dc2"}
    before, now = load(tmp_path, old), load(tmp_path, data)
    assert before.routes == now.routes
    told = [[(s._server, s._relay_names) for s in one.names(MX)._servers] for one in (before, now)]
    assert told[0] == told[1] == [("10.3.3.41", {"relay2": "relay.dc2"})]


def test_queues_are_those_of_the_relays_that_this_host_may_own(tmp_path: Path) -> None:
    data = monitor_file()
    relay = {**IDENTITY, "kind": "relay", "domains": [], "home": "relay2", "candidates": ["relay1", "relay2"]}
    relay |= {"relays": ["relay1", "relay2"], "probe_recipient": "postmaster@alpha.example"}
    data["identities"]["relay.dc2"] = relay
    data["identities"]["relay.dc3"] = {**relay, "candidates": ["relay1", "relay3"]}
    data["relay"] = {"running": "/run/marks"}
    data["identities"]["relay.dc4"] = {**relay, "networks": ["isolated", "internet"]}
    found = load(tmp_path, data).relays
    (mine,), (other,) = found.instances[""], found.instances["isolated"]
    assert other.running == Path("/run/marks/relay.dc4")
    assert [found.table(side).rpartition("/")[2] for side in found.instances] == ["transport", "transport-isolated"]
    assert mine == Instance(
        "/etc/holdfast/identity/relay.dc2/postfix", "holdfast/relay.dc2", Path("/run/marks/relay.dc2")
    )

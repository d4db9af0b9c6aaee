"""Configuration files of agent and store: right ones are read, wrong ones get one line that helps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from holdfast.daemons import agent, agent_config, config, service, store, store_monitor
from holdfast.daemons.config import ConfigError

COORDINATOR = {"endpoints": ["https://10.1.3.21:2379"], "ca": "/ca.pem", "cert": "/c.pem", "key": "/k.key"}
IDENTITY: dict[str, Any] = {
    "address": "203.0.113.10",
    "kind": "internet",
    "domains": ["alpha.example"],
    "home": "mail1",
    "candidates": ["mail1", "mail2"],
    "store": "store1",
    "relays": ["relay2"],
}


def agent_file() -> dict[str, Any]:
    own = {
        "store_address": "10.1.3.21",
        "tls_ca": "/etc/holdfast/tls/ca.pem",
        "probe": {"user": "probe@alpha.example", "password_file": "/p", "recipient": "postmaster@alpha.example"},
    }
    return {
        "host": "mail1",
        "lease_ttl": 15,
        "coordinator": dict(COORDINATOR),
        "identities": {"mx.alpha.example": {**IDENTITY, **own}},
    }


def store_file() -> dict[str, Any]:
    return {
        "store": "store1",
        "coordinator": dict(COORDINATOR),
        "identities": {"mx.alpha.example": dict(IDENTITY)},
        "hosts": {"mail1": ["10.1.3.11"], "mail2": ["10.2.3.11"]},
    }


def written(tmp_path: Path, data: object) -> str:
    file = tmp_path / "x.yml"
    file.write_text(yaml.safe_dump(data))
    return str(file)


def test_agent(tmp_path: Path) -> None:
    made = agent_config.load(written(tmp_path, agent_file()))
    (place,) = made.places
    assert (made.host, made.lease_ttl, made.tick) == ("mail1", 15, 2.0)
    assert place.source == "10.1.3.21:/srv/store/mx.alpha.example"
    assert place.mount == "/srv/holdfast/mx.alpha.example"
    assert place.units == (
        "holdfast-dovecot@mx.alpha.example.service",
        "holdfast-postfix@mx.alpha.example.service",
    )
    assert made.certificates == ("/c.pem", "/ca.pem", "/etc/holdfast/tls/mx.alpha.example.pem")
    made.coordinator.close()


def test_an_agent_that_needs_the_time(tmp_path: Path) -> None:
    for given, needs in (({}, False), ({"needs_time": True}, True)):
        made = agent_config.load(written(tmp_path, {**agent_file(), "ready": given}))
        assert made.limits.needs_time is needs
        made.coordinator.close()


def test_the_port_at_which_it_serves_our_own_hosts(tmp_path: Path) -> None:
    """The code is new from a deploy's beginning on, the file is not."""
    data = agent_file()
    assert agent_config.load(written(tmp_path, data)).places[0].smtp_port == 25
    data["identities"]["mx.alpha.example"]["probe"]["port"] = 2525
    assert agent_config.load(written(tmp_path, data)).places[0].smtp_port == 2525


def test_store(tmp_path: Path) -> None:
    made = store.load(written(tmp_path, store_file()))
    assert (made.store, str(made.root), made.mail_owner) == ("store1", "/srv/store", (2005, 2005))
    assert made.hosts["mail2"] == ("10.2.3.11",)
    made.coordinator.close()


@pytest.mark.parametrize("make", [agent_file, store_file])
def test_no_identities_are_none_to_look_after(tmp_path: Path, make: Callable[[], dict[str, Any]]) -> None:
    loads: dict[Any, Callable[[str], agent_config.Config | store.Config]] = {
        agent_file: agent_config.load,
        store_file: store.load,
    }
    loads[make](written(tmp_path, {**make(), "identities": {}})).coordinator.close()


Change = Callable[[dict[str, Any]], object]

WRONG: list[tuple[Change, str]] = [
    (lambda d: d.pop("host"), "host is missing: set it"),
    (lambda d: d.update(host=7), "host is 7: give a text"),
    (lambda d: d.update(host="mail9"), "host is 'mail9': is no candidate of mx.alpha.example"),
    (lambda d: d.update(tick=8), "tick is 8.0: give no more than half of lease_ttl"),
    (lambda d: d.update(lease_ttl="15"), "lease_ttl is '15': give a number"),
    (lambda d: d.update(lease_ttl=1), "lease_ttl is 1: give a number, 3 or more"),
    (lambda d: d.update(lease_ttl=7.5), "lease_ttl is 7.5: give a whole number"),
    (lambda d: d.update(lease_ttl=True), "lease_ttl is True: give a number"),
    (lambda d: d.update(colour="red"), "colour is unknown: remove it"),
    (lambda d: d["coordinator"].update(endpoints=[]), "coordinator.endpoints is empty"),
    (lambda d: d["coordinator"].update(endpoints=["10.1.3.21:2379"]), "is no URL like https://"),
    (lambda d: d["coordinator"].update(ca="ca.pem"), "coordinator.ca is 'ca.pem': give a path that begins with /"),
    (lambda d: d["coordinator"].update(port=1), "coordinator.port is unknown"),
    (lambda d: d.update(identities=[]), "identities is []: give a mapping"),
    (
        lambda d: d["identities"].update({"mx.alpha.example": None}),
        "identities.mx.alpha.example is None: give a mapping",
    ),
    (lambda d: d["identities"]["mx.alpha.example"].pop("tls_ca"), "identities.mx.alpha.example.tls_ca is missing"),
    (
        lambda d: d["identities"]["mx.alpha.example"].update(domains="alpha.example"),
        "domains is 'alpha.example': give a list",
    ),
    (
        lambda d: d["identities"]["mx.alpha.example"]["probe"].pop("user"),
        "identities.mx.alpha.example.probe.user is missing",
    ),
    (lambda d: d["identities"]["mx.alpha.example"].update(owner="x"), "identities.mx.alpha.example.owner is unknown"),
    (lambda d: d.update(ready={"memory_mb": -1}), "ready.memory_mb is -1"),
    (lambda d: d.update(ready={"memory": 1}), "ready.memory is unknown"),
    (lambda d: d.update(ready={"needs_time": "yes"}), "ready.needs_time is 'yes'"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_wrong_agent_file(tmp_path: Path, change: Change, said: str) -> None:
    data = agent_file()
    change(data)
    file = written(tmp_path, data)
    with pytest.raises(ConfigError) as why:
        agent_config.load(file)
    assert said in str(why.value)
    assert str(why.value).startswith(f"{file}: ")
    assert "\n" not in str(why.value)


WRONG_STORE: list[tuple[Change, str]] = [
    (lambda d: d["hosts"].pop("mail2"), "hosts is ['mail1']: add mail2, candidate of mx.alpha.example"),
    (lambda d: d["hosts"].update(mail1="10.1.3.11"), "hosts.mail1 is '10.1.3.11': give a list of texts"),
    (
        lambda d: d.update(owners={"mail": ["vmail", "vmail"]}),
        "owners.mail is ['vmail', 'vmail']: give a list of 2 whole",
    ),
    (lambda d: d.update(root="srv"), "root is 'srv': give a path"),
    (lambda d: d.update(tick=0), "tick is 0: give a number, 0.1 or more"),
]


@pytest.mark.parametrize(("change", "said"), WRONG_STORE)
def test_wrong_store_file(tmp_path: Path, change: Change, said: str) -> None:
    data = store_file()
    change(data)
    with pytest.raises(ConfigError) as why:
        store.load(written(tmp_path, data))
    assert said in str(why.value)


@pytest.mark.parametrize("text", ["a: [", "- a", "", "just text", "\x00"])
def test_no_mapping_at_all(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.yml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=str(file)) as why:
        agent_config.load(str(file))
    assert "\n" not in str(why.value)


class TestMain:
    def test_check_starts_nothing(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert config.main(["--check", written(tmp_path, store_file())], "/x", store.prepare) == 0
        assert capsys.readouterr() == ("", "")

    def test_a_broken_file_is_no_reason_to_start_again(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert config.main([str(tmp_path / "none.yml")], "/x", agent.prepare) == service.EX_CONFIG
        assert capsys.readouterr().err.count("\n") == 1

    def test_a_password_that_is_not_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = agent_file()
        data["identities"]["mx.alpha.example"]["probe"]["password_file"] = str(tmp_path / "none")
        file = written(tmp_path, data)
        assert config.main(["--check", file], "/x", agent.prepare) == 0
        assert config.main([file], "/x", agent.prepare) == service.EX_CONFIG
        assert "password_file" in capsys.readouterr().err


# --- store hosts ------------------------------------------------------------------------------------------------

STORE = {"address": "10.255.3.1", "members": ["store1a", "store1b"], "home": "store1a"}


def store_host_file() -> dict[str, Any]:
    return {
        "host": "store1a",
        "lease_ttl": 10,
        "coordinator": dict(COORDINATOR),
        "identities": {},
        "stores": {"store1": dict(STORE)},
    }


def store_monitor_file() -> dict[str, Any]:
    watched = {
        "threshold_seconds": 5,
        "bind_address": "10.1.3.21",
        "partner_address": "10.1.3.22",
    }
    return {
        "host": "store1a",
        "coordinator": dict(COORDINATOR),
        "stores": {"store1": {**STORE, **watched}},
        "fence_devices": {},
    }


def test_an_agent_of_a_store_host(tmp_path: Path) -> None:
    made = agent_config.load(written(tmp_path, store_host_file()))
    (place,) = made.stores
    assert (place.identity.name, place.identity.kind, place.identity.candidates) == (
        "store1",
        "store",
        ("store1a", "store1b"),
    )
    assert (place.device, place.root) == ("/dev/drbd0", "/srv/store")
    assert made.records is not None and made.records is not made.coordinator, "threads share no connection"


def test_a_store_monitor(tmp_path: Path) -> None:
    made = store_monitor.load(written(tmp_path, store_monitor_file()))
    (pair,) = made.pairs
    assert (pair.threshold.seconds, pair.threshold.attempts) == (5.0, None)
    assert (pair.route.bind_address, pair.partner_address) == ("10.1.3.21", "10.1.3.22")
    assert (made.interval, made.retry, made.hourly_limit, made.lock) == (2.0, 15.0, 2, 60)


def test_a_store_monitors_lock_outlasts_two_calls_of_a_slow_fence_agent(tmp_path: Path) -> None:
    data = store_monitor_file()
    data["fence_devices"] = {"bmc": {"agent": "fence_ipmilan", "hosts": ["store1b"], "timeout": 50}}
    assert store_monitor.load(written(tmp_path, data)).lock == 120


@pytest.mark.parametrize(
    ("load", "data", "change", "words"),
    [
        (agent_config.load, store_host_file, lambda d: d.update(host="store9"), "is no candidate of store1"),
        (store_monitor.load, store_monitor_file, lambda d: d.update(invoker="host"), "nobody but its partner takes"),
        (
            agent_config.load,
            store_host_file,
            lambda d: d["stores"]["store1"].update(members=["store1a"]),
            "two hosts of the pair",
        ),
        (
            agent_config.load,
            store_host_file,
            lambda d: d["stores"]["store1"].update(disk="x"),
            "store1.disk is unknown",
        ),
        (store_monitor.load, store_monitor_file, lambda d: d.update(host="store9"), "is no member of store1"),
        (store_monitor.load, store_monitor_file, lambda d: d.pop("fence_devices"), "fence_devices is missing"),
        (
            store_monitor.load,
            store_monitor_file,
            lambda d: d["stores"]["store1"].update(threshold_seconds=0),
            "threshold_seconds is 0",
        ),
    ],
)
def test_a_wrong_file_of_a_store_host_gets_one_line(
    tmp_path: Path,
    load: Callable[[str], object],
    data: Callable[[], dict[str, Any]],
    change: Callable[[dict[str, Any]], object],
    words: str,
) -> None:
    spoiled = data()
    change(spoiled)
    with pytest.raises(ConfigError, match=r"x\.yml") as caught:
        load(written(tmp_path, spoiled))
    assert words in str(caught.value) and "\n" not in str(caught.value)

"""Modules of planned work: arguments, check mode, diff, and their words, on the world of the core's tests."""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import holdfast
import pytest
from ansible.module_utils.testing import patch_module_args
from holdfast.adapters import certificates
from holdfast.adapters.etcd import Login, Tls
from holdfast.core import keys
from holdfast.core.certificates import DAY, Ending
from holdfast.core.fencing import ConfirmedOff, Watchdog
from holdfast.core.model import Identity, Owner, Readiness
from holdfast.core.ports import Power, Unavailable
from holdfast.core.stores import KIND, InSync

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))
from test_handover import Site
from world import MX

Result = dict[str, Any]
MODULES = "ansible_collections.holdfast.mail.plugins"


@dataclass
class Modules:
    """Runs modules in this process, on a relay whose configuration leads to `site`."""

    site: Site
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    power: dict[str, Power]

    def __call__(self, name: str, /, check: bool = False, **arguments: Any) -> Result:
        module = importlib.import_module(f"{MODULES}.modules.{name}")
        self.monkeypatch.setattr(module, "load", lambda path: self, raising=False)
        self.monkeypatch.setattr(module, "build", lambda config, name: self._parts(), raising=False)
        self.monkeypatch.setattr(module, "movable", lambda config, name, password: self.site.takeover(), raising=False)
        self.capsys.readouterr()
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            module.main()
        result: Result = json.loads(self.capsys.readouterr().out)
        return result

    # what a relay's configuration and its parts are to a module
    host, interval = "relay2", 30.0
    identities = {MX.name: MX}  # noqa: RUF012
    stores: ClassVar[dict[str, Identity]] = {}
    asked: ClassVar[bool] = True  # who they are, by etcd
    endpoints: ClassVar[tuple[str, ...]] = ()

    def _parts(self) -> SimpleNamespace:
        s = self.site
        return SimpleNamespace(identity=MX, coordinator=s.coordinator, takeover=s.takeover(), queue=self)

    @property
    def coordinator(self) -> object:
        made: Any = self.site.coordinator
        made.as_user, made.asks_users = self._as_user, lambda: self.asked
        made.endpoints, made.tls = self.endpoints, Tls()
        return self.site.coordinator

    def _as_user(self, login: Login) -> object:
        """An operator's word is written with the operator's rights."""
        assert login == Login("operator", "/etc/holdfast/operator.password")
        return self.site.coordinator

    def waiting(self, identity: object) -> int:
        return self.site.waiting

    def switches(self) -> dict[str, list[Any]]:
        return {host: [Dumb(self.power) if host == "mail8" else Device(self.power)] for host in self.power}


@dataclass
class Dumb:
    """A fence device that can't switch on; it can't reach mail9."""

    power: dict[str, Power]
    method: str = "lab-switch"

    def status(self, host: str) -> Power:
        if host == "mail9":
            raise Unavailable("lab-switch: no answer")
        return self.power[host]


class Device(Dumb):
    def on(self, host: str) -> str:
        self.power[host] = Power.ON
        return f"{host} on"


@pytest.fixture
def modules(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Modules:
    # On hosts a module's core is a copy of these very files; here it is made the very same classes.
    for found in pkgutil.walk_packages(holdfast.__path__, "holdfast."):
        if not found.name.endswith(("etcd", "monitor", "agent", "store")):
            importlib.import_module(found.name)
    for name, loaded in list(sys.modules.items()):
        if name == "holdfast" or name.startswith("holdfast."):
            alias = f"{MODULES}.module_utils{name.removeprefix('holdfast')}"
            monkeypatch.setitem(sys.modules, alias, loaded)
    site = Site(waiting=3)
    site.clock.time = time.time()
    site.step()
    return Modules(site, capsys, monkeypatch, {"mail1": Power.ON, "mail2": Power.OFF, "mail9": Power.ON})


class TestHandover:
    def test_check_mode_tells_and_changes_nothing(self, modules: Modules) -> None:
        before = dict(modules.site.coordinator.data)
        said = modules("handover", check=True, identity=MX.name)
        assert said["changed"] and said["possible"]
        assert said["plan"] == f"{MX.name}: mail1 stops it at epoch 1, mail2 owns it at 2"
        assert said["diff"] == {"before": f"{MX.name}: mail1 at epoch 1\n", "after": f"{MX.name}: mail2 at epoch 2\n"}
        assert modules.site.coordinator.data == before and "run" not in said

    def test_does_it_and_tells_the_steps(self, modules: Modules) -> None:
        said = modules("handover", identity=MX.name, to="mail2", reason="new disk")
        assert said["changed"] and said["run"]["state"] == "done" and said["run"]["reason"] == "new disk"
        assert modules.site.owner.host == "mail2" and said["steps"][2].startswith("release")
        again = modules("handover", identity=MX.name, to="mail2")
        assert not again["changed"] and "mail2 owns it already, at epoch 2" in again["plan"]
        assert modules.site.owner.epoch == 2

    @pytest.mark.parametrize("check", [True, False])
    def test_refuses_with_the_reason(self, modules: Modules, check: bool) -> None:
        modules.site.up.discard("mail2")
        modules.site.clock.sleep(20)
        word = Readiness(False, ("drained: new disk",), time.time()).to_json()
        modules.site.coordinator._put(keys.ready("mail2", MX.name), word)
        modules.site.coordinator._put(keys.lease("mail2"), {"host": "mail2"})
        said = modules("handover", check=check, identity=MX.name, to="mail2")
        text = said["plan"] if check else said["msg"]
        assert f"{MX.name}: refused: mail1: is the present owner; mail2: drained: new disk" in text
        assert said.get("failed", False) is not check and not said["changed"]
        assert modules.site.owner.epoch == 1 and modules.site.running == {"mail1": 1}

    def test_a_run_under_way(self, modules: Modules) -> None:
        modules.site.coordinator.lock(keys.lock(MX.name), {"run": "x", "invoker": "relay1"}, 60)
        assert "a run of relay1 is under way" in modules("handover", check=True, identity=MX.name)["plan"]

    def test_held(self, modules: Modules) -> None:
        modules.site.silent.add("mail1")
        said = modules("handover", identity=MX.name)
        assert said["failed"] and "held: mail1 did not confirm" in said["msg"] and said["run"]["state"] == "held"

    def test_unknown_identity_and_no_quorum(self, modules: Modules) -> None:
        assert f"known: {MX.name}" in modules("handover", identity="mx.nobody.example")["msg"]
        modules.site.coordinator.reachable = False
        assert "no quorum" in modules("handover", identity=MX.name)["msg"]


class TestPower:
    def test_query_changes_nothing(self, modules: Modules) -> None:
        said = modules("power", host="mail2")
        assert (said["changed"], said["power"], said["device"]) == (False, "off", "lab-switch")
        assert modules.power["mail2"] is Power.OFF

    def test_check_mode(self, modules: Modules) -> None:
        said = modules("power", check=True, host="mail2", state="on")
        assert (said["changed"], said["power"]) == (True, "off") and modules.power["mail2"] is Power.OFF
        assert said["diff"] == {"before": "mail2 off\n", "after": "mail2 on\n"}

    def test_on_once(self, modules: Modules) -> None:
        said = modules("power", host="mail2", state="on")
        assert (said["changed"], said["power"]) == (True, "on") and modules.power["mail2"] is Power.ON
        assert not modules("power", host="mail2", state="on")["changed"]

    def test_unknown_host_and_silent_device(self, modules: Modules) -> None:
        assert "no fence device knows mail7; known: mail1, mail2, mail9" in modules("power", host="mail7")["msg"]
        assert "no answer" in modules("power", host="mail9", state="on")["msg"]

    def test_a_device_that_cannot_switch_on(self, modules: Modules) -> None:
        modules.power["mail8"] = Power.OFF
        assert "cannot switch on" in modules("power", host="mail8", state="on")["msg"]
        assert modules("power", host="mail8")["power"] == "off"


class TestStatus:
    def test_table_and_needs(self, modules: Modules) -> None:
        said = modules("status", check=True, held={"relay1": {MX.name: 7}})
        assert said["held"] == {MX.name: 3} and not said["changed"]
        assert said["table"][0].startswith("IDENTITY") and MX.name in said["identities"]
        assert said["needs"] == [f"{MX.name}: the monitor on relay2 has said nothing yet"]

    def test_hosts_aside_need_nobody(self, modules: Modules) -> None:
        assert modules("status", aside=["relay2"])["needs"] == []

    def test_stores_stand_beside_identities(self, modules: Modules, monkeypatch: pytest.MonkeyPatch) -> None:
        pair = Identity("store1", "10.255.3.1", KIND, (), "store1a", ("store1a", "store1b"), "store1")
        monkeypatch.setattr(Modules, "stores", {"store1": pair})
        c = modules.site.coordinator
        c._put(keys.owner("store1"), Owner("store1a", 7, "deploy", 0.0).to_json())
        c._put(keys.insync("store1"), InSync(("store1a",), 7, 2, 0.0).to_json())
        said = modules("status")
        assert any(line.split()[:3] == ["store1", "store1a", "7"] for line in said["table"])
        assert any("store1b lacks writes" in line for line in said["needs"])
        assert said["stores"]["store1"]["candidates"] == ["store1a", "store1b"]
        assert modules("identity_info")["stores"] == said["stores"]

    def test_what_of_the_coordinator_and_of_certificates_needs_an_operator(
        self, modules: Modules, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shown = {"https://member1:2379": Ending("of etcd", time.time() + 300 * DAY), "https://member2:2379": None}
        monkeypatch.setattr(Modules, "endpoints", tuple(shown))
        monkeypatch.setattr(certificates, "shown_by", lambda url, tls: shown[url])
        before = modules("status")["needs"]
        shown["https://member2:2379"] = Ending("of etcd", time.time() + 4.5 * DAY)
        monkeypatch.setattr(Modules, "asked", False)
        late = Readiness(True, (), time.time(), "", Ending("mail2", time.time() - DAY))
        modules.site.coordinator._put(keys.ready("mail2", MX.name), late.to_json())
        asks, member, host = (line for line in modules("status")["needs"] if line not in before)
        assert "etcd asks nobody who it is" in asks
        assert member.startswith("https://member2:2379: its certificate of etcd ends in 4 days")
        assert host.startswith("mail2: its certificate mail2 has ended")

    def test_redirectors_and_spools_stand_behind_them(self, modules: Modules) -> None:
        """By what their hosts say; who carries stands in the coordinator."""
        nothing = {"count": 0, "oldest": 0.0}
        spool = {"direction": "inward", "enabled": True, "error": None, "out": nothing, "in": nothing}
        spool |= {"quarantine": 1, "carried": None}
        carries = {"active": "active", "limit": {"count": 1, "seconds": 1.0}, "spools": {MX.name: spool}}
        fronts = {"addresses": ["10.1.1.71"], "servers": [], "error": ""}
        pair = {"side": "internet", "site": "dc1", "hosts": ["red1", "red2"], "addresses": ["10.1.1.71", "10.1.1.72"]}
        sides = {
            "red1": {"out": json.dumps(fronts), "why": ""},
            "red2": {"out": "", "why": "no route to host"},
            "t1": {"out": json.dumps(carries), "why": ""},
        }
        before = modules("status")
        asked = {"sides": sides, "redirectors": {"front1": pair}}
        more = [line for line in modules("status", **asked)["needs"] if line not in before["needs"]]
        assert more == [
            "red2: no answer: no route to host",
            "front1: 10.1.1.72 does not lie on red1, which answers",
            f"{MX.name}: no transfer host carries from its spool",
            f"{MX.name}: 1 set aside in quarantine",
        ]
        modules.site.coordinator._put(keys.transfer_claim(MX.name), {"host": "t1", "since": 0.0})
        said = modules("status", aside=["red2"], **asked)
        assert said["table"][: len(before["table"])] == before["table"]
        assert any(line.split()[:4] == [MX.name, "inward", "yes", "t1"] for line in said["table"])
        assert f"{MX.name}: 1 set aside in quarantine" in said["needs"] and not any(
            "no route" in n for n in said["needs"]
        )

    def test_identity_info_says_the_same(self, modules: Modules) -> None:
        assert modules("identity_info")["identities"] == modules("status")["identities"]


class TestConfirmFenced:
    WORDS = {"by": "anna", "reason": "both plugs"}  # noqa: RUF012

    def test_a_store_that_the_host_owns_is_meant_too(self, modules: Modules) -> None:
        modules.site.coordinator._put(keys.owner(MX.store), Owner("store1a", 3, "deploy", 0.0).to_json())
        said = modules("confirm_fenced", host="store1a", **self.WORDS)
        assert said["word"]["epochs"] == {MX.store: 3}
        assert keys.confirmed_off("store1a") in modules.site.coordinator.data

    def test_it_is_about_the_boot_that_was_seen_off(self, modules: Modules) -> None:
        """A relay that stood still between both calls records no word about a later boot."""
        coordinator = modules.site.coordinator
        coordinator._put(keys.owner(MX.store), Owner("store1a", 3, "deploy", 0.0).to_json())

        def started(boot: str) -> None:
            watchdog = Watchdog(boot, armed=True, kind="iTCO_wdt", timeout=60.0, since=0.0)
            coordinator._put(keys.watchdog("store1a"), watchdog.to_json())

        started("first")
        seen = modules("confirm_fenced", check=True, host="store1a", **self.WORDS)["word"]["boot_id"]
        started("second")
        said = modules("confirm_fenced", host="store1a", boot_id=seen, **self.WORDS)
        assert said["failed"] and "has been started since it was seen off" in said["msg"]
        assert keys.confirmed_off("store1a") not in coordinator.data
        started("first")
        modules("confirm_fenced", host="store1a", boot_id=seen, **self.WORDS)
        assert ConfirmedOff.from_json(coordinator.data[keys.confirmed_off("store1a")][0]).boot_id == "first"

    def test_a_host_that_owns_nothing(self, modules: Modules) -> None:
        said = modules("confirm_fenced", host="store1b", **self.WORDS)
        assert "owns no identity of this relay and no store of theirs" in said["msg"]


class TestRejoinCheck:
    FACTS = {  # noqa: RUF012
        "host": "mail1",
        "time": 1000.0,
        "traces": {},
        "versions": {"postfix": "3.10"},
        "package": "a",
        "drained": None,
        "units": {"holdfast-agent.service": "active"},
    }

    def test_obstacles(self, modules: Modules) -> None:
        assert modules("rejoin_check", facts=self.FACTS, asked=[999, 1001])["obstacles"] == []
        other = {**self.FACTS, "host": "mail2", "package": "b"}
        said = modules("rejoin_check", check=True, facts=self.FACTS, peers=[other], asked=[900, 950])
        assert [o.split(":")[0] for o in said["obstacles"]] == [
            "its clock is +50.0 s off",
            "its holdfast is another one than that of mail2",
        ]

    def test_facts_that_are_none(self, modules: Modules) -> None:
        assert "not those of mail_host_info" in modules("rejoin_check", facts={"host": "mail1"})["msg"]
        assert "give two times" in modules("rejoin_check", facts=self.FACTS, asked=[1])["msg"]


class TestIdentity:
    def test_a_first_owner_is_a_candidate_and_none_that_is_there_is_changed(self, modules: Modules) -> None:
        said = modules("identity", name=MX.name, owner="store1a")
        assert f"{MX.name}: store1a is no candidate; candidates: {', '.join(MX.candidates)}" in said["msg"]
        before = modules.site.owner
        said = modules("identity", name=MX.name, owner="mail2")
        assert not said["changed"] and modules.site.owner == before

    def test_many_first_owners_at_once(self, modules: Modules, monkeypatch: pytest.MonkeyPatch) -> None:
        other = dataclasses.replace(MX, name="mx.beta.example")
        monkeypatch.setattr(Modules, "identities", {MX.name: MX, other.name: other})
        before = modules.site.owner
        wrong = {other.name: "mail2", MX.name: "store1a"}
        assert f"{MX.name}: store1a is no candidate" in modules("identity", owners=wrong)["msg"]
        assert keys.owner(other.name) not in modules.site.coordinator.data
        owners = {MX.name: "mail2", other.name: "mail2"}
        for check in (True, False):
            said = modules("identity", check=check, owners=owners)
            assert said["changed"] and said["created"] == [other.name]
            assert (keys.owner(other.name) in modules.site.coordinator.data) is not check
        record = Owner.from_json(modules.site.coordinator.data[keys.owner(other.name)][0])
        assert (record.host, record.epoch) == ("mail2", int(record.since // 60)) and modules.site.owner == before
        again = modules("identity", owners=owners)
        assert not again["changed"] and again["created"] == []

    def test_many_owners_or_one_identity(self, modules: Modules) -> None:
        owners = {MX.name: "mail2"}
        assert "mutually exclusive" in modules("identity", owners=owners, name=MX.name)["msg"]
        assert "mutually exclusive" in modules("identity", owners=owners, inoperable=True)["msg"]
        assert "one of the following is required: owners, name" in modules("identity", owner="mail2")["msg"]

    def test_the_flag_stands_against_the_present_owner(self, modules: Modules) -> None:
        for check, wanted, before in ((True, True, False), (False, True, False), (False, False, True)):
            said = modules("identity", check=check, name=MX.name, inoperable=wanted, reason="disk errors")
            assert said["changed"] and said["inoperable"] is (before if check else wanted)
            assert not modules("identity", check=check, name=MX.name, inoperable=said["inoperable"])["changed"]
        assert keys.inoperable(MX.name) not in modules.site.coordinator.data

"""Units of roles behind a deploy: enabled and active, whatever was done to them; asked for only if they are not.

Each role's own tasks, run against a systemctl of the test's: the one that looks at files, here without any, and those
that enable and start units.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from trial import ROOT
from units import Units

from tests.playbook import playbook

Task = dict[str, Any]

# What each role has enabled and started, the way round its tasks do.
UNITS = {
    "base": ["holdfast-routes.service"],
    "router": ["holdfast-vrf.service", "frr.service", "keepalived.service"],
    "coordinator": ["etcd.service"],
    "dns": ["knot.service"],
    "store": ["holdfast-drbd.service", "holdfast-store-monitor.service"],
    "address": ["keepalived.service"],
    "agent": ["holdfast-agent.service", "holdfast-availability.service"],
    "external_store": ["holdfast-store.service"],
    "redirector": ["haproxy.service", "keepalived.service"],
    "monitor": ["holdfast-return.path", "holdfast-monitor.service"],
    "transfer": ["holdfast-spools.timer", "holdfast-transfer.service"],
    "packet_filter": ["holdfast-packet-filter.service"],
}
# Of the inventory and of topology; with these each role has all of its units.
GIVEN = {"__router_is_gateway": True, "__router_virtual": True, "__agent_redirected": {"mx": {}}, "packet_filter": True}


def tasks(role: str, phase: str) -> list[Task]:
    found: list[Task] = yaml.safe_load((ROOT / f"roles/{role}/tasks/{phase}.yml").read_text())
    return found


def looks(role: str) -> Iterator[Task]:
    """The role's task with files, if it says what the role has enabled; without its files and handlers."""
    for task in tasks(role, "configure") if (ROOT / f"roles/{role}/tasks/configure.yml").exists() else []:
        if units := task.get("holdfast.mail.files", {}).get("beside", {}).get("units"):
            own = {"files": [], "beside": {"units": units}}
            yield {"holdfast.mail.files": own, "register": task["register"], "tags": ["configure"]}


def enables(role: str) -> list[Task]:
    return [t for t in tasks(role, "service") if t.get("ansible.builtin.systemd_service", {}).get("enabled") is True]


def handlers(role: str) -> list[Task]:
    found: list[Task] = yaml.safe_load((ROOT / f"roles/{role}/handlers/main.yml").read_text())
    return found


def runs(task: Task, known: Mapping[str, Any]) -> bool:
    """Whether it would, with these variables."""
    conditions = task["when"] if isinstance(task["when"], list) else [task["when"]]
    templar = Templar(DataLoader(), variables=known)
    return all(templar.evaluate_conditional(trust_as_template(c)) for c in conditions)


class Deploy:
    """All roles, each on a host of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.hosts = {role: Units(folder / "units" / role) for role in UNITS}
        plays = [self._play(role) for role in UNITS]
        (folder / "play.json").write_text(json.dumps(plays))
        (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": dict.fromkeys(UNITS)}}))
        (folder / "given.json").write_text(json.dumps(GIVEN))

    def _play(self, role: str) -> Task:
        own = {"hosts": role, "gather_facts": False, "connection": "local", "tasks": [*looks(role), *enables(role)]}
        return {
            **own,
            "environment": self.hosts[role].environment,
            "vars_files": [f"{ROOT}/roles/{role}/vars/main.yml"],
        }

    def put(self, enabled: str = "enabled", active: str = "active") -> None:
        """`enabled` of each role's first unit, `active` of its last one; else they stand."""
        for role, names in UNITS.items():
            self.hosts[role].said()
            for name in names:
                self.hosts[role].put(
                    name, enabled if name == names[0] else "enabled", active if name == names[-1] else "active"
                )

    def run(self, *words: str) -> dict[str, int]:
        """{role: tasks that changed something}; -1 of one that had no task."""
        command = ("-i", "hosts.json", "play.json", "-e", "@given.json", *words)
        done = playbook(self._folder, *command, timeout=600, ANSIBLE_PYTHON_INTERPRETER=sys.executable)
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        counts = dict(re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+)", output, re.MULTILINE))
        return {role: int(counts.get(role, -1)) for role in UNITS}


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Deploy:
    return Deploy(tmp_path_factory.mktemp("deploy"))


def test_each_role_that_enables_units_is_among_these() -> None:
    assert {path.name for path in (ROOT / "roles").iterdir() if any(looks(path.name))} == set(UNITS)


def test_of_units_that_stand_no_task_asks(deploy: Deploy) -> None:
    deploy.put()
    assert deploy.run() == dict.fromkeys(UNITS, 0)
    for role, names in UNITS.items():
        assert deploy.hosts[role].said() == [f"is-enabled {' '.join(names)}", f"is-active {' '.join(names)}"], role


def test_what_was_stopped_or_disabled_is_put_right(deploy: Deploy) -> None:
    """In check mode the same is said, and nothing done."""
    deploy.put("disabled", "inactive")
    expected = {role: min(len(enables(role)), len(names)) for role, names in UNITS.items()}
    told = deploy.run("--check", "--limit", "agent,router")
    assert told == {**dict.fromkeys(UNITS, -1), "agent": expected["agent"], "router": expected["router"]}
    assert not any(host.stand(UNITS[role]) for role, host in deploy.hosts.items())
    assert deploy.run() == expected
    for role, names in UNITS.items():
        assert deploy.hosts[role].stand(names), role


@pytest.mark.parametrize("role", UNITS)
def test_who_has_not_seen_them_standing_asks(role: str) -> None:
    """Nor does who has looked at no files, as with `--tags ROLE_service`."""
    (look,) = looks(role)
    given = {"packet_filter": True, "__agent_availability": ["its file"]}
    for seen, asks in (
        (None, True),
        ({"failed": True}, True),
        ({"standing": False}, True),
        ({"standing": True}, False),
    ):
        known = given if seen is None else {**given, look["register"]: seen}
        for task in enables(role):
            assert runs(task, known) is asks, task["name"]


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("changed", [["/its/unit", "/a"], ["/a"], []])
def test_a_packet_filter_that_is_gone_is_forgotten(on: bool, changed: list[str]) -> None:
    """By a handler, since `files` has units read anew that are there."""
    known = {
        "packet_filter": on,
        "__packet_filter_unit": "/its/unit",
        "__packet_filter_done": {"changed_files": changed},
    }
    (forgets,) = [t for t in handlers("packet_filter") if "ansible.builtin.systemd_service" in t]
    assert runs(forgets, known) is (not on and "/its/unit" in changed)
    assert forgets["name"] in tasks("packet_filter", "configure")[0]["notify"]
    assert "ansible.builtin.meta" in tasks("packet_filter", "service")[-1], "loaded first: handlers forget what pends"


def test_nobody_else_has_units_read_anew() -> None:
    """Who asks for it in a role costs each host a third of a second of its processor, needed or not."""
    asking = {
        str(path.relative_to(ROOT / "roles"))
        for path in (ROOT / "roles").glob("*/*/*.yml")
        if re.search(r"daemon.reload", path.read_text())
    }
    assert asking == {"base/handlers/seldom.yml", "packet_filter/handlers/main.yml"}

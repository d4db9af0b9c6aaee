"""What role base asks of a host before it puts anything on it."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from tests.playbook import playbook

ROOT = Path(__file__).resolve().parents[3]
BASE = ROOT / "roles/base"
Result = dict[str, Any]

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux {0} (x)"\nNAME="Debian GNU/Linux"\nVERSION_ID="{0}"\nID=debian\n'
RELEASES = {
    DEBIAN.format(13): ("Debian", "13"),
    DEBIAN.format(12): ("Debian", "12"),
    'PRETTY_NAME="Debian GNU/Linux forky/sid"\nNAME="Debian GNU/Linux"\nID=debian\n': ("Debian", ""),
    'NAME="Ubuntu"\nVERSION_ID="24.04"\nID=ubuntu\nID_LIKE=debian\n': ("Ubuntu", "24"),
    "# a comment=\n\nNAME='Alpine Linux'\nID=alpine\nVERSION_ID=3.20.1\n": ("Alpine Linux", "3"),
    "ID=void\n": ("void", ""),
    "": ("", ""),
}


class Machine:
    """This one, with an os-release, a folder of units and programs of the test's own."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.place, self._capsys = place, capsys
        self.units = place / "units"
        self.units.mkdir()
        self._module = importlib.import_module("ansible_collections.holdfast.mail.plugins.modules.host_facts")
        monkeypatch.setattr(self._module, "RELEASE", str(place / "os-release"))
        monkeypatch.setattr(self._module, "UNITS", str(self.units))
        (place / "bin").mkdir()
        monkeypatch.setenv("PATH", str(place / "bin"))

    def program(self, name: str, text: str) -> None:
        (self.place / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.place / "bin" / name).chmod(0o755)

    def __call__(self, check: bool = False, **arguments: Any) -> Result:
        self._capsys.readouterr()
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            self._module.main()
        result: Result = json.loads(self._capsys.readouterr().out)
        return result

    def script(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What accounts.sh would do here."""
        text = (BASE / "files/accounts.sh").read_text().replace("/etc/systemd/system", str(self.units))
        argv = ["sh", "-c", text, "accounts.sh", "--check", *words]
        path = {"PATH": "/usr/bin:/bin"}
        return subprocess.run(argv, env=path, capture_output=True, text=True, check=False)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Machine:
    return Machine(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("text", RELEASES)
def test_each_system_is_named(machine: Machine, text: str) -> None:
    (machine.place / "os-release").write_text(text)
    facts = machine()["ansible_facts"]
    assert (facts["distribution"], facts["distribution_major_version"]) == RELEASES[text]


def test_a_system_that_has_neither_os_release_nor_dpkg(machine: Machine) -> None:
    said = machine()
    assert said["ansible_facts"] == {"distribution": "", "distribution_major_version": "", "packages": {}}
    assert not said["changed"]


@pytest.mark.parametrize("check", [False, True])
def test_only_what_is_installed_counts(machine: Machine, check: bool) -> None:
    """Held is installed; removed but for its configuration, half configured, and unpacked is not."""
    lines = [
        "ii  postfix",
        "hi  etcd-server",
        "rc  haproxy",
        "iF  knot",
        "iU  frr",
        "un  nullmailer",
        "ii  libc6",
        "ii  libc6",
    ]
    machine.program("dpkg-query", f'echo "$@" >> {machine.place}/asked\nprintf "%s\\n" {" ".join(map(repr, lines))}')
    facts = machine(check=check)["ansible_facts"]
    assert facts["packages"] == {"postfix": [], "etcd-server": [], "libc6": []}
    assert (machine.place / "asked").read_text() == "-W -f ${db:Status-Abbrev} ${Package}\n\n"


def test_the_dpkg_of_this_machine_is_understood(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    found = machine()["ansible_facts"]["packages"]
    assert {"dpkg", "coreutils"} <= set(found) and all(name == name.strip() for name in found)


def test_a_database_that_cannot_be_read_is_no_empty_one(machine: Machine) -> None:
    machine.program("dpkg-query", "echo 'dpkg-query: error: parsing file status' >&2; exit 2")
    said = machine()
    assert said["failed"] and "parsing file status" in said["msg"]


ROOT_USER = "root:0:0"  # on any system


@pytest.mark.parametrize(
    ("words", "stands"),
    [
        ([], True),
        ([ROOT_USER], True),
        (["root::0"], True),  # a group only
        ([ROOT_USER, "holdfast-none:64001:64001"], False),
        (["root:64001:0"], False),  # with another uid
        (["root:0:64001"], False),  # with another gid
        (["holdfast-none::64001"], False),
        (["nobody:65534:65534"], False),  # its group is called nogroup
        (["mask:here.service"], True),
        ([ROOT_USER, "mask:here.service", "mask:gone.service"], False),
        (["mask:enabled.service"], False),
        (["mask:file.service"], False),
    ],
)
def test_they_stand_where_the_script_would_do_nothing(machine: Machine, words: list[str], stands: bool) -> None:
    (machine.units / "here.service").symlink_to("/dev/null")
    (machine.units / "enabled.service").symlink_to("/usr/lib/systemd/system/enabled.service")
    (machine.units / "file.service").touch()
    masked = [word.removeprefix("mask:") for word in words if word.startswith("mask:")]
    said = machine(accounts=[word for word in words if not word.startswith("mask:")], masked=masked)
    assert said["accounts_stand"] is stands and not said["changed"]
    done = machine.script(*words)
    assert (done.returncode == 0 and done.stdout == "") is stands, done


# --- what role base makes of it -------------------------------------------------------------------------------------

# In place of the module: what each host is.
TOLD = """
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        asked = {"accounts": ["holdfast-none:64001:64001"], "masked": ["postfix.service"]}
        assert self._task.args == asked, self._task.args
        return task_vars["told"]
"""
# Of no system that tests run on. A name that is there with another id would be refused.
ACCOUNT = {"name": "holdfast-none", "uid": 64001, "gid": 64001}
LEARN, ACCOUNTS, PACKAGES = "Learn the distribution", "Accounts and masked units", "Packages"


def told(name: str, version: str, stand: bool = True, packages: Sequence[str] = ()) -> Result:
    facts = {"distribution": name, "distribution_major_version": version, "packages": {p: [] for p in packages}}
    return {"ansible_facts": facts, "accounts_stand": stand}


def base(folder: Path, *words: str, **hosts: Result) -> str:
    """What ansible-playbook says of the role's first two phases, in check mode, on hosts that are told to be so."""
    plugins = folder / "collections/ansible_collections/holdfast/mail/plugins"
    for kind, text in (("action", TOLD), ("modules", "")):
        (plugins / kind).mkdir(parents=True)
        (plugins / kind / "host_facts.py").write_text(text)
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    relay = {"hosts": {name: {**local, "told": one} for name, one in hosts.items()}}
    (folder / "hosts.json").write_text(json.dumps({"all": {"children": {"relay": relay}}}))
    tasks = [
        {"ansible.builtin.import_tasks": str(BASE / f"tasks/{phase}.yml"), "tags": [f"base_{phase}"]}
        for phase in ("preflight", "install")
    ]
    play = {"hosts": "all", "gather_facts": False, "vars_files": [str(BASE / "vars/main.yml")], "tasks": tasks}
    (folder / "play.yml").write_text(json.dumps([play]))
    values = {"role_path": str(BASE), "__base_accounts": [ACCOUNT], "__base_packages": ["openssl"]}
    command = ("-i", "hosts.json", "play.yml", "--check", "-e", json.dumps(values), *words)
    done = playbook(folder, *command, timeout=120, collections=folder / "collections")
    output = done.stdout + done.stderr
    assert "Traceback" not in output, output
    return output


def task(output: str, name: str) -> str:
    """What is said under its banner."""
    (found,) = (part for part in output.split("TASK [")[1:] if part.startswith(name))
    return " ".join(found.split())


def test_only_hosts_that_lack_something_get_the_script(tmp_path: Path) -> None:
    output = base(
        tmp_path,
        stands=told("Debian", "13", packages=["openssl"]),
        lacks=told("Debian", "13", stand=False, packages=["openssl"]),
        bookworm=told("Debian", "12"),
        sid=told("Debian", ""),
        ubuntu=told("Ubuntu", "24"),
        none=told("", ""),
    )
    for host, system in (
        ("bookworm", "Debian 12"),
        ("sid", "Debian without a version"),
        ("ubuntu", "Ubuntu 24"),
        ("none", "an unknown system without a version"),
    ):
        assert f"{host} runs {system}; install Debian 13 (trixie)" in " ".join(output.split())
        assert f"[{host}]" not in task(output, ACCOUNTS)
    assert "skipping: [stands]" in task(output, ACCOUNTS) and "changed: [lacks]" in task(output, ACCOUNTS)
    assert {"skipping: [stands]", "skipping: [lacks]"} <= set(re.findall(r"\w+: \[\w+\]", task(output, PACKAGES)))


def test_a_host_at_which_nobody_looked_gets_the_script(tmp_path: Path) -> None:
    output = base(tmp_path, "-t", "base_install", "-e", '{"__base_packages": []}', host=told("Debian", "13"))
    assert f"TASK [{LEARN}" not in output
    assert "changed: [host]" in task(output, ACCOUNTS) and "skipping: [host]" in task(output, PACKAGES)

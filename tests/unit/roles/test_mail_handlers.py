"""Handlers of role mail that do one thing for several files or identities, run as the shell would get them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendering import ROLES, Host, Values, inventory

COMPILE, START = "Compile scripts", "Start spools beside running instances"
MX, IM = "mx.alpha.example", "im.alpha.example"
SCRIPTS = [f"/etc/holdfast/identity/{name}/dovecot/before.sieve" for name in (MX, IM)]


class Handlers:
    """Of a host whose files have changed; its programs only note what they are asked."""

    def __init__(self, folder: Path, changed: list[str], spools: dict[str, Any]) -> None:
        tasks: list[Values] = yaml.safe_load((ROLES / "mail/handlers/main.yml").read_text())
        self._tasks = {task["name"]: task for task in tasks}
        self._folder = folder
        known = {"__mail_files": {"changed_files": changed}, "topology_spools": spools}
        self._host = Host("mail", "mail1", inventory("compact"), **known)
        (folder / "bin").mkdir()

    def program(self, name: str, fails: str = "-") -> None:
        """One that fails when `fails` is among its words."""
        text = f'#!/bin/sh\necho "{name} $*" >> {self._folder}/said\ncase "$*" in *{fails}*) exit 3;; esac\n'
        (self._folder / "bin" / name).write_text(text)
        (self._folder / "bin" / name).chmod(0o755)

    def wanted(self, name: str) -> bool:
        return bool(self._host.value(self._tasks[name]["when"]))

    def run(self, name: str) -> tuple[int, list[str]]:
        """Status and what was called."""
        (self._folder / "script").write_text(self._tasks[name]["ansible.builtin.shell"])
        script = self._host.text({"src": "script"}, self._folder)
        path = {"PATH": f"{self._folder / 'bin'}:/usr/bin:/bin"}
        done = subprocess.run(["sh", "-c", script], env=path, check=False)
        said = self._folder / "said"
        return done.returncode, said.read_text().splitlines() if said.exists() else []


def test_each_changed_script_is_compiled_as_its_own_dovecot_says(tmp_path: Path) -> None:
    handlers = Handlers(tmp_path, ["/etc/holdfast/sieve", *SCRIPTS, "/etc/holdfast/x.sieve.old"], {})
    handlers.program("sievec", fails="nothing")
    assert handlers.wanted(COMPILE)
    folders = [script.removesuffix("/before.sieve") for script in SCRIPTS]
    assert handlers.run(COMPILE) == (0, [f"sievec -c {f}/dovecot.conf {f}/before.sieve" for f in folders])


@pytest.mark.parametrize("wrong", [MX, IM])
def test_one_that_does_not_compile_fails_the_deploy_behind_the_others(tmp_path: Path, wrong: str) -> None:
    """Else it would be told as applied, and no later deploy compile it."""
    handlers = Handlers(tmp_path, SCRIPTS, {})
    handlers.program("sievec", fails=wrong)
    status, called = handlers.run(COMPILE)
    assert (status, len(called)) == (3, 2)


def test_no_script_no_spool_no_call(tmp_path: Path) -> None:
    handlers = Handlers(tmp_path, ["/etc/holdfast/identity/x/spool.yml"], {})
    assert not handlers.wanted(COMPILE) and not handlers.wanted(START)


@pytest.mark.parametrize(
    ("changed", "wanted"), [("/etc/holdfast/a", True), ("/etc/systemd/system/b", True), ("/usr/c", False)]
)
def test_spools_are_looked_at_behind_a_change_of_theirs(tmp_path: Path, changed: str, wanted: bool) -> None:
    assert Handlers(tmp_path, [changed], {MX: {}}).wanted(START) is wanted


def test_a_spool_is_started_beside_a_postfix_that_runs(tmp_path: Path) -> None:
    handlers = Handlers(tmp_path, ["/etc/holdfast/a"], {MX: {}, IM: {}})
    handlers.program("systemctl", fails=f"is-active*{MX}")
    assert handlers.run(START) == (
        0,
        [
            f"systemctl is-active -q holdfast-postfix@{MX}",
            f"systemctl is-active -q holdfast-postfix@{IM}",
            f"systemctl start holdfast-spool@{IM}",
        ],
    )


@pytest.mark.parametrize("wrong", [MX, IM])
def test_a_spool_that_does_not_start_fails_the_deploy_behind_the_others(tmp_path: Path, wrong: str) -> None:
    handlers = Handlers(tmp_path, ["/etc/holdfast/a"], {MX: {}, IM: {}})
    handlers.program("systemctl", fails=f"start*{wrong}")
    status, called = handlers.run(START)
    assert (status, [line.split("@")[1] for line in called if "start" in line]) == (3, [MX, IM])

"""A deploy that would take a host away from what it owns is refused at once: playbooks/owners.yml."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
Said = dict[str, Any]

# In place of the module, which needs a coordinator: what each relay says, or that it does not answer.
ASKED = """
import json, os
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        said = json.loads(os.environ["RELAYS_SAY"])[self._task.delegate_to]
        if said is None:
            raise AnsibleConnectionFailure("no route to host")
        return said
"""
GROUPS = {"relay": {"hosts": {"relay1": None, "relay2": None}}, "mail": {"hosts": {"mail1": None, "mail2": None}}}
IDENTITIES = {"mx": {"candidates": ["mail1", "mail2"]}, "im": {"candidates": ["mail2"]}}
STORES = {"store1": {"members": ["store1a", "store1b"]}}
FAILED = {"failed": True, "msg": "/etc/holdfast/monitor.yml: No such file or directory"}


def owned(stores: dict[str, str] | None = None, **identities: str | None) -> Said:
    def known(some: dict[str, Any]) -> Said:
        return {name: {"owner": host and {"host": host, "epoch": 3}} for name, host in some.items()}

    return {"changed": False, "identities": known(identities), "stores": known(stores or {})}


def deploy(folder: Path, relay1: Said | None, relay2: Said | None, *words: str) -> tuple[int, str]:
    """Status and output of the play, under what both relays say; None: it does not answer."""
    plugins = folder / "collections/ansible_collections/holdfast/mail/plugins"
    for kind, text in (("action", ASKED), ("modules", "")):
        (plugins / kind).mkdir(parents=True)
        (plugins / kind / "identity_info.py").write_text(text)
    values = {"identities": IDENTITIES, "stores": STORES}
    (folder / "hosts.json").write_text(json.dumps({"all": {"children": GROUPS, "vars": values}}))
    own = {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "local"),
        "RELAYS_SAY": json.dumps({"relay1": relay1, "relay2": relay2}),
    }
    program = Path(sys.executable).absolute().with_name("ansible-playbook")
    command = [program, "-i", "hosts.json", ROOT / "playbooks/owners.yml", *words]
    env = {**os.environ, **own}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_an_owner_that_is_no_candidate_any_more(tmp_path: Path) -> None:
    """Also where the deploy leaves the relays out, and one of them is off."""
    said_by_one = owned({"store1": "store1c"}, mx="mail1", im="mail1")
    status, said = deploy(tmp_path, None, said_by_one, "--limit", "mail2")
    assert status != 0
    assert "im is owned by mail1, which is no candidate of it any more; store1 is owned by store1c" in said
    assert "Nothing was changed. Put it back into the inventory" in said
    assert "mx is owned" not in said


def test_owners_that_are_candidates(tmp_path: Path) -> None:
    status, said = deploy(tmp_path, None, owned({"store1": "store1b"}, mx="mail1", im=None, gone="mail9"))
    assert status == 0, said
    assert "Before the first deploy" not in said


def test_a_deploy_that_brings_or_mends_the_coordinator_goes_on_and_says_so(tmp_path: Path) -> None:
    status, said = deploy(tmp_path, None, FAILED)
    assert status == 0, said
    assert "take no host out of the inventory now" in said
    assert "relay2: /etc/holdfast/monitor.yml: No such file or directory" in said

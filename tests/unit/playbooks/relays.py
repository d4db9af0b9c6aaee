"""Plays of playbooks/ that ask relays, run on the controller against what each relay is made to say."""

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


def play(name: str, folder: Path, relay1: Said | None, relay2: Said | None, *words: str) -> tuple[int, str]:
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
    command = [program, "-i", "hosts.json", ROOT / "playbooks" / name, *words]
    env = {**os.environ, **own}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, " ".join((done.stdout + done.stderr).split())

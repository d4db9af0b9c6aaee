"""Plays of playbooks/ that ask relays, run on the controller against what each relay is made to say."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.playbook import playbook

ROOT = Path(__file__).resolve().parents[3]
Said = dict[str, Any]
Answers = Said | list[Said] | None  # None: it does not answer

# In place of the module, which needs a coordinator: what each relay says. One that is asked again says what comes next,
# the last for good.
ASKED = """
import json, os, time
from pathlib import Path
from ansible.module_utils.basic import AnsibleModule

words = ("name", "config", "host", "by", "reason", "boot_id")
module = AnsibleModule(argument_spec={word: {"type": "str"} for word in words}, supports_check_mode=True)
relay, log = os.environ["RELAY"], Path(os.environ["RELAYS_ASKED"])
with log.open("a") as asked:
    asked.write(json.dumps({**module.params, "relay": relay, "check": module.check_mode}) + "\\n")
calls = [json.loads(line)["relay"] for line in log.read_text().splitlines()]
said = json.loads(os.environ["RELAYS_SAY"])[relay]
said = said if isinstance(said, list) else [said]
said = said[min(calls.count(relay), len(said)) - 1]
time.sleep(said.pop("takes", 0))
(module.fail_json if said.pop("failed", False) else module.exit_json)(**said)
"""
# Each relay is this machine. It knows by its interpreter which of them it is.
INTERPRETER = """#!/bin/sh
RELAY={relay} exec {python} "$@"
"""
# Nobody listens at this port.
SILENT = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
GROUPS: dict[str, Any] = {"mail": {"hosts": {"mail1": None, "mail2": None}}}
IDENTITIES = {
    "mx": {"candidates": ["mail1", "mail2"], "home": "mail1"},
    "im": {"candidates": ["mail2"], "home": "mail2"},
}
STORES = {"store1": {"members": ["store1a", "store1b"]}}
FAILED = {"failed": True, "msg": "/etc/holdfast/monitor.yml: No such file or directory"}


def collection(folder: Path) -> Path:
    """The plugins' folder of a collection that stands in for this one."""
    plugins = folder / "collections/ansible_collections/holdfast/mail/plugins"
    for kind in ("modules", "action"):
        (plugins / kind).mkdir(parents=True, exist_ok=True)
    return plugins


def run(book: Path, folder: Path, inventory: dict[str, Any], *words: str, **environment: str) -> tuple[int, str]:
    """Status and output of a playbook with what `collection` holds."""
    (folder / "hosts.json").write_text(json.dumps(inventory))
    command = ("-i", "hosts.json", book, *words)
    done = playbook(folder, *command, timeout=120, collections=folder / "collections", **environment)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def play(
    name: str | Path, folder: Path, relays: Sequence[Answers], *words: str, module: str = "identity_info"
) -> tuple[int, str]:
    """Status and output of a playbook, under what relay1, relay2, … say when that module asks them."""
    plugins = collection(folder)
    (plugins / f"modules/{module}.py").write_text(ASKED)
    action = ROOT / f"plugins/action/{module}.py"
    if action.exists():
        (plugins / action.relative_to(ROOT / "plugins")).symlink_to(action)
    hosts: dict[str, Any] = {}
    for n, said in enumerate(relays, 1):
        own = folder / f"python-relay{n}"
        own.write_text(INTERPRETER.format(relay=f"relay{n}", python=sys.executable))
        own.chmod(0o755)
        speaks = {"ansible_connection": "local", "ansible_python_interpreter": str(own)}
        hosts[f"relay{n}"] = SILENT if said is None else speaks
    values = {"identities": IDENTITIES, "stores": STORES}
    inventory = {"all": {"children": {"relay": {"hosts": hosts}, **GROUPS}, "vars": values}}
    (folder / "asked").touch()
    say = json.dumps({f"relay{n}": said for n, said in enumerate(relays, 1)})
    book = ROOT / "playbooks" / name
    return run(book, folder, inventory, *words, RELAYS_SAY=say, RELAYS_ASKED=str(folder / "asked"))


def asked(folder: Path) -> list[str]:
    """Relays that were asked and have answered, in order."""
    return [str(call["relay"]) for call in asked_with(folder)]


def asked_with(folder: Path) -> list[dict[str, Any]]:
    """`relay`, `check` and the arguments of each call that was answered, in order."""
    return [json.loads(line) for line in (folder / "asked").read_text().splitlines()]

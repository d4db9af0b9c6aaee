"""Flows of the inventories, from the facts that Ansible itself puts together; the same with hosts added or moved."""

from __future__ import annotations

import copy
import functools
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.holdfast.mail.plugins.plugin_utils import flows
from ansible_collections.holdfast.mail.plugins.plugin_utils.network_map import NetworkMap

ROOT = Path(__file__).resolve().parents[3]
Facts = dict[str, Any]


@functools.cache
def written(name: str) -> Facts:
    """What playbooks/flows.yml writes of an inventory."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "flows.json"
        argv = ["ansible-playbook", "-i", f"inventories/{name}", "playbooks/flows.yml", "-e", f"flows_to={file}"]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        made: Facts = json.loads(file.read_text())
        return made


def plan(name: str, change: Callable[[Facts], None] | None = None) -> NetworkMap:
    facts = copy.deepcopy(written(name)["facts"])
    if change is not None:
        change(facts)
    return NetworkMap(facts)


class Allowed:
    """A table that can be asked about single packets."""

    def __init__(self, map_of: NetworkMap) -> None:
        self.plan = map_of
        self.flows = flows.allowed(map_of)

    def __call__(self, source: str, address: str, port: int, protocol: str = "tcp") -> bool:
        return any(
            f.protocol == protocol
            and port in f.ports
            and (source in f.sources or (source == "any" and "any" in f.sources))
            and (address in f.destinations)
            for f in self.flows
        )

    def of(self, why: str) -> list[flows.Flow]:
        return [f for f in self.flows if f.why == why]

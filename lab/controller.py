"""The environment in which Ansible, pytest and others reach the guests of a lab."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from lab.errors import LabError
from lab.fleet import Fleet
from lab.inventory import inventory_folder
from lab.place import ROOT, Place

PLAYBOOK = ROOT / "playbooks/site.yml"


def environment(place: Place, *, stock: bool) -> dict[str, str]:
    """Return what is added to the environment. `stock` means Ansible's own strategy instead of mitogen's."""
    added = {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_SSH_ARGS": f"-F {shlex.quote(str(place.ssh_config))}",
        "ANSIBLE_PIPELINING": "true",
        "HOLDFAST_LAB": place.name,
        "HOLDFAST_LAB_SSH_CONFIG": str(place.ssh_config),
        "HOLDFAST_LAB_NETNS": str(place.netns),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    if not stock:
        added["ANSIBLE_STRATEGY"] = "mitogen_linear"
        added["ANSIBLE_STRATEGY_PLUGINS"] = str(_mitogen() / "plugins/strategy")
    return added


def _mitogen() -> Path:
    spec = find_spec("ansible_mitogen")
    if spec is None or spec.origin is None:
        raise LabError("missing Python package", "mitogen", "run `make setup`, or use --stock")
    return Path(spec.origin).parent


def become(command: Sequence[str], added: Mapping[str, str]) -> None:
    """Replace this process by a command with the lab's environment."""
    environ = {**os.environ, **added}
    environ.pop("PYTHONPATH", None)  # bin/lab's, for itself
    if "HOLDFAST_PYTHONPATH" in os.environ:
        environ["PYTHONPATH"] = environ.pop("HOLDFAST_PYTHONPATH")
    try:
        os.execvpe(command[0], list(command), environ)
    except FileNotFoundError:
        raise LabError("no such command", command[0], "name a program on PATH or in build/venv/bin") from None


def run(place: Place, command: Sequence[str], *, stock: bool) -> None:
    """Run any local command in the lab's environment."""
    Fleet.saved(place)
    become(command, environment(place, stock=stock))


def deploy(place: Place, word: str, extra: Sequence[str], *, stock: bool) -> None:
    """Run the whole playbook over the lab's guests."""
    folder = inventory_folder(word)
    fleet = Fleet.saved(place)
    if fleet.topology.inventory != str(folder):
        raise LabError("lab runs another inventory", fleet.topology.inventory, f"bin/lab up {word} first, or --name")
    if not PLAYBOOK.exists():
        raise LabError("no such playbook", PLAYBOOK, "it comes with the product's roles")
    os.chdir(ROOT)
    become(["ansible-playbook", "-i", str(folder), str(PLAYBOOK), *extra], environment(place, stock=stock))

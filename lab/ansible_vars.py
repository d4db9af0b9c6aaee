"""Prints the variables the lab needs of every host of an inventory, as JSON.

Run as a program of its own (`python -m lab.ansible_vars FOLDER`), since Ansible reads its settings at import.
`ansible-inventory --list` would do, if it did not sort the legs of a host by name: their order is the order of the
interfaces, and decides which gateway is the default one.
"""

import json
import sys

from ansible.errors import AnsibleError  # type: ignore[import-untyped]
from ansible.inventory.manager import InventoryManager  # type: ignore[import-untyped]
from ansible.parsing.dataloader import DataLoader  # type: ignore[import-untyped]
from ansible.template import Templar  # type: ignore[import-untyped]
from ansible.vars.manager import VariableManager  # type: ignore[import-untyped]

WANTED = ("legs", "lab_memory_mb", "lab_disks_mb", "lab_line", "segments", "lab_switch")


def main(folder: str) -> None:
    """Print {host: {variable: value}} with templates resolved."""
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[folder])
    variables = VariableManager(loader=loader, inventory=inventory)
    result = {}
    for host in inventory.get_hosts():
        known = variables.get_vars(host=host, include_hostvars=False)
        templar = Templar(loader=loader, variables=known)
        result[host.name] = {name: templar.template(known[name]) for name in WANTED if name in known}
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except AnsibleError as error:
        sys.exit(" ".join(str(error).split()))

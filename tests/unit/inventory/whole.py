"""A deploy of a whole inventory, rendered on the controller; for tests that look at what each host would get."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
Change = Callable[[dict[str, Any], dict[str, Any]], None]


def rendered(folder: Path, change: Change | None = None, name: str = "compact") -> Path:
    """Renders an inventory, as `change` leaves its hosts and its variables. Returns DIR of DIR/HOST/path.

    Beside DIR lies `records`: what a deploy would store of each host.
    """
    inventory = folder / "inventories" / "trial"
    shutil.copytree(ROOT / "inventories" / name, inventory, ignore=shutil.ignore_patterns("pki"))
    shutil.copytree(ROOT / "lab" / "test-keys", folder / "lab" / "test-keys")
    if change is not None:
        hosts = yaml.safe_load((inventory / "hosts.yml").read_text())
        variables: dict[str, Any] = {}
        for file in sorted((inventory / "group_vars" / "all").glob("*.yml")):
            variables |= yaml.safe_load(file.read_text())
            file.unlink()
        change(hosts["all"]["children"], variables)
        (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
        (inventory / "group_vars" / "all" / "all.yml").write_text(yaml.safe_dump(variables))
    out = folder / "rendered"
    argv = ["ansible-playbook", "-i", str(inventory), "playbooks/site.yml", "-t", "configure", "-e", f"render_to={out}"]
    argv += ["-e", f"stored_configuration_records={folder / 'records'}"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out

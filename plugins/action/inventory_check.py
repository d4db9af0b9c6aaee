"""Runs the core's inventory checks on the controller, where all variables are known (see the module)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.holdfast.mail.plugins.module_utils.core import customer_checks, side_checks, takeover_checks
from ansible_collections.holdfast.mail.plugins.module_utils.core.checks import Inventory, Mistake, check
from ansible_collections.holdfast.mail.plugins.plugin_utils import flow_checks, places

SETTINGS = (
    "sites",
    "segments",
    "topology_management",
    "service_prefix",
    "store_prefix",
    "stores",
    "external_stores",
    "stored_configuration",
    "stored_configuration_at",
    "redirectors",
    "store_lease_ttl",
    "drbd_secret",
    "coordinator_secret",
    "mail_routes",
    "identities",
    "customers",
    "mail_users",
    "mail_aliases",
    "monitor_interval",
    "monitor_methods",
    "threshold_attempts",
    "threshold_seconds",
    "lease_ttl",
    "relay_queue_lifetime",
    "mail_queue_lifetime",
    "mail_inside_queue_lifetime",
    "fence_devices",
    "fence_plan",
    "placement",
    "promote",
    "no_candidate",
    "lab_switch",
    "controllers",
    "router_default",
    "flows_besides",
    "tsig_secret",
    "probe_password",
)
SECRETS = ("tsig_secret", "probe_password", "drbd_secret", "coordinator_secret")
HOST_VALUES = ("site", "legs", "store_device", "packet_filter")


class _AnyTag(yaml.SafeLoader):
    """Only the names of top-level keys matter here, so a vaulted value is as good as any."""


_AnyTag.add_multi_constructor("!", lambda loader, suffix, node: None)


def files_of(directory: Path) -> dict[str, str]:
    """Which file of the inventory defines which variable: {variable: path relative to the inventory}."""
    found: dict[str, str] = {}
    for path in sorted((directory / "group_vars" / "all").glob("*.yml")):
        content = yaml.load(path.read_text(), Loader=_AnyTag)  # noqa: S506 - a SafeLoader
        for key in content or {}:
            found[key] = str(path.relative_to(directory))
    if (directory / "users.yml").exists():
        found["mail_users"] = "users.yml"
    for secret in SECRETS:
        found.setdefault(secret, "group_vars/all/secrets.yml")
    return found


class ActionModule(ActionBase):  # type: ignore[misc]
    """No connection is made: everything is decided from variables."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({"directory"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        directory = Path(str(self._task.args.get("directory") or variables["inventory_dir"]))
        if not directory.is_dir():
            return {**result, "failed": True, "msg": f"inventory {directory} is not a folder; name one"}
        files = files_of(directory)
        mistakes: list[Mistake] = []
        settings: dict[str, Any] = {}
        for key in SETTINGS:
            try:
                settings[key] = self._templar.template(variables.get(key))
            except AnsibleError as why:
                cause = str(why.orig_exc or why.message).splitlines()[0]
                mistakes.append(Mistake(files.get(key, "group_vars/all"), key, "(not resolvable)", cause))
                settings[key] = None if key in SECRETS else {}
        hosts: dict[str, dict[str, Any]] = {}
        groups: dict[str, list[str]] = variables["groups"]
        for host in groups["all"]:
            known = variables["hostvars"][host]
            hosts[host] = {key: known.get(key) for key in HOST_VALUES}
            hosts[host]["groups"] = [g for g, members in groups.items() if host in members]
        inventory = Inventory(hosts, settings, files, lab="HOLDFAST_LAB" in os.environ)
        mistakes += check(inventory) + customer_checks.check(inventory) + takeover_checks.check(inventory)
        mistakes += side_checks.check(inventory) + places.check(inventory) + flow_checks.check(inventory)
        texts = [str(m) for m in mistakes]
        result.update(changed=False, mistakes=texts, hosts=len(hosts))
        if mistakes:
            listed = "\n".join(f"  - {t}" for t in texts)
            result.update(failed=True, msg=f"{len(texts)} mistakes in {directory.name}; nothing was changed:\n{listed}")
        return result

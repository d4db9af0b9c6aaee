"""Packs what this run has put on hosts and hands the store what it does not have yet (see the module)."""

from __future__ import annotations

import base64
import json
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.holdfast.mail.plugins.plugin_utils import records, stored, versions


class ActionModule(ActionBase):  # type: ignore[misc]
    """One question to the store, and one copy to it where something differs."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"root", "mounted", "hosts", "version", "whole", "keep"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        self._variables = variables
        args = self._task.args
        place = {"root": args.get("root"), "mounted": args.get("mounted", True)}
        root = records.folder(self._templar.template(variables.get("stored_configuration_records")))
        try:
            versions.seconds_of(str(args.get("version")))
            found = {host: one for host in args.get("hosts") or [] if (one := records.noted(root, host))}
        except (OSError, ValueError) as why:
            raise AnsibleActionFail(f"stored_configuration: {why}") from why
        if not found:
            return {**result, "changed": False, "served": True, "stored": []}
        said = self._ask({**place, "hosts": list(found)})
        if said.get("failed") or said.get("unreachable") or not said["served"]:
            return {**result, **said, "stored": []}
        known = {host: versions.read(names) for host, names in said["versions"].items()}
        if not args.get("whole", True):
            before = self._ask({**place, "hosts": list(found), "read": {h: v[-1].name for h, v in known.items() if v}})
            if before.get("failed") or before.get("unreachable") or not before["served"]:
                return {**result, **before, "stored": []}
            try:
                for host, data in before["read"].items():
                    found[host] = stored.merged(
                        stored.unpack(base64.b64decode(data), known[host][-1].digest), found[host]
                    )
            except stored.Unfit as why:
                raise AnsibleActionFail(f"stored_configuration: {host}: {why}") from why
        new = {}
        for host, one in found.items():
            archive = stored.pack(one)
            version = versions.Version(versions.following(str(args["version"]), known[host]), stored.digest(archive))
            if not known[host] or known[host][-1].digest != version.digest:
                new[host] = (version.name, base64.b64encode(stored.compressed(archive)).decode())
        if not new:
            return {**result, "changed": False, "served": True, "stored": []}
        handed = {**place, "archives": json.dumps(new), "keep": args.get("keep", 20)}
        done = self._execute_module("holdfast.mail.stored_configuration", module_args=handed, task_vars=variables)
        return {**result, **done}

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        name = "holdfast.mail.stored_configuration_info"
        answer: dict[str, Any] = self._execute_module(name, module_args=question, task_vars=self._variables)
        return answer

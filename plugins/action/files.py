"""Renders many templates on the controller and hands them to the module `files` in one call.

A task costs a host about a CPU-second, whatever it does (docs/performance.md); one task for a role's whole
configuration is what makes a deploy short, and what lets all files be checked before the first one is replaced.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

KEYS = {"src", "content", "copy", "vars", "dest", "owner", "group", "mode", "validate", "state", "target", "secret"}
STATES = ("file", "directory", "link", "absent")
SOURCES = ("src", "content", "copy")
PATTERN = "*.py"  # of a tree
MANAGED = "Written by Ansible (Holdfast); changes made here are lost"


class ActionModule(ActionBase):  # type: ignore[misc]
    """See the module's documentation."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"files", "tree", "pending", "pending_for"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            items = [self._item(item, variables) for item in self._task.args.get("files") or []]
            if self._task.args.get("tree"):
                items += self._tree(self._task.args["tree"])
        except (AnsibleError, OSError) as why:
            raise AnsibleActionFail(str(why)) from why
        twice = [dest for dest, count in Counter(item["dest"] for item in items).items() if count > 1]
        if twice:
            raise AnsibleActionFail(f"files: {twice[0]}: stands twice in one task; keep one of them")
        if folder := variables.get("render_to"):
            return {**result, **self._write(items, Path(folder) / variables["inventory_hostname"])}
        tree = self._task.args.get("tree")
        prune = {"dest": str(tree["dest"]), "pattern": tree.get("pattern", PATTERN)} if tree else None
        done = self._execute_module(
            module_name="holdfast.mail.files",
            module_args={
                "items": json.dumps(items) if items else "",
                "prune": prune,
                "pending": self._task.args.get("pending"),
                "pending_for": self._task.args.get("pending_for") or {},
            },
            task_vars=variables,
        )
        result.update(done)
        return result

    @staticmethod
    def _write(items: list[dict[str, Any]], root: Path) -> dict[str, Any]:
        """What the host would get, below a folder of the controller instead; the host is not asked anything."""
        for item in items:
            path = root / item["dest"].lstrip("/")
            if item["state"] == "absent":
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if item["state"] == "directory":
                path.mkdir(exist_ok=True)
            elif item["state"] == "link":
                path.unlink(missing_ok=True)
                path.symlink_to(item["target"])
            elif item["state"] == "file":
                path.write_bytes(base64.b64decode(item["data"]))
                path.chmod(0o600)  # secrets among them, whatever the mode is on the host
        return {"changed": False, "rendered": len(items)}

    def _item(self, item: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        unknown = set(item) - KEYS
        if unknown or "dest" not in item:
            what = f"{min(unknown)} is unknown" if unknown else "dest is missing"
            raise AnsibleActionFail(f"files: {item.get('dest', item)}: {what}; known: {', '.join(sorted(KEYS))}")
        state = item.get("state", "file")
        made = {k: v for k, v in item.items() if k not in (*SOURCES, "vars")}
        made["state"] = state
        if state == "file":
            if sum(s in item for s in SOURCES) != 1:
                raise AnsibleActionFail(f"files: {item['dest']}: give one of src, content, copy")
            made["data"] = base64.b64encode(self._data(item, variables)).decode()
        if state == "link" and "target" not in item:
            raise AnsibleActionFail(f"files: {item['dest']}: a link wants target")
        if state not in STATES:
            raise AnsibleActionFail(f"files: {item['dest']}: state is {state!r}; known: {', '.join(STATES)}")
        if state in ("file", "directory") and not isinstance(item.get("mode"), str):
            raise AnsibleActionFail(f"files: {item['dest']}: mode is {item.get('mode')!r}; give it as text like '0644'")
        return made

    def _data(self, item: dict[str, Any], variables: dict[str, Any]) -> bytes:
        if "content" in item:
            return str(item["content"]).encode()
        if "copy" in item:
            if variables.get("render_to") and not Path(item["copy"]).exists():
                return b""  # certificates are made by a deploy
            return Path(self._find_needle("files", item["copy"])).read_bytes()
        path = Path(self._find_needle("templates", item["src"]))
        own = {**variables, **(item.get("vars") or {}), "ansible_managed": MANAGED}
        templar = self._templar.copy_with_new_env(available_variables=own)
        text = templar.template(trust_as_template(path.read_text()), overrides={"trim_blocks": True})
        # A template whose whole text is one expression may come back as something other than text.
        text = str(text)
        return (text if text.endswith("\n") or not text else text + "\n").encode()

    def _tree(self, tree: dict[str, Any]) -> list[dict[str, Any]]:
        """All files below a local folder that match `pattern`, with their folders."""
        source, dest = Path(tree["src"]), str(tree["dest"]).rstrip("/")
        if not source.is_dir():
            raise AnsibleActionFail(f"files: tree.src {source} is no folder")
        found = sorted(source.rglob(tree.get("pattern", PATTERN)))
        folders = {dest}
        for path in found:
            relative = path.relative_to(source)
            folders |= {f"{dest}/{p}" for p in map(str, relative.parents) if p != "."}
        items: list[dict[str, Any]] = [{"dest": f, "state": "directory", "mode": "0755"} for f in sorted(folders)]
        for path in found:
            data = base64.b64encode(path.read_bytes()).decode()
            items.append({"dest": f"{dest}/{path.relative_to(source)}", "state": "file", "mode": "0644", "data": data})
        return items

"""Renders many templates on the controller and hands them to the module `files` in one call.

A task costs a host about a CPU-second, whatever it does (docs/performance.md); one task for a role's whole
configuration is what makes a deploy short, and what lets all files be checked before the first one is replaced.

The same task tells what a role puts on a host: it is noted for the stored configuration, or taken from there
(decisions/0039).
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible_collections.holdfast.mail.plugins.plugin_utils import records, stored, versions

KEYS = {
    "src",
    "content",
    "copy",
    "vars",
    "dest",
    "owner",
    "group",
    "mode",
    "validate",
    "state",
    "target",
    "secret",
    "hidden",
}
STATES = ("file", "directory", "link", "absent")
SOURCES = ("src", "content", "copy")
PATTERN = "*.py"  # of a tree
MANAGED = "Written by Ansible (Holdfast); changes made here are lost"


class ActionModule(ActionBase):  # type: ignore[misc]
    """See the module's documentation."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"files", "tree", "pending", "pending_for", "beside"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            items = [self._item(item, variables) for item in self._task.args.get("files") or []]
            if self._task.args.get("tree"):
                items += self._tree(self._task.args["tree"])
            twice = [dest for dest, count in Counter(item["dest"] for item in items).items() if count > 1]
            if twice:
                raise AnsibleActionFail(f"files: {twice[0]}: stands twice in one task; keep one of them")
            tree = self._task.args.get("tree")
            prune = {"dest": str(tree["dest"]), "pattern": tree.get("pattern", PATTERN)} if tree else None
            if source := self._value("rebuild_from", variables):
                items, prune = self._as_stored(Path(str(source)), items)
            elif boolean(self._value("stored_configuration", variables) or False):
                self._note(items, prune, variables)
        except (AnsibleError, OSError, stored.Unfit) as why:
            raise AnsibleActionFail(str(why)) from why
        if folder := variables.get("render_to"):
            return {**result, **self._write(items, Path(folder) / variables["inventory_hostname"])}
        done = self._execute_module(
            module_name="holdfast.mail.files",
            module_args={
                "items": json.dumps(items) if items else "",
                "prune": prune,
                "pending": self._task.args.get("pending"),
                "pending_for": self._task.args.get("pending_for") or {},
                "units": (self._task.args.get("beside") or {}).get("units") or [],
            },
            task_vars=variables,
        )
        result.update(done)
        return result

    def _value(self, name: str, variables: dict[str, Any]) -> Any:
        return self._templar.template(variables.get(name))

    def _role(self) -> str:
        """What the role is called without its collection; empty outside of one."""
        return self._task._role.get_name(include_role_fqcn=False) if self._task._role else ""

    def _hidden(self) -> dict[str, dict[str, str]]:
        """{path: {name: value}}: secrets that stand in a file of which the rest is stored."""
        given = self._task.args.get("files") or []
        return {item["dest"]: {k: str(v) for k, v in item["hidden"].items()} for item in given if item.get("hidden")}

    def _note(self, items: list[dict[str, Any]], prune: dict[str, str] | None, variables: dict[str, Any]) -> None:
        """What the role puts on this host, for the end of the deploy; of a mere rendering for whoever asks."""
        name, given = self._role(), self._value("stored_configuration_records", variables)
        if not name or ("render_to" in variables and not given):
            return
        hidden = self._hidden()
        copied = {item["dest"] for item in self._task.args.get("files") or [] if "copy" in item}
        beside = self._task.args.get("beside") or {}
        if unknown := set(beside) - set(stored.BESIDE):
            raise AnsibleActionFail(f"files: beside: {min(unknown)} is unknown; known: {', '.join(stored.BESIDE)}")
        entries = (
            stored.entry(item, copied=item["dest"] in copied, hidden=hidden.get(item["dest"], {})) for item in items
        )
        role = stored.Role(
            tuple(entries), **{key: tuple(map(str, value)) for key, value in beside.items()}, prune=prune
        )
        records.note(records.folder(given), variables["inventory_hostname"], name, role)

    def _as_stored(
        self, archive: Path, items: list[dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], dict[str, str] | None]:
        """What this role put on the host at that version, in place of what it would put there today."""
        version, name = versions.read([archive.name])[0], self._role()
        known = stored.unpack(archive.read_bytes(), version.digest)
        if name not in known.roles:
            raise stored.Unfit(f"{archive.name}: nothing of role {name} is stored of {known.host}; leave the role out")
        role = known.roles[name]
        return stored.items(name, known, items, self._hidden(), version.seconds), role.prune

    @staticmethod
    def _write(items: list[dict[str, Any]], root: Path) -> dict[str, Any]:
        """What the host would get, below a folder of the controller instead; the host is not asked anything."""
        for item in (one for one in items if one["state"] != "absent"):
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
        made = {k: v for k, v in item.items() if k not in (*SOURCES, "vars", "hidden")}
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

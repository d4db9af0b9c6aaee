"""Unpacks on the controller what a store keeps of a host's configuration (see the module)."""

from __future__ import annotations

import base64
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.holdfast.mail.plugins.plugin_utils import differences, records, stored, versions


class ActionModule(ActionBase):  # type: ignore[misc]
    """Two questions to the store: what there is, and what was chosen of it."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"root", "mounted", "hosts", "fetch", "version", "since"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        args = self._task.args
        host = str(args.get("fetch") or "")
        place = {"root": args.get("root"), "mounted": args.get("mounted", True)}
        said = self._ask({**place, "hosts": [host] if host else args.get("hosts") or []}, variables)
        if said.get("failed") or said.get("unreachable") or not said["served"] or not host:
            return {**result, **said}
        known = versions.read(said["versions"][host])
        try:
            version = versions.chosen(known, args.get("version"))
            fetched, archive = self._fetch({**place, "hosts": [host]}, host, version, variables)
            answer = {
                **result,
                **said,
                "archive": archive,
                "roles": fetched.order(),
                "packages": fetched.beside("packages"),
                "units": fetched.beside("units"),
                "plan": differences.plan(fetched, version, known[-1]),
            }
            if args.get("since"):
                earlier = versions.chosen(known, args["since"])
                before, _ = self._fetch({**place, "hosts": [host]}, host, earlier, variables)
                answer["difference"] = differences.between(before, fetched, (earlier.time, version.time))
        except (versions.NoSuchVersion, stored.Unfit) as why:
            raise AnsibleActionFail(f"{host}: {why}") from why
        return answer

    def _fetch(
        self, place: dict[str, Any], host: str, version: versions.Version, variables: dict[str, Any]
    ) -> tuple[stored.Stored, str]:
        """What it holds, and where it lies on the controller now. Raises Unfit."""
        said = self._ask({**place, "read": {host: version.name}}, variables)
        if said.get("failed") or said.get("unreachable") or not said["served"]:
            raise stored.Unfit(said.get("msg") or "the store is not served any more; try again")
        data = base64.b64decode(said["read"][host])
        fetched = stored.unpack(data, version.digest)
        root = records.folder(self._templar.template(variables.get("stored_configuration_records")))
        path = root.with_name(f"{root.name}.fetched") / host / version.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return fetched, str(path)

    def _ask(self, question: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        name = "holdfast.mail.stored_configuration_info"
        answer: dict[str, Any] = self._execute_module(name, module_args=question, task_vars=variables)
        return answer

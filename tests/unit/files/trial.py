"""Two ways to try holdfast.mail.files on this machine: the module alone, and a role with a playbook."""

from __future__ import annotations

import base64
import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from tests.playbook import playbook

ROOT = Path(__file__).resolve().parents[3]
Result = dict[str, Any]


def me() -> dict[str, str]:
    """Owner and group of what this process makes."""
    return {"owner": str(os.getuid()), "group": str(os.getgid())}


def file(dest: Path, text: str = "new\n", mode: str = "0644", **more: Any) -> dict[str, Any]:
    """One item as the action plugin hands it over."""
    data = base64.b64encode(text.encode()).decode()
    return {"dest": str(dest), "state": "file", "mode": mode, "data": data, **me(), **more}


def folder(dest: Path, mode: str = "0755") -> dict[str, Any]:
    return {"dest": str(dest), "state": "directory", "mode": mode, **me()}


class Module:
    """The module in this very process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._module = importlib.import_module("ansible_collections.holdfast.mail.plugins.modules.files")

    def __call__(
        self, *items: Mapping[str, Any], check: bool = False, prune: Mapping[str, str] | None = None, **more: Any
    ) -> Result:
        self._capsys.readouterr()
        given = {"items": json.dumps(items), "prune": prune, "_ansible_check_mode": check, **more}
        with patch_module_args(given), pytest.raises(SystemExit):
            self._module.main()
        result: Result = json.loads(self._capsys.readouterr().out)
        return result


@dataclass(frozen=True)
class Role:
    """A role in `place`, run with ansible-playbook over a local connection."""

    place: Path

    def template(self, name: str, text: str) -> None:
        self._put(f"templates/{name}", text.encode())

    def file(self, name: str, data: bytes) -> None:
        self._put(f"files/{name}", data)

    def _put(self, name: str, data: bytes) -> None:
        path = self.place / "roles/tried" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def run(self, arguments: Mapping[str, Any], *words: str, **values: Any) -> Result:
        """What the task returns, and `output`. `words` go to ansible-playbook, `values` are the play's variables."""
        return self.run_all([arguments], *words, **values)[0]

    def run_all(self, several: Sequence[Mapping[str, Any]], *words: str, **values: Any) -> list[Result]:
        """One task each; a failed one stops nothing."""
        tasks: list[Mapping[str, Any]] = [
            {"holdfast.mail.files": arguments, "register": f"answer_{n}", "ignore_errors": True}
            for n, arguments in enumerate(several)
        ]
        answers = self.place / "answers.json"
        told = {"content": f"{{{{ [{', '.join(t['register'] for t in tasks)}] | to_json }}}}", "dest": str(answers)}
        tasks.append({"ansible.builtin.copy": told, "check_mode": False, "diff": False})
        self._put("tasks/main.yml", json.dumps(tasks).encode())
        play = {"hosts": "all", "gather_facts": False, "connection": "local", "vars": values, "roles": ["tried"]}
        (self.place / "play.yml").write_text(json.dumps([play]))
        answers.unlink(missing_ok=True)
        output = self._playbook(["-i", "localhost,", "play.yml", *words])
        assert answers.exists(), output
        return [{**answer, "output": output} for answer in json.loads(answers.read_text())]

    def _playbook(self, words: Sequence[str]) -> str:
        done = playbook(self.place, *words, timeout=120, ANSIBLE_PYTHON_INTERPRETER=sys.executable)
        return done.stdout + done.stderr

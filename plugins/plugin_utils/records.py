"""Where action plugin `files` notes what this run puts on which host, and where the end of the run finds it.

In Ansible's own folder for this run, which is the same for all its workers and goes with it. No secret lies there.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from ansible import constants

from .stored import BESIDE, Entry, Role, Stored

NAME = "stored_configuration"


def folder(given: str | None = None) -> Path:
    """`given`: another folder, which stays."""
    return Path(given) if given else Path(constants.DEFAULT_LOCAL_TMP) / NAME


def note(root: Path, host: str, name: str, role: Role) -> None:
    """Raises OSError."""
    path = root / host / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [
        vars(one) | {"data": None if one.data is None else base64.b64encode(one.data).decode()} for one in role.entries
    ]
    path.write_text(json.dumps(vars(role) | {"entries": entries}))


def noted(root: Path, host: str) -> Stored | None:
    """What was put there, or None where this run did nothing. Raises OSError."""
    roles = {}
    for path in sorted((root / host).glob("*.json")):
        said = json.loads(path.read_text())
        roles[path.stem] = Role(
            tuple(_entry(one) for one in said["entries"]),
            **{key: tuple(said[key]) for key in BESIDE},
            prune=said["prune"],
        )
    return Stored(host, roles) if roles else None


def _entry(said: dict[str, object]) -> Entry:
    data = said["data"]
    known = said | {"data": None if data is None else base64.b64decode(str(data)), "hidden": tuple(said["hidden"])}  # type: ignore[arg-type]
    return Entry(**known)  # type: ignore[arg-type]

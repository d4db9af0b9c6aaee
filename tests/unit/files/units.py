"""A systemctl for tests: what it says of units, and what it was asked, lies in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# As systemd 252 and 257 do: of a unit file that it does not know the older one says nothing on its output, and ends.
PROGRAM = """#!/bin/sh
echo "$*" >> "$UNITS/said"
verb=$1 status=1
shift
case $verb in
is-enabled)
    for unit; do
        [ "$unit" != -l ] || continue
        word=$(cat "$UNITS/$unit.enabled") || exit 1
        echo "$word"
        case $word in enabled*|static|alias|indirect|generated) status=0;; esac
    done
    exit $status;;
is-active)
    for unit; do
        word=$(cat "$UNITS/$unit.active" || echo inactive)
        echo "$word"
        [ "$word" != active ] || status=0
    done
    exit $status;;
show) echo LoadState=loaded; echo "ActiveState=$(cat "$UNITS/$1.active")";;
enable) echo enabled > "$UNITS/$1.enabled";;
start) echo active > "$UNITS/$1.active";;
*) echo "$verb: not known here" >&2; exit 1;;
esac
"""


@dataclass(frozen=True)
class Units:
    """Those of one host."""

    folder: Path

    def __post_init__(self) -> None:
        program = self.folder / "bin/systemctl"
        program.parent.mkdir(parents=True)
        program.write_text(PROGRAM)
        program.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "UNITS": str(self.folder)}

    def put(self, name: str, enabled: str | None = "enabled", active: str | None = "active") -> None:
        """None: systemd knows nothing of it."""
        for kind, word in (("enabled", enabled), ("active", active)):
            path = self.folder / f"{name}.{kind}"
            path.unlink(missing_ok=True)
            if word is not None:
                path.write_text(f"{word}\n")

    def stand(self, names: Iterable[str]) -> bool:
        return all(
            (self.folder / f"{name}.{kind}").read_text() == f"{word}\n"
            for name in names
            for kind, word in (("enabled", "enabled"), ("active", "active"))
        )

    def said(self) -> list[str]:
        """What it was asked since the last call."""
        path = self.folder / "said"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

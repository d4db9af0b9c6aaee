"""holdfast-transfer status: what waits in the spools of this site, by what lies there. Changes nothing.

holdfast-transfer status            a line for each spool
holdfast-transfer status --json     for playbooks/status.yml
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..adapters.clock import SystemClock
from ..adapters.command import CommandError
from ..adapters.machine import set_aside
from ..adapters.spool_files import SpoolFiles
from ..adapters.transfer_records import last_carried
from ..adapters.units import Units
from ..core import side_telling
from ..core.model import Json
from ..core.ports import Clock
from ..core.spool import FOLDERS, ID, IN, OUT, QUARANTINE
from ..core.transfer import Backlog
from . import config, transfer

UNIT = "holdfast-transfer.service"


def look(settings: transfer.Config, files: SpoolFiles, clock: Clock) -> dict[str, Json]:
    """{identity: its spool}, each by itself: one that is away says why in `error`. Ages in seconds."""
    carried: dict[str, float] = {}
    with contextlib.suppress(OSError):  # with the records away nothing is carried, and the daemon does not run
        carried = last_carried(settings.records)

    def waits(folder: Path) -> Json:
        left = Backlog.of([f.time for f in files.names(folder) if ID.fullmatch(f.name)], clock.now())
        return {"count": left.count, "oldest": left.oldest}

    found: dict[str, Json] = {}
    for name in settings.table.sides:
        direction = settings.table.direction(name)
        one: Json = {"direction": str(direction), "enabled": direction in settings.intervals, "error": None}
        try:
            root = settings.root / name
            if (gone := next((f for f in FOLDERS if not files.exists(root / f)), None)) is not None:
                raise FileNotFoundError(f"{root / gone} is missing")
            one |= {"out": waits(root / OUT), "in": waits(root / IN)}
            one |= {"quarantine": waits(root / QUARANTINE)["count"], "carried": carried.get(name)}
        except OSError as why:
            one["error"] = str(why)
        found[name] = one
    return found


def running(units: Units) -> str:
    """systemd's word on the daemon: `active` is a good one."""
    try:
        return units.states([UNIT])[UNIT]
    except CommandError as why:
        return f"not to be asked for: {why}"


def status(file: str, as_json: bool) -> Callable[[], None]:
    """What tells it. Raises ConfigError."""
    settings = transfer.load(file)

    def tell() -> None:
        spools = look(settings, SpoolFiles(), SystemClock())
        limit = {"count": settings.alarm.count, "seconds": settings.alarm.seconds}
        active = running(Units())
        said = {"active": active, "aside": set_aside(), "limit": limit, "spools": spools}
        word = side_telling.Word({**said, "unserved": unserved(active, spools)})
        if as_json:
            print(json.dumps(word.said))
            return
        # Who carries, only the coordinator knows, and it is asked by playbooks/status.yml.
        print("\n".join(side_telling.transfer_table({settings.host: word}, {})))

    return tell


def unserved(active: str, spools: dict[str, Json]) -> list[str]:
    """Why this host carries nothing, or not all."""
    found = [] if active == "active" else [f"holdfast-transfer is {active}"]
    return found + [f"the spool of {name} is away: {one['error']}" for name, one in spools.items() if one["error"]]


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    return config.main(
        [a for a in arguments if a != "--json"], transfer.FILE, lambda file: status(file, "--json" in arguments)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

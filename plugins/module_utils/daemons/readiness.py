"""Could this host run an identity now? A takeover asks that before it fences (DESIGN, "Safety rules")."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..adapters import command, machine
from .instance import Place

NFS = 2049
CONNECT = 1.0  # seconds


@dataclass(frozen=True)
class Limits:
    """Least memory and room under /var, in MB, and the file that drains this host while it exists."""

    memory_mb: int
    disk_mb: int
    drain_file: str


class Checks:
    """Remembers what it has checked: a configuration is read anew only when one of its files has changed."""

    def __init__(self, limits: Limits, run: command.Run = command.run) -> None:
        self._limits = limits
        self._run = run
        self._checked: dict[str, tuple[object, str | None]] = {}

    def reasons(self, place: Place) -> tuple[str, ...]:
        """Why not; empty when it could."""
        return tuple(self._reasons(place))

    def _reasons(self, place: Place) -> Iterator[str]:
        drain = Path(self._limits.drain_file)
        if drain.exists():
            yield f"drained: {' '.join(drain.read_text().split()) or 'no reason given'}"
        memory = machine.available_memory_mb()
        if memory < self._limits.memory_mb:
            yield f"{memory} MB of memory left, {self._limits.memory_mb} needed"
        disk = machine.free_disk_mb("/var")
        if disk < self._limits.disk_mb:
            yield f"{disk} MB left under /var, {self._limits.disk_mb} needed"
        store = place.source.partition(":")[0]
        try:
            socket.create_connection((store, NFS), CONNECT).close()
        except OSError as why:
            yield f"store {store} does not answer: {why}"
        files = [(Path(place.postfix_dir), ["postconf", "-c", place.postfix_dir, "-n"])]
        if place.mailboxes is not None:
            dovecot = place.mailboxes.dovecot_conf
            files.append((Path(dovecot).parent, ["doveconf", "-c", dovecot, "-n"]))
        for folder, argv in files:
            if (broken := self._configuration(folder, argv)) is not None:
                yield broken

    def _configuration(self, folder: Path, argv: list[str]) -> str | None:
        state = sorted((str(f), f.stat().st_mtime_ns) for f in folder.glob("*")) if folder.is_dir() else None
        if not state:
            return f"{folder} holds no configuration"
        before, said = self._checked.get(str(folder), (None, None))
        if before == state:
            return said
        try:
            self._run(argv, timeout=20.0)
            said = None
        except command.CommandError as why:
            said = str(why)
        self._checked[str(folder)] = (state, said)
        return said

"""Zones of a Knot server on this host, read and changed through knotc(8): a change is one transaction of the server."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ..core.records import RecordSet, Zone, read
from . import command

TIMEOUT = 20.0


class Knot:
    """The server behind knotc's default socket. Everything raises CommandError."""

    def __init__(self, run: command.Run = command.run) -> None:
        self._run = run

    def _ask(self, *words: str) -> str:
        return self._run(["knotc", *words], timeout=TIMEOUT)

    def read(self, zone: str) -> Zone:
        """All records; nothing for a zone that is configured and has no contents yet."""
        said = self._ask("zone-read", zone)
        try:
            return read("\n".join(line.removeprefix(f"[{zone}] ") for line in said.splitlines()))
        except ValueError as why:
            raise command.CommandError(f"knotc zone-read {zone}: {why}") from why

    def change(self, zone: str, there: Zone, due: Sequence[RecordSet]) -> None:
        """Put the sets that are `due` in the place of what is `there`: all of them, or none when one is refused."""
        self._ask("zone-begin", zone)
        try:
            for record in due:
                if (record.owner, record.kind) in there:
                    self._ask("zone-unset", zone, record.owner, record.kind)
                for data in sorted(record.data):
                    self._ask("zone-set", zone, record.owner, str(record.ttl), record.kind, data)
            self._ask("zone-commit", zone)
        except command.CommandError:
            with contextlib.suppress(command.CommandError):
                self._ask("zone-abort", zone)
            raise

"""Could this host run an identity now? A takeover asks that before it fences (DESIGN, "Safety rules")."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..adapters import clock, command, machine
from ..core.model import Configuration
from .instance import Place

NFS = 2049
CONNECT = 1.0  # seconds
# Seconds for which a store's answer holds, for all identities on it: whoever waits for it keeps the host's lease, too.
ANSWER_HOLDS = 5.0


@dataclass(frozen=True)
class Limits:
    """Least memory and room under /var, in MB, and the file that drains this host while it exists.

    `needs_time`: its clock must have been synchronised.
    """

    memory_mb: int
    disk_mb: int
    drain_file: str
    needs_time: bool = False


def configuration(file: str) -> Configuration | None:
    """What the last deploy that changed it has written; None where there was none yet."""
    try:
        with Path(file).open() as there:
            return Configuration(there.read().strip(), os.fstat(there.fileno()).st_mtime)
    except FileNotFoundError:
        return None


class Checks:
    """Remembers what it has checked: a configuration is read anew only when one of its files has changed."""

    def __init__(
        self,
        limits: Limits,
        run: command.Run = command.run,
        connect: Callable[[str], None] = lambda store: socket.create_connection((store, NFS), CONNECT).close(),
        monotonic: Callable[[], float] = time.monotonic,
        synchronised: Callable[[], bool] = clock.synchronised,
    ) -> None:
        self._limits = limits
        self._synchronised = synchronised
        self._in_time = not limits.needs_time
        self._run = run
        self._connect = connect
        self._monotonic = monotonic
        self._answers: dict[str, tuple[float, str | None]] = {}  # by store: when it was asked, why it did not answer
        self._checked: dict[str, tuple[object, str | None]] = {}

    def reasons(self, place: Place) -> tuple[str, ...]:
        """Why not; empty when it could."""
        return tuple(self._reasons(place))

    def _reasons(self, place: Place) -> Iterator[str]:
        if aside := machine.set_aside(Path(self._limits.drain_file)):
            yield f"drained: {aside}"
        memory = machine.available_memory_mb()
        if memory < self._limits.memory_mb:
            yield f"{memory} MB of memory left, {self._limits.memory_mb} needed"
        disk = machine.free_disk_mb("/var")
        if disk < self._limits.disk_mb:
            yield f"{disk} MB left under /var, {self._limits.disk_mb} needed"
        # Once is enough: without time servers it only drifts, and if all lost theirs nobody could take over.
        self._in_time = self._in_time or self._synchronised()
        if not self._in_time:
            yield "its clock has not been synchronised (chronyc tracking)"
        if (silent := self.silent(place)) is not None:
            yield silent
        files = [(Path(place.postfix_dir), ["postconf", "-c", place.postfix_dir, "-n"])]
        if place.mailboxes is not None:
            dovecot = place.mailboxes.dovecot_conf
            files.append((Path(dovecot).parent, ["doveconf", "-c", dovecot, "-n"]))
        for folder, argv in files:
            if (broken := self._configuration(folder, argv)) is not None:
                yield broken

    def silent(self, place: Place) -> str | None:
        """Does its store not answer, and why; also where the store's firewall drops this host."""
        store = place.source.partition(":")[0]
        when, silent = self._answers.get(store, (float("-inf"), None))
        if self._monotonic() - when < ANSWER_HOLDS:
            return silent
        try:
            self._connect(store)
            silent = None
        except OSError as why:
            silent = f"store {store} does not answer: {why}"
        self._answers[store] = (self._monotonic(), silent)
        return silent

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

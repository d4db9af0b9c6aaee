"""What this host's FRR says of an identity's address besides the address: at which epoch it is the owner's (I2).

Gateways take the path with the smallest MED among those of hosts, which all share a number (RFC 4271, 9.1.2.2 c): so
the later owner's, whichever path is older and whoever else still announces one. A host that hangs and wakes does, until
its agent runs. FRR's configuration on disk has a route map by the identity's name with a MED larger than that of any
epoch; in the running daemon it is changed here.

FRR takes one change at a time: it locks what it calls the candidate datastore, and whoever comes second fails. In 10.3
two that came at once made one of its daemons give up on mgmtd, which then kept the lock for good: no change was taken
any more until mgmtd was ended. watchfrr(8) starts it anew within seconds; sessions and routes stay.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import command

TIMEOUT = 10.0  # seconds
LOCKED = "could not lock"  # as vtysh says it
STUCK = 60.0  # seconds without any change taken: longer than a reload keeps the lock
MGMTD = Path("/run/frr/mgmtd.pid")
FIRST = 2**31  # MED of epoch 0; it has 32 bits

# New after a start of the daemon and after a reload, which both take the number from the file (roles/router).
FORGOTTEN = (Path("/run/frr/bgpd.pid"), Path("/run/frr/holdfast-reloaded"))


def end_mgmtd() -> None:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):  # it is being started anew
        os.kill(int(MGMTD.read_text()), signal.SIGKILL)


class Announcement:
    """Tells FRR the epoch of identities, from any thread. Raises CommandError. One for a host: see above.

    `free` takes FRR's lock away from whoever has it; `now`: seconds, monotonic.
    """

    def __init__(
        self,
        forgotten: Sequence[Path] = FORGOTTEN,
        run: command.Run = command.run,
        free: Callable[[], None] = end_mgmtd,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._forgotten = forgotten
        self._run = run
        self._free = free
        self._now = now
        self._one = threading.Lock()
        self._told: dict[str, tuple[int, tuple[int, ...]]] = {}
        self._locked: float | None = None  # since when nothing was taken

    def tell(self, name: str, epoch: int) -> None:
        """Nothing is done when FRR knows it. It stays when the identity goes: an old epoch loses against a new one."""
        # Looked at before FRR is told: a reload that comes between is told again.
        told = (epoch, tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in self._forgotten))
        if self._told.get(name) == told:
            return
        lines = ("configure terminal", f"route-map {name} permit 10", f"set metric {FIRST - epoch}")
        with self._one:
            try:
                self._run(["vtysh", *(word for line in lines for word in ("-c", line))], timeout=TIMEOUT)
            except command.CommandError as why:
                if self._is_stuck(str(why)):
                    self._free()
                    raise command.CommandError(f"{why}; so for {STUCK:g} s: mgmtd is ended and begins anew") from why
                raise
            self._locked = None
        self._told[name] = told

    def _is_stuck(self, why: str) -> bool:
        """Has it been locked whenever it was asked, for so long? Then this begins anew."""
        if LOCKED not in why:
            self._locked = None
        elif self._locked is None:
            self._locked = self._now()
        elif self._now() - self._locked >= STUCK:
            self._locked = None
            return True
        return False

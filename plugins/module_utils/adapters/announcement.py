"""What this host's FRR says of an identity's address besides the address: at which epoch it is the owner's (I2).

Gateways take the path with the smallest MED among those of hosts, which all share a number (RFC 4271, 9.1.2.2 c): so
the later owner's, whichever path is older and whoever else still announces one. A host that hangs and wakes does, until
its agent runs. FRR's configuration on disk has a route map by the identity's name with a MED larger than that of any
epoch; in the running daemon it is changed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import command

TIMEOUT = 10.0  # seconds
FIRST = 2**31  # MED of epoch 0; it has 32 bits

# New after a start of the daemon and after a reload, which both take the number from the file (roles/router).
FORGOTTEN = (Path("/run/frr/bgpd.pid"), Path("/run/frr/holdfast-reloaded"))


class Announcement:
    """Tells FRR the epoch of identities. Raises CommandError."""

    def __init__(self, forgotten: Sequence[Path] = FORGOTTEN, run: command.Run = command.run) -> None:
        self._forgotten = forgotten
        self._run = run
        self._told: dict[str, tuple[int, tuple[int, ...]]] = {}

    def tell(self, name: str, epoch: int) -> None:
        """Nothing is done when FRR knows it. It stays when the identity goes: an old epoch loses against a new one."""
        # Looked at before FRR is told: a reload that comes between is told again.
        told = (epoch, tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in self._forgotten))
        if self._told.get(name) == told:
            return
        lines = ("configure terminal", f"route-map {name} permit 10", f"set metric {FIRST - epoch}")
        self._run(["vtysh", *(word for line in lines for word in ("-c", line))], timeout=TIMEOUT)
        self._told[name] = told

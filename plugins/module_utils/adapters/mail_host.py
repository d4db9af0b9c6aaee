"""What a host has of identities or a store, and what it is made of: systemctl(1), ip(8), mountinfo, dpkg-query(1)."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.ports import Clock, Unavailable
from ..core.rejoining import Facts
from . import command
from .drbd import Drbd
from .machine import local_addresses
from .mount import MOUNTINFO, parse_mountinfo

LIBRARY = Path("/usr/lib/holdfast/holdfast")
DRAIN = Path("/etc/holdfast/drain")
MOUNTS = "/srv/holdfast/"
UNIT = re.compile(r"^holdfast-(?:postfix|dovecot|relay)@(?P<name>.+)\.service$")
# Of these every candidate of an identity has the same version: they write its queue and mailboxes.
PACKAGES = ("postfix", "postfix-lmdb", "dovecot-core", "dovecot-imapd", "dovecot-lmtpd", "dovecot-sieve", "keepalived")
ALWAYS = ("holdfast-agent.service", "keepalived.service", "frr.service")
# The same for the members of a store. The kernel's part goes by the reboots that an operator plans.
STORE_PACKAGES = ("nfs-kernel-server", "nfs-common", "drbd-utils", "e2fsprogs", "keepalived")
STORE_ALWAYS = (*ALWAYS, "holdfast-drbd.service", "holdfast-store-monitor.service")
STORE_UNITS = ("nfs-server.service", "holdfast-store.service")
STORE_ROOT = "/srv/store"
TIMEOUT = 30.0


def unit_traces(listed: str) -> list[tuple[str, str]]:
    """Identity and unit of `systemctl list-units --plain --no-legend` for those that have something left."""
    found = []
    for line in listed.splitlines():
        words = line.split()
        match = UNIT.match(words[0]) if len(words) >= 3 else None
        if match is not None and words[2] not in ("inactive", "failed"):
            found.append((match["name"], words[0]))
    return found


def mount_traces(mountinfo: str) -> list[tuple[str, str]]:
    return [
        (m.target.removeprefix(MOUNTS), f"{m.source} at {m.target}")
        for m in parse_mountinfo(mountinfo)
        if m.target.startswith(MOUNTS)
    ]


def parse_versions(text: str) -> dict[str, str]:
    """`dpkg-query -W -f '${Package} ${Version}\\n'`; packages that are known but not installed have no version."""
    return {words[0]: words[1] for words in map(str.split, text.splitlines()) if len(words) == 2}


def tree_hash(folder: Path) -> str:
    """Of all Python files below: names and contents."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def store_traces(states: Mapping[str, str], mountinfo: str, drbd: Drbd) -> list[str]:
    """What of a store is there. DRBD that is not up is no trace."""
    found = [unit for unit, state in states.items() if state not in ("inactive", "failed")]
    found += [f"{m.source} at {m.target}" for m in parse_mountinfo(mountinfo) if m.target == STORE_ROOT]
    with contextlib.suppress(Unavailable):
        found += [f"DRBD {drbd.state()}"] if drbd.state().primary else []
    return found


def read(
    host: str, addresses: Mapping[str, str], clock: Clock, store: str | None = None, run: command.Run = command.run
) -> Facts:
    """`addresses`: identity or store to its address. `store`: of which this host is a member. Raises CommandError."""
    found: list[tuple[str, str]] = []
    units = [f"holdfast-{part}@*" for part in ("postfix", "dovecot", "relay")]
    listing = ["systemctl", "list-units", "--all", "--plain", "--no-legend", *units]
    found += unit_traces(run(listing, timeout=TIMEOUT))
    found += mount_traces(MOUNTINFO.read_text())
    if store is not None:
        states = _states(STORE_UNITS, run)
        found += [(store, what) for what in store_traces(states, MOUNTINFO.read_text(), Drbd(store))]
    local = local_addresses(Path("/proc/net/fib_trie").read_text())
    found += [(name, f"address {address}") for name, address in addresses.items() if address in local]
    traces: dict[str, tuple[str, ...]] = {}
    for name, what in found:
        traces[name] = (*traces.get(name, ()), what)
    packages = PACKAGES if store is None else STORE_PACKAGES
    query = ["dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *packages]
    return Facts(
        host=host,
        time=clock.now(),
        traces=traces,
        versions=parse_versions(run(query, timeout=TIMEOUT)),
        package=tree_hash(LIBRARY),
        drained=" ".join(DRAIN.read_text().split()) if DRAIN.exists() else None,
        units=_states(ALWAYS if store is None else STORE_ALWAYS, run),
    )


def _states(units: Sequence[str], run: command.Run) -> dict[str, str]:
    lines = run(["systemctl", "show", "--property=ActiveState", "--value", *units], timeout=TIMEOUT).split()
    if len(lines) != len(units):
        raise command.CommandError(f"systemctl show: {len(lines)} answers for {len(units)} units")
    return dict(zip(units, lines, strict=True))

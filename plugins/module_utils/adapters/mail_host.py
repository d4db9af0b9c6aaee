"""What a mail host has of identities, and what it is made of: systemctl(1), ip(8), mountinfo, dpkg-query(1)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.ports import Clock
from ..core.rejoining import Facts
from . import command
from .machine import local_addresses
from .mount import MOUNTINFO, parse_mountinfo

LIBRARY = Path("/usr/lib/holdfast/holdfast")
DRAIN = Path("/etc/holdfast/drain")
MOUNTS = "/srv/holdfast/"
UNIT = re.compile(r"^holdfast-(?:postfix|dovecot|relay)@(?P<name>.+)\.service$")
# Of these every candidate of an identity has the same version: they write its queue and mailboxes.
PACKAGES = ("postfix", "postfix-lmdb", "dovecot-core", "dovecot-imapd", "dovecot-lmtpd", "dovecot-sieve", "keepalived")
ALWAYS = ("holdfast-agent.service", "keepalived.service", "frr.service")
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


def read(host: str, addresses: Mapping[str, str], clock: Clock, run: command.Run = command.run) -> Facts:
    """`addresses`: identity to its address. Raises CommandError."""
    found: list[tuple[str, str]] = []
    units = [f"holdfast-{part}@*" for part in ("postfix", "dovecot", "relay")]
    listing = ["systemctl", "list-units", "--all", "--plain", "--no-legend", *units]
    found += unit_traces(run(listing, timeout=TIMEOUT))
    found += mount_traces(MOUNTINFO.read_text())
    local = local_addresses(Path("/proc/net/fib_trie").read_text())
    found += [(name, f"address {address}") for name, address in addresses.items() if address in local]
    traces: dict[str, tuple[str, ...]] = {}
    for name, what in found:
        traces[name] = (*traces.get(name, ()), what)
    query = ["dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *PACKAGES]
    return Facts(
        host=host,
        time=clock.now(),
        traces=traces,
        versions=parse_versions(run(query, timeout=TIMEOUT)),
        package=tree_hash(LIBRARY),
        drained=" ".join(DRAIN.read_text().split()) if DRAIN.exists() else None,
        units=_states(ALWAYS, run),
    )


def _states(units: Sequence[str], run: command.Run) -> dict[str, str]:
    lines = run(["systemctl", "show", "--property=ActiveState", "--value", *units], timeout=TIMEOUT).split()
    if len(lines) != len(units):
        raise command.CommandError(f"systemctl show: {len(lines)} answers for {len(units)} units")
    return dict(zip(units, lines, strict=True))

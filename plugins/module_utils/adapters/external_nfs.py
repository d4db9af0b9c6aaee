"""An NFS service from elsewhere, whose access is granted and withdrawn by the operator's own program.

    PROGRAM check                      does the service do what is needed (NFSv4, sync, locks that survive a failover)?
    PROGRAM list                       lines `IDENTITY ADDRESS`: who may mount what now, by the service's own word
    PROGRAM admit IDENTITY ADDRESS     from now on
    PROGRAM withdraw IDENTITY ADDRESS  ends when no request from there reaches these files any more
    PROGRAM expire ADDRESS             ends when that client has neither opens nor locks left

Status 0 means that it is done and certain; anything else that it is not, with a reason on standard error. Every word is
safe to repeat. What was begun and did not end with 0 is in doubt, and counts as open whatever `list` says: it may be
done in part, or later. Methods raise Unavailable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..core.ports import Clock, Unavailable
from . import command, nfs_probe
from .nfsd import Export

TIMEOUT = 10.0  # seconds for a word; a takeover waits for all that it may take (`longest`)
LIST_EVERY = 30.0  # seconds for which its word about who may mount what is believed when nothing was changed here


def longest(candidates: Iterable[Sequence[str]]) -> float:
    """Seconds within which the daemon has done what takeovers of all identities at once may ask of the program.

    `candidates`: of each identity on the store. Each of them is withdrawn, looked for in `list` and expired; before
    that the host that is to be dropped is withdrawn and looked for. A look begins with `check`, a call of the NFS
    service and `list`, and so did the one that was under way.
    """
    return TIMEOUT * (6 + sum(3 * len(some) + 2 for some in candidates))


class ExternalExports:
    """As adapters.nfsd.Exports: paths are those of identities below `root`."""

    def __init__(self, program: str, root: Path, clock: Clock, run: command.Run = command.run) -> None:
        self._program = program
        self._root = root
        self._clock = clock
        self._run = run
        self._table: set[Export] | None = None
        self._ask_at = 0.0
        self._doubt: set[Export] = set()

    def unfit(self) -> str | None:
        """Why the service must not hold mail, by the operator's program."""
        try:
            self._run([self._program, "check"], timeout=TIMEOUT)
        except Unavailable as why:
            return str(why)
        return None

    def table(self) -> set[Export]:
        return self._listed() | self._doubt

    def suspect(self, exports: Iterable[Export]) -> None:
        """Of these nobody knows what an earlier daemon has begun: each is withdrawn once before it counts as closed."""
        self._doubt.update(exports)

    def _listed(self) -> set[Export]:
        if self._table is None or self._clock.boottime() >= self._ask_at:
            # Not known until it has been told.
            self._table = None
            self._table = self._parse(self._run([self._program, "list"], timeout=TIMEOUT))
            self._ask_at = self._clock.boottime() + LIST_EVERY
        return set(self._table)

    def _parse(self, text: str) -> set[Export]:
        found = set()
        for line in text.splitlines():
            words = line.split()
            if len(words) != 2 or "/" in words[0]:
                raise Unavailable(f"{self._program} list: {line!r} is not IDENTITY ADDRESS")
            found.add((str(self._root / words[0]), words[1]))
        return found

    def grant(self, path: str, client: str, with_options: str) -> None:
        """Only while the service is fit; closing goes on when it is not."""
        if (unfit := self.unfit()) is not None:
            raise Unavailable(unfit)
        self._change("admit", path, client, there=True)

    def withdraw(self, path: str, client: str) -> None:
        self._change("withdraw", path, client, there=False)

    def _change(self, word: str, path: str, client: str, there: bool) -> None:
        self._table = None
        name = Path(path).name
        self._doubt.add((path, client))
        self._run([self._program, word, name, client], timeout=TIMEOUT)
        if ((path, client) in self._listed()) is not there:
            raise Unavailable(f"{self._program} {word} {name} {client}: done, but `list` says otherwise")
        self._doubt.discard((path, client))


class ExternalClients:
    """As adapters.nfsd.Clients."""

    def __init__(
        self,
        program: str,
        address: str,
        run: command.Run = command.run,
        probe: Callable[[str], str | None] = nfs_probe.null,
    ) -> None:
        self._program = program
        self._address = address
        self._run = run
        self._probe = probe

    def serving(self) -> bool:
        return self._probe(self._address) is None

    def expire(self, addresses: Sequence[str]) -> int:
        for address in addresses:
            self._run([self._program, "expire", address], timeout=TIMEOUT)
        return len(addresses)


class ExternalFirewall:
    """As adapters.nft.Firewall: a host that may mount nothing reaches nothing, by what `withdraw` promises."""

    def __init__(self, exports: ExternalExports) -> None:
        self._exports = exports
        self._dropped: frozenset[str] = frozenset()

    def dropped(self) -> frozenset[str]:
        return self._dropped

    def connected(self, addresses: frozenset[str]) -> bool:
        return any(client in addresses for _, client in self._exports.table())

    def drop(self, addresses: frozenset[str]) -> None:
        """Nothing is open to these addresses any more, and to no others is anything denied."""
        self._dropped = frozenset()  # until it is certain
        for path, client in sorted(self._exports.table()):
            if client in addresses:
                self._exports.withdraw(path, client)
        self._dropped = addresses

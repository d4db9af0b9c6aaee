"""One read of etcd for all threads of a process that look at the same time.

A linearizable read costs every member of the cluster, and a relay host watches a dozen identities. Nobody is given
anything older than his own question: a read answers those who asked before it began, and whoever comes while it is on
its way waits for the next one. So a crowd costs two reads, and is told what each would have read alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.model import Json
from ..core.ports import Entry, Unavailable
from .etcd import EtcdCoordinator, parsed


class SharedReads:
    """All keys that begin with one of `prefixes`. `etcd` is used by nobody else."""

    def __init__(self, etcd: EtcdCoordinator, prefixes: Sequence[str]) -> None:
        self.prefixes = tuple(prefixes)
        self._etcd = etcd
        self._turn = threading.Lock()
        self._began = float("-inf")
        self._found: Mapping[str, Json] = {}
        self._failed = ""

    def fetch(self) -> Mapping[str, Json]:
        """As EtcdCoordinator.fetch. Raises Unavailable: of a read that failed, to all whom it would have answered."""
        asked = time.monotonic()
        with self._turn:
            if self._began <= asked:
                began = time.monotonic()
                try:
                    self._found, self._failed = self._etcd.fetch(*self.prefixes), ""
                except Unavailable as why:
                    self._failed = str(why)
                self._began = began
            if self._failed:
                raise Unavailable(self._failed)
            return self._found


class SharedCoordinator:
    """Implements `core.ports.Coordinator` for one thread: its own connection, but for lists that `reads` have."""

    def __init__(self, own: EtcdCoordinator, reads: SharedReads) -> None:
        self._own = own
        self._reads = reads

    def list(self, *prefixes: str) -> dict[str, Entry]:
        if not all(prefix.startswith(self._reads.prefixes) for prefix in prefixes):
            return self._own.list(*prefixes)
        return parsed(kv for key, kv in self._reads.fetch().items() if key.startswith(prefixes))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

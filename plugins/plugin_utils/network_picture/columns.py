"""Where the hosts of a data centre stand: which row, which column. Pure, without pixels.

Rows from top to bottom; odd ones hold segments, even ones hosts:

    1  to the Internet's providers    2  routers, redirectors      3  Internet side     4  mail servers, relays, stores
    5  network of the stores          6  intranet mail servers     7  isolated side     8  routers, redirectors
    9  to the providers of the isolated network and of the stores' network
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .model import Host, Network

INTERNET, STORAGE = "internet", "storage"
ROWS = range(1, 10)
STORAGE_ROW = 5


def row_of(network: Network, segment: str) -> int:
    """The row of a segment that has hosts in a data centre."""
    kind = network.segments[segment].network
    there = {h.kind for h in network.hosts if segment in h.legs and h not in network.hubs}
    edge = there == {"router"}
    if kind == INTERNET:
        return 1 if edge else 3
    if edge:
        return 9
    return STORAGE_ROW if kind == STORAGE else 7


@dataclass(frozen=True)
class Place:
    """`rows`: from the topmost to the lowest that its box or one of its wires takes; `row`: that of its box."""

    host: Host
    row: int
    rows: frozenset[int]
    column: int


def _row(host: Host, rows: Sequence[int]) -> int:
    low, high = min(rows), max(rows)
    if host.kind == "router":
        return high - 1 if high == 9 else low + 1
    if low < high:
        return low + 1
    # Redirectors have one leg: they stand beside the routers, on the way in.
    outer, inner = {1: (2, 2), 3: (2, 4), 5: (4, 4), 7: (8, 6), 9: (8, 8)}[low]
    return outer if host.kind == "redirector" else inner


def place(hosts: Sequence[Host], rows: Mapping[str, int]) -> list[Place]:
    """Each host gets the outermost column that is free in all rows it needs; routers the innermost.

    `rows`: of each segment. No wire then passes through the box of another host.
    """
    taken: set[tuple[int, int]] = set()
    found: list[Place] = []

    def put(host: Host, columns: Sequence[int]) -> None:
        legs = [rows[s] for s in host.legs if s in rows]
        row = _row(host, legs) if legs else 4
        ends = [*legs, row]
        needed = frozenset(r for r in range(min(ends), max(ends) + 1) if r % 2 == 0)
        column = next(c for c in columns if not any((c, r) in taken for r in needed))
        taken.update((column, r) for r in needed)
        found.append(Place(host, row, needed, column))

    many = len(hosts) + 1
    for host in hosts:
        if host.kind != "router":
            put(host, range(many))
    last = max((c for c, _ in taken), default=0)
    # From the last one on, so that the first of a pair stands left of its partner.
    inner = [*range(last, -1, -1), *range(last + 1, last + many)]
    for host in sorted((h for h in hosts if h.kind == "router"), key=lambda h: h.order, reverse=True):
        put(host, inner)
    return sorted(found, key=lambda p: p.host.order)

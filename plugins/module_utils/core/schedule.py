"""Which route an attempt takes (R1.5): they alternate, so the next one always differs from the last.

And how soon a daemon looks at the coordinator again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .model import Route, Run, RunState

HURRY = 0.2  # seconds between looks while a run is under way
HURRY_FOR = 180.0  # seconds from the beginning of a run; one that takes longer waits for somebody


def next_route(routes: Sequence[Route], last: str | None) -> Route:
    """The route behind `last` in the configured order, the first one when `last` is unknown."""
    names = [r.name for r in routes]
    if last not in names:
        return routes[0]
    return routes[(names.index(last) + 1) % len(routes)]


def pause(runs: Iterable[Run | None], now: float) -> float | None:
    """Seconds until the next look: few while one of the runs waits for this host or for others; None: as usual."""
    under_way = (r is not None and r.state is RunState.RUNNING and now - r.time < HURRY_FOR for r in runs)
    return HURRY if any(under_way) else None

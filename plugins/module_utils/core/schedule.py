"""Which route an attempt takes (R1.5): they alternate, so the next one always differs from the last."""

from __future__ import annotations

from collections.abc import Sequence

from .model import Identity, Route


def routes_to(identity: Identity, routes: Sequence[Route]) -> tuple[Route, ...]:
    """Those of a relay's routes over which the identity is reached."""
    return tuple(r for r in routes if r.name in identity.networks or not identity.networks)


def next_route(routes: Sequence[Route], last: str | None) -> Route:
    """The route behind `last` in the configured order, the first one when `last` is unknown."""
    names = [r.name for r in routes]
    if last not in names:
        return routes[0]
    return routes[(names.index(last) + 1) % len(routes)]

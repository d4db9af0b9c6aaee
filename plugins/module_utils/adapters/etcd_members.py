"""Members of etcd one by one: whether each answers, and whether one may be restarted.

Source: etcd 3.5, "Monitoring": `/health` is a linearizable read, so a member that says yes belongs to a majority. It
asks for no user.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import requests

from .etcd import TIMEOUT, Tls, member_client


def health(url: str, tls: Tls, timeout: float = TIMEOUT) -> bool | None:
    """Does the member belong to a majority? None where nobody listens. `timeout`: seconds.

    Raises ValueError for what is no URL.
    """
    session = member_client(url, tls, timeout).session
    try:
        return bool(session.get(f"{url}/health", timeout=timeout).json().get("health") == "true")
    except requests.Timeout:
        return False
    except requests.RequestException:
        return None


def hindering(me: str, answering: Collection[str], members: Sequence[str], deployed: Collection[str]) -> list[str]:
    """Silent members because of which `me` must not be restarted; empty when it may be.

    Those that are `deployed` in the same run have to answer first: what broke one would break the next. Of the others a
    majority has to be left without `me`. One that does not answer itself takes no majority away.
    """
    others = [m for m in members if m != me]
    silent = [m for m in others if m not in answering]
    if me not in answering:
        return []
    if broken := [m for m in silent if m in deployed]:
        return broken
    needed = min(len(members) // 2 + 1, len(others))
    return silent if len(others) - len(silent) < needed else []

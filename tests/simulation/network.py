"""Who can send to whom. Cuts have a direction, so a link may carry only one way."""

from __future__ import annotations

import random
from collections.abc import Iterable

MAIL_ROUTES = ("internet", "isolated")
MANAGEMENT = "management"  # coordinator, power switches, name server
STORAGE = "storage"
ALL = (*MAIL_ROUTES, MANAGEMENT, STORAGE)
GATEWAY = "gw1"  # a node of the mail routes, where identities' addresses are announced

Way = tuple[str, str, str]  # network, from, to


class Network:
    """Several networks over the same hosts."""

    def __init__(self, hosts: Iterable[str], dice: random.Random) -> None:
        self.hosts = tuple(hosts)
        self.dice = dice
        self._cuts: dict[Way, int] = {}
        self.loss: dict[str, float] = {}  # host -> share of requests that get lost
        self.slow: dict[str, float] = {}  # host -> seconds that a request takes more

    def cut(self, ways: Iterable[Way]) -> None:
        for way in ways:
            self._cuts[way] = self._cuts.get(way, 0) + 1

    def mend(self, ways: Iterable[Way]) -> None:
        for way in ways:
            left = self._cuts[way] - 1
            if left:
                self._cuts[way] = left
            else:
                del self._cuts[way]

    def carries(self, network: str, sender: str, receiver: str) -> bool:
        return not self._cuts or sender == receiver or (network, sender, receiver) not in self._cuts

    def joined(self, network: str, one: str, other: str) -> bool:
        """Both ways."""
        if not self._cuts or one == other:
            return True
        return (network, one, other) not in self._cuts and (network, other, one) not in self._cuts

    def lost(self, one: str, other: str) -> bool:
        """Does this very request or its answer get lost?"""
        if not self.loss:
            return False
        share = max(self.loss.get(one, 0.0), self.loss.get(other, 0.0))
        return share > 0 and self.dice.random() < share

    def lossy(self, one: str, other: str) -> bool:
        return one in self.loss or other in self.loss

    def delay(self, one: str, other: str) -> float:
        """Seconds from a request to its answer."""
        usual = 0.001 + 0.03 * self.dice.random()
        if not self.slow:
            return usual
        return usual + max(self.slow.get(one, 0.0), self.slow.get(other, 0.0)) * (0.5 + self.dice.random())

    # --- ways to cut -------------------------------------------------------------------------------------------

    def around(self, host: str, networks: Iterable[str], inwards: bool = True, outwards: bool = True) -> list[Way]:
        """All ways between a host and everybody else."""
        ways: list[Way] = []
        for network in networks:
            for other in self.hosts:
                if other != host:
                    ways += [(network, other, host)] if inwards else []
                    ways += [(network, host, other)] if outwards else []
        return ways

    def between(self, some: Iterable[str], others: Iterable[str], networks: Iterable[str]) -> list[Way]:
        """All ways between two groups of hosts."""
        rest = tuple(others)
        return [w for n in networks for a in some for b in rest for w in ((n, a, b), (n, b, a))]

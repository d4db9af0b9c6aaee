"""When do attempts add up to a takeover (R1.4 to R1.6).

A *round* is what a monitor does every interval: one or more attempts over one route. Its verdict is counted once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .model import Attempt, Json, Method, Result


@dataclass(frozen=True)
class Threshold:
    """Limits of `attempts` (count) and `seconds` since the first counted one; None switches one off, not both."""

    attempts: int | None
    seconds: float | None

    def __post_init__(self) -> None:
        if self.attempts is None and self.seconds is None:
            raise ValueError("threshold_attempts and threshold_seconds are both off; set at least one")
        if self.attempts is not None and self.attempts < 1:
            raise ValueError(f"threshold_attempts is {self.attempts}; it must be 1 or more, or null")
        if self.seconds is not None and self.seconds <= 0:
            raise ValueError(f"threshold_seconds is {self.seconds}; it must be more than 0, or null")


@dataclass(frozen=True)
class Evidence:
    """What one relay has seen of an identity under its owner of `epoch`.

    `attempts`: those of the last round; older ones are in the journal, and what stands here each relay reads every few
    seconds. `failing`: the routes that were DOWN, each with its OK rounds since. `words`: the last verdict over each.
    """

    epoch: int
    downs: int = 0
    goods: int = 0
    first_down: float | None = None
    verdict: Result | None = None
    attempts: tuple[Attempt, ...] = ()
    failing: Mapping[str, int] = field(default_factory=dict)
    words: Mapping[str, Result] = field(default_factory=dict)

    def to_json(self) -> Json:
        return {
            **dataclasses.asdict(self),
            "verdict": None if self.verdict is None else str(self.verdict),
            "attempts": [a.to_json() for a in self.attempts],
            "words": {route: str(word) for route, word in self.words.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evidence:
        return cls(
            epoch=int(data["epoch"]),
            downs=int(data["downs"]),
            goods=int(data["goods"]),
            first_down=None if data.get("first_down") is None else float(data["first_down"]),
            verdict=None if data.get("verdict") is None else Result(data["verdict"]),
            attempts=tuple(Attempt.from_json(a) for a in data.get("attempts", ())),
            failing={str(route): int(goods) for route, goods in data.get("failing", {}).items()},
            words={str(route): Result(word) for route, word in data.get("words", {}).items()},
        )


def over(evidence: Evidence, routes: Iterable[str]) -> Evidence:
    """The evidence without the words of other routes: over one that an inventory has no more, nobody asks again."""
    kept = set(routes)
    return dataclasses.replace(
        evidence,
        failing={route: goods for route, goods in evidence.failing.items() if route in kept},
        words={route: word for route, word in evidence.words.items() if route in kept},
    )


def verdict(attempts: Sequence[Attempt]) -> Result | None:
    """One word for a round, None for a round without attempts.

    Whoever spoke to the server knows better than the routing table: topology counts only where nothing else was
    tried. Among those who spoke, one success is success.
    """
    spoke = [a.result for a in attempts if a.method is not Method.TOPOLOGY]
    results = spoke or [a.result for a in attempts]
    for result in (Result.OK, Result.REFUSED, Result.DOWN):
        if result in results:
            return result
    return None


def _by_route(attempts: Sequence[Attempt]) -> dict[str, Result]:
    """What a round says of each route. A routing table is asked only where nobody spoke to the server."""
    spoke = [a for a in attempts if a.method is not Method.TOPOLOGY] or attempts
    found = {}
    for route in dict.fromkeys(a.route for a in spoke):
        word = verdict([a for a in spoke if a.route == route])
        assert word is not None
        found[route] = word
    return found


def observe(evidence: Evidence, attempts: Sequence[Attempt], reset_after: int) -> Evidence:
    """The evidence after one more round.

    A DOWN round counts, from the start of its first attempt. `reset_after` OK rounds in a row make the count begin
    anew, so a flapping server reaches the threshold too. A REFUSED round changes neither count: the server lives.
    A route is another matter: whoever can be reached over a route that does not fail is not down, so one dead route
    adds up to nothing. `reset_after` OK rounds on a route, whatever the others say, and it fails no more.
    Mostly a round speaks over one route; where a delivery took another one, over two.
    """
    word = verdict(attempts)
    if word is None:
        return evidence
    found = _by_route(attempts)
    words, failing, goods = {**evidence.words, **found}, dict(evidence.failing), evidence.goods
    new = dataclasses.replace(evidence, verdict=word, attempts=tuple(attempts), words=words)
    for route, said in found.items():
        if said is Result.DOWN:
            failing[route] = 0
        elif said is Result.OK and route in failing:
            failing[route] += 1
    if word is Result.DOWN:
        start = min(a.start for a in attempts)
        first = start if evidence.first_down is None else evidence.first_down
        return dataclasses.replace(new, downs=evidence.downs + 1, goods=0, first_down=first, failing=failing)
    if Result.DOWN in found.values():
        goods = 0
    elif word is Result.OK:
        goods += 1
    if goods >= reset_after:
        failing.clear()
    failing = {route: count for route, count in failing.items() if count < reset_after}
    if any(said is not Result.DOWN and route not in failing for route, said in found.items()):
        return dataclasses.replace(new, downs=0, goods=goods, first_down=None, failing=failing)
    return dataclasses.replace(new, goods=goods, failing=failing)


def passed(evidence: Evidence, threshold: Threshold, now: float) -> str | None:
    """Why the threshold is passed, None while it is not. The limit reached first counts."""
    if evidence.verdict is not Result.DOWN or evidence.first_down is None:
        return None
    if any(word is not Result.DOWN for word in evidence.words.values()):
        return None  # it was there, over another route, a round ago
    if threshold.attempts is not None and evidence.downs >= threshold.attempts:
        return f"{evidence.downs} of {threshold.attempts} attempts down"
    down_for = now - evidence.first_down
    if threshold.seconds is not None and down_for >= threshold.seconds:
        return f"down for {down_for:.0f} of {threshold.seconds:.0f} s"
    return None

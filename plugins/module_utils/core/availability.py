"""What a mail host tells redirectors about an identity: whether to send it connections, and how many (R2.5).

HAProxy asks for it by its agent-check (its manual, 5.2) and reads one line.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

MOST, LEAST = 100, 1  # percent of a server's share; 0 would be a drain
SILENT = 3  # looks in a row at a queue that its store did not answer


class Answer(enum.StrEnum):
    """UP: send. DRAIN: nothing new, what is connected goes on. DOWN: it is not here, end what is connected."""

    UP = "up"
    DRAIN = "drain"
    DOWN = "down"


@dataclass(frozen=True)
class Scale:
    """A measure of which less is better. Up to `good` it costs nothing, from `bad` on nearly all of the share."""

    good: float
    bad: float

    def weight(self, measured: float) -> int:
        """Percent, LEAST to MOST; more never gives more."""
        if measured <= self.good:
            return MOST
        if measured >= self.bad:
            return LEAST
        return int(MOST - (MOST - LEAST) * ((measured - self.good) / (self.bad - self.good)))


@dataclass(frozen=True)
class Limits:
    """`load`: average of a minute, for each processor. `queue`: letters that Postfix has in hand."""

    load: Scale = Scale(0.7, 4.0)
    queue: Scale = Scale(100.0, 5000.0)


@dataclass(frozen=True)
class Seen:
    """An identity on this host.

    `leaving`: a planned run is about to hand it over; `drained`: the host is being emptied. `load`: of the whole host,
    for one processor; `queue`: None when the store does not say; `silent`: so many looks in a row it has not said.
    """

    running: bool
    leaving: bool
    drained: bool
    load: float
    queue: int | None
    silent: int = 0


@dataclass(frozen=True)
class Availability:
    """`weight`: percent of the server's share, 0 unless UP. `reason`: why not all of it."""

    answer: Answer
    weight: int
    reason: str = ""

    def line(self) -> str:
        """In HAProxy's words.

        A drain is a share of 0 and not its word `drain`: that one sets what also an operator sets by hand, and only
        `ready` ends it, which would end the operator's, too. `up` is said each time, since nothing else ends `down`.
        """
        if self.answer is Answer.DOWN:
            return f"down #{self.reason}\n"
        return f"up {self.weight}%\n"


def decide(seen: Seen, limits: Limits) -> Availability:
    """Not here, then on its way, and only then how busy: the worse of both measures counts."""
    if not seen.running:
        return Availability(Answer.DOWN, 0, "does not run here")
    if seen.leaving or seen.drained:
        return Availability(Answer.DRAIN, 0, "is being handed over" if seen.leaving else "its host is drained")
    # It greets as ever, and can take nothing. With the smallest share it would still come before the other site's.
    if seen.silent >= SILENT:
        return Availability(Answer.DRAIN, 0, "its store does not answer")
    load = limits.load.weight(seen.load)
    # Who cannot look into his queue cannot write into it either.
    queue = LEAST if seen.queue is None else limits.queue.weight(seen.queue)
    if min(load, queue) == MOST:
        return Availability(Answer.UP, MOST)
    if load <= queue:
        return Availability(Answer.UP, load, f"load {seen.load:.2f} for each processor")
    said = "its queue cannot be read" if seen.queue is None else f"{seen.queue} letters in hand"
    return Availability(Answer.UP, queue, said)

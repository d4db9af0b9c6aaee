"""What ails a line, as arithmetic: delays add up, losses are independent of each other."""

from __future__ import annotations

from dataclasses import dataclass

from lab.errors import LabError

# netem's own default of 1000 packets drops at 1 Gbit/s with 15 ms: a queue, not the line, would lose packets.
QUEUE_PACKETS = 10000


@dataclass(frozen=True)
class Line:
    """A one-way delay in milliseconds and a loss in percent."""

    delay_ms: float = 0.0
    loss_pct: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what netem would refuse, with better words."""
        if self.delay_ms < 0:
            raise LabError("delay", f"{self.delay_ms} ms", "it can't be negative")
        if not 0 <= self.loss_pct <= 100:
            raise LabError("loss", f"{self.loss_pct} %", "give a percentage between 0 and 100")

    def __add__(self, other: Line) -> Line:
        """Both in a row: a packet must survive the one and the other."""
        survives = (1 - self.loss_pct / 100) * (1 - other.loss_pct / 100)
        return Line(self.delay_ms + other.delay_ms, round(100 * (1 - survives), 6))

    @property
    def good(self) -> bool:
        """Nothing ails it."""
        return self.delay_ms == 0 and self.loss_pct == 0

    def tc(self, device: str) -> str:
        """Return the words for `tc` that make `device` send like this (tc-netem(8))."""
        if self.good:
            return f"qdisc del dev {device} root"
        words = f"qdisc replace dev {device} root netem limit {QUEUE_PACKETS}"
        if self.delay_ms:
            words += f" delay {self.delay_ms:g}ms"
        if self.loss_pct:
            words += f" loss {self.loss_pct:g}%"
        return words

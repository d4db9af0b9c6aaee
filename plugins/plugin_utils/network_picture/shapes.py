"""What a picture is made of, with its place. Pure; units are pixels at the picture's own size."""

from __future__ import annotations

from dataclasses import dataclass, field

# Of a font's size: the width that a character is given, more than most fonts take.
CHARACTER, BOLD_CHARACTER = 0.6, 0.68


@dataclass(frozen=True)
class Text:
    """`anchor`: start, middle or end, as in SVG; `room`: at most so wide, 0 for as wide as it gets."""

    x: float
    y: float
    text: str
    size: float = 9
    anchor: str = "start"
    colour: str = "#333333"
    bold: bool = False
    room: float = 0

    @property
    def natural(self) -> float:
        return len(self.text) * self.size * (BOLD_CHARACTER if self.bold else CHARACTER)

    @property
    def width(self) -> float:
        return min(self.natural, self.room) if self.room else self.natural

    @property
    def squeezed(self) -> bool:
        """Would it be wider than its room?"""
        return bool(self.room) and self.natural > self.room

    @property
    def left(self) -> float:
        return self.x - self.width * {"start": 0.0, "middle": 0.5, "end": 1.0}[self.anchor]


@dataclass(frozen=True)
class Box:
    """A rectangle: a host, a segment, or the frame around a site; `what` says whose it is."""

    what: str
    x: float
    y: float
    width: float
    height: float
    fill: str
    stroke: str = "none"
    round: float = 3

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height


@dataclass(frozen=True)
class Wire:
    """A leg of a host, from the host to the segment; it may pass behind other segments."""

    host: str
    segment: str
    points: tuple[tuple[float, float], ...]
    colour: str
    width: float = 1.6


@dataclass
class Picture:
    """Drawn in this order: frames, wires, bars, ends of wires, boxes, texts."""

    title: str
    width: float = 0
    height: float = 0
    frames: list[Box] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    bars: list[Box] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)

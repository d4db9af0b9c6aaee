"""The story's timeline: as text for the terminal, as a picture for people, as JSON for programs."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """`time`: Unix seconds; `kind` groups events of one colour."""

    time: float
    kind: str
    text: str


COLOURS = {
    "fault": "#c0392b",
    "mail": "#2980b9",
    "attempt": "#7f8c8d",
    "takeover": "#8e44ad",
    "service": "#27ae60",
}


def as_text(events: Sequence[Event], zero: float) -> str:
    return "\n".join(f"{e.time - zero:+8.1f} s  {e.kind:9} {e.text}" for e in sorted(events, key=lambda e: e.time))


def as_json(events: Sequence[Event], zero: float) -> list[dict[str, object]]:
    return [{**dataclasses.asdict(e), "since_fault": round(e.time - zero, 3)} for e in events]


def as_svg(events: Sequence[Event], zero: float, title: str) -> str:
    """One row an event, its mark placed by time, so gaps are seen as gaps."""
    rows = sorted(events, key=lambda e: e.time)
    first, last = rows[0].time, rows[-1].time
    width, left, row, top = 1200, 560, 22, 70
    span = max(last - first, 1.0)
    height = top + row * len(rows) + 30

    def x(time: float) -> float:
        return left + (width - left - 30) * (time - first) / span

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="20" y="30" font-size="18" font-weight="bold">{html.escape(title)}</text>',
    ]
    step = 30 if span > 60 else 5
    for second in range(int((first - zero) // step) * step, int(last - zero) + step, step):
        if first <= zero + second <= last:
            at = x(zero + second)
            out.append(f'<line x1="{at:.1f}" y1="48" x2="{at:.1f}" y2="{height - 20}" stroke="#dddddd"/>')
            out.append(f'<text x="{at:.1f}" y="45" font-size="11" fill="#666666">{second} s</text>')
    for n, event in enumerate(rows):
        y = top + n * row
        colour = COLOURS.get(event.kind, "#000000")
        label = f"{event.time - zero:+.1f} s  {event.text}"
        out.append(f'<text x="20" y="{y + 4}" font-size="12">{html.escape(label[:88])}</text>')
        out.append(f'<circle cx="{x(event.time):.1f}" cy="{y}" r="5" fill="{colour}"/>')
    return "\n".join([*out, "</svg>", ""])

"""Writes a picture as SVG 1.1; the same picture gives the same bytes."""

from __future__ import annotations

from html import escape

from .shapes import Box, Picture, Text, Wire

FONT = "Arial, Helvetica, 'Liberation Sans', 'DejaVu Sans', sans-serif"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _box(one: Box) -> str:
    return (
        f'<rect x="{_n(one.x)}" y="{_n(one.y)}" width="{_n(one.width)}" height="{_n(one.height)}" rx="{_n(one.round)}"'
        f' fill="{one.fill}" stroke="{one.stroke}"><title>{escape(one.what)}</title></rect>'
    )


def _wire(one: Wire) -> str:
    points = " ".join(f"{_n(x)},{_n(y)}" for x, y in one.points)
    return (
        f'<polyline points="{points}" fill="none" stroke="{one.colour}" stroke-width="{_n(one.width)}">'
        f"<title>{escape(one.host)} in {escape(one.segment)}</title></polyline>"
    )


def _end(one: Wire) -> str:
    x, y = one.points[-1]
    return f'<circle cx="{_n(x)}" cy="{_n(y)}" r="3" fill="#ffffff" stroke="{one.colour}" stroke-width="1.6"/>'


def _text(one: Text) -> str:
    squeezed = f' textLength="{_n(one.width)}" lengthAdjust="spacingAndGlyphs"' if one.squeezed else ""
    bold = ' font-weight="bold"' if one.bold else ""
    return (
        f'<text x="{_n(one.x)}" y="{_n(one.y)}" font-size="{_n(one.size)}" text-anchor="{one.anchor}"'
        f' fill="{one.colour}"{bold}{squeezed}>{escape(one.text)}</text>'
    )


def write(picture: Picture) -> str:
    """The file's text, with a line's end behind it."""
    width, height = _n(picture.width), _n(picture.height)
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{FONT}">',
        f"<title>{escape(picture.title)}</title>",
        "<!-- Generated from the inventory: make picture -->",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *map(_box, picture.frames),
        *map(_wire, picture.wires),
        *map(_box, picture.bars),
        *map(_end, picture.wires),
        *map(_box, picture.boxes),
        *map(_text, picture.texts),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"

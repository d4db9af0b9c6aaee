"""Gives every part of a network its place: data centres mirrored left and right, routers between them in the middle.

The Internet is on top, the isolated network at the bottom, the network of the stores between them; so a wire that goes
from one side to the other is seen at once. Pure.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

from .columns import INTERNET, ROWS, STORAGE_ROW, Place, place, row_of
from .model import Host, Network, Segment
from .shapes import Box, Picture, Text, Wire

COLUMN, BOX_WIDTH, BOX_HEIGHT = 80.0, 73.0, 34.0
REACH = 19.0  # between a box and its bar: room for a leg's octets
BAR, BETWEEN = 17.0, 6.0
EMPTY_ROW = 26.0  # without boxes
PAD, TITLE = 10.0, 20.0
LINE_ROOM = 70.0  # between a frame and a router in the middle: room for its octets and delay
HUB_WIDTH, HUB_LEAST = 92.0, 46.0
LANE, LANE_ENDS = 9.0, 24.0  # between wires side by side, and what is left free above and below them
RING = 3.0
MARGIN, HEADER = 24.0, 74.0
TABLE_LINE, TABLE_COLUMN = 15.0, 500.0
LEAST_WIDTH = 1160.0
LEGEND = 48.0  # of one network, beside its name

NETWORKS = {"internet": "#2468a8", "isolated": "#2e7d4f", "storage": "#b0651d"}
OTHER_NETWORK = "#6b5b95"
KINDS = {
    "router": "#dbe7f3",
    "redirector": "#e4dcf2",
    "mail": "#d9efdf",
    "relay": "#fdf0c8",
    "store": "#f6dfc7",
    "external_store": "#f6dfc7",
    "transfer": "#f3d9e2",
    "dns": "#e6e6e6",
    "coordinator": "#e6e6e6",
    "client": "#ffffff",
}
EDGE = "#555555"
FRAME, FRAME_EDGE = "#fafafa", "#b5b5b5"


def _colour(segment: Segment) -> str:
    return NETWORKS.get(segment.network, OTHER_NETWORK)


def _told(host: Host, segment: Segment) -> str:
    """The octets of a leg, and the delay of the line."""
    delay = host.delays.get(segment.name)
    return segment.short(host.legs[segment.name]) + (f" · {delay:g} ms" if delay else "")


def _spread(count: int, width: float) -> list[float]:
    """So many places around 0, at most `width` from the first to the last."""
    step = min(32.0, width / max(1, count - 1))
    return [(n - (count - 1) / 2) * step for n in range(count)]


@dataclass
class _Site:
    """A data centre on its side of the middle. `rows`: {segment: row} of its own segments."""

    name: str
    rows: dict[str, int]
    places: list[Place]
    left: bool

    @property
    def columns(self) -> int:
        return max((p.column for p in self.places), default=0) + 1


@dataclass
class _Hub:
    """A router between the sites, as drawn in one pair of data centres."""

    host: Host
    box: Box


@dataclass
class _Plan:
    network: Network
    picture: Picture
    hubs: dict[str, list[_Hub]] = field(default_factory=dict)
    # {on top: …}: the bars outside of the data centres, and where the wires to them may turn.
    ends: dict[bool, dict[str, Box]] = field(default_factory=dict)
    turns: dict[bool, float] = field(default_factory=dict)

    @functools.cached_property
    def lanes(self) -> dict[str, int]:
        """Routers between the sites side by side where one would stand in the other's way."""
        found: dict[str, int] = {}
        taken: list[list[range]] = []
        for host in self.network.hubs:
            rows = [self._row_of_line(s) for s in host.legs]
            span = range(min(rows, default=4) - 1, max(rows, default=6) + 2)
            fit = [n for n, some in enumerate(taken) if all(r.stop <= span.start or span.stop <= r.start for r in some)]
            found[host.name] = lane = fit[0] if fit else len(taken)
            taken += [] if fit else [[]]
            taken[lane].append(span)
        return found

    def _row_of_line(self, segment: str) -> int:
        if set(self.network.sites_of(segment)) & set(self.network.data_centres):
            return row_of(self.network, segment)
        return -1 if self.network.segments[segment].network == INTERNET else 11

    # --- parts ------------------------------------------------------------------------------------------------------

    def box(self, host: Host, x: float, y: float, width: float = BOX_WIDTH, height: float = BOX_HEIGHT) -> Box:
        made = Box(host.name, x, y, width, height, KINDS[host.kind], EDGE)
        middle, room = x + width / 2, width - 6
        self.picture.boxes.append(made)
        centre = y + height / 2
        self.picture.texts.append(Text(middle, centre - 3, host.name, 10, "middle", "#000000", True, room))
        self.picture.texts.append(Text(middle, centre + 10, host.words, 9, "middle", room=room))
        return made

    def bar(self, segment: Segment, x: float, y: float, width: float, align: str = "start") -> Box:
        made = Box(segment.name, x, y, width, BAR, _colour(segment))
        parts = [segment.name, segment.prefix]
        parts += [f"gateway {segment.short(segment.gateway)}"] if segment.gateway else []
        at = {"start": x + 7, "middle": x + width / 2, "end": x + width - 7}[align]
        self.picture.bars.append(made)
        self.picture.texts.append(Text(at, y + 12.5, " · ".join(parts), 10, align, "#ffffff", room=width - 14))
        return made

    def frame(self, site: str, x: float, y: float, width: float, height: float, above: bool = True) -> None:
        self.picture.frames.append(Box(site, x, y, width, height, FRAME, FRAME_EDGE, 6))
        described = self.network.sites[site]
        text = f"{site}: {described}" if described else site
        at = y + 15 if above else y + height - 7
        self.picture.texts.append(Text(x + PAD, at, text, 12, "start", "#000000", True, width - 2 * PAD))

    def legs(self, box: Box, host: Host, bars: Sequence[Box]) -> None:
        """Wires of a host to bars above and below it; the nearest bar gets the first place."""
        for up in (True, False):
            goals = [b for b in bars if (b.y < box.y) == up]
            goals.sort(key=lambda b: abs(b.y - box.y))
            for bar, offset in zip(goals, _spread(len(goals), BOX_WIDTH - 28), strict=True):
                x = box.x + box.width / 2 + offset
                start, end = (box.y, bar.bottom + RING) if up else (box.bottom, bar.y - RING)
                segment = self.network.segments[bar.what]
                self.picture.wires.append(Wire(host.name, bar.what, ((x, start), (x, end)), _colour(segment)))
                label = start - 5 if up else start + 11
                self.picture.texts.append(Text(x + 3, label, segment.short(host.legs[bar.what])))

    # --- data centres -----------------------------------------------------------------------------------------------

    def sites(self, names: Sequence[str]) -> list[_Site]:
        made = []
        for n, name in enumerate(names):
            hosts = self.network.at(name)
            rows = {
                s: row_of(self.network, s)
                for s in sorted(self.network.segments)
                if name in self.network.sites_of(s) and any(s in h.legs for h in hosts)
            }
            made.append(_Site(name, rows, place(hosts, rows), left=n == 0))
        return made

    def pair(self, sites: Sequence[_Site], x: float, y: float, width: float, gap: float) -> float:
        """One or two data centres with their middle, from `y` on. Returns where they end."""
        tops, end = self._rows(sites, y + TITLE)
        frames = {s.name: x if s.left else x + width + gap for s in sites}
        for site in sites:
            self.frame(site.name, frames[site.name], y, width, end - y)
        bars: dict[str, Box] = {}
        for row, top in tops.items():
            for site in sites:
                for n, name in self._slots(sites, site, row):
                    reach = [frames[s.name] for s in sites if name in s.rows]
                    start, stop = min(reach) + PAD, max(reach) + width - PAD
                    align = "middle" if len(reach) > 1 else "start" if site.left else "end"
                    if name not in bars:
                        bar_y = top + n * (BAR + BETWEEN)
                        bars[name] = self.bar(self.network.segments[name], start, bar_y, stop - start, align)
        for site in sites:
            for one in site.places:
                column = one.column * COLUMN + PAD + (COLUMN - BOX_WIDTH) / 2
                at = frames[site.name]
                left = at + column if site.left else at + width - column - BOX_WIDTH
                box = self.box(one.host, left, tops[one.row] + REACH)
                self.legs(box, one.host, [bars[s] for s in one.host.legs if s in bars])
        self._middle(bars, x + width, gap, (y, end))
        return end

    def _slots(self, sites: Sequence[_Site], site: _Site, row: int) -> list[tuple[int, str]]:
        """Bars of a site in one row, from the top on; those that lead to the other site outermost."""
        own = {s.name: sorted((x for x in s.rows if s.rows[x] == row), key=self._rank) for s in sites}
        through = [x for x in own[site.name] if sum(x in some for some in own.values()) > 1]
        alone = {name: [x for x in some if x not in through] for name, some in own.items()}
        first, rest = (through, alone[site.name]) if row < STORAGE_ROW else (alone[site.name], through)
        begin = len(first) if row < STORAGE_ROW else max(len(some) for some in alone.values())
        return [*enumerate(first), *enumerate(rest, begin)]

    def _rank(self, segment: str) -> tuple[int, str]:
        """Bars of one row stand in the order of their networks."""
        known = [*NETWORKS, self.network.segments[segment].network]
        return known.index(self.network.segments[segment].network), segment

    def _rows(self, sites: Sequence[_Site], y: float) -> tuple[dict[int, float], float]:
        tops = {}
        for row in ROWS:
            tops[row] = y
            if row % 2:
                most = max((n + 1 for s in sites for n, _ in self._slots(sites, s, row)), default=0)
                y += most * (BAR + BETWEEN) - BETWEEN if most else 0
            elif any(p.row == row for s in sites for p in s.places):
                y += 2 * REACH + BOX_HEIGHT
            elif any(row in p.rows for s in sites for p in s.places):
                y += EMPTY_ROW
        return tops, y + PAD

    def _middle(self, bars: dict[str, Box], x: float, gap: float, rows: tuple[float, float]) -> None:
        """Routers between the sites, each beside the bars in which it has a leg."""
        for host in self.network.hubs:
            goals = [bars[s] for s in host.legs if s in bars]
            if not goals and host.name in self.hubs:
                continue
            top = min((b.y for b in goals), default=sum(rows) / 2) - 4
            bottom = max((b.bottom for b in goals), default=top) + 4
            if (more := HUB_LEAST - (bottom - top)) > 0:
                upper = (top + bottom) / 2 < sum(rows) / 2
                top, bottom = (top, bottom + more) if upper else (top - more, bottom)
            left = x + LINE_ROOM + self.lanes[host.name] * (HUB_WIDTH + BETWEEN)
            box = self.box(host, left, top, HUB_WIDTH, bottom - top)
            self.hubs.setdefault(host.name, []).append(_Hub(host, box))
            for bar in goals:
                self._line(host, box, bar)

    def _line(self, host: Host, box: Box, bar: Box) -> None:
        """From a router in the middle to the inner end of a bar."""
        segment, middle = self.network.segments[bar.what], bar.y + BAR / 2
        leftwards = bar.right <= box.x
        start, end = (box.x, bar.right + RING) if leftwards else (box.right, bar.x - RING)
        self.picture.wires.append(Wire(host.name, bar.what, ((start, middle), (end, middle)), _colour(segment), 3))
        text = _told(host, segment)
        at, anchor = (start - 4, "end") if leftwards else (start + 4, "start")
        self.picture.texts.append(Text(at, middle - 4, text, anchor=anchor))

    # --- places outside ---------------------------------------------------------------------------------------------

    def outside(self, above: bool) -> list[tuple[str, list[tuple[str, list[Host]]], float]]:
        """Sites without mail: (site, [(segment, its hosts)], width), those of the Internet above, all others below."""
        found = []
        for site in self.network.sites:
            if site in self.network.data_centres:
                continue
            hosts = self.network.at(site)
            segments = [s for s in sorted(self.network.segments) if self.network.sites_of(s)[:1] == [site]]
            segments = [s for s in segments if (self.network.segments[s].network == INTERNET) == above]
            parts = [(s, [h for h in hosts if next(iter(h.legs), "") == s]) for s in segments]
            width = sum(self._part(hosts) for _, hosts in parts) + PAD * (len(parts) + 1)
            if parts:
                found.append((site, parts, width))
        return found

    @staticmethod
    def _part(hosts: Sequence[Host]) -> float:
        return max(3.0, len(hosts)) * COLUMN

    def places(self, above: bool, centre: float, y: float) -> float:
        """The places on top or at the bottom, with the wires to their routers. Returns where they end."""
        outside = self.outside(above)
        if not outside:
            return y
        height = TITLE + BOX_HEIGHT + REACH + BAR + 2 * PAD
        lanes = LANE_ENDS + LANE * sum(len(parts) for _, parts, _ in outside)
        top = y if above else y + lanes
        x = centre - (sum(w for *_, w in outside) + 2 * PAD * (len(outside) - 1)) / 2
        bars: dict[str, Box] = {}
        for site, parts, width in outside:
            self.frame(site, x, top, width, height, above)
            at = x + PAD
            for name, hosts in parts:
                wide = self._part(hosts)
                bar_y = top + height - PAD - BAR if above else top + PAD
                bars[name] = self.bar(self.network.segments[name], at, bar_y, wide)
                box_y = bar_y - REACH - BOX_HEIGHT if above else bar_y + BAR + REACH
                for n, host in enumerate(hosts):
                    middle = at + wide * (n + 0.5) / len(hosts)
                    box = self.box(host, middle - BOX_WIDTH / 2, box_y)
                    self.legs(box, host, [bars[name]])
                at += wide + PAD
            x += width + 2 * PAD
        self.ends[above] = bars
        self.turns[above] = top + height + lanes if above else y
        return top + height + (lanes if above else 0)

    def join(self) -> None:
        """Wires from the routers in the middle to the bars on top and at the bottom."""
        for above, bars in self.ends.items():
            wanted: list[tuple[float, float, _Hub, Box]] = []
            for drawn in self.hubs.values():
                hub = drawn[0] if above else drawn[-1]
                goals = sorted((bars[s] for s in hub.host.legs if s in bars), key=lambda b: b.x)
                for bar, offset in zip(goals, _spread(len(goals), HUB_WIDTH - 24), strict=True):
                    start = hub.box.x + HUB_WIDTH / 2 + offset
                    straight = bar.x + 8 <= start <= bar.right - 8
                    wanted.append((start, start if straight else bar.x + bar.width / 2, hub, bar))
            wanted.sort(key=lambda w: (w[0], w[3].x))
            leftwards = [w for w in wanted if w[1] < w[0]]
            rightwards = [w for w in reversed(wanted) if w[1] > w[0]]
            for start, goal, hub, bar in wanted:
                one = (start, goal, hub, bar)
                lane = (leftwards.index(one) if goal < start else rightwards.index(one) if goal > start else 0) + 1
                self._elbow(hub, bar, (start, goal), above, lane)

    def _elbow(self, hub: _Hub, bar: Box, across: tuple[float, float], above: bool, lane: int) -> None:
        segment, (start, goal) = self.network.segments[bar.what], across
        begin, end = (hub.box.y, bar.bottom + RING) if above else (hub.box.bottom, bar.y - RING)
        points = [(start, begin), (goal, end)]
        if start != goal:
            # Behind the frames of the data centres.
            turn = self.turns[above] + (-LANE if above else LANE) * lane
            points[1:1] = [(start, turn), (goal, turn)]
        self.picture.wires.append(Wire(hub.host.name, bar.what, tuple(points), _colour(segment), 3))
        # Beside the frame of the bar.
        label = end + PAD + 12 if above else end - PAD - 6
        self.picture.texts.append(Text(goal + 5, label, _told(hub.host, segment)))


def draw(network: Network) -> Picture:
    """Raises ValueError where the inventory has no data centre."""
    names = network.data_centres
    if not names:
        raise ValueError("no site has a mail, relay or store host; put them into the inventory first")
    picture = Picture(f"The network of inventory {network.title}")
    plan = _Plan(network, picture)
    pairs = [plan.sites(names[n : n + 2]) for n in range(0, len(names), 2)]
    width = max(s.columns for sites in pairs for s in sites) * COLUMN + 2 * PAD
    gap = 2 * LINE_ROOM + (HUB_WIDTH + BETWEEN) * (max(plan.lanes.values(), default=0) + 1) - BETWEEN
    body = (2 if len(names) > 1 else 1) * width + gap
    outside = max((sum(w + 2 * PAD for *_, w in plan.outside(a)) for a in (True, False)), default=0)
    picture.width = max(body, outside, LEAST_WIDTH) + 2 * MARGIN
    x = (picture.width - body) / 2
    centre = x + width + gap / 2
    y = plan.places(True, centre, HEADER)
    for sites in pairs:
        y = plan.pair(sites, x, y, width, gap) + 2 * PAD
    y = plan.places(False, centre, y - 2 * PAD) + 2 * PAD
    plan.join()
    _head(picture, network)
    picture.height = _table(picture, network, y + PAD) + MARGIN
    return picture


def _head(picture: Picture, network: Network) -> None:
    picture.texts.append(Text(MARGIN, 30, picture.title, 18, "start", "#000000", True))
    told = (
        f"{len(network.hosts)} hosts; each has a leg in {network.management}, too, which is not drawn."
        " A wire that goes on behind a bar has no leg there; its end is a ring."
    )
    picture.texts.append(Text(MARGIN, 52, told, 11))
    used = {s.network: _colour(s) for s in network.segments.values()}
    x = picture.width - MARGIN - sum(LEGEND + len(name) * 7 for name in used)
    for name, colour in sorted(used.items(), key=lambda one: [*NETWORKS, one[0]].index(one[0])):
        picture.bars.append(Box(f"colour of network {name}", x, 21, 26, 10, colour))
        picture.texts.append(Text(x + 32, 30, name, 11))
        x += LEGEND + len(name) * 7


def _table(picture: Picture, network: Network, y: float) -> float:
    """Addresses that move from host to host, in columns. Returns where it ends."""
    if not network.moving:
        return y
    title = "Addresses that move, and the hosts that may have them"
    picture.texts.append(Text(MARGIN, y + 10, title, 12, bold=True))
    columns = max(1, int((picture.width - 2 * MARGIN) // TABLE_COLUMN))
    lines = -(-len(network.moving) // columns)
    for n, text in enumerate(network.moving):
        column, line = divmod(n, lines)
        x = MARGIN + column * (picture.width - 2 * MARGIN) / columns
        picture.texts.append(Text(x, y + 28 + line * TABLE_LINE, text, 9.5))
    return y + 28 + lines * TABLE_LINE

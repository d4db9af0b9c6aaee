"""A flow's letters and what became of them: pure, so that the figures are tested without machines.

Times are Unix seconds; a letter's delay is from the moment in which it is put into its sender's outbox.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.full.figures import percentile
from tests.story import journal
from tests.story.messages import Letter
from tests.story.outage import Verdict, judge

from .network import STRANGER, Way

Boxes = Mapping[str, Sequence[Mapping[str, Any]]]

TEXT = "\n".join(
    (
        "X-Story-Id: @ID@",
        "Message-ID: <@ID@@outside.example>",
        "From: <@FROM@>",
        "To: <@TO@>",
        "Subject: @ID@",
        "MIME-Version: 1.0",
        "",
        *(f"@ID@ line {n}: mail must arrive whatever fails" for n in range(20)),
        "",
    )
)


def text(ident: str, way: Way) -> bytes:
    """As on_client/flow.py makes it."""
    made = TEXT.replace("@ID@", ident).replace("@FROM@", way.sender).replace("@TO@", way.recipient)
    return made.encode()


@dataclass(frozen=True)
class Sent:
    """A letter of a flow. `accepted`: when a server took it from its sender, None while none has; `tries` to hand it
    over; `cut`: an answer to its end was lost; `faults`: what its sender was told that is no mere delay."""

    id: str
    way: str
    begun: float
    accepted: float | None = None
    tries: int = 0
    cut: bool = False
    faults: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Sent:
        return cls(
            said["id"],
            said["way"],
            said["begun"],
            said["accepted"],
            said["tries"],
            said["cut"],
            tuple(said["faults"]),
        )


def by_stock_sender(sent: Iterable[Sent], way: str, log: Sequence[journal.Line]) -> list[Sent]:
    """Those of `way` with the moment in which the sending host's own Postfix got rid of them: that is the outbox."""
    names = journal.message_ids(log)
    gone: dict[str, float] = {}
    for one in journal.deliveries(log):
        if one.status == "sent" and one.queue in names:
            gone.setdefault(names[one.queue], one.time)
    return [replace(s, accepted=gone.get(s.id)) if s.way == way else s for s in sent]


def flows(sent: Iterable[Sent], ways: Iterable[str], since: float, count: int = 3) -> list[str]:
    """Ways on which fewer than `count` letters that were begun since then have been taken."""
    taken: dict[str, int] = dict.fromkeys(ways, 0)
    for one in sent:
        if one.way in taken and one.begun >= since and one.accepted is not None:
            taken[one.way] += 1
    return [way for way, n in taken.items() if n < count]


def arrivals(boxes: Boxes, way: Way) -> dict[str, float]:
    """When the first copy of each letter came into the mailbox of the way's recipient."""
    found: dict[str, float] = {}
    for message in boxes.get(way.recipient, ()):
        if message["id"] and message.get("time") is not None:
            found[message["id"]] = min(message["time"], found.get(message["id"], float("inf")))
    return found


def came_meanwhile(sent: Iterable[Sent], way: str, arrived: Mapping[str, float], begin: float, end: float) -> list[str]:
    """Letters of that way that were begun and had arrived between these times."""
    ours = [one.id for one in sent if one.way == way and one.begun >= begin]
    return [ident for ident in ours if arrived.get(ident, float("inf")) < end]


def missing(sent: Iterable[Sent], ways: Sequence[Way], boxes: Boxes) -> list[str]:
    """Letters that were taken and are not in their mailbox."""
    there = {way.name: {m["id"] for m in boxes.get(way.recipient, ())} for way in ways}
    return [one.id for one in sent if one.way in there and one.accepted is not None and one.id not in there[one.way]]


def longest_gap(sent: Iterable[Sent], way: str, begin: float, end: float) -> float:
    """Seconds within [begin, end] in which no letter was taken on that way; the edges count as if one had been."""
    times = sorted(s.accepted for s in sent if s.way == way and s.accepted is not None and begin <= s.accepted <= end)
    moments = [begin, *times, end]
    return max(after - before for before, after in itertools.pairwise(moments))


def delays_of(sent: Iterable[Sent], way: str, came: Mapping[str, float]) -> list[float]:
    """Seconds from the outbox into the mailbox, of those letters of that way that came."""
    return [came[s.id] - s.begun for s in sent if s.way == way and s.id in came]


@dataclass
class Report:
    """What became of a flow. `delays` and `gaps`: seconds, by way; `arrived`: when each letter came, by way; `mistakes`
    is empty when all was as it must be."""

    verdict: Verdict
    delays: dict[str, list[float]]
    gaps: dict[str, float]
    mistakes: list[str] = field(default_factory=list)
    arrived: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def longest_gap(self) -> tuple[str, float]:
        return max(self.gaps.items(), key=lambda one: one[1], default=("", 0.0))

    @property
    def longest_delay(self) -> tuple[str, float]:
        worst = {way: max(some) for way, some in self.delays.items() if some}
        return max(worst.items(), key=lambda one: one[1], default=("", 0.0))


def judged(
    sent: Sequence[Sent],
    ways: Sequence[Way],
    boxes: Boxes,
    logs: Sequence[journal.Line],
    begin: float,
    end: float,
) -> Report:
    """`logs`: of all who carried the letters; `begin` and `end`: between which times gaps are looked for."""
    by_name = {way.name: way for way in ways}
    written = [
        Letter(s.id, s.way, by_name[s.way].sender, (by_name[s.way].recipient,), text(s.id, by_name[s.way]))
        for s in sent
        if s.accepted is not None or s.cut
    ]
    verdict = judge(written, {a: [dict(m) for m in box] for a, box in boxes.items()}, logs)
    verdict.twice_allowed = sorted({*verdict.twice_allowed, *(s.id for s in sent if s.cut)})
    verdict.twice_allowed += _crossed_twice(verdict, logs, {s.id for s in sent if by_name[s.way].recipient == STRANGER})
    arrived = {way.name: arrivals(boxes, way) for way in ways}
    delays = {way: delays_of(sent, way, came) for way, came in arrived.items()}
    gaps = {way.name: longest_gap(sent, way.name, begin, end) for way in ways}
    report = Report(verdict, delays, gaps, arrived=arrived)
    report.mistakes = list(verdict.mistakes)
    report.mistakes += [f"never taken: {s.id}" for s in sent if s.accepted is None]
    report.mistakes += [f"its sender was told: {s.id}: {fault}" for s in sent for fault in s.faults]
    return report


def _crossed_twice(verdict: Verdict, logs: Sequence[journal.Line], outside: set[str]) -> list[str]:
    """As many as intakes say that they may have handed over twice; only mailboxes of ours drop such a copy."""
    doubts = sum(line.text.startswith("maybe_second_copy ") for line in logs)
    return [ident for ident in sorted(verdict.twice) if ident in outside and ident not in verdict.twice_allowed][
        :doubts
    ]


# --- tables -----------------------------------------------------------------------------------------------------------


def ways_table(report: Report) -> str:
    """Latency of each way, Markdown."""
    rows = ["| way | letters | p50 | max |", "|---|---|---|---|"]
    for way, delays in report.delays.items():
        figures = f"{percentile(delays, 0.5):.1f} s | {max(delays):.1f} s" if delays else "none | none"
        rows.append(f"| {way} | {len(delays)} | {figures} |")
    return "\n".join(rows) + "\n"


@dataclass(frozen=True)
class Loss:
    """A row of the losses' table. Seconds; `away`: from the fault until the component was in rotation again."""

    component: str
    hosts: str
    letters: int
    gap: float
    gap_way: str
    delay: float
    delay_way: str
    twice: int
    away: float
    load: float


@dataclass(frozen=True)
class Window:
    """When a component was away, in a flow; Unix seconds. `mending`: it gets its power or its cable again; `back`: in
    rotation; `end`: letters flow with it. `unseen`: ways, by name, whose letters arrive meanwhile where nobody can
    look."""

    component: str
    hosts: str
    fault: float
    mending: float
    back: float
    end: float
    unseen: Sequence[str]
    load: float


def loss_in(window: Window, sent: Sequence[Sent], report: Report, before: float) -> Loss:
    """Of letters that were begun or taken within it, or up to `before` seconds before the fault."""
    begin = window.fault - before
    ours = [one for one in sent if begin <= one.begun <= window.end]
    gaps = {way: longest_gap(sent, way, begin, window.end) for way in report.arrived}
    delays = {way: max(delays_of(ours, way, came), default=0.0) for way, came in report.arrived.items()}
    gap, delay = (max(found, key=lambda way: found[way]) for found in (gaps, delays))
    twice = len({one.id for one in ours} & set(report.verdict.twice_excused))
    away = window.back - window.fault
    return Loss(
        window.component, window.hosts, len(ours), gaps[gap], gap, delays[delay], delay, twice, away, window.load
    )


def losses_table(rows: Iterable[Loss]) -> str:
    """Markdown, as docs/evidence.md can take it."""
    out = [
        "| lost | host | letters | longest time without one taken | longest delay | twice (RFC 1047) | away | load |",
        "|---|---|---|---|---|---|---|---|",
    ]
    out += [
        f"| {r.component} | {r.hosts} | {r.letters} | {r.gap:.0f} s ({r.gap_way}) | {r.delay:.0f} s ({r.delay_way})"
        f" | {r.twice} | {r.away:.0f} s | {r.load:.0f} |"
        for r in rows
    ]
    return "\n".join(out) + "\n"


def keep_losses(rows: Sequence[Loss], file: Path) -> list[Loss]:
    """Add rows to a file of JSON, in place of earlier ones of the same components; gives all of them."""
    known = [Loss(**one) for one in json.loads(file.read_text())] if file.exists() else []
    new = {row.component for row in rows}
    kept = [*(one for one in known if one.component not in new), *rows]
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps([one.__dict__ for one in kept], indent=2) + "\n")
    return kept

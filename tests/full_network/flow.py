"""Mail that flows on all ways while something happens, and the judgement of it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.story import journal
from tests.story.machines import StoryError, wait_for
from tests.story.outage import CA_ON_CLIENT

from . import letters
from .letters import Report, Sent
from .network import OUTSIDE, Way
from .stage import ON_CLIENT, NetworkStage

# Seconds between two letters of a way. Two cores carry all guests.
PERIOD = float(os.environ.get("HOLDFAST_FLOW_PERIOD") or 5)
PAUSE = 3.0  # seconds until a sender tries again
DRAIN = 300  # seconds for what its senders still have when the flow ends
ARRIVE = 720  # seconds: a stock sender's own next try may be five minutes away, and crossing takes up to 30 s each way
PORTS = {"submission": 587, "exchanger": 25}
SENDERS = ("-t", "postfix/smtp", "-t", "postfix/cleanup", "-t", "postfix/bounce", "-t", "postfix/qmgr")


def key(ways: Sequence[Way], way: Way) -> str:
    """Short, for ids."""
    return f"w{ways.index(way)}"


@dataclass
class Flow:
    """One flow. Use `flowing` to begin one."""

    stage: NetworkStage
    ways: Sequence[Way]
    run: str
    begun: float
    count: int | None = None
    ended: float = 0.0
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def _until(self) -> str:
        return f"/run/{self.run}-over"

    @property
    def _log(self) -> str:
        return f"/var/tmp/story/{self.run}.log"

    def begin(self, period: float) -> None:
        for host in dict.fromkeys(way.host for way in self.ways):
            job = {
                "run": self.run,
                "period": period,
                "count": self.count,
                "until": self._until,
                "log": self._log,
                "drain": DRAIN,
                "pause": PAUSE,
                "ca": CA_ON_CLIENT,
                "name": f"{host}.outside.example",
                "text": letters.TEXT,
                "ways": [self._told(way) for way in self.ways if way.host == host],
            }
            self._processes[host] = self.stage.begin_on(host, ON_CLIENT / "flow.py", json.dumps(job))

    def _told(self, way: Way) -> dict[str, Any]:
        return {
            "name": way.name,
            "key": key(self.ways, way),
            "how": way.how,
            "sender": way.sender,
            "recipient": way.recipient,
            "server": way.server,
            "port": PORTS.get(way.how, 0),
            "skip": way.skip,
            "user": way.sender,
            "password": self.stage.network.users.get(way.sender, ""),
        }

    def end(self) -> None:
        """No new letters, or `count` of them; returns when all are taken, or nobody took them for DRAIN seconds."""
        if self.count is None:
            for host in self._processes:
                self.stage.lab.shell(host, f"touch {self._until}")
        self.ended = time.time()
        for host, process in self._processes.items():
            self.stage.end_of(process, f"the flow on {host}", DRAIN + 300)
            self.stage.lab.shell(host, f"rm -f {self._until}")
        self._processes.clear()

    def abandon(self) -> None:
        """Something else has failed already."""
        for host, process in self._processes.items():
            with contextlib.suppress(StoryError, subprocess.TimeoutExpired):
                self.stage.lab.shell(host, f"touch {self._until}", check=False)
            process.kill()
            process.communicate()

    # --- meanwhile ----------------------------------------------------------------------------------------------------

    def sent(self) -> list[Sent]:
        """Letters that have been taken so far; of an ended flow all."""
        found: list[Sent] = []
        for host in dict.fromkeys(way.host for way in self.ways):
            lines = self.stage.lab.shell(host, f"cat {self._log}", check=False).splitlines()
            # The last line may be under way.
            found += [Sent.from_json(json.loads(line)) for line in lines if line.endswith("}")]
        posted = [way.name for way in self.ways if way.how == "sendmail"]
        if posted:
            log = journal.read(self.stage.lab, OUTSIDE, self.begun - 1, *SENDERS)
            for name in posted:
                found = letters.by_stock_sender(found, name, log)
        return found

    def wait_flowing(self, since: float, seconds: float = 420, but: Sequence[str] = ()) -> None:
        """Until letters that were begun since then are taken and delivered on all ways but those named."""
        ways = [way for way in self.ways if way.name not in but]
        self.wait_accepted(since, [way.name for way in ways], seconds)
        still: list[str] = []

        def delivered() -> bool:
            boxes = self._boxes(ways, "ids")
            later = {s.id for s in self.sent() if s.begun >= since}
            still[:] = [way.name for way in ways if not later & set(letters.arrivals(boxes, way))]
            return not still

        try:
            wait_for("letters delivered on all ways", delivered, seconds, every=6)
        except StoryError as why:
            raise StoryError(f"{why}; not {', '.join(still)}") from why

    def wait_accepted(self, since: float, ways: Sequence[str], seconds: float = 420) -> None:
        """Until letters that were begun since then are taken on these ways, by name."""
        still: list[str] = []

        def accepted() -> bool:
            still[:] = letters.flows(self.sent(), ways, since)
            return not still

        try:
            wait_for("letters taken", accepted, seconds, every=4)
        except StoryError as why:
            raise StoryError(f"{why}; not {', '.join(still)}") from why

    def _boxes(self, ways: Sequence[Way], protocol: str = "imap") -> dict[str, list[dict[str, Any]]]:
        """Empty while a user cannot log in: a route or a server may be on its way back."""
        try:
            return self.stage.boxes(ways, protocol)
        except (StoryError, subprocess.TimeoutExpired):
            return {}

    # --- the end ------------------------------------------------------------------------------------------------------

    def arrive(self) -> None:
        """Waits for all letters. What is missing then is told by the judgement, letter by letter."""
        self.stage.retry_of_senders()

        def look() -> bool:
            sent = self.sent()
            found = self._boxes(self.ways, "ids")
            waiting = [s for s in sent if s.accepted is None and not s.cut]
            return bool(found) and not waiting and not letters.missing(sent, self.ways, found)

        with contextlib.suppress(StoryError):
            wait_for("all letters", look, ARRIVE, every=8)

    def whole(self) -> letters.Boxes:
        """Waits for all letters, and reads mailboxes whole; nothing when nobody can."""
        self.arrive()
        with contextlib.suppress(StoryError):
            return wait_for("whole mailboxes", lambda: self._boxes(self.ways), 600, every=8)
        return {}

    def report(self, begin: float | None = None, boxes: letters.Boxes | None = None) -> Report:
        """Gaps are looked for from `begin` on, in the whole flow if it is not given.

        `boxes`: what `whole` gave of a flow that ended later; mailboxes of hundreds of letters take minutes to read.
        """
        boxes = self.whole() if boxes is None else boxes
        sent = self.sent()
        logs = self.stage.told(self.begun - 1)
        report = letters.judged(sent, self.ways, boxes, logs, begin or self.begun, self.ended)
        report.mistakes += self._unread(boxes)
        return report

    def _unread(self, boxes: letters.Boxes) -> list[str]:
        return [f"nobody can read the mailbox of {way.recipient}" for way in self.ways if way.recipient not in boxes]


@contextlib.contextmanager
def flowing(
    stage: NetworkStage, ways: Sequence[Way], period: float = PERIOD, count: int | None = None
) -> Iterator[Flow]:
    """A letter on each way every `period` seconds, `count` of them or until the context ends; then all are taken."""
    begun = time.time()
    flow = Flow(stage, ways, f"f{begun:.0f}", begun, count)
    try:
        flow.begin(period)
        yield flow
        flow.end()
    except BaseException:
        flow.abandon()
        raise

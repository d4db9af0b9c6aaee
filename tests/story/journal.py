"""Lines of a host's journal, and what Postfix says in them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from .machines import Lab


@dataclass(frozen=True)
class Line:
    """`time`: Unix seconds; `tag`: syslog identifier."""

    time: float
    tag: str
    text: str


def read(lab: Lab, host: str, since: float, *match: str, only: str = "") -> list[Line]:
    """The journal of `host` from `since` on, `match` as journalctl takes it.

    `only`: an extended regular expression (grep(1)); what it does not find stays on the host.
    """
    words = " ".join(shlex.quote(m) for m in match)
    fields = "MESSAGE,SYSLOG_IDENTIFIER"
    script = f"journalctl --no-pager -q -o json --output-fields={fields} --since @{since:.0f} {words}"
    if only:
        script += f" | grep -E {shlex.quote(only)} || true"
    found = []
    for raw in lab.shell(host, script).splitlines():
        entry = json.loads(raw)
        text = entry.get("MESSAGE") or ""
        if isinstance(text, list):  # bytes that are not UTF-8 come as a list of numbers
            text = bytes(text).decode(errors="replace")
        found.append(Line(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, entry.get("SYSLOG_IDENTIFIER", ""), text))
    return found


_STATUS = re.compile(
    r"^(?P<queue>[0-9A-Za-z]+): to=<(?P<to>[^>]*)>.*?relay=(?P<relay>[^,]+),.*?dsn=(?P<dsn>[\d.]+), "
    r"status=(?P<status>\w+) \((?P<text>.*)\)$"
)


@dataclass(frozen=True)
class Delivery:
    """One `status=` line of Postfix."""

    time: float
    tag: str
    queue: str
    to: str
    relay: str
    status: str
    text: str


def deliveries(lines: Sequence[Line]) -> list[Delivery]:
    found = []
    for line in lines:
        m = _STATUS.match(line.text)
        if m:
            found.append(Delivery(line.time, line.tag, m["queue"], m["to"], m["relay"], m["status"], m["text"]))
    return found


def message_ids(lines: Sequence[Line]) -> dict[str, str]:
    """Queue id to the story's id, from cleanup's lines."""
    found = {}
    for line in lines:
        m = re.match(r"^(\w+): message-id=<([^@>]+)@", line.text)
        if m:
            found[m[1]] = m[2]
    return found


def maybe_twice(lines: Sequence[Line]) -> set[str]:
    """Queue ids for which a 250 may have been cut off: the window of RFC 1047."""
    found = set()
    for line in lines:
        if "message may be sent more than once" in line.text or "while sending end of data" in line.text:
            found.add(line.text.split(":", 1)[0])
    return found


def fields(text: str) -> dict[str, str]:
    """A structured line of a Holdfast daemon: `event key=value key="…"`."""
    words = shlex.split(text)
    return {"event": words[0] if words else "", **dict(w.split("=", 1) for w in words[1:] if "=" in w)}

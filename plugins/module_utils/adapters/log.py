"""One line an event, for the journal: `event key=value key="quoted value"` (logfmt)."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import TextIO

# sd-daemon(3): the journal takes the priority from the beginning of a line.
PRIORITIES = {"alert": 1, "error": 3, "warning": 4, "info": 6, "debug": 7}


def render(event: str, **fields: object) -> str:
    """The line for an event. Fields that are None are left out."""
    return " ".join([event, *(f"{key}={_value(value)}" for key, value in fields.items() if value is not None)])


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | set | frozenset):
        value = ",".join(str(v) for v in value)
    text = str(value)
    plain = text.isprintable() and not any(c in ' "=\\' for c in text)
    return text if text and plain else json.dumps(text, ensure_ascii=not text.isprintable())


class LineLog:
    """Implements `core.ports.Log`. The field `level` also becomes the journal's priority."""

    def __init__(self, stream: TextIO | None = None, journal: bool | None = None) -> None:
        self._stream = stream or sys.stdout
        self._journal = "JOURNAL_STREAM" in os.environ if journal is None else journal
        self._lock = threading.Lock()

    def __call__(self, event: str, /, **fields: object) -> None:
        priority = PRIORITIES.get(str(fields.get("level", "info")), PRIORITIES["info"])
        head = f"<{priority}>" if self._journal else ""
        with self._lock:
            self._stream.write(f"{head}{render(event, **fields)}\n")
            self._stream.flush()

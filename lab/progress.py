"""One line a phase, with the seconds since the start; the seconds are kept for a report."""

from __future__ import annotations

import json
import time
from pathlib import Path


class Progress:
    """Of one run of one word."""

    def __init__(self, word: str) -> None:
        """Start the clock."""
        self.word = word
        self.began = time.monotonic()
        self.last = self.began
        self.phases: list[dict[str, str | float]] = []

    def done(self, text: str) -> float:
        """Print a phase that has just ended and return how long it took."""
        now = time.monotonic()
        took = now - self.last
        self.last = now
        self.phases.append({"phase": text, "seconds": round(took, 2)})
        print(f"[{now - self.began:6.1f} s] {text}", flush=True)
        return took

    def since(self) -> float:
        """Return the seconds since the last phase ended."""
        return time.monotonic() - self.last

    def keep(self, path: Path) -> None:
        """Append this run to a JSON list."""
        runs = json.loads(path.read_text()) if path.exists() else []
        runs.append(
            {
                "word": self.word,
                "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "seconds": round(time.monotonic() - self.began, 2),
                "phases": self.phases,
            }
        )
        path.write_text(json.dumps(runs, indent=1))

"""The identity as somebody outside sees it: when it answers, and when it does not."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from .machines import Lab
from .outage import ADDRESS, CLIENT, ON_CLIENT


@dataclass
class Service:
    """When a mail server answered on the identity's address, as seen from outside."""

    answered: list[float] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)

    def longest_gap(self) -> float:
        """Seconds."""
        return max((b - a for a, b in itertools.pairwise(self.answered)), default=float("inf"))

    def __str__(self) -> str:
        return f"{self.longest_gap():.1f} s without service at most; {self.failed or 'no connection failed'}"


@contextlib.contextmanager
def watched(lab: Lab) -> Iterator[Service]:
    """Somebody outside connects twice a second (each costs a process); the result is there at the end."""
    over = f"/run/watch-{time.time():.0f}"
    service = Service()
    process = subprocess.Popen(
        lab.command("exec", CLIENT, "--", "python3", "-", ADDRESS, over),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write((ON_CLIENT / "watch.py").read_bytes())
    process.stdin.close()
    process.stdin = None
    try:
        yield service
    finally:
        lab.shell(CLIENT, f"touch {over}")
        out, _ = process.communicate(timeout=60)
        lab.shell(CLIENT, f"rm -f {over}")
    said = json.loads(out)
    service.answered, service.failed = said["answered"], said["failed"]

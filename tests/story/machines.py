"""The lab's words as Python calls: everything that the story does to machines goes through `bin/lab`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
AT_ONCE = 6  # words of the lab at a time


class StoryError(Exception):
    """The story did not go as it must; the text says what was seen."""


@dataclass(frozen=True)
class Lab:
    """A running lab. `name` is that of `bin/lab --name`."""

    name: str = os.environ.get("HOLDFAST_LAB", "default")

    def command(self, *args: str) -> list[str]:
        return [str(ROOT / "bin" / "lab"), "--name", self.name, *args]

    def word(self, *args: str, stdin: bytes | str | None = None, check: bool = True, timeout: float = 300) -> str:
        """Run `bin/lab ARGS`, give its standard output. Raises StoryError with its last words when it fails."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(self.command(*args), input=data or b"", capture_output=True, check=False, timeout=timeout)
        out = done.stdout.decode(errors="replace")
        if check and done.returncode != 0:
            words = (done.stderr.decode(errors="replace") or out).strip()[-2000:]
            raise StoryError(f"bin/lab {' '.join(args)[:200]}: exit {done.returncode}: {words}")
        return out

    def run(
        self, host: str, *command: str, stdin: bytes | str | None = None, check: bool = True, timeout: float = 300
    ) -> str:
        """Run a command as root on a host."""
        return self.word("exec", host, "--", *command, stdin=stdin, check=check, timeout=timeout)

    def shell(self, host: str, script: str, check: bool = True, timeout: float = 300) -> str:
        return self.run(host, "sh", "-c", script, check=check, timeout=timeout)

    def python(self, host: str, source: Path, *args: str, timeout: float = 300) -> Any:
        """Run one of our scripts on a host by its own Python; it prints JSON."""
        return json.loads(self.run(host, "python3", "-", *args, stdin=source.read_text(), timeout=timeout))


def recap(said: str) -> dict[str, tuple[int, int]]:
    """What a playbook's last lines tell of each host: tasks that changed something, tasks that failed."""
    lines = re.findall(r"^(\S+) +: .*changed=(\d+) .*failed=(\d+)", said, re.MULTILINE)
    return {host: (int(changed), int(failed)) for host, changed, failed in lines}


def wait_for[T](what: str, look: Callable[[], T | None], seconds: float, every: float = 1.0) -> T:
    """Poll until `look` gives something true. Raises StoryError naming what was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= deadline:
            raise StoryError(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)


def of_each[T, R](things: Iterable[T], ask: Callable[[T], R]) -> list[R]:
    """What `ask` gives for each, in their order, several at a time: a word of the lab mostly waits for its machine.

    Raises what the first of them raised, once those that were begun have ended.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(ask, things))

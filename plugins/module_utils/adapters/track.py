"""The track files that keepalived watches: `1` while this host owns an identity, anything else or nothing: not."""

from __future__ import annotations

import contextlib
from pathlib import Path

FOLDER = Path("/run/holdfast/track")


class TrackFile:
    """`folder/NAME`, replaced in one step so that keepalived never reads half of it."""

    def __init__(self, name: str, folder: Path = FOLDER) -> None:
        self.path = folder / name

    def write(self, owner: bool) -> None:
        """Nothing is written when the file already says so. Raises OSError."""
        if self.path.exists() and self.read() is owner:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.parent / f".{self.path.name}.new"
        new.write_text("1\n" if owner else "0\n")
        new.replace(self.path)

    def read(self) -> bool:
        with contextlib.suppress(OSError):
            return self.path.read_text().strip() == "1"
        return False

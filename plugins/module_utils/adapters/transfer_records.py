"""What transfer hosts keep on NFS: the archive of what has crossed, the log of it, and begun attempts (R3.2, R3.4).

    archive/2026-11-29/SOURCE/ID.gz     the spool file as it was, gzip (RFC 1952): `zcat` reads it on any machine
    log/2026-11-29.HOST.jsonl           one JSON object a line
    attempts/SOURCE/ID                  {"begun": N}: attempts to carry it that have not ended
    tmp/                                half-written

Days are UTC and those of the transfer. Python's own zlib and not zstd: an archive is read when much is broken, and
gzip is in every rescue system; Debian 13's Python has no zstd without a package more.
"""

from __future__ import annotations

import datetime
import gzip
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.model import Json
from ..core.ports import Clock
from ..core.spool import ID, Damaged, Header, unpack
from .spool_files import SpoolFiles

DAY = re.compile(r"\d{4}-\d\d-\d\d")
DAY_SECONDS = 86400.0
LOG_END = 262144  # octets of a log that are looked at for what was carried last
LEVEL = 1  # of zlib: mail is base64 mostly, where more effort saves little


def day(time: float) -> str:
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%d")


@dataclass(frozen=True)
class Kept:
    """One message of the archive."""

    id: str
    source: str
    file: Path


def last_carried(root: Path) -> dict[str, float]:
    """{source: when a message of it was carried last}, by the end of each host's newest log.

    A source that is not there: not of late. Raises OSError.
    """
    newest: dict[str, Path] = {}
    for file in sorted((root / "log").glob("*.jsonl")):
        newest[file.stem.partition(".")[2]] = file
    found: dict[str, float] = {}
    for file in newest.values():
        with file.open("rb") as opened:
            opened.seek(max(0, opened.seek(0, os.SEEK_END) - LOG_END))
            lines = opened.read().splitlines()
        for line in lines:
            try:
                entry = json.loads(line)
                if entry["event"] == "transfer":
                    source = str(entry["from"])
                    found[source] = max(found.get(source, 0.0), float(entry["time"]))
            except (ValueError, KeyError, TypeError):
                continue  # half a line
    return found


class Records:
    """Below `root`; methods raise OSError. `host`: this one, whose log and scratch files are its own."""

    def __init__(self, root: Path, host: str, files: SpoolFiles, clock: Clock) -> None:
        self._root = root
        self._host = host
        self._files = files
        self._clock = clock

    def prepare(self) -> None:
        for name in ("archive", "log", "attempts", "tmp"):
            self._files.folder(self._root / name)

    def _scratch(self, source: str, name: str) -> Path:
        return self._root / "tmp" / f"{self._host}.{source}.{name}"

    # --- archive ---------------------------------------------------------------------------------------------------

    def _kept(self, source: str, name: str) -> Path:
        return self._root / "archive" / day(self._clock.now()) / source / f"{name}.gz"

    def is_archived(self, source: str, name: str) -> bool:
        """Today: behind midnight it is archived once more, which costs room and nothing else."""
        return self._files.exists(self._kept(source, name))

    def archive(self, source: str, name: str, data: bytes) -> None:
        file = self._kept(source, name)
        self._files.folder(file.parent)
        # No time in it, so that the same message is the same file.
        self._files.write(file, gzip.compress(data, LEVEL, mtime=0), self._scratch(source, name))

    def kept(self, name: str | None = None, begin: float = 0.0) -> Iterator[Kept]:
        """Of the day of `begin` (Unix seconds) and all later ones, oldest first; only of that id if one is given."""
        for one in self._days():
            start = datetime.datetime.strptime(f"{one.name} +0000", "%Y-%m-%d %z").timestamp()
            if start + DAY_SECONDS <= begin:
                continue
            for source in sorted(one.iterdir()):
                for file in sorted(source.glob("*.gz")):
                    if ID.fullmatch(file.stem) and name in (None, file.stem):
                        yield Kept(file.stem, source.name, file)

    def open(self, kept: Kept) -> tuple[Header, bytes]:
        """Raises Damaged."""
        data = self._files.read(kept.file)
        try:
            return unpack(gzip.decompress(data or b""))
        except (OSError, EOFError, zlib.error) as why:
            raise Damaged(f"{kept.file}: {why}") from why

    def _days(self) -> list[Path]:
        folder = self._root / "archive"
        return sorted(d for d in folder.iterdir() if DAY.fullmatch(d.name)) if folder.exists() else []

    def expired(self, days: int) -> list[Path]:
        """Folders of days that ended `days` ago or earlier, by the clock of this host and by that of the file server.

        One of them may go wrong; it must not empty the archive.
        """
        now = min(self._clock.now(), self._files.server_time(self._root / "tmp" / f"{self._host}.time"))
        last = day(now - (days + 1) * DAY_SECONDS)
        return [folder for folder in self._days() if folder.name <= last]

    def expire(self, days: int, move_to: Path | None) -> list[str]:
        """Delete the days that are over, or move them below `move_to`. Their names. Safe to repeat."""
        gone = []
        for folder in self.expired(days):
            if move_to is not None:
                # May be another file system: what a crash has left there is written over.
                shutil.copytree(folder, move_to / folder.name, dirs_exist_ok=True)
                os.sync()
            shutil.rmtree(folder)
            gone.append(folder.name)
        return gone

    # --- log -------------------------------------------------------------------------------------------------------

    def log(self, entry: Json) -> None:
        file = self._root / "log" / f"{day(self._clock.now())}.{self._host}.jsonl"
        self._files.append(file, json.dumps(entry, separators=(",", ":")))

    def logged(self) -> Iterator[Json]:
        """Every whole line of every host, day by day."""
        for file in sorted((self._root / "log").glob("*.jsonl")):
            for line in file.read_bytes().splitlines():
                try:
                    yield json.loads(line)
                except ValueError:
                    continue  # half of it, from before a crash

    # --- attempts --------------------------------------------------------------------------------------------------

    def begun(self, source: str, name: str) -> int:
        """How many attempts have begun and not ended. What cannot be read counts as none."""
        data = self._files.read(self._root / "attempts" / source / name)
        try:
            return int(json.loads(data or b"")["begun"])
        except (ValueError, KeyError, TypeError):
            return 0

    def begin(self, source: str, name: str, count: int) -> None:
        """One more, `count` in all: noted before anything is done that could end this process."""
        file = self._root / "attempts" / source / name
        self._files.folder(file.parent)
        self._files.write(file, json.dumps({"begun": count}).encode(), self._scratch(source, f"{name}.attempt"))

    def ended(self, source: str, name: str) -> None:
        self._files.remove(self._root / "attempts" / source / name)

"""What transfer hosts keep on NFS: the archive of what has crossed, the log of it, and begun attempts (R3.2, R3.4).

    archive/2026-11-29/SOURCE/ID.gz     the spool file as it was, gzip (RFC 1952): `zcat` reads it on any machine
    log/2026-11-29.HOST.jsonl           one JSON object a line; .gz is added when the day is over
    attempts/SOURCE/ID                  {"begun": N}: attempts to carry it that have not ended
    now                                 other octets than before: somebody wants all carried at once
    tmp/                                half-written

Days are UTC; of the archive those on which a message was spooled, so that it is there once however long it waits.
Python's own zlib and not zstd: an archive is read when much is broken, and gzip is in every rescue system; Debian 13's
Python has no zstd without a package more.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import gzip
import hashlib
import itertools
import json
import os
import re
import secrets
import shutil
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
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
LOG_LEVEL = 6
LOG_FILE = re.compile(r"(\d{4}-\d\d-\d\d)\.(.+)\.jsonl(\.gz)?")


def day(time: float) -> str:
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%d")


def compressed(pieces: Iterable[bytes], level: int) -> Iterator[bytes]:
    """gzip. No time in it, so that the same octets are the same file."""
    packer = zlib.compressobj(level, wbits=16 + zlib.MAX_WBITS)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


def digest(pieces: Iterable[bytes]) -> bytes:
    made = hashlib.sha256()
    for piece in pieces:
        made.update(piece)
    return made.digest()


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
        self._log = threading.Lock()  # on this host's own: each spool has threads
        self._making = threading.Lock()  # of a folder, which others may use once its name is durable

    def prepare(self) -> None:
        for name in ("archive", "log", "attempts", "tmp"):
            self._files.folder(self._root / name)

    def _folder(self, folder: Path) -> None:
        with self._making:
            self._files.folder(folder)

    def _scratch(self, source: str, name: str) -> Path:
        return self._root / "tmp" / f"{self._host}.{source}.{name}"

    # --- archive ---------------------------------------------------------------------------------------------------

    def _kept(self, source: str, name: str, spooled: float) -> Path:
        return self._root / "archive" / day(spooled) / source / f"{name}.gz"

    def is_archived(self, source: str, name: str, spooled: float) -> bool:
        """`spooled`: when its source took it, Unix seconds."""
        return self._files.exists(self._kept(source, name, spooled))

    def archive(self, source: str, name: str, spooled: float, pieces: Iterable[bytes]) -> None:
        """Raises what making the pieces raises, too."""
        file = self._kept(source, name, spooled)
        self._folder(file.parent)
        self._files.write_pieces(file, compressed(pieces, LEVEL), self._scratch(source, name))

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

    def _now(self) -> float:
        """By this host's clock and by the file server's: one of them may go wrong, and must not empty the archive."""
        return min(self._clock.now(), self._files.server_time(self._root / "tmp" / f"{self._host}.time"))

    def expired(self, days: int) -> list[Path]:
        """Folders of days that ended `days` ago or earlier, and in which nothing was written since.

        A day is told by the source's clock. If that was wrong, what has crossed today lies in a day long past.
        """
        now = self._now()
        old, last = now - days * DAY_SECONDS, day(now - (days + 1) * DAY_SECONDS)
        return [f for f in self._days() if f.name <= last and all(t <= old for t in self._times(f))]

    def _times(self, one: Path) -> Iterator[float]:
        """When the files of a day were written, by the file server's clock."""
        for source in sorted(one.iterdir()):
            for found in self._files.names(source):
                yield found.time

    def expire(self, days: int, move_to: Path | None, held: Callable[[], None] = lambda: None) -> list[str]:
        """Delete the days that are over, or move them below `move_to`, which is a mount point. Their names.

        Safe to repeat. One host should do it at a time: `held` raises what ends it when this is that host no longer.
        """
        if move_to is not None and not move_to.is_mount():
            raise OSError(errno.ENODEV, "Nothing is mounted there: this host keeps no archive", str(move_to))
        gone = []
        for folder in self.expired(days):
            held()
            if move_to is not None:
                self._copy(folder, move_to / folder.name, held)
            with contextlib.suppress(FileNotFoundError):  # another host was quicker
                shutil.rmtree(folder)
            gone.append(folder.name)
        return gone

    def _copy(self, folder: Path, target: Path, held: Callable[[], None]) -> None:
        """Of a day: each file whole, durable and read again, or not there. What a crash has left is written over."""
        for source in sorted(folder.iterdir()):
            self._files.folder(target / source.name)
            for found in self._files.names(source):
                held()
                file, copy = source / found.name, target / source.name / found.name
                self._files.write_pieces(copy, self._files.pieces(file), copy.with_name(f".{found.name}.{self._host}"))
                if digest(self._files.pieces(copy)) != digest(self._files.pieces(file)):
                    raise OSError(errno.EIO, "It does not read as it was written", str(copy))

    # --- log -------------------------------------------------------------------------------------------------------

    def log(self, entry: Json) -> None:
        file = self._root / "log" / f"{day(self._clock.now())}.{self._host}.jsonl"
        with self._log:
            self._files.append(file, json.dumps(entry, separators=(",", ":")))

    def pack_logs(self) -> None:
        """Compress this host's own days that are over. The last one with an entry stays, `status` reads it."""
        folder = self._root / "log"
        with self._log:
            mine = [m for f in self._files.names(folder) if (m := LOG_FILE.fullmatch(f.name)) and m[2] == self._host]
            plain = sorted(m[0] for m in mine if m[3] is None)
            for name in plain[:-1]:
                if name.startswith(day(self._clock.now())):
                    continue  # this host's clock was ahead, and there is a later one
                file, packed = folder / name, folder / f"{name}.gz"
                # For the second time, when the clock was set back: gzip files may follow each other in one.
                before = self._files.pieces(packed) if self._files.exists(packed) else ()
                pieces = itertools.chain(before, compressed(self._files.pieces(file), LOG_LEVEL))
                self._files.write_pieces(packed, pieces, self._root / "tmp" / f"{self._host}.log")
                self._files.remove(file)

    def expire_logs(self, days: int) -> list[str]:
        """Delete those of all hosts that are older, and not written to since. Their names."""
        now, gone = self._now(), []
        for found in self._files.names(self._root / "log"):
            named = LOG_FILE.fullmatch(found.name)
            old = named is not None and named[1] <= day(now - (days + 1) * DAY_SECONDS)
            if old and found.time <= now - days * DAY_SECONDS:
                self._files.remove(self._root / "log" / found.name)
                gone.append(found.name)
        return gone

    def logged(self) -> Iterator[Json]:
        """Every whole line of every host, day by day."""
        for file in sorted((self._root / "log").glob("*.jsonl*")):
            data = file.read_bytes()
            for line in (gzip.decompress(data) if file.suffix == ".gz" else data).splitlines():
                try:
                    yield json.loads(line)
                except ValueError:
                    continue  # half of it, from before a crash

    # --- the whole -------------------------------------------------------------------------------------------------

    def away(self) -> str | None:
        """Why nothing can be kept there. A folder that is not mounted looks empty."""
        try:
            folder = self._root / "archive"
            return None if self._files.exists(folder) else f"{folder} is missing"
        except OSError as why:
            return str(why)

    def ask(self) -> None:
        """All that waits is to be carried at once, by whichever host has the claim on it."""
        token = secrets.token_hex(8)
        self._files.write(self._root / "now", token.encode(), self._root / "tmp" / f"{self._host}.now.{token}")

    def asked(self) -> bytes | None:
        """Changes with each `ask`."""
        return self._files.read(self._root / "now")

    def tidy(self) -> None:
        """Removes what was half-written more than a day ago, whoever did."""
        old = self._now() - DAY_SECONDS
        for found in self._files.names(self._root / "tmp"):
            if found.time < old:
                self._files.remove(self._root / "tmp" / found.name)

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
        self._folder(file.parent)
        self._files.write(file, json.dumps({"begun": count}).encode(), self._scratch(source, f"{name}.attempt"))

    def ended(self, source: str, name: str) -> None:
        self._files.remove(self._root / "attempts" / source / name)

"""holdfast-transfer restore: has what crossed before cross once more, or puts it into files (R3.4).

    python3 -m holdfast.daemons.restore [--config FILE] [--to-folder FOLDER] [--label TEXT] ID
    python3 -m holdfast.daemons.restore [--config FILE] [--to-folder FOLDER] [--label TEXT] --from TIME --to TIME
    python3 -m holdfast.daemons.restore [--config FILE] [--to-folder FOLDER] --quarantine IDENTITY ID

TIME is ISO 8601 (2026-11-29T06:00, UTC unless it says otherwise). A restored message gets an id of its own: under the
old one it would be taken for carried. The id follows from the old one and the label (today's date, if none is given),
so a restore that was interrupted may be repeated on the same day. With a folder nothing is sent: each message becomes
ID.eml there. --quarantine gives one that was set aside another three attempts; with a folder it stays set aside.

What is damaged, or has nobody who could send it, is named, and the rest is restored; the status is 1 then.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..adapters.clock import SystemClock
from ..adapters.spool_files import SpoolFiles
from ..adapters.transfer_records import DAY, Records, day
from ..core.ports import Clock
from ..core.spool import DONE, ID, IN, OUT, QUARANTINE, RECORD, TMP, Adoption, Damaged, Header, pack, unpack
from . import service, transfer
from .config import ConfigError


class NotThere(Exception):
    """Nothing to be restored, or nowhere to put it; the text says what was looked for."""


class Moved(Records):
    """Days of the archive that are over, where they were moved to. Below that folder there is nothing else of ours."""

    def _days(self) -> list[Path]:
        return sorted(d for d in self._root.iterdir() if DAY.fullmatch(d.name)) if self._root.exists() else []


def new_id(old: str, label: str) -> str:
    return hashlib.sha256(f"restore {old} {label}".encode()).hexdigest()[:32]


class Restorer:
    """Methods raise NotThere, Damaged, OSError. `root`: where the spools are; `moved`: days that the records had."""

    def __init__(self, root: Path, records: Records, moved: Records | None, files: SpoolFiles, clock: Clock) -> None:
        self._root = root
        self._records = records
        self._moved = moved
        self._files = files
        self._clock = clock
        self.damaged: dict[str, str] = {}  # by id: what `found` could not read, nowhere

    def found(self, name: str | None, begin: float, end: float) -> Iterator[tuple[Header, bytes]]:
        """Of the archive, each id once: that one, or all that were taken by their source within these Unix seconds.

        One damaged file keeps no other back.
        """
        self.damaged.clear()
        seen: set[str] = set()
        # In this order: a day is in its new place before it goes from the old one.
        for records in (self._records, self._moved) if self._moved else (self._records,):
            for kept in records.kept(name, begin):
                if kept.id in seen:
                    continue
                try:
                    header, message = records.open(kept)
                except (Damaged, OSError) as why:
                    text = why.strerror if isinstance(why, OSError) else str(why).removeprefix(f"{kept.file}: ")
                    self.damaged[kept.id] = f"{kept.file}: {text}"
                    continue
                seen.add(kept.id)
                self.damaged.pop(kept.id, None)
                if name is not None or begin <= header.time <= end:
                    yield header, message

    def _adoption(self, identity: str) -> Adoption:
        file = self._root / identity / RECORD
        data = self._files.read(file)
        if data is None:
            raise NotThere(f"{file} is not there: nobody owns {identity}")
        try:
            return Adoption.from_json(json.loads(data))
        except (ValueError, KeyError, TypeError) as why:
            raise NotThere(f"{file} does not say who owns {identity}: {why!r}") from why

    def send(self, header: Header, message: bytes, label: str) -> str:
        """Into the `out` of its source, at the epoch of today. Its new id."""
        again = dataclasses.replace(
            header,
            id=new_id(header.id, label),
            epoch=self._adoption(header.source).epoch,
            time=self._clock.now(),
            restored_from=header.restored_from or header.id,
        )
        place = self._root / header.source
        if not any(self._files.exists(place / folder / again.id) for folder in (OUT, DONE, QUARANTINE)):
            scratch = place / TMP / f"restore.{again.id}"
            self._files.hand(place / OUT / again.id, pack(again, message), scratch)
        return again.id

    def put(self, header: Header, message: bytes, folder: Path) -> Path:
        file = folder / f"{header.id}.eml"
        self._files.write(file, message, folder / f".{header.id}.new")
        return file

    def set_aside(self, identity: str, name: str) -> tuple[Header, bytes]:
        """What lies in quarantine."""
        file = self._root / identity / QUARANTINE / name
        data = self._files.read(file)
        if data is None:
            raise NotThere(f"{file} is not there")
        try:
            return unpack(data)
        except Damaged as why:
            raise Damaged(f"{file}: {why}") from why

    def release(self, identity: str, name: str, label: str) -> str:
        """From quarantine back to where it came from: `in`, or `out`, with a new id where its epoch is over."""
        place = self._root / identity
        header, message = self.set_aside(identity, name)
        if header.source != identity:
            self._files.move(place / QUARANTINE / name, place / IN / name)
            return name
        adoption = self._adoption(identity)
        self._records.ended(identity, name)
        if adoption.holds(name, header.epoch):
            self._files.move(place / QUARANTINE / name, place / OUT / name)
            return name
        new = self.send(header, message, label)
        self._files.move(place / QUARANTINE / name, place / DONE / name)
        return new


def moment(text: str) -> float:
    time = datetime.datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)).timestamp()


def look_at(folder: Path) -> None:
    """Can files be made there? Before anything is done. Raises NotThere."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as why:
        remedy = "install -d -o holdfast-transfer -m 0700 /var/tmp/restored"
        raise NotThere(
            f"{folder}: {why.strerror}: name a folder in which the user holdfast-transfer may write: {remedy}"
        ) from why


def restored(restorer: Restorer, given: argparse.Namespace, label: str) -> bool:
    """Prints a line for each message; whether all that was asked for is done. Raises NotThere, Damaged, OSError."""
    folder: Path | None = given.to_folder
    if folder is not None:
        look_at(folder)
    if given.quarantine is not None and folder is None:
        print(restorer.release(given.quarantine, given.id, label))
        return True
    if given.quarantine is not None:
        found = iter([restorer.set_aside(given.quarantine, given.id)])
    else:
        found = restorer.found(given.id, given.begin or 0.0, given.end or float("inf"))
    count, not_sent = 0, dict[str, str]()
    try:
        for header, message in found:
            count += 1
            try:
                made = restorer.put(header, message, folder) if folder else restorer.send(header, message, label)
            except NotThere as why:
                not_sent[header.id] = str(why)
                continue
            print(f"{header.id}\t{header.source}\t<{header.envelope.sender}>\t{made}")
    finally:  # a full disk ends it, and what was damaged till then is named
        failed = not_sent | restorer.damaged
        for one, text in failed.items():
            print(f"restore: {one}: {text}", file=sys.stderr)
    if not count and not failed:
        raise NotThere("nothing of that kind is in the archive")
    return not failed


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="holdfast-transfer restore")
    parser.add_argument("id", nargs="?")
    parser.add_argument("--from", dest="begin", type=moment)
    parser.add_argument("--to", dest="end", type=moment)
    parser.add_argument("--to-folder", type=Path)
    parser.add_argument("--label")
    parser.add_argument("--quarantine", metavar="IDENTITY")
    parser.add_argument("--config", default=transfer.FILE)
    given = parser.parse_args(arguments)
    if (given.id is None) is (given.begin is None) or (given.begin is None) is not (given.end is None):
        parser.error("name an ID, or --from and --to")
    if given.id is None and given.quarantine is not None:
        parser.error("--quarantine goes with an ID")
    if given.id is not None and ID.fullmatch(given.id) is None:
        parser.error(f"{given.id} is no ID, which has 32 digits: 0 to 9 and a to f")
    clock, files = SystemClock(), SpoolFiles()
    try:
        settings = transfer.load(given.config)
        records = Records(settings.records, settings.host, files, clock)
        moved = None if settings.move_to is None else Moved(settings.move_to, settings.host, files, clock)
        restorer = Restorer(settings.root, records, moved, files, clock)
        return 0 if restored(restorer, given, given.label or day(clock.now())) else 1
    except ConfigError as why:
        print(why, file=sys.stderr)
        return service.EX_CONFIG
    except (NotThere, Damaged, OSError) as why:
        print(f"restore: {why}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

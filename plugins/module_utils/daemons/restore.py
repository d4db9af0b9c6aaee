"""holdfast-transfer restore: has what crossed before cross once more, or puts it into files (R3.4).

    python3 -m holdfast.daemons.restore [--config FILE] [--to-folder FOLDER] [--label TEXT] ID
    python3 -m holdfast.daemons.restore [--config FILE] [--to-folder FOLDER] [--label TEXT] --from TIME --to TIME
    python3 -m holdfast.daemons.restore [--config FILE] --quarantine IDENTITY ID

TIME is ISO 8601 (2026-11-29T06:00, UTC unless it says otherwise). A restored message gets an id of its own: under the
old one it would be taken for carried. The id follows from the old one and the label (today's date, if none is given),
so a restore that was interrupted may be repeated on the same day. With a folder nothing is sent: each message becomes
ID.eml there. --quarantine gives one that was set aside another three attempts.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..adapters.clock import SystemClock
from ..adapters.spool_files import SpoolFiles
from ..adapters.transfer_records import Records, day
from ..core.ports import Clock
from ..core.spool import DONE, IN, OUT, QUARANTINE, RECORD, TMP, Adoption, Damaged, Header, pack, unpack
from . import service, transfer
from .config import ConfigError


class NotThere(Exception):
    """Nothing to be restored; the text says what was looked for."""


def new_id(old: str, label: str) -> str:
    return hashlib.sha256(f"restore {old} {label}".encode()).hexdigest()[:32]


class Restorer:
    """Methods raise NotThere, Damaged, OSError. `root`: where the spools are."""

    def __init__(self, root: Path, records: Records, files: SpoolFiles, clock: Clock) -> None:
        self._root = root
        self._records = records
        self._files = files
        self._clock = clock

    def found(self, name: str | None, begin: float, end: float) -> Iterator[tuple[Header, bytes]]:
        """Of the archive, each id once: that one, or all that were taken by their source within these Unix seconds."""
        seen: set[str] = set()
        for kept in self._records.kept(name, begin):
            if kept.id in seen:
                continue
            header, message = self._records.open(kept)
            if name is not None or begin <= header.time <= end:
                seen.add(kept.id)
                yield header, message

    def send(self, header: Header, message: bytes, label: str) -> str:
        """Into the `out` of its source, at the epoch of today. Its new id."""
        data = self._files.read(self._root / header.source / RECORD)
        if data is None:
            raise NotThere(f"{self._root / header.source / RECORD} is not there: nobody owns {header.source}")
        again = dataclasses.replace(
            header,
            id=new_id(header.id, label),
            epoch=Adoption.from_json(json.loads(data)).epoch,
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

    def release(self, identity: str, name: str, label: str) -> str:
        """From quarantine back to where it came from: `in`, or `out`, with a new id where its epoch is over."""
        place = self._root / identity
        data = self._files.read(place / QUARANTINE / name)
        if data is None:
            raise NotThere(f"{place / QUARANTINE / name} is not there")
        header, message = unpack(data)
        if header.source != identity:
            self._files.move(place / QUARANTINE / name, place / IN / name)
            return name
        record = self._files.read(place / RECORD)
        self._records.ended(identity, name)
        if record is not None and Adoption.from_json(json.loads(record)).holds(name, header.epoch):
            self._files.move(place / QUARANTINE / name, place / OUT / name)
            return name
        new = self.send(header, message, label)
        self._files.move(place / QUARANTINE / name, place / DONE / name)
        return new


def moment(text: str) -> float:
    time = datetime.datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)).timestamp()


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
    clock, files = SystemClock(), SpoolFiles()
    label = given.label or day(clock.now())
    try:
        settings = transfer.load(given.config)
        records = Records(settings.records, settings.host, files, clock)
        restorer = Restorer(settings.root, records, files, clock)
        if given.quarantine is not None:
            print(restorer.release(given.quarantine, given.id, label))
            return 0
        count = 0
        for header, message in restorer.found(given.id, given.begin or 0.0, given.end or float("inf")):
            folder: Path | None = given.to_folder
            made = restorer.send(header, message, label) if folder is None else restorer.put(header, message, folder)
            print(f"{header.id}\t{header.source}\t<{header.envelope.sender}>\t{made}")
            count += 1
        if not count:
            raise NotThere("nothing of that kind is in the archive")
    except ConfigError as why:
        print(why, file=sys.stderr)
        return service.EX_CONFIG
    except (NotThere, Damaged, OSError) as why:
        print(f"restore: {why}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

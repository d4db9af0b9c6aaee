"""A relay's queue as root sees it: reading a held message out, and having Postfix return it to its sender.

Postfix 3.5 and newer: postsuper(1) `-e` asks for forced expiration. The queue manager tries the message once more; if
that fails for now, bounce(8) returns it with a delivery status notification (RFC 3464) and removes it, in Postfix's own
safe order. A server that came back meanwhile simply gets it. Asking twice does no harm.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..core.model import Identity, Json
from ..core.ports import Clock, Unavailable
from ..core.returning import Held
from . import command, machine

TIMEOUT = 30.0
LIST_WITHIN = 300.0  # showq(8) opens each message: those that it comes to are a beginning, a later pass has the others
STANDS = 180.0  # seconds for which an order holds that is not given again; attempts are made every 60 at the latest
QUEUE_ID = re.compile(r"[0-9A-Za-z]+")


def parse_queue(text: str) -> Iterator[Held]:
    """`postqueue -j`: one JSON object a line. Raises ValueError and KeyError."""
    for line in filter(None, map(str.strip, text.splitlines())):
        entry: dict[str, Any] = json.loads(line)
        recipients = tuple(str(r["address"]) for r in entry.get("recipients", ()))
        sender = str(entry["sender"])
        # postqueue shows the null sender as MAILER-DAEMON.
        sender = "" if sender == "MAILER-DAEMON" else sender
        yield Held(str(entry["queue_id"]), str(entry["queue_name"]), sender, recipients, float(entry["arrival_time"]))


def copy_to(argv: Sequence[str], path: Path) -> None:
    """A program's output, octet by octet, in a new file that lies on the disk. Raises Unavailable."""
    try:
        with path.open("xb") as file:
            subprocess.run(list(argv), stdout=file, stderr=subprocess.PIPE, timeout=TIMEOUT, check=True)
            os.fsync(file.fileno())
    except subprocess.CalledProcessError as why:
        raise Unavailable(f"{' '.join(argv)}: status {why.returncode}: {command.words(str(why.stderr))}") from why
    except (OSError, subprocess.TimeoutExpired) as why:
        raise Unavailable(f"{' '.join(argv)}: {why}") from why


class HeldMail:
    """One Postfix instance. Every method raises Unavailable with the reason."""

    def __init__(
        self,
        config_dir: str,
        run: command.Run = command.run,
        copy: Callable[[Sequence[str], Path], None] = copy_to,
        beginning: Callable[..., str] = command.beginning,
    ) -> None:
        self._config_dir = config_dir
        self._run = run
        self._copy = copy
        self._beginning = beginning

    def waiting(self) -> list[Held]:
        """As many as are listed within LIST_WITHIN seconds."""
        try:
            return list(parse_queue(self._beginning(["postqueue", "-c", self._config_dir, "-j"], timeout=LIST_WITHIN)))
        except (ValueError, KeyError) as why:
            raise Unavailable(f"postqueue -j: {why}") from why

    def copy(self, queue_id: str, path: Path) -> None:
        """Headers and body as they came, into `path`."""
        self._copy(["postcat", "-c", self._config_dir, "-h", "-b", "-q", queue_id], path)

    def give_back(self, queue_ids: Sequence[str]) -> None:
        """Try them once more now, and return those to their senders with which that fails."""
        self._run(["postsuper", "-c", self._config_dir, "-e", "-"], timeout=TIMEOUT, stdin="\n".join(queue_ids) + "\n")
        self._run(["postqueue", "-c", self._config_dir, "-f"], timeout=TIMEOUT)


class Archive:
    """Messages that were returned, each as `I/QUEUEID.eml` with its envelope in `I/QUEUEID.json`.

    The envelope is written last: a message is in the archive when its envelope is. All is synced before `keep` returns.
    """

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock

    def keep(self, identity: str, message: Held, reason: str, copy: Callable[[str, Path], None]) -> bool:
        """Whether it is new there. Raises Unavailable."""
        if not QUEUE_ID.fullmatch(message.queue_id):
            raise Unavailable(f"{message.queue_id!r} is no queue id")
        folder = self._root / identity
        envelope, body = folder / f"{message.queue_id}.json", folder / f"{message.queue_id}.eml"
        if envelope.exists():
            return False
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Half a copy of somebody who was interrupted.
            new = folder / f".{message.queue_id}.eml"
            new.unlink(missing_ok=True)
            copy(message.queue_id, new)
            new.replace(body)
            self._write(envelope, self._described(identity, message, reason))
        except OSError as why:
            raise Unavailable(f"{why.filename}: {why.strerror}") from why
        return True

    def _described(self, identity: str, message: Held, reason: str) -> Json:
        return {
            "identity": identity,
            "queue_id": message.queue_id,
            "sender": message.sender,
            "recipients": list(message.recipients),
            "arrival": message.arrival,
            "archived": self._clock.now(),
            "reason": reason,
        }

    def returned(self, identity: str, queue_id: str) -> None:
        """Note that Postfix was told to return it."""
        path = self._root / identity / f"{queue_id}.json"
        try:
            self._write(path, {**json.loads(path.read_text()), "returned": self._clock.now()})
        except OSError as why:
            raise Unavailable(f"{path}: {why.strerror}") from why

    def is_returned(self, identity: str, queue_id: str) -> bool:
        path = self._root / identity / f"{queue_id}.json"
        return path.exists() and "returned" in json.loads(path.read_text())

    def listed(self) -> list[Json]:
        """All envelopes, oldest first."""
        found = [json.loads(p.read_text()) for p in self._root.glob("*/*.json") if not p.name.startswith(".")]
        return sorted(found, key=lambda e: (e["archived"], e["queue_id"]))

    @staticmethod
    def _write(path: Path, value: Json) -> None:
        new = path.with_name(f".{path.name}")
        with new.open("w") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class OrderFiles:
    """Implements `core.returning.Returns`: a file for the program that has the right to read and return mail.

    A monitor orders anew every round, so an order that nobody renews is no wish any more: the host was off since, or
    the identity serves again.
    """

    def __init__(self, folder: Path, clock: Clock, boot_id: Callable[[], str] = machine.boot_id) -> None:
        self._folder = folder
        self._clock = clock
        self._boot_id = boot_id

    def order(self, identity: Identity, reason: str) -> None:
        path = self._folder / f"{identity.name}.json"
        new = path.with_name(f".{path.name}")
        try:
            given = {"reason": reason, "boot_id": self._boot_id(), "boottime": self._clock.boottime()}
            new.write_text(json.dumps(given))
            new.replace(path)
        except OSError as why:
            raise Unavailable(f"{path}: {why.strerror}") from why

    def waiting(self) -> dict[str, str | None]:
        """Identity, which is the file's name, to reason; None for one that is too old. What is no order is removed."""
        found: dict[str, str | None] = {}
        for path in sorted(self._folder.glob("*.json")):
            if path.name.startswith("."):
                continue  # somebody is writing it
            try:
                given = json.loads(path.read_text())
                reason, boot_id, at = str(given["reason"]), str(given["boot_id"]), float(given["boottime"])
            except (OSError, ValueError, KeyError, TypeError):
                path.unlink(missing_ok=True)
                continue
            stands = boot_id == self._boot_id() and self._clock.boottime() - at <= STANDS
            found[path.stem] = reason if stands else None
        return found

    def done(self, identity: str) -> None:
        (self._folder / f"{identity}.json").unlink(missing_ok=True)

"""What a mailbox on the disk says about an entry of an adopted queue, as Sieve asks it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import syslog
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from holdfast.adapters import maildir
from holdfast.core import queue_ids
from holdfast.daemons import already_delivered

MX, ALICE = "mx.alpha.example", "alice@alpha.example"
NOW = int(time.time())


def queue_id(seconds: float, number: int = 0) -> str:
    """A long id of that second; `number` tells entries of one second apart."""
    left, text = int(seconds), ""
    while left:
        left, rest = divmod(left, 52)
        text = queue_ids.DIGITS[rest] + text
    return f"{text.rjust(6, '0')}000{queue_ids.DIGITS[number]}z1"


def received(entry: str, by: str = MX) -> str:
    return f"from a.example (a.example [192.0.2.1]) by {by} (Postfix) with ESMTPS id {entry} for <x@y>; Tue, 24 Nov"


def message(entry: str, below: str = "") -> bytes:
    """As Dovecot's LMTP server stores it."""
    return (
        "Return-Path: <carol@outside.example>\nDelivered-To: alice@alpha.example\n"
        f"Received: from a.example (a.example [192.0.2.1])\n\t(using TLSv1.3)\n"
        f"\tby {MX} (Postfix) with ESMTPS id {entry}\n"
        f"\tfor <alice@alpha.example>; Tue, 24 Nov 2026 20:00:00 +0000 (UTC)\n{below}Subject: s\n\nReceived: body\n"
    ).encode()


@dataclass
class Box:
    """A user's home, and what Dovecot's unit has made."""

    root: Path
    said: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for folder in ("new", "cur", "tmp"):
            (self.root / "home" / "Maildir" / folder).mkdir(parents=True)
        (self.place / "found").mkdir(parents=True)
        self.start(NOW)

    def start(self, when: float) -> None:
        mark = self.place / "started.conf"
        mark.write_text("")
        os.utime(mark, (when, when))

    @property
    def place(self) -> Path:
        return self.root / "run"

    @property
    def found(self) -> list[Path]:
        return list((self.place / "found").iterdir())

    def put(self, entry: str, when: float, folder: str = "new", data: bytes | None = None) -> Path:
        flags = ":2,S" if folder.endswith("cur") else ""
        file = self.root / "home" / "Maildir" / folder / f"{int(when)}.M1P{entry}.mail1,S=1{flags}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(message(entry) if data is None else data)
        return file

    def ask(self, entry: str, by: str = MX, home: str = "home", user: str = ALICE) -> int:
        environment = {"USER": user, "HOME": str(self.root / home)}
        return already_delivered.main([MX, str(self.place), received(entry, by)], environment)


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    made = Box(tmp_path)
    monkeypatch.setattr(syslog, "syslog", lambda priority, text: made.said.append((priority, text)))
    return made


@pytest.mark.parametrize("folder", ["new", "cur"])
def test_what_the_dead_owner_had_delivered_is_dropped_and_said(box: Box, folder: str) -> None:
    entry = queue_id(NOW - 100)
    box.put(queue_id(NOW - 101), NOW - 99)
    box.put(entry, NOW - 98, folder)
    assert box.ask(entry) == 0
    [(_, text)] = box.said
    assert "already_delivered" in text and entry in text and ALICE in text


@pytest.mark.parametrize("folder", [".Junk/new", ".Junk/cur", ".Lists.ietf/new"])
def test_what_a_script_of_the_user_had_filed_elsewhere_is_dropped(box: Box, folder: str) -> None:
    entry = queue_id(NOW - 100)
    box.put(queue_id(NOW - 101), NOW - 99, ".Sent/cur")
    box.put(entry, NOW - 98, folder)
    (box.root / "home/Maildir/.dovecot.lda-dupes").write_bytes(b"no folder")
    (box.root / "home/Maildir/.Empty").mkdir()
    assert box.ask(entry) == 0
    assert box.ask(queue_id(NOW - 101, 1)) == 1


def test_what_it_had_not_delivered_is_delivered(box: Box) -> None:
    box.put(queue_id(NOW - 100, 1), NOW - 98)
    assert box.ask(queue_id(NOW - 100, 2)) == 1
    assert box.said == []


def test_a_half_written_copy_is_none(box: Box) -> None:
    entry = queue_id(NOW - 100)
    box.put(entry, NOW - 98, "tmp")
    box.put(entry, NOW - 98, data=message(entry)[:60])
    assert box.ask(entry) == 1


def test_only_the_topmost_field_counts(box: Box) -> None:
    """A letter that came through here before, and was sent back here by somebody, is another one."""
    entry, older = queue_id(NOW - 100, 1), queue_id(NOW - 100, 2)
    box.put(entry, NOW - 98, data=message(entry, f"Received: {received(older)}\n"))
    assert box.ask(older) == 1
    assert box.ask(entry) == 0
    last = queue_id(NOW - 100, 3)
    field = f"Received: {received(older, by='relay2.alpha.example')}\nReceived: {received(last)}\n\n"
    (box.root / "home/Maildir/new" / f"{NOW - 97}.M1P1.mail1").write_bytes(field.encode())
    assert box.ask(queue_id(NOW - 200)) == 1, "an older one, so that the mailbox is read again"
    assert box.ask(last) == 1


def test_each_recipient_has_a_mailbox_of_his_own(box: Box) -> None:
    entry = queue_id(NOW - 100)
    box.put(entry, NOW - 98)
    (box.root / "bob").mkdir()
    assert box.ask(entry) == 0
    assert box.ask(entry, home="bob", user="bob@alpha.example") == 1
    # Names that differ in what a file's name cannot hold must not meet in one file.
    assert box.ask(entry, home="home/../bob", user="alice@alpha.example") == 1


def test_another_servers_entry_is_none_of_ours(box: Box) -> None:
    entry = queue_id(NOW - 100)
    box.put(entry, NOW - 98)
    assert box.ask(entry, by="relay2.alpha.example") == 1
    assert box.ask("A1B2C3D4E5") == 1
    assert box.found == []


def test_a_mailbox_is_read_once(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(20):
        box.put(queue_id(NOW - 100 + n), NOW - 90 + n)
    assert box.ask(queue_id(NOW - 100)) == 0
    monkeypatch.setattr(maildir, "entries", None)
    assert [box.ask(queue_id(NOW - 100 + n)) for n in range(20)] == [0] * 20
    assert box.ask(queue_id(NOW - 50, 9)) == 1


def test_an_older_entry_has_it_read_again(box: Box) -> None:
    old = queue_id(NOW - 9000)
    box.put(old, NOW - 8990)
    box.put(queue_id(NOW - 100), NOW - 90)
    assert box.ask(queue_id(NOW - 100)) == 0
    assert box.ask(old) == 0


def test_a_torn_word_about_a_mailbox_is_not_believed(box: Box) -> None:
    entry = queue_id(NOW - 100)
    box.put(entry, NOW - 98)
    assert box.ask(queue_id(NOW - 100, 2)) == 1
    for torn in ("", "{", "[]", '{"since": 0}', '{"since": null, "entries": {}}', '{"since": 0, "entries": []}'):
        [file] = box.found
        file.write_text(torn)
        assert box.ask(entry) == 0


def test_only_files_of_that_time_are_read(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    head = maildir._head
    monkeypatch.setattr(maildir, "_head", lambda file: (read.append(file.name), head(file))[1])
    for age in (9000, 90, 80, -300):
        box.put(queue_id(NOW - age), NOW - age)
    (box.root / "home/Maildir/new/dovecot.index").write_bytes(b"")
    assert box.ask(queue_id(NOW - 100)) == 1
    assert sorted(int(n.split(".")[0]) - NOW for n in read) == [-90, -80]


def test_of_a_full_mailbox_the_newest_are_read(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maildir, "MOST", 10)
    for n in range(50):
        box.put(queue_id(NOW - 100 + n), NOW - 100 + n)
    assert box.ask(queue_id(NOW - 100 + 49)) == 0
    assert box.ask(queue_id(NOW - 100 + 40)) == 0
    assert box.ask(queue_id(NOW - 100 + 39)) == 1


def test_the_newest_of_all_folders_together_are_read(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maildir, "MOST", 10)
    for n in range(30):
        box.put(queue_id(NOW - 100 + n), NOW - 100 + n, ("new", ".Junk/new", ".Lists/cur")[n % 3])
    assert [box.ask(queue_id(NOW - 100 + n)) for n in (29, 28, 27, 20, 19)] == [0, 0, 0, 0, 1]


def test_a_message_that_is_being_read_moves_and_is_found(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = queue_id(NOW - 100)
    file = box.put(entry, NOW - 98)
    head = maildir._head

    def moved(one: Path) -> bytes:
        if file.exists():
            file.rename(file.parent.parent / "cur" / f"{file.name}:2,S")
        return head(one)

    monkeypatch.setattr(maildir, "_head", moved)
    assert box.ask(entry) == 0


def test_a_message_that_its_user_files_meanwhile_is_found(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = queue_id(NOW - 100)
    file = box.put(entry, NOW - 98)
    filed = box.put(queue_id(NOW - 100, 1), NOW - 98, ".Archive/cur").parent
    head = maildir._head

    def moved(one: Path) -> bytes:
        if file.exists():
            file.rename(filed / f"{file.name}:2,S")
        return head(one)

    monkeypatch.setattr(maildir, "_head", moved)
    assert box.ask(entry) == 0


def test_who_cannot_look_delivers_and_says_so(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = queue_id(NOW - 100)
    box.put(entry, NOW - 98)

    def fails(*_: object) -> dict[str, str]:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(maildir, "entries", fails)
    assert box.ask(entry) == 1
    [(priority, text)] = box.said
    assert priority == syslog.LOG_ERR and "Stale file handle" in text and entry in text


def test_the_memory_that_dovecot_leaves_it_is_enough(box: Box) -> None:
    """Its processes have 256 MB of address space (default_vsz_limit); 16 stacks of 8 MB are half of it."""
    entry = queue_id(NOW - 100, 1)
    for n in range(200):
        box.put(queue_id(NOW - 100, 2) + queue_ids.DIGITS[n % 50], NOW - 98 + n // 50)
    box.put(entry, NOW - 98)
    limit = 256 * 1024 * 1024
    done = subprocess.run(
        [sys.executable, "-m", "holdfast.daemons.already_delivered", MX, str(box.place), received(entry)],
        env={**os.environ, "USER": ALICE, "HOME": str(box.root / "home")},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        check=False,
    )
    assert done.returncode == 0


def test_a_user_without_a_mailbox_gets_his_first_message(box: Box) -> None:
    assert box.ask(queue_id(NOW - 100), home="nobody") == 1
    assert box.said == []

"""What a user's script sends (Sieve redirect, vacation) leaves by the Postfix of whichever host has the identity."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from tests.story.machines import wait_for
from tests.story.messages import ALICE, BOB, ID_HEADER, Letter
from tests.story.outage import CLIENT, IDENTITY
from tests.story.stage import Stage

READER = "reader@outside.example"  # has a mailbox on the client
NAME = "away"


def doveadm(stage: Stage, *words: str, stdin: str | None = None) -> None:
    """On the owner; this inventory offers no ManageSieve, which stores the same files."""
    conf = f"/etc/holdfast/identity/{IDENTITY}/dovecot/dovecot.conf"
    stage.lab.run(stage.wait_running().host, "doveadm", "-c", conf, "sieve", *words, stdin=stdin)


def store(stage: Stage, handle: str) -> None:
    """Alice is away: Bob gets a copy, who writes gets an answer. With another handle he gets one more the same day."""
    script = (
        f'require ["copy", "vacation"];\nredirect :copy "{BOB}";\nvacation :days 1 :handle "{handle}" "I am away.";\n'
    )
    doveadm(stage, "put", "-u", ALICE, "-a", NAME, stdin=script)


@contextlib.contextmanager
def removed_at_last(stage: Stage) -> Iterator[None]:
    try:
        yield
    finally:
        doveadm(stage, "delete", "-u", ALICE, "-a", NAME)


def send(stage: Stage, ident: str) -> Letter:
    """To Alice only; a copy for Bob is wanted, too."""
    head = (
        f"{ID_HEADER}: {ident}\nMessage-ID: <{ident}@outside.example>\nFrom: {READER}\nTo: {ALICE}\nSubject: {ident}\n"
    )
    letter = Letter(ident, "plain", READER, (ALICE, BOB), f"{head}\nhello\n".encode())
    words = ("swaks", "--server", IDENTITY, "--helo", "client1.outside.example", "--silent", "2")
    stage.lab.run(CLIENT, *words, "--from", READER, "--to", ALICE, "--data", "-", stdin=letter.data)
    return letter


def answers(stage: Stage, ident: str) -> list[str]:
    """Files in the sender's mailbox that answer his letter."""
    return stage.lab.shell(CLIENT, f"grep -lr 'Subject: Auto: {ident}' /home/reader/Maildir/new || true").split()


def test_a_script_redirects_and_answers_on_either_host(stage: Stage) -> None:
    before, begun = stage.owner(), int(time.time())
    first, second = (f"sieve{begun}-{n}" for n in (1, 2))
    store(stage, first)
    with removed_at_last(stage):
        written = [send(stage, first)]
        stage.wait_letters(written)
        wait_for("the answer", lambda: answers(stage, first), 90, every=2)
        stage.playbook("evacuate_host.yml", "-e", f"host={before.host}", "-e", "reason=sieve")
        after = stage.wait_running()
        assert after.host != before.host
        store(stage, second)
        written.append(send(stage, second))
        boxes = stage.wait_letters(written)
        wait_for("the answer from the other host", lambda: answers(stage, second), 90, every=2)
    stage.playbook("evacuate_host.yml", "-e", f"host={before.host}", "-e", "undo=true")
    assert stage.mistakes(written, boxes) == []
    assert [len(answers(stage, ident)) for ident in (first, second)] == [1, 1]

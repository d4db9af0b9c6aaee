"""What an identity's own Postfix hears of a message that has crossed, and what its answers mean."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from holdfast.adapters.submission import PIECE, Outcome, Submission, stuffed
from holdfast.core.spool import Envelope, Header, Recipient

RECIPIENTS = (Recipient("a@one.example", "NEVER", "rfc822;a@one.example"), Recipient("b@one.example"))
ENVELOPE = Envelope("s@out.example", RECIPIENTS, "HDRS", "Q1", False, True)
MESSAGE = b".first\r\nSubject: x\r\n\r\n.dot\r\nend"
DROP = "(drop)"
ALL = ("SIZE 1000", "8BITMIME", "SMTPUTF8", "DSN")


class Postfix:
    """`replies`: word of a command, or `.` for the end of a message, to the answer."""

    def __init__(self, *offered: str, **replies: str) -> None:
        self.offered = offered
        self.replies = replies
        self.heard: list[bytes] = []
        self.message = b""

    def serve(self, listener: socket.socket) -> None:
        sock, _ = listener.accept()
        with sock, sock.makefile("rwb") as file:

            def say(word: str, usual: str) -> bool:
                reply = self.replies.get(word, usual)
                if reply != DROP:
                    file.write(reply.encode() + b"\r\n")
                    file.flush()
                return reply != DROP

            if not say("greeting", "220 hello"):
                return
            for line in file:
                self.heard.append(line.rstrip())
                word = line.split()[0].decode()
                if word == "ehlo":
                    file.write("".join(f"250-{o}\r\n" for o in ("mx", *self.offered)).encode())
                if not say(word, "354 go on" if word == "DATA" else "250 OK"):
                    return
                if word == "DATA" and self.replies.get("DATA", "354").startswith("354"):
                    for part in file:
                        if part == b".\r\n":
                            break
                        self.message += part
                    if not say("dot", "250 queued"):
                        return


@contextlib.contextmanager
def running(postfix: Postfix, folder: Path) -> Iterator[Submission]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "intake"))
        listener.listen()
        thread = threading.Thread(target=postfix.serve, args=(listener,))
        thread.start()
        yield Submission(folder / "intake", "mail1", reply=5.0, final=5.0)
        thread.join()


def submit(postfix: Postfix, folder: Path, envelope: Envelope = ENVELOPE) -> tuple[Outcome, str]:
    header = Header("a" * 32, "mx.alpha.example", "mail1", 1, 0.0, envelope, len(MESSAGE), "")
    with running(postfix, folder) as submission:
        answer = submission.submit(header, MESSAGE)
    return answer.outcome, answer.detail


def test_the_whole_envelope_where_all_is_offered(tmp_path: Path) -> None:
    postfix = Postfix(*ALL)
    assert submit(postfix, tmp_path)[0] is Outcome.ACCEPTED
    assert postfix.heard[1:5] == [
        b"MAIL FROM:<s@out.example> SIZE=31 BODY=8BITMIME RET=HDRS ENVID=Q1",
        b"RCPT TO:<a@one.example> NOTIFY=NEVER ORCPT=rfc822;a@one.example",
        b"RCPT TO:<b@one.example>",
        b"DATA",
    ]
    assert (
        postfix.message == b"Holdfast-Transfer-ID: " + b"a" * 32 + b"\r\n..first\r\nSubject: x\r\n\r\n..dot\r\nend\r\n"
    )


def test_no_option_that_is_not_offered(tmp_path: Path) -> None:
    postfix = Postfix()
    assert submit(postfix, tmp_path)[0] is Outcome.ACCEPTED
    assert postfix.heard[1:4] == [
        b"MAIL FROM:<s@out.example>",
        b"RCPT TO:<a@one.example>",
        b"RCPT TO:<b@one.example>",
    ]


def test_addresses_of_any_octets_as_they_came(tmp_path: Path) -> None:
    postfix = Postfix(*ALL)
    assert submit(postfix, tmp_path, Envelope("", (Recipient("ü\udcff@x"),), smtputf8=True))[0] is Outcome.ACCEPTED
    assert postfix.heard[1].endswith(b"<> SIZE=31 SMTPUTF8") and postfix.heard[2] == b"RCPT TO:<\xc3\xbc\xff@x>"


def test_what_cannot_be_left_out_is_refused(tmp_path: Path) -> None:
    outcome, detail = submit(Postfix("DSN"), tmp_path, Envelope("", (Recipient("ü@x"),), smtputf8=True))
    assert outcome is Outcome.REFUSED and "SMTPUTF8" in detail


@pytest.mark.parametrize(
    ("word", "reply", "outcome"),
    [
        ("greeting", DROP, Outcome.DOWN),
        ("greeting", "421 no", Outcome.DEFERRED),
        ("MAIL", "452 full", Outcome.DEFERRED),
        ("MAIL", "552 long", Outcome.REFUSED),
        ("MAIL", DROP, Outcome.DEFERRED),
        ("RCPT", "450 later", Outcome.DEFERRED),
        ("RCPT", "550 nobody", Outcome.REFUSED),
        ("DATA", "451 no", Outcome.DEFERRED),
        ("DATA", DROP, Outcome.DEFERRED),
        ("dot", "451 no", Outcome.DEFERRED),
        ("dot", "554 no", Outcome.REFUSED),
        ("dot", DROP, Outcome.UNKNOWN),
    ],
)
def test_what_an_answer_means(tmp_path: Path, word: str, reply: str, outcome: Outcome) -> None:
    """One recipient that is refused keeps the message from all: whoever had it would get it twice."""
    postfix = Postfix(*ALL, **{word: reply})
    said, detail = submit(postfix, tmp_path)
    assert said is outcome and (reply == DROP or reply in detail)
    assert word in ("DATA", "dot") or b"DATA" not in postfix.heard


def test_nobody_there(tmp_path: Path) -> None:
    header = Header("a" * 32, "mx", "mail1", 1, 0.0, ENVELOPE, 0, "")
    assert Submission(tmp_path / "none", "mail1").submit(header, MESSAGE).outcome is Outcome.DOWN


def test_dots_and_ends_of_lines() -> None:
    """Behind the line that names the crossing."""
    for message, said in ((b"", b""), (b".\r\n.\r\n", b"..\r\n..\r\n"), (b"a.b\r\n", b"a.b\r\n"), (b"\n.", b"\n.\r\n")):
        assert b"".join(stuffed(message)) == said


@pytest.mark.parametrize("before", range(PIECE - 4, PIECE + 2))
def test_a_large_message_goes_in_pieces(before: int) -> None:
    """Also where a line ends in one and its dot begins the next."""
    message = b"x" * before + b"\r\n.\r\n.." + b"y" * PIECE
    said = list(stuffed(memoryview(message)))
    assert b"".join(said) == b"x" * before + b"\r\n..\r\n..." + b"y" * PIECE + b"\r\n"
    assert max(map(len, said)) <= PIECE + 2

"""An LMTP server as Postfix finds it: every octet and option comes through, and what it does not know is a 4xx."""

from __future__ import annotations

import io
import socket
import stat
import threading
import tracemalloc
from pathlib import Path

import pytest
from holdfast.adapters import lmtp
from holdfast.adapters.lmtp import BUSY, Dialogue, Reply, Server
from holdfast.core.spool import Envelope, Octets, Recipient


class Keeper:
    """`answer`: to every message."""

    def __init__(self) -> None:
        self.got: list[tuple[Envelope, Octets]] = []
        self.answer: Reply = (250, "2.0.0 kept")

    def recipient(self, address: str) -> Reply | None:
        return (450, "4.4.4 nobody has it") if address.startswith("nobody") else None

    def message(self, envelope: Envelope, data: Octets) -> Reply:
        self.got.append((envelope, data))
        return self.answer


def talk(said: bytes, keeper: Keeper | None = None, size: int = 1000) -> list[str]:
    out = io.BytesIO()
    out.close = lambda: None  # type: ignore[method-assign]
    Dialogue(io.BytesIO(said), out, "mx.alpha.example", size, keeper or Keeper()).hold()
    return out.getvalue().decode(errors="surrogateescape").splitlines()


def commands(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in ("LHLO mail1", *lines)).encode(errors="surrogateescape")


def test_it_offers_what_the_project_needs() -> None:
    said = talk(commands("QUIT"))
    assert said[0].startswith("220 ") and said[1] == "250-mx.alpha.example" and said[-1].startswith("221 ")
    assert {line[4:] for line in said[2:-1]} == {*lmtp.OFFERED, "SIZE 1000"} and said[-2].startswith("250 ")


def test_the_whole_envelope_comes_through() -> None:
    keeper = Keeper()
    mail = "MAIL FROM:<s@out.example> SIZE=20 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=qQ+2B1"
    rcpt = [
        'RCPT TO:<"a b>\\""@one.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;A+2Bb@One.example',
        "rcpt to:<ü@zwei.example>",
    ]
    said = talk(commands(mail, *rcpt, "DATA") + b"Subject: x\r\n\r\n..dot\r\n\xff\r\n.\r\n", keeper)
    assert [line[:3] for line in said[-5:]] == ["250", "250", "354", "250", "250"]
    recipients = (
        Recipient('"a b>\\""@one.example', "SUCCESS,DELAY", "rfc822;A+2Bb@One.example"),
        Recipient("ü@zwei.example"),
    )
    envelope = Envelope("s@out.example", recipients, "HDRS", "qQ+2B1", True, True)
    assert keeper.got == [(envelope, b"Subject: x\r\n\r\n.dot\r\n\xff\r\n")]


def test_the_null_sender_and_octets_that_are_no_utf8() -> None:
    keeper = Keeper()
    talk(commands("MAIL FROM:<>", "RCPT TO:<\udcff@one.example>", "DATA", "x", "."), keeper)
    assert keeper.got == [(Envelope("", (Recipient("\udcff@one.example"),)), b"x\r\n")]


def test_one_answer_for_each_recipient_that_was_accepted() -> None:
    keeper = Keeper()
    keeper.answer = BUSY
    rcpt = [f"RCPT TO:<{name}@one.example>" for name in ("a", "nobody", "b")]
    said = talk(commands("MAIL FROM:<s@x>", *rcpt, "DATA", "x", ".", "NOOP"), keeper)
    assert [line[:3] for line in said[-7:]] == ["250", "450", "250", "354", "451", "451", "250"]


def test_too_long_is_told_to_each_and_kept_nowhere() -> None:
    """By the size that is announced, and by that which comes; what follows is not taken for commands."""
    keeper = Keeper()
    said = talk(commands("MAIL FROM:<s@x> SIZE=1001", "RCPT TO:<a@x>"), keeper)
    assert said[-2].startswith("552 5.3.4") and said[-1].startswith("503")
    long = ["QUIT" + "x" * 500] * 3
    said = talk(commands("MAIL FROM:<s@x>", "RCPT TO:<a@x>", "RCPT TO:<b@x>", "DATA", *long, ".", "NOOP"), keeper)
    assert [line[:3] for line in said[-4:]] == ["354", "552", "552", "250"] and keeper.got == []


@pytest.mark.parametrize("line", [b"\r\n", b"x" * 76 + b"\r\n"])
@pytest.mark.parametrize("times", [1, 5])
def test_a_message_takes_its_own_room_and_one_that_is_too_long_no_more(line: bytes, times: int) -> None:
    """A list of its lines is 63 times as large where they are empty. `times`: what it is longer than it may be."""
    size = 100_000
    said = commands("MAIL FROM:<s@x>", "RCPT TO:<a@x>", "DATA") + line * (times * size // len(line)) + b".\r\n"
    tracemalloc.start()
    try:
        assert talk(said, size=size)[-1][:3] == ("250" if times == 1 else "552")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # BytesIO shares the octets that it is given.
    assert peak < 1.5 * size + lmtp.PIECE


@pytest.mark.parametrize("length", [lmtp.PIECE - 2, lmtp.PIECE - 1, lmtp.PIECE, lmtp.PIECE + 1, 3 * lmtp.PIECE])
def test_lines_of_any_length(length: int) -> None:
    """Also one whose CR and LF come in two pieces: the dot behind it ends the message all the same."""
    keeper = Keeper()
    line = b"." + b"x" * (length - 1)
    said = commands("MAIL FROM:<s@x>", "RCPT TO:<a@x>", "DATA") + b"." + line + b"\r\n.\r\n"
    assert talk(said, keeper, size=10**6)[-1].startswith("250") and keeper.got[0][1] == line + b"\r\n"


def test_a_bare_line_feed_ends_no_message() -> None:
    keeper = Keeper()
    data = b"x\n.\r\nMAIL FROM:<evil@x>\r\n.\n.\r\nstill\r\n.\r\n"
    talk(commands("MAIL FROM:<s@x>", "RCPT TO:<a@x>", "DATA") + data, keeper)
    assert [d for _, d in keeper.got] == [b"x\n.\r\nMAIL FROM:<evil@x>\r\n\n.\r\nstill\r\n"]


def test_half_a_message_is_none() -> None:
    keeper = Keeper()
    with pytest.raises(ConnectionResetError):
        talk(commands("MAIL FROM:<s@x>", "RCPT TO:<a@x>", "DATA", "x"), keeper)
    assert keeper.got == []


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["MAIL FROM:<s@x> NEWS=1"], "455"),
        (["MAIL FROM:<s@x>", "RCPT TO:<a@x> NEWS=1"], "455"),
        (["MAIL FROM:s@x"], "501"),
        (["RCPT TO:<a@x>"], "503"),
        (["MAIL FROM:<s@x>", "DATA"], "503"),
        (["MAIL FROM:<s@x>", "MAIL FROM:<t@x>"], "503"),
        (["MAIL FROM:<s@x>", "RSET", "RCPT TO:<a@x>"], "503"),
        (["STARTTLS"], "500"),
        (["RCPT TO:<" + "a" * 5000 + ">"], "452"),
    ],
)
def test_what_it_does_not_take(lines: list[str], code: str) -> None:
    assert talk(commands(*lines))[-1][:3] == code


def test_over_its_socket_which_only_a_group_may_use(tmp_path: Path) -> None:
    keeper, failed = Keeper(), list[str]()
    path = tmp_path / "lmtp"
    path.write_text("left by one that died")
    with Server(path, "mx.alpha.example", 1000, keeper, failed.append) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(commands("MAIL FROM:<s@x>", "RCPT TO:<a@x>", "DATA", "x", ".", "QUIT"))
            with sock.makefile("rb") as answers:
                assert answers.read().count(b"250 2.") == 3
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(commands("MAIL FROM:<s@x>", "RCPT TO:<a@x>", "DATA", "x"))
            sock.shutdown(socket.SHUT_WR)
            sock.recv(10)
            while sock.recv(1000):
                pass
        server.shutdown()
        thread.join()
    assert len(keeper.got) == 1 and "ConnectionResetError" in failed[0]

"""Handing one message to a Postfix of this host by SMTP over a unix socket, with all of its envelope (RFC 5321).

All recipients or none: a message that some of them got and the others not would have to be sent to some twice.
"""

from __future__ import annotations

import contextlib
import enum
import smtplib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.spool import MARK, Envelope, Header, Octets, Recipient

REPLY = 300.0  # seconds for a reply (RFC 5321, 4.5.3.2)
FINAL = 600.0  # for the last one
PIECE = 65536  # octets that are sent at a time


class Outcome(enum.StrEnum):
    """DOWN: no server that talks. UNKNOWN: lost behind the final dot, so the server may have it (RFC 1047)."""

    ACCEPTED = "accepted"
    DOWN = "down"
    DEFERRED = "deferred"  # a 4xx, or the connection was lost
    REFUSED = "refused"  # a 5xx
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    outcome: Outcome
    detail: str


class _Stop(Exception):
    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.answer = Answer(outcome, detail)


class Submission:
    """`path`: the socket of that Postfix's smtpd. `name`: what this client calls itself."""

    def __init__(self, path: Path, name: str, reply: float = REPLY, final: float = FINAL) -> None:
        self._path = path
        self._name = name
        self._reply = reply
        self._final = final

    def submit(self, header: Header, message: Octets) -> Answer:
        """Never raises for what the server does. The message gets the field that names this crossing, on its top."""
        smtp = smtplib.SMTP(local_hostname=self._name)
        stage = "connection"
        try:
            smtp.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            smtp.sock.settimeout(self._reply)
            smtp.sock.connect(str(self._path))
            stage = "greeting"
            _expect(stage, 220, *smtp.getreply())
            stage = "EHLO"
            _expect(stage, 250, *smtp.ehlo())
            stage = "MAIL"
            _expect(stage, 250, *self._say(smtp, mail(smtp.esmtp_features, header.envelope, header.size)))
            for recipient in header.envelope.recipients:
                stage = f"RCPT {recipient.address}"
                _expect(stage, 250, *self._say(smtp, rcpt(smtp.esmtp_features, recipient)))
            stage = "DATA"
            _expect(stage, 354, *smtp.docmd("DATA"))
            stage = "message"
            smtp.sock.settimeout(self._final)
            smtp.send(f"{MARK}: {header.id}\r\n".encode())
            for piece in stuffed(message):
                smtp.send(piece)
            stage = "end of message"
            smtp.send(b".\r\n")
            _expect(stage, 250, *smtp.getreply())
            with contextlib.suppress(smtplib.SMTPException, OSError):
                smtp.quit()
            return Answer(Outcome.ACCEPTED, "accepted")
        except _Stop as stop:
            return stop.answer
        except (smtplib.SMTPException, OSError) as why:
            outcome = {"end of message": Outcome.UNKNOWN, "connection": Outcome.DOWN, "greeting": Outcome.DOWN}
            return Answer(outcome.get(stage, Outcome.DEFERRED), f"{stage}: {why}")
        finally:
            smtp.close()

    @staticmethod
    def _say(smtp: smtplib.SMTP, line: str) -> tuple[int, bytes]:
        # As the other server has sent it, whatever its octets are.
        smtp.send(line.encode(errors="surrogateescape") + b"\r\n")
        return smtp.getreply()


def _expect(stage: str, wanted: int, code: int, words: bytes) -> None:
    if code != wanted:
        text = f"{stage}: {code} {' '.join(words.decode(errors='replace').split())}"
        raise _Stop(Outcome.REFUSED if 500 <= code < 600 else Outcome.DEFERRED, text)


def mail(offered: dict[str, str], envelope: Envelope, size: int) -> str:
    """The command MAIL: of its parameters those that the server offers. Raises _Stop where one can't be left out."""
    words = [f"MAIL FROM:<{envelope.sender}>"]
    if "size" in offered:
        words.append(f"SIZE={size}")
    if envelope.eight_bit and "8bitmime" in offered:
        words.append("BODY=8BITMIME")
    if envelope.smtputf8:
        # Without it the addresses mean nothing to the server (RFC 6531, 3.5).
        if "smtputf8" not in offered:
            raise _Stop(Outcome.REFUSED, "MAIL: the server does not offer SMTPUTF8")
        words.append("SMTPUTF8")
    if "dsn" in offered:
        words += [f"{key}={value}" for key, value in (("RET", envelope.ret), ("ENVID", envelope.envid)) if value]
    return " ".join(words)


def rcpt(offered: dict[str, str], recipient: Recipient) -> str:
    words = [f"RCPT TO:<{recipient.address}>"]
    if "dsn" in offered:
        given = (("NOTIFY", recipient.notify), ("ORCPT", recipient.orcpt))
        words += [f"{key}={value}" for key, value in given if value]
    return " ".join(words)


def stuffed(message: Octets) -> Iterator[bytes]:
    """As it goes over the line: a dot before each line's first dot, and an end of line at its end. In pieces."""
    # A dot belongs to the piece that it is in, and what makes it a line's first one may be in that before.
    before = b"\r\n"
    for at in range(0, len(message), PIECE):
        piece = before + bytes(message[at : at + PIECE])
        yield piece.replace(b"\r\n.", b"\r\n..")[2:]
        before = piece[-2:]
    if before != b"\r\n":
        yield b"\r\n"

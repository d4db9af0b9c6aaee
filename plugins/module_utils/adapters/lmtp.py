"""An LMTP server (RFC 2033) on a unix socket, to which a Postfix of this host hands mail over.

It knows SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), DSN (RFC 3461), ENHANCEDSTATUSCODES and PIPELINING.
What it has no name for is answered with a 4xx: a mistake here must keep mail waiting and never send it back.

Why not aiosmtpd's LMTP class: it answers a message that is too long once and not for each recipient (RFC 2033, 4.2), so
that its client waits for the other answers; a mistake in a handler, and a command longer than 512 octets (an ORCPT
makes one), is a 500, which returns mail to its sender; DSN's parameters are refused, and addresses are taken apart and
put together again by the email package. MAIL, RCPT, DATA, its errors and its limits would all be ours.
"""

from __future__ import annotations

import re
import shutil
import socketserver
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Protocol

from ..core.spool import Envelope, Octets, Recipient

LINE_MOST = 4096  # octets of a command: RFC 5321's 512, and 500 each for ORCPT, ENVID and an address that is long
PIECE = 65536  # octets of a line that are read at a time
IDLE = 600.0  # seconds that a client may say nothing
OFFERED = ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", "DSN")
PATH = re.compile(r"<((?:\"(?:\\.|[^\"\\])*\"|[^<>\"\s])*)>(?:\s+(.*))?", re.DOTALL)

Reply = tuple[int, str]  # code, enhanced code and words

BUSY: Reply = (451, "4.3.0 try again later")


class Receiver(Protocol):
    """What becomes of a message. Neither method may raise."""

    def recipient(self, address: str) -> Reply | None:
        """None: it is wanted; else the refusal."""
        ...

    def message(self, envelope: Envelope, data: Octets) -> Reply:
        """The one answer for all recipients. 250 only for what is durable."""
        ...


@dataclass
class _Transaction:
    sender: str
    ret: str
    envid: str
    smtputf8: bool
    eight_bit: bool
    recipients: list[Recipient]

    def envelope(self) -> Envelope:
        return Envelope(self.sender, tuple(self.recipients), self.ret, self.envid, self.smtputf8, self.eight_bit)


class _Wrong(Exception):
    """A command that is answered with `reply`."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.reply: Reply = (code, words)


class Dialogue:
    """One client from greeting to QUIT."""

    def __init__(self, rfile: BufferedIOBase, wfile: BufferedIOBase, name: str, size: int, receiver: Receiver) -> None:
        self._rfile = rfile
        self._wfile = wfile
        self._name = name
        self._size = size
        self._receiver = receiver
        self._greeted = False
        self._now: _Transaction | None = None

    def hold(self) -> None:
        """Until the client ends it. Raises OSError when the client is gone."""
        self._say((220, f"{self._name} LMTP"))
        while (line := self._command()) is not None:
            word, _, rest = line.partition(" ")
            word = word.upper()
            try:
                if word == "DATA":
                    self._data(rest)
                elif word == "LHLO":
                    self._hello(rest)
                else:
                    self._say(self._simple(word, rest.strip()))
            except _Wrong as wrong:
                self._say(wrong.reply)
            if word == "QUIT":
                return

    def _command(self) -> str | None:
        while True:
            line = self._rfile.readline(LINE_MOST + 1)
            if not line.endswith(b"\n"):
                if len(line) <= LINE_MOST:
                    return None  # the client is gone
                while line and not line.endswith(b"\n"):
                    line = self._rfile.readline(LINE_MOST)
                self._say((452, "4.3.0 line too long"))
                continue
            return line.rstrip(b"\r\n").decode(errors="surrogateescape")

    def _say(self, *replies: Reply) -> None:
        self._wfile.write(b"".join(f"{code} {words}\r\n".encode() for code, words in replies))
        self._wfile.flush()

    def _hello(self, name: str) -> None:
        if not name:
            raise _Wrong(501, "5.5.4 LHLO wants a name")
        self._greeted, self._now = True, None
        words = [self._name, *OFFERED, f"SIZE {self._size}"]
        ends = ["-"] * (len(words) - 1) + [" "]
        self._wfile.write("".join(f"250{end}{word}\r\n" for end, word in zip(ends, words, strict=True)).encode())
        self._wfile.flush()

    def _simple(self, word: str, rest: str) -> Reply:
        match word:
            case "MAIL":
                return self._mail(rest)
            case "RCPT":
                return self._rcpt(rest)
            case "RSET":
                self._now = None
                return 250, "2.0.0 OK"
            case "NOOP":
                return 250, "2.0.0 OK"
            case "QUIT":
                return 221, "2.0.0 bye"
            case "VRFY":
                return 252, "2.5.0 try it"
            case _:
                return 500, "5.5.1 unknown command"

    def _mail(self, rest: str) -> Reply:
        if not self._greeted or self._now is not None:
            raise _Wrong(503, "5.5.1 LHLO first, and one MAIL at a time")
        sender, given = _taken_apart("FROM:", rest)
        made = _Transaction(sender, given.pop("RET", ""), given.pop("ENVID", ""), False, False, [])
        made.smtputf8 = given.pop("SMTPUTF8", None) is not None
        made.eight_bit = given.pop("BODY", "").upper() == "8BITMIME"
        size = given.pop("SIZE", "0")
        _nothing_left(given)
        if size.isdecimal() and int(size) > self._size:
            raise _too_long(self._size)
        self._now = made
        return 250, "2.1.0 OK"

    def _rcpt(self, rest: str) -> Reply:
        if self._now is None:
            raise _Wrong(503, "5.5.1 MAIL first")
        address, given = _taken_apart("TO:", rest)
        recipient = Recipient(address, given.pop("NOTIFY", ""), given.pop("ORCPT", ""))
        _nothing_left(given)
        refusal = self._receiver.recipient(address)
        if refusal is not None:
            return refusal
        self._now.recipients.append(recipient)
        return 250, "2.1.5 OK"

    def _data(self, rest: str) -> None:
        now = self._now
        if now is None or not now.recipients or rest:
            raise _Wrong(503, "5.5.1 MAIL and RCPT first")
        self._say((354, "end with a dot"))
        data = self._content()
        self._now = None
        reply = _too_long(self._size).reply if data is None else self._receiver.message(now.envelope(), data)
        # One answer for each recipient that was accepted (RFC 2033, 4.2).
        self._say(*[reply] * len(now.recipients))

    def _content(self) -> bytearray | None:
        """A message without the dots that were put before dots (RFC 5321, 4.5.2); None when it is too long.

        In one piece from the first octet on: a list of lines takes 63 times the room of those that are empty. Of what
        is too long nothing is kept, and its end is waited for. Raises OSError without an end.

        Only CR LF ends a line that a dot may begin: whoever takes a bare LF for one can be made to see two messages.
        """
        data, too_long = bytearray(), False
        whole, last = True, b""
        while (line := self._rfile.readline(PIECE)) != b".\r\n" or not whole:
            if not line:
                raise ConnectionResetError("the client went in the middle of a message")
            # The limit may have cut a line between its CR and its LF.
            begins, whole, last = whole, (last + line).endswith(b"\r\n"), line[-1:]
            if too_long:
                continue
            data += line[1:] if begins and line.startswith(b".") else line
            if len(data) > self._size:
                data, too_long = bytearray(), True
        return None if too_long else data


def _taken_apart(word: str, text: str) -> tuple[str, dict[str, str]]:
    """`FROM:<a@b> SIZE=1` to the address and its parameters, names in upper case. Raises _Wrong."""
    rest = text[len(word) :].lstrip()
    found = PATH.fullmatch(rest)
    if text[: len(word)].upper() != word or found is None:
        raise _Wrong(501, f"5.5.4 {word}<address> is wanted")
    given = {}
    for one in (found[2] or "").split():
        key, _, value = one.partition("=")
        given[key.upper()] = value
    return found[1], given


def _nothing_left(given: dict[str, str]) -> None:
    """A parameter that nobody offered is a mistake between the two programs, and not the message's."""
    if given:
        raise _Wrong(455, f"4.5.4 {', '.join(given)} is not known here")


def _too_long(size: int) -> _Wrong:
    return _Wrong(552, f"5.3.4 longer than {size} octets")


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """At `path`; only its owner and `group` may connect. Each client has a thread, which ends with the process."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        path: Path,
        name: str,
        size: int,
        receiver: Receiver,
        failed: Callable[[str], None],
        group: str | None = None,
    ) -> None:
        self.name = name
        self.size = size
        self.receiver = receiver
        self._failed = failed
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Client)
        if group is not None:
            shutil.chown(path, group=group)
        path.chmod(0o660)

    def handle_error(self, request: object, client_address: object) -> None:
        self._failed(repr(sys.exception()))


class _Client(socketserver.StreamRequestHandler):
    timeout = IDLE
    server: Server

    def handle(self) -> None:
        Dialogue(self.rfile, self.wfile, self.server.name, self.server.size, self.server.receiver).hold()

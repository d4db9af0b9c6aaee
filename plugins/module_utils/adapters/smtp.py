"""An SMTP dialogue that shows whether a server takes mail, without handing it any (RFC 5321).

What it finds is classified as DESIGN, "Words", has it: `down` for no connection, time-out, lost connection and a 421
greeting (or in place of a reply to EHLO); `refused` for every other 4xx or 5xx, which only a live server can give.
"""

from __future__ import annotations

import contextlib
import errno
import smtplib
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field

from ..core.model import Attempt, Identity, Method, Result, Route
from ..core.ports import Clock
from . import tls

PORT = 25  # where the world hands in its mail (RFC 5321, 2.1)
CLOSING = 421

# The fault is on this side: no word about the server, so it must not count against it.
OWN_FAULTS = {errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


@dataclass(frozen=True)
class Timeouts:
    """Seconds: for the connection, for the next octets of a reply, and for all of it until there is a result."""

    connect: float = 10.0
    reply: float = 20.0
    whole: float = 30.0


@dataclass(frozen=True)
class Dialogue:
    """What to say to whom.

    `name`: whom the certificate should name; `recipient`: an address that the server accepts mail for; `sender`: the
    envelope sender, empty as in a delivery notice (RFC 5321, 4.5.5); `bind`: own address, None for the kernel's choice;
    `otherwise`: the port to ask when no connection to `port` comes to be.
    """

    address: str
    name: str
    recipient: str
    sender: str = ""
    bind: str | None = None
    port: int = PORT
    otherwise: int | None = None
    ca: str | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)

    @property
    def ports(self) -> tuple[int, ...]:
        return (self.port,) if self.otherwise in (None, self.port) else (self.port, self.otherwise)


@dataclass(frozen=True)
class Outcome:
    """`detail` holds the last thing said by the server, or what kept it from being said.

    `temporary`: it refused by a 4xx: senders keep their mail and try again (RFC 5321, 4.2.1).
    """

    result: Result
    detail: str
    temporary: bool = False


class _Refused(Exception):
    """A reply other than the expected one."""

    def __init__(self, stage: str, code: int, words: bytes) -> None:
        super().__init__(f"{stage}: {_reply(code, words)}")
        self.temporary = 400 <= code < 500


class _TlsFailed(Exception):
    """STARTTLS was agreed on and did not come to pass."""


class _Cut:
    """Ends a connection at `deadline` (time.monotonic()), whatever is being said on it.

    A socket's own time-out is for the next octets: a server that dribbles them would keep a dialogue for ever.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.made = False
        self._timer: threading.Timer | None = None
        self._sock: socket.socket | None = None

    def watch(self, sock: socket.socket) -> None:
        self._sock = sock.dup()  # STARTTLS puts another object into this one's place
        self._timer = threading.Timer(max(0.0, self.deadline - time.monotonic()), self._cut, (self._sock,))
        self._timer.daemon = True
        self._timer.start()

    def _cut(self, sock: socket.socket) -> None:
        self.made = True
        with contextlib.suppress(OSError):  # the server has ended it
            sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._timer is not None and self._sock is not None:
            self._timer.cancel()
            self._timer.join()
            self._sock.close()


def talk(what: Dialogue) -> Outcome:
    """Greeting, EHLO, STARTTLS if offered, MAIL, RCPT, RSET, QUIT. Never raises for what a server does.

    TLS is opportunistic as between mail servers (RFC 7435): a certificate that can't be verified is told in the detail
    and the dialogue is held again without verification, within the same time.
    """
    deadline = time.monotonic() + what.timeouts.whole
    try:
        return _talk(what, deadline, verify=True)
    except _TlsFailed as why:
        note = f"TLS: {why}"
    try:
        again = _talk(what, deadline, verify=False)
    except _TlsFailed as why:
        return Outcome(Result.REFUSED, f"TLS fails even without verification: {why}")
    return Outcome(again.result, f"{again.detail}; {note}", again.temporary)


def _talk(what: Dialogue, deadline: float, verify: bool) -> Outcome:
    """One dialogue that ends at `deadline` (time.monotonic()). Raises _TlsFailed."""
    cut = _Cut(deadline)
    try:
        outcome = _converse(what, verify, cut)
    except _TlsFailed as why:
        if not cut.made:
            raise
        outcome = Outcome(Result.DOWN, f"STARTTLS: {why}")
    finally:
        cut.close()
    if cut.made and outcome.result is not Result.OK:  # half a reply reads like a refusal
        return Outcome(Result.DOWN, f"time-out: no end within {what.timeouts.whole:g} s; {outcome.detail}")
    return outcome


def _converse(what: Dialogue, verify: bool, cut: _Cut) -> Outcome:
    smtp = smtplib.SMTP(local_hostname=_literal(what.bind or what.address))
    stage = f"connection to {what.address} port {', then '.join(map(str, what.ports))}"
    try:
        smtp.sock, note = _connect(what, cut.deadline)
        smtp.sock.settimeout(what.timeouts.reply)
        cut.watch(smtp.sock)
        stage = "greeting"
        code, words = smtp.getreply()
        if code == CLOSING:
            return Outcome(Result.DOWN, f"greeting: {_reply(code, words)}")
        _expect(stage, 220, code, words)
        said = "no STARTTLS"
        stage = "EHLO"
        code, words = smtp.ehlo()
        if code == CLOSING:
            # Postfix, as a client, makes no difference between this and a 421 greeting; nor do we.
            return Outcome(Result.DOWN, f"{stage}: {_reply(code, words)}")
        _expect(stage, 250, code, words)
        if smtp.has_extn("starttls"):
            stage = "STARTTLS"
            said = _starttls(smtp, what, verify)
            stage = "EHLO after STARTTLS"
            _expect(stage, 250, *smtp.ehlo())
        for stage in (f"MAIL FROM:<{what.sender}>", f"RCPT TO:<{what.recipient}>", "RSET"):
            _expect(stage, 250, *smtp.docmd(stage))
        with contextlib.suppress(smtplib.SMTPException, OSError):
            smtp.quit()
        return Outcome(Result.OK, f"takes mail for {what.recipient}, {said}{note}")
    except _Refused as why:
        return Outcome(Result.REFUSED, str(why), why.temporary)
    except smtplib.SMTPServerDisconnected as why:
        # smtplib says so for a time-out too.
        lost = "time-out" if isinstance(why.__context__, TimeoutError) else "connection lost"
        return Outcome(Result.DOWN, f"{lost} at {stage}")
    except smtplib.SMTPException as why:
        return Outcome(Result.REFUSED, f"{stage}: {why}")
    except TimeoutError:
        return Outcome(Result.DOWN, f"time-out at {stage}")
    except OSError as why:
        if why.errno in OWN_FAULTS:
            return Outcome(Result.REFUSED, f"own fault at {stage}: {why.strerror or why}")
        return Outcome(Result.DOWN, f"{stage}: {why.strerror or why}")
    finally:
        smtp.close()


def _connect(what: Dialogue, deadline: float) -> tuple[socket.socket, str]:
    """A connection, and what is to be told of its port. Raises OSError.

    The second port is asked whatever kept the first from being reached: a server of an earlier release refuses it, a
    packet filter of an earlier release drops it. Both share the time for a connection, so that a server which is gone
    is known as early as by one.
    """
    source = (what.bind, 0) if what.bind else None
    first, *second = what.ports
    # What is left for a second dialogue may be nothing, which would mean not to wait at all.
    within = max(0.001, min(what.timeouts.connect, deadline - time.monotonic()))
    end = time.monotonic() + within
    try:
        return socket.create_connection((what.address, first), within / len(what.ports), source), ""
    except OSError as why:
        if not second or why.errno in OWN_FAULTS:
            raise
        note = f"; not at port {first}: {why.strerror or why}"
    left = max(0.001, end - time.monotonic())
    return socket.create_connection((what.address, second[0]), left, source), note


def unheard(address: str, port: int = PORT, within: float = 5.0) -> str:
    """Why nobody listens at this port of an address of our own; empty if somebody does.

    Without a listener the kernel refuses at once. It leaves unanswered what a listener that is there, and has as many
    waiting as it may, cannot take just now.
    """
    try:
        socket.create_connection((address, port), within).close()
    except TimeoutError:
        pass
    except OSError as why:
        return f"port {port}: {why.strerror or why}"
    return ""


def _starttls(smtp: smtplib.SMTP, what: Dialogue, verify: bool) -> str:
    """What TLS was agreed on. Raises _TlsFailed, and _Refused when the server changes its mind."""
    try:
        context = tls.client_context(what.name, what.ca, verify)
        code, words = smtp.starttls(context=context)
    except ssl.SSLCertVerificationError as why:
        raise _TlsFailed(f"certificate of {what.name}: {why.verify_message}") from why
    except ssl.SSLError as why:
        raise _TlsFailed(why.reason or str(why)) from why
    except smtplib.SMTPResponseException as why:
        code, words = why.smtp_code, why.smtp_error if isinstance(why.smtp_error, bytes) else why.smtp_error.encode()
    _expect("STARTTLS", 220, code, words)
    version = smtp.sock.version() if isinstance(smtp.sock, ssl.SSLSocket) else "TLS"
    return f"{version} {'verified' if verify else 'not verified'}"


def _expect(stage: str, wanted: int, code: int, words: bytes) -> None:
    if code != wanted:
        raise _Refused(stage, code, words)


def _literal(address: str) -> str:
    """An address as EHLO takes it in place of a name (RFC 5321, 4.1.3)."""
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def _reply(code: int, words: bytes) -> str:
    return f"{code} {' '.join(words.decode(errors='replace').split())}".strip()


def probe(
    identity: Identity,
    route: Route,
    recipient: str,
    clock: Clock,
    *,
    sender: str = "",
    port: int = PORT,
    ca: str | None = None,
    timeouts: Timeouts | None = None,
) -> Attempt:
    """One attempt over `route` by the method `probe` (R1.4).

    `port`: where the identity serves our own hosts. Nobody has to listen there for it to be up.
    """
    start = clock.now()
    what = Dialogue(
        address=identity.address,
        name=identity.name,
        recipient=recipient,
        sender=sender,
        bind=route.bind_address,
        port=port,
        otherwise=PORT,
        ca=ca,
        timeouts=timeouts or Timeouts(),
    )
    outcome = talk(what)
    return Attempt(
        Method.PROBE, route.name, outcome.result, start, clock.now(), outcome.detail, temporary=outcome.temporary
    )

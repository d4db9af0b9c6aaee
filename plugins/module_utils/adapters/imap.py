"""An IMAP login: the user's side of "it works again" (R1.8, RFC 9051)."""

from __future__ import annotations

import imaplib
from dataclasses import dataclass

from ..core.ports import Unavailable
from . import tls


@dataclass(frozen=True)
class Login:
    """Whom to ask and as whom. `name`: whom the certificate must name; `ca`: path of the certificates to trust."""

    address: str
    name: str
    user: str
    password: str
    port: int = 993
    ca: str | None = None
    timeout: float = 20.0


def login(what: Login) -> str:
    """Log in, open INBOX read-only, log out. Says how many messages there are; raises Unavailable with the reason."""
    where = f"IMAP at {what.address} port {what.port}"
    try:
        context = tls.client_context(what.name, what.ca)
        with imaplib.IMAP4_SSL(what.address, what.port, ssl_context=context, timeout=what.timeout) as imap:
            imap.login(what.user, what.password)
            status, data = imap.select("INBOX", readonly=True)
            if status != "OK" or data[0] is None:
                raise Unavailable(f"{where}: SELECT INBOX as {what.user}: {data[0]!r}")
            return f"{what.user} logged in, {int(data[0])} messages"
    except (imaplib.IMAP4.error, OSError) as why:
        raise Unavailable(f"{where}: {what.user}: {' '.join(str(why).split()) or type(why).__name__}") from why

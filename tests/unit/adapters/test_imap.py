"""The IMAP login against a server that plays one part of the protocol; the real one is Dovecot, in the lab."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cluster import free_port
from holdfast.adapters.imap import Login, login
from holdfast.core.ports import Unavailable
from line_server import HANG, Talk, serve
from tls_files import self_signed


def dovecot(line: str) -> str:
    tag, word, *rest = line.split()
    if word == "CAPABILITY":
        return f"* CAPABILITY IMAP4rev1\r\n{tag} OK done"
    if word == "LOGIN":
        return (
            f"{tag} OK Logged in"
            if rest[-1] == '"right"'
            else f"{tag} NO [AUTHENTICATIONFAILED] Authentication failed."
        )
    if word == "EXAMINE":
        return f"* 3 EXISTS\r\n{tag} OK [READ-ONLY] Select completed"
    return f"* BYE Logging out\r\n{tag} OK Logout completed."


def server(folder: Path, name: str, greeting: str = "* OK Dovecot ready.") -> tuple[Talk, str]:
    pair = self_signed(folder, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    return Talk(greeting, dovecot, context, tls_at_once=True), pair.cert


def ask(port: int, ca: str | None, password: str = "right") -> str:
    return login(Login("127.0.0.1", "mx.alpha.example", "probe@alpha.example", password, port, ca, timeout=2.0))


def test_logs_in_and_looks_into_the_inbox(tmp_path: Path) -> None:
    talk, ca = server(tmp_path, "mx.alpha.example")
    with serve(talk) as port:
        assert ask(port, ca) == "probe@alpha.example logged in, 3 messages"
    assert any("EXAMINE INBOX" in line for line in talk.heard)


@pytest.mark.parametrize(
    ("name", "greeting", "password", "said"),
    [
        ("mx.alpha.example", "* OK ready", "wrong", "AUTHENTICATIONFAILED"),
        ("other.example", "* OK ready", "right", "other.example|mismatch|not valid"),
        ("mx.alpha.example", HANG, "right", "timed out"),
        ("mx.alpha.example", "* BYE overloaded", "right", "BYE"),
    ],
)
def test_says_why_not(tmp_path: Path, name: str, greeting: str, password: str, said: str) -> None:
    talk, ca = server(tmp_path, name, greeting)
    with serve(talk) as port, pytest.raises(Unavailable, match=said):
        ask(port, ca, password)


def test_nobody_listens() -> None:
    with pytest.raises(Unavailable, match="refused"):
        ask(free_port(), None)

"""The messages of the story: real ones, each with an id that is found again in the mailbox.

A body is compared by its hash with line ends normalised, since SMTP sends CRLF and a Maildir keeps LF.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

ALICE, BOB = "alice@alpha.example", "bob@alpha.example"
SENDER = "carol@outside.example"
ID_HEADER = "X-Story-Id"


@dataclass(frozen=True)
class Letter:
    """`data`: the whole message, LF line ends; each of `recipients` gets a copy; `sender` may be empty (RFC 5321)."""

    id: str
    kind: str
    sender: str
    recipients: tuple[str, ...]
    data: bytes

    @property
    def body_hash(self) -> str:
        return body_hash(self.data)


def body_hash(data: bytes) -> str:
    """SHA-256 of what follows the header, line ends as LF, without trailing line ends."""
    text = data.replace(b"\r\n", b"\n")
    _, _, body = text.partition(b"\n\n")
    return hashlib.sha256(body.rstrip(b"\n")).hexdigest()


def _head(ident: str, subject: str, to: tuple[str, ...], extra: str = "") -> bytes:
    lines = [
        f"{ID_HEADER}: {ident}",
        f"Message-ID: <{ident}@outside.example>",
        f"From: Carol <{SENDER}>",
        f"To: {', '.join(to)}",
        f"Subject: {subject}",
        "MIME-Version: 1.0",
        *extra.splitlines(),
    ]
    return ("\n".join(lines) + "\n\n").encode()


def _plain(ident: str, rng: random.Random, to: tuple[str, ...]) -> bytes:
    lines = (
        " ".join(rng.choice(("mail", "must", "arrive", "whatever", "fails")) for _ in range(10)) for _ in range(20)
    )
    return _head(ident, f"plain {ident}", to) + "\n".join(lines).encode() + b"\n"


def _attachment(ident: str, rng: random.Random, to: tuple[str, ...], size: int = 10 * 1024 * 1024) -> bytes:
    """A MIME message whose encoded attachment has `size` bytes or a little more."""
    import base64

    raw = base64.encodebytes(rng.randbytes(size * 3 // 4))
    kind = 'Content-Type: multipart/mixed; boundary="=-part"'
    return (
        _head(ident, f"attachment {ident}", to, kind)
        + b"--=-part\nContent-Type: text/plain\n\nsee attachment\n"
        + b"--=-part\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n"
        + raw
        + b"--=-part--\n"
    )


def _utf8(ident: str, rng: random.Random, to: tuple[str, ...]) -> bytes:
    extra = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit"
    return _head(ident, f"Grüße, 信件 {ident}", to, extra) + "Schöne Grüße — привет — 你好\n".encode() * 20


def _long_lines(ident: str, rng: random.Random, to: tuple[str, ...]) -> bytes:
    """As long as a line may be (RFC 5321, 4.5.3.1.6: 998 octets); a stock Postfix breaks longer ones when it sends."""
    return _head(ident, f"long lines {ident}", to) + b"\n".join(c * 998 for c in (b"x", b"y", b"z")) + b"\n"


def _dots(ident: str, rng: random.Random, to: tuple[str, ...]) -> bytes:
    return _head(ident, f"dots {ident}", to) + b".\n..\n.leading\n...\nthe end is not yet\n.\n"


KINDS = {"plain": _plain, "attachment": _attachment, "utf8": _utf8, "long_lines": _long_lines, "dots": _dots}


def letters(count: int, run: str, seed: int = 1) -> list[Letter]:
    """`count` messages: every kind at least twice, spread over the whole; the rest are plain."""
    special = ["attachment", "utf8", "long_lines", "dots", "empty_sender", "two_recipients"]
    made: list[Letter] = []
    rng = random.Random(seed)
    for n in range(count):
        # Twice through the special kinds: once in the first half, once around the fault in the middle and behind it.
        slot = n % max(1, count // 2)
        kind = special[slot // 7] if slot % 7 == 3 and slot // 7 < len(special) else "plain"
        ident = f"{run}-{n:03d}"
        to = (ALICE, BOB) if kind == "two_recipients" else (ALICE if n % 2 else BOB,)
        build = KINDS.get(kind, _plain)
        sender = "" if kind == "empty_sender" else SENDER
        made.append(Letter(ident, kind, sender, to, build(ident, rng, to)))
    return made

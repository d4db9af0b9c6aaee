"""A server of line protocols that says what a test wants it to say, and how."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

HANG = "(hang)"
DROP = "(drop)"
DRIBBLE = "(dribble)"  # a reply that does not end: an octet each tenth of a second


@dataclass
class Talk:
    """`greeting` and `answer(line)` give the reply, or HANG, DROP or DRIBBLE. With a context, STARTTLS begins TLS."""

    greeting: str
    answer: Callable[[str], str]
    context: ssl.SSLContext | None = None
    heard: list[str] = field(default_factory=list)
    peers: list[str] = field(default_factory=list)
    tls_at_once: bool = False


@contextlib.contextmanager
def serve(talk: Talk) -> Iterator[int]:
    """The port on 127.0.0.1 at which it answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def one(sock: socket.socket) -> None:
        sock.settimeout(10)
        try:
            if talk.tls_at_once and talk.context is not None:
                sock = talk.context.wrap_socket(sock, server_side=True)
            if not say(sock, talk.greeting):
                return
            while (line := hear(sock)) is not None:
                talk.heard.append(line)
                if line == "STARTTLS" and talk.context is not None:
                    sock.sendall(b"220 2.0.0 go ahead\r\n")
                    sock = talk.context.wrap_socket(sock, server_side=True)
                elif not say(sock, talk.answer(line)):
                    return
        except OSError:
            pass  # the client has gone, or there was no TLS to agree on
        finally:
            sock.close()

    def say(sock: socket.socket, text: str) -> bool:
        if text == HANG:
            over.wait(10)
        elif text == DRIBBLE:
            for octet in itertools.chain(b"250-", itertools.cycle(b"still here\r\n250-")):
                sock.sendall(bytes([octet]))
                if over.wait(0.1):
                    break
        elif text != DROP:
            sock.sendall(text.encode() + b"\r\n")
        return text not in (HANG, DROP, DRIBBLE)

    def hear(sock: socket.socket) -> str | None:
        line = b""
        while not line.endswith(b"\n"):
            octet = sock.recv(1)
            if not octet:
                return None
            line += octet
        return line.decode(errors="replace").rstrip("\r\n")

    def accept() -> None:
        while True:
            try:
                sock, peer = listener.accept()
            except OSError:
                return
            talk.peers.append(peer[0])
            threading.Thread(target=one, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()

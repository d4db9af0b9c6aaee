"""A server of line protocols that says what a test wants it to say, and how."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

HANG = "(hang)"
DROP = "(drop)"
STARTTLS = "(starttls)"


@dataclass
class Talk:
    """`greeting` and `answer(line)` give the reply, or HANG or DROP; STARTTLS begins TLS behind its reply."""

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
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            sock.settimeout(10)
            if talk.tls_at_once and talk.context is not None:
                sock = talk.context.wrap_socket(sock, server_side=True)
            stack.callback(sock.close)

            def say(text: str) -> bool:
                if text == HANG:
                    over.wait(10)
                    return False
                if text != DROP:
                    sock.sendall(text.encode() + b"\r\n")
                return text != DROP

            if not say(talk.greeting):
                return
            rest = b""
            while True:
                while b"\n" not in rest:
                    data = sock.recv(4096)
                    if not data:
                        return
                    rest += data
                raw, _, rest = rest.partition(b"\n")
                line = raw.decode(errors="replace").rstrip("\r")
                talk.heard.append(line)
                if line == "STARTTLS" and talk.context is not None:
                    sock.sendall(b"220 2.0.0 go ahead\r\n")
                    sock = talk.context.wrap_socket(sock, server_side=True)
                    continue
                if not say(talk.answer(line)):
                    return

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

"""A power switch behind SSH, as the lab and a rack have one: a real SSH server that runs one command for a key."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import paramiko

Answer = tuple[str, int | None]  # text and exit status; None: the connection is dropped without one


@dataclass
class Switch(paramiko.ServerInterface):
    """`answer(command)` says what a command gets."""

    answer: Callable[[str], Answer]
    host_key: paramiko.PKey
    client_key: paramiko.PKey
    commands: list[str] = field(default_factory=list)
    hang: threading.Event | None = None

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        good = username == "power" and key == self.client_key
        return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.commands.append(command.decode())
        # paramiko sends "the command runs" only after this method has returned, and nothing tells when it has.
        threading.Timer(0.1, self._run, (channel, command.decode())).start()
        return True

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        if self.hang is not None:
            self.hang.wait(10)
            return
        text, status = self.answer(command)
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            channel.sendall(text.encode())
            if status is None:
                channel.get_transport().close()
                return
            channel.send_exit_status(status)
            channel.close()


@contextlib.contextmanager
def serve(switch: Switch) -> Iterator[int]:
    """The port on 127.0.0.1."""
    listener = socket.create_server(("127.0.0.1", 0))
    transports: list[paramiko.Transport] = []

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(sock)
            transport.add_server_key(switch.host_key)
            transports.append(transport)
            with contextlib.suppress(paramiko.SSHException, EOFError):
                transport.start_server(threading.Event(), switch)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        if switch.hang is not None:
            switch.hang.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for transport in transports:
            transport.close()

"""HAProxy's own socket (its management guide, 9.3): what it knows of servers, and what an operator says of them."""

from __future__ import annotations

import csv
import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..core.ports import Unavailable

SOCKET = "/run/haproxy/admin.sock"
SERVERS = "4"  # of what `show stat` knows
TIMEOUT = 5.0  # seconds


@dataclass(frozen=True)
class Server:
    """A server of one protocol. `status` in HAProxy's words; `share`: percent; `connected`: clients it has now.

    `agent`: how the last question to it about its share ended, in HAProxy's words: `L7OK`, `L4CON`, … (its management
    guide, 9.1, agent_status); empty where none is asked.
    """

    protocol: str
    name: str
    status: str
    share: int
    connected: int
    backup: bool
    agent: str = ""


class Haproxy:
    """Each question is a connection of its own. Methods raise Unavailable."""

    def __init__(self, path: str = SOCKET, timeout: float = TIMEOUT) -> None:
        self._path = path
        self._timeout = timeout

    def servers(self) -> list[Server]:
        """In the order of the configuration."""
        rows = csv.DictReader(self._ask(f"show stat -1 {SERVERS} -1").removeprefix("# ").splitlines())
        try:
            return [
                Server(
                    protocol=row["pxname"],
                    name=row["svname"],
                    status=row["status"],
                    share=int(row["weight"]),
                    connected=int(row["scur"]),
                    backup=row["bck"] == "1",
                    agent=(row.get("agent_status") or "").removeprefix("* "),  # while it is being asked anew
                )
                for row in rows
            ]
        except (KeyError, ValueError) as why:
            raise Unavailable(f"HAProxy: show stat: no such table: {why!r}") from why

    def drain(self, server: Server) -> None:
        """Nothing new is sent to it; what is connected goes on."""
        self._set(server, "drain")

    def ready(self, server: Server) -> None:
        """Ends the drain."""
        self._set(server, "ready")

    def _set(self, server: Server, state: str) -> None:
        said = self._ask(f"set server {server.protocol}/{server.name} state {state}").strip()
        if said:
            raise Unavailable(f"HAProxy: {server.protocol}/{server.name}: {' '.join(said.split())}")

    def save(self, file: str) -> None:
        """What is known of all servers, in the file that HAProxy reads at its next start. Raises OSError, too."""
        state = self._ask("show servers state")
        if not state.startswith("1\n"):
            raise Unavailable(f"HAProxy: show servers state: {state[:80]!r}")
        descriptor, new = tempfile.mkstemp(dir=Path(file).parent, prefix=".servers.")
        try:
            with os.fdopen(descriptor, "w") as writing:
                writing.write(state)
            Path(new).chmod(0o644)
            Path(new).replace(file)
        except BaseException:
            Path(new).unlink()
            raise

    def _ask(self, command: str) -> str:
        said = b""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(self._timeout)
                connection.connect(self._path)
                connection.sendall(f"{command}\n".encode())
                while octets := connection.recv(65536):
                    said += octets
        except OSError as why:
            raise Unavailable(f"HAProxy: {self._path}: {why.strerror or why}") from why
        return said.decode(errors="replace")

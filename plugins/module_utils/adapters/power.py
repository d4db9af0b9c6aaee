"""A power switch behind SSH: a forced command that knows `off HOST`, `on HOST` and `status HOST`.

The command answers `HOST off` or `HOST on` with status 0, and only when it is certain. Everything else, from a
refused key to a lost connection, proves nothing and becomes Unavailable.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import re
import socket
import time
from pathlib import Path

import paramiko

from ..core.ports import Power, Unavailable
from .command import words

HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Both commands may be given twice. A session that breaks off is tried again at once: a held takeover costs an interval.
TRIES = 3
ANSWER_LIMIT = 4096  # octets; an answer is one short line


class SshPowerSwitch:
    """Implements `core.ports.PowerSwitch`.

    `host_key`: the switch's public key as in known_hosts, without the name (`ssh-ed25519 AAAA…`); no other is accepted.
    `client_key`: a private key, its text or its path. `timeout`: seconds for one command, all of its tries included:
    the lock of a run is made to outlast two of them.
    Raises ValueError for keys that are none.
    """

    def __init__(
        self, name: str, address: str, port: int, user: str, host_key: str, client_key: str, timeout: float = 20.0
    ) -> None:
        self.method = name
        self._address = address
        self._port = port
        self._user = user
        self._timeout = timeout
        self._host_key = public_key(host_key)
        self._client_key = private_key(client_key)

    def off(self, host: str) -> str:
        said = self._ask("off", host)
        if said != f"{host} off":
            raise Unavailable(f"{self.method}: answered {said!r} to off {host}")
        return f"off {host}: {said}"

    def on(self, host: str) -> str:
        """Switch on. Raises Unavailable unless the switch says that it is."""
        said = self._ask("on", host)
        if said != f"{host} on":
            raise Unavailable(f"{self.method}: answered {said!r} to on {host}")
        return said

    def status(self, host: str) -> Power:
        said = self._ask("status", host)
        for power in Power:
            if said == f"{host} {power}":
                return power
        raise Unavailable(f"{self.method}: answered {said!r} to status {host}")

    def _ask(self, verb: str, host: str) -> str:
        """The switch's answer to one command. Raises Unavailable unless it ended with status 0 in time."""
        if not HOST.fullmatch(host):
            raise Unavailable(f"{self.method}: {host!r} is no host name")
        command, deadline = f"{verb} {host}", time.monotonic() + self._timeout
        for left in reversed(range(TRIES)):
            try:
                status, said, error = self._session(command, deadline)
                break
            except (paramiko.SSHException, OSError, EOFError) as why:
                if left and not isinstance(why, TimeoutError) and time.monotonic() < deadline:
                    continue
                reason = words(str(why)) or type(why).__name__
                raise Unavailable(f"{self.method} ({self._address} port {self._port}): {command}: {reason}") from why
        if status != 0:
            raise Unavailable(f"{self.method}: {command}: status {status}: {words(said)} {words(error)}".rstrip())
        return said.strip()

    def _session(self, command: str, deadline: float) -> tuple[int, str, str]:
        """Exit status (-1: none was sent), standard output and error. `deadline`: by time.monotonic()."""
        sock = socket.create_connection((self._address, self._port), max(0.1, deadline - time.monotonic()))
        with contextlib.closing(sock), contextlib.closing(paramiko.Transport(sock)) as transport:
            left = max(0.1, deadline - time.monotonic())
            transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = left
            # The key's own type only: with another one the pinned key could not be compared.
            options = transport.get_security_options()
            options.key_types = [t for t in options.key_types if _is_of(t, self._host_key)]
            transport.start_client(timeout=left)
            key = transport.get_remote_server_key()
            if key != self._host_key:
                raise paramiko.SSHException(f"host key {key.get_base64()[-12:]} is not the pinned one")
            transport.auth_publickey(self._user, self._client_key)
            channel = transport.open_session(timeout=max(0.1, deadline - time.monotonic()))
            channel.exec_command(command)
            out, err = b"", b""
            while not channel.status_event.is_set() or channel.recv_ready() or channel.recv_stderr_ready():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no answer within {self._timeout:g} s")
                if channel.recv_ready():
                    out += channel.recv(ANSWER_LIMIT)
                elif channel.recv_stderr_ready():
                    err += channel.recv_stderr(ANSWER_LIMIT)
                elif channel.closed:
                    break
                else:
                    channel.status_event.wait(0.05)
                if len(out) > ANSWER_LIMIT or len(err) > ANSWER_LIMIT:
                    raise paramiko.SSHException("the answer does not end")
            status = channel.exit_status if channel.status_event.is_set() else -1
        return status, out.decode(errors="replace"), err.decode(errors="replace")


def _is_of(algorithm: str, key: paramiko.PKey) -> bool:
    """RSA keys sign by algorithms that are not called like the key (RFC 8332)."""
    return algorithm == key.get_name() or (key.get_name() == "ssh-rsa" and algorithm.startswith("rsa-sha2-"))


def public_key(text: str) -> paramiko.PKey:
    """From `TYPE BASE64 [comment]`."""
    parts = text.split()
    try:
        return paramiko.PKey.from_type_string(parts[0], base64.b64decode(parts[1], validate=True))
    except (IndexError, binascii.Error, paramiko.SSHException, paramiko.pkey.UnknownKeyType, ValueError) as why:
        raise ValueError(f"host key {text[:40]!r} is none; give one line like `ssh-ed25519 AAAA…`") from why


def private_key(text_or_path: str) -> paramiko.PKey:
    """From the key itself or from the file that holds it; Ed25519, ECDSA or RSA, without passphrase."""
    text = text_or_path
    if "PRIVATE KEY" not in text:
        try:
            text = Path(text_or_path).read_text()
        except OSError as why:
            raise ValueError(f"client key {text_or_path!r}: {why.strerror}") from why
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        # Each kind complains about the others in its own way.
        with contextlib.suppress(paramiko.SSHException, ValueError, IndexError, TypeError):
            return kind.from_private_key(io.StringIO(text))
    raise ValueError("client key is no Ed25519, ECDSA or RSA private key without passphrase")

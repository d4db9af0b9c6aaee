"""When certificates end: those in this host's files, by openssl-x509(1), and those that etcd's members show."""

from __future__ import annotations

import socket
import ssl
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from ..core.certificates import Ending
from . import command
from .etcd import Tls

TIMEOUT = 10.0
CONNECT = 3.0


class Certificates:
    """`files` in PEM. Each is read anew only when it has changed."""

    def __init__(self, files: Sequence[str], run: command.Run = command.run) -> None:
        self._files = tuple(Path(f) for f in dict.fromkeys(files))
        self._run = run
        self._known: dict[Path, tuple[tuple[int, int], Ending]] = {}  # by file: its state, and what it said then

    def first(self) -> Ending | None:
        """The one that ends first; before all others one that cannot be read."""
        return min(map(self._ending, self._files), key=lambda e: e.end, default=None)

    def _ending(self, file: Path) -> Ending:
        try:
            found = file.stat()
        except OSError as why:
            return Ending(file.stem, 0.0, f"{file}: {why.strerror}")
        state = (found.st_mtime_ns, found.st_ino)
        before, ending = self._known.get(file, (None, None))
        if ending is None or before != state:
            ending = self._read(file)
            self._known[file] = (state, ending)
        return ending

    def _read(self, file: Path) -> Ending:
        argv = ["openssl", "x509", "-noout", "-enddate", "-in", str(file)]
        try:
            said = self._run(argv, timeout=TIMEOUT)
            return Ending(file.stem, float(ssl.cert_time_to_seconds(said.strip().removeprefix("notAfter="))))
        except (command.CommandError, ValueError) as why:
            return Ending(file.stem, 0.0, str(why))


def shown_by(url: str, tls: Tls) -> Ending | None:
    """The certificate of the member of etcd at `url`; None when it does not answer or speaks plain http."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" or parts.hostname is None:
        return None
    context = ssl.create_default_context(cafile=tls.ca)
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    try:
        with (
            socket.create_connection((parts.hostname, parts.port or 2379), CONNECT) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as wrapped,
        ):
            shown = wrapped.getpeercert() or {}
    except ssl.SSLCertVerificationError as why:
        return Ending("of etcd", 0.0, why.verify_message)
    except OSError:
        return None
    return Ending("of etcd", float(ssl.cert_time_to_seconds(str(shown["notAfter"]))))

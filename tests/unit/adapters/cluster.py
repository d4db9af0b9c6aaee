"""A real etcd cluster on loopback, and a proxy that carries requests to a member and loses its answers."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import random
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from holdfast.adapters.etcd import Tls

ETCD = shutil.which("etcd")


def free_port() -> int:
    """Below 32768: from there on Linux takes ports for outgoing connections, one of which had it before its use."""
    while True:
        port = random.randrange(20000, 32768)
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("127.0.0.1", port))
            return port


class Cluster:
    """Members that can be killed and started again; `urls` are their clients' addresses.

    With `member` (the members' own files) all of them speak TLS and want certificates of its authority.
    """

    def __init__(self, folder: Path, size: int, member: Tls | None = None, options: Sequence[str] = ()) -> None:
        assert ETCD is not None
        self.folder = folder
        self.member = member
        self.options = options
        self.scheme = "http" if member is None else "https"
        self.ports = [(free_port(), free_port()) for _ in range(size)]
        self.urls = [f"{self.scheme}://127.0.0.1:{client}" for client, _ in self.ports]
        self.peers = [f"{self.scheme}://127.0.0.1:{peer}" for _, peer in self.ports]
        self.members: list[subprocess.Popen[bytes] | None] = [None] * size

    def start(self, n: int) -> None:
        argv = [
            str(ETCD),
            f"--name=m{n}",
            f"--data-dir={self.folder / str(n)}",
            f"--listen-client-urls={self.urls[n]}",
            f"--advertise-client-urls={self.urls[n]}",
            f"--listen-peer-urls={self.peers[n]}",
            f"--initial-advertise-peer-urls={self.peers[n]}",
            f"--initial-cluster={','.join(f'm{i}={url}' for i, url in enumerate(self.peers))}",
            "--heartbeat-interval=50",
            "--election-timeout=500",
            "--log-level=error",
            *self.options,
        ]
        if self.member is not None:
            for who in ("", "peer-"):
                argv += [
                    f"--{who}cert-file={self.member.cert}",
                    f"--{who}key-file={self.member.key}",
                    f"--{who}trusted-ca-file={self.member.ca}",
                    f"--{who}client-cert-auth",
                ]
        with (self.folder / f"{n}.log").open("ab") as log:
            self.members[n] = subprocess.Popen(argv, stdout=log, stderr=log)

    def kill(self, n: int) -> None:
        member = self.members[n]
        if member is not None:
            member.kill()
            member.wait()
        self.members[n] = None

    def wait_healthy(self) -> None:
        deadline = time.monotonic() + 30
        tls = None
        if self.member is not None and self.member.cert is not None:
            tls = ssl.create_default_context(cafile=self.member.ca)
            tls.load_cert_chain(self.member.cert, self.member.key)
        for url in self.urls:
            while True:
                with (
                    contextlib.suppress(OSError),
                    urllib.request.urlopen(f"{url}/health", timeout=2, context=tls) as answer,
                ):
                    if b'"true"' in answer.read():
                        break
                assert time.monotonic() < deadline, f"{url} is not healthy: see {self.folder}"
                time.sleep(0.1)

    def __enter__(self) -> Self:
        for n in range(len(self.ports)):
            self.start(n)
        try:
            self.wait_healthy()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for n in range(len(self.ports)):
            self.kill(n)


@contextlib.contextmanager
def losing_answers(target: str, paths: set[str], seen: set[str] | None = None) -> Iterator[str]:
    """URL of a proxy that hands on everything and drops the connection instead of answering for `paths`.

    `seen` gets the clients' connections.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            if seen is not None:
                seen.add(str(self.client_address))
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with contextlib.closing(http.client.HTTPConnection(target.removeprefix("http://"), timeout=5)) as upstream:
                upstream.request("POST", self.path, body, {"Content-Type": "application/json"})
                answer = upstream.getresponse()
                data = answer.read()
            if self.path in paths:
                self.close_connection = True
                return
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()

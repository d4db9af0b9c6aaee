"""A real etcd cluster on loopback, and a proxy that carries requests to a member and loses its answers."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Self

ETCD = shutil.which("etcd")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Cluster:
    """Members that can be killed and started again; `urls` are their clients' addresses."""

    def __init__(self, folder: Path, size: int) -> None:
        assert ETCD is not None
        self.folder = folder
        self.ports = [(free_port(), free_port()) for _ in range(size)]
        self.urls = [f"http://127.0.0.1:{client}" for client, _ in self.ports]
        self.members: list[subprocess.Popen[bytes] | None] = [None] * size

    def start(self, n: int) -> None:
        client, peer = self.ports[n]
        peers = ",".join(f"m{i}=http://127.0.0.1:{p}" for i, (_, p) in enumerate(self.ports))
        argv = [
            str(ETCD),
            f"--name=m{n}",
            f"--data-dir={self.folder / str(n)}",
            f"--listen-client-urls=http://127.0.0.1:{client}",
            f"--advertise-client-urls=http://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster={peers}",
            "--heartbeat-interval=50",
            "--election-timeout=500",
            "--log-level=error",
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
        for url in self.urls:
            while True:
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
                    if b'"true"' in answer.read():
                        break
                assert time.monotonic() < deadline, f"{url} is not healthy: see {self.folder}"
                time.sleep(0.1)

    def __enter__(self) -> Self:
        for n in range(len(self.ports)):
            self.start(n)
        self.wait_healthy()
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

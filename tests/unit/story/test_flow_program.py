"""The program that sends a flow on a client, against a server on loopback that takes, delays, refuses, goes away."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.full_network import letters
from tests.full_network.network import Way
from tests.full_network.stage import ON_CLIENT

WAY = Way("here", "corp1", "submission", "ivan@alpha.example", "bob@alpha.example", "corp1", "localhost")


class Server(socketserver.ThreadingTCPServer):
    """`says`: to the ends of letters, in their order; "" ends the connection instead. `got`: what it has been sent."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, says: list[str], at_rcpt: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), Dialogue)
        self.context, self.says, self.at_rcpt = context, says, at_rcpt
        self.got: list[bytes] = []
        self.logins: list[str] = []


class Dialogue(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        with contextlib.ExitStack() as ends, contextlib.suppress(OSError):
            self._talk(self.request, ends)

    def _talk(self, connection: socket.socket, ends: contextlib.ExitStack) -> None:
        file = ends.enter_context(connection.makefile("rwb", buffering=0))
        file.write(b"220 here ESMTP\r\n")
        while line := file.readline().decode().strip():
            word = line.split()[0].upper()
            if word == "STARTTLS":
                file.write(b"220 go ahead\r\n")
                connection = ends.enter_context(self.server.context.wrap_socket(connection, server_side=True))
                file = ends.enter_context(connection.makefile("rwb", buffering=0))
            elif word == "DATA":
                file.write(b"354 go ahead\r\n")
                data = b""
                while not data.endswith(b"\r\n.\r\n"):
                    data += file.readline()
                self.server.got.append(data[:-3])
                if not (said := self.server.says.pop(0)):
                    return
                file.write(said.encode() + b"\r\n")
            elif word == "RCPT":
                file.write((self.server.at_rcpt.pop(0) if self.server.at_rcpt else "250 ok").encode() + b"\r\n")
            else:
                if word == "AUTH":
                    self.server.logins.append(line)
                answers = {"EHLO": "250-here\r\n250-STARTTLS\r\n250 AUTH PLAIN", "AUTH": "235 ok", "QUIT": "221 bye"}
                file.write((answers.get(word, "250 ok") + "\r\n").encode())
                if word == "QUIT":
                    return


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    files = [str(tmp_path / "key.pem"), str(tmp_path / "ca.pem")]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words = ["openssl", "req", "-x509", *curve, *subject, "-keyout", files[0], "-out", files[1]]
    subprocess.run(words, check=True, capture_output=True)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(files[1], files[0])
    return made


@pytest.fixture
def server(context: ssl.SSLContext) -> Iterator[Server]:
    with Server(context, [], []) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def flow(
    server: Server, folder: Path, count: int = 1, name: str = "localhost", drain: float = 20.0
) -> list[dict[str, Any]]:
    way = {"name": WAY.name, "key": "w0", "how": WAY.how, "sender": WAY.sender, "recipient": WAY.recipient}
    way |= {"server": name, "port": server.server_address[1], "skip": 0, "user": WAY.sender, "password": "secret"}
    job = {
        "run": "run",
        "period": 0.05,
        "count": count,
        "until": str(folder / "over"),
        "log": str(folder / "x" / "log"),
    }
    job |= {"drain": drain, "pause": 0.1, "ca": str(folder / "ca.pem"), "name": "corp1.outside.example"}
    job |= {"text": letters.TEXT, "ways": [way]}
    program = ON_CLIENT / "flow.py"
    words = [sys.executable, str(program), json.dumps(job)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_letters_are_taken_as_they_were_written_behind_a_login(server: Server, tmp_path: Path) -> None:
    server.says = ["250 taken"] * 3
    found = flow(server, tmp_path, 3)
    assert sorted(letter["id"] for letter in found) == ["run-w0-0000", "run-w0-0001", "run-w0-0002"]
    assert all(letter["begun"] <= letter["accepted"] and letter["faults"] == [] for letter in found)
    assert len(server.logins) == 3
    wanted = {letters.text(letter["id"], WAY) for letter in found}
    assert {data.replace(b"\r\n", b"\n") for data in server.got} == wanted


def test_a_delay_is_no_fault_and_a_refusal_is_one_and_both_are_tried_again(server: Server, tmp_path: Path) -> None:
    server.says, server.at_rcpt = ["250 taken"], ["451 later", "554 5.7.1 Relay access denied"]
    (letter,) = flow(server, tmp_path)
    assert letter["tries"] == 3 and letter["accepted"] and not letter["cut"]
    assert len(letter["faults"]) == 1 and "554" in letter["faults"][0]


def test_a_connection_that_ends_behind_the_letters_end_is_told(server: Server, tmp_path: Path) -> None:
    server.says = ["", "250 taken"]
    (letter,) = flow(server, tmp_path)
    assert letter["cut"] and letter["tries"] == 2 and letter["faults"] == [] and len(server.got) == 2


def test_a_certificate_of_another_name_is_a_fault(server: Server, tmp_path: Path) -> None:
    (letter,) = flow(server, tmp_path, name="127.0.0.1", drain=1.0)
    assert letter["accepted"] is None and "certificate" in letter["faults"][0] and server.got == []


def test_what_nobody_takes_is_told_at_the_end(server: Server, tmp_path: Path) -> None:
    server.at_rcpt = ["451 later"] * 1000
    found = flow(server, tmp_path, 6, drain=1.0)
    assert len(found) == 6 and not any(letter["accepted"] for letter in found)

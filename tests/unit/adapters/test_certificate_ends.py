"""When certificates end: real files read by openssl, and a real TLS server."""

from __future__ import annotations

import datetime
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from holdfast.adapters import command
from holdfast.adapters.certificates import Certificates, shown_by
from holdfast.adapters.etcd import Tls
from holdfast.adapters.pki import Authority, Leaf

DAY = 86400.0


def authority(folder: Path, days: int, ago: int = 0) -> Authority:
    """One that makes certificates of so many days, as it would have so many days ago."""
    return Authority(folder, "Holdfast", days, 0, datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=ago))


def made(folder: Path, days: int, name: str = "mail1", ago: int = 0) -> str:
    some = authority(folder, days, ago)
    if not (folder / "ca.pem").exists():
        some.make_authority()
    some.make(Leaf(name, ("127.0.0.1",)))
    return str(folder / f"{name}.pem")


class Counted:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        self.calls += 1
        return command.run(argv, timeout=timeout, stdin=stdin)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on PATH")
class TestFiles:
    def test_the_first_to_end_and_read_anew_only_when_changed(self, tmp_path: Path) -> None:
        run = Counted()
        files = [made(tmp_path, 100, "mail1"), made(tmp_path, 12, "mx.alpha.example"), str(tmp_path / "ca.pem")]
        found = Certificates([*files, files[0]], run)
        for _ in range(3):
            first = found.first()
            assert first is not None and first.name == "mx.alpha.example"
            assert abs(first.end - time.time() - 12 * DAY) < 3600
        assert run.calls == 3
        made(tmp_path, 200, "mx.alpha.example")
        assert (first := found.first()) is not None and first.name == "mail1"
        assert run.calls == 4

    def test_what_cannot_be_read_comes_before_all_others(self, tmp_path: Path) -> None:
        good = made(tmp_path, 1)
        assert (first := Certificates([good, str(tmp_path / "none.pem")]).first()) is not None
        assert first.name == "none" and "No such file" in first.error
        (tmp_path / "bad.pem").write_text("nonsense\n")
        assert (first := Certificates([good, str(tmp_path / "bad.pem")]).first()) is not None
        assert first.name == "bad" and first.error
        assert Certificates([]).first() is None


@pytest.fixture
def member(tmp_path: Path) -> Iterator[str]:
    """The URL of a server that shows `tmp_path`/mail1.pem, whatever that is by then; one dialogue after another."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listening.accept()
            except OSError:
                return
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tmp_path / "mail1.pem", tmp_path / "mail1.key")
            with plain:
                try:
                    context.wrap_socket(plain, server_side=True).close()
                except OSError:
                    continue  # a client that does not take the certificate

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(5)


class TestMembers:
    def test_what_a_member_shows(self, tmp_path: Path, member: str) -> None:
        files = made(tmp_path, 9)
        tls = Tls(str(tmp_path / "ca.pem"), files, files.replace(".pem", ".key"))
        assert (found := shown_by(member, tls)) is not None and not found.error
        assert abs(found.end - time.time() - 9 * DAY) < 3600

    def test_one_that_has_ended(self, tmp_path: Path, member: str) -> None:
        made(tmp_path, 9, "other")  # with it the authority
        made(tmp_path, 9, ago=10)
        found = shown_by(member, Tls(str(tmp_path / "ca.pem")))
        assert found is not None and "expired" in found.error

    def test_nobody_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        assert shown_by(f"https://127.0.0.1:{port}", Tls()) is None
        assert shown_by(f"http://127.0.0.1:{port}", Tls()) is None

"""A redirector's HAProxy as the role configures it, before servers on loopback."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.adapters.haproxy import Haproxy
from holdfast.daemons import redirect
from holdfast.daemons.availability import Listener
from rendering import Host, with_redirectors

MX, MX2, MX3 = "mx.alpha.example", "mx2.alpha.example", "mx3.alpha.example"
# By server: those of this site are MX and MX3, MX2 is another site's.
ADDRESSES = {MX: "127.0.0.11", MX2: "127.0.0.12", MX3: "127.0.0.13"}
FRONT = "127.0.0.71"
WITHIN = 20.0  # seconds for whatever HAProxy has to notice
OLD_SESSIONS = 60  # seconds
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # of the PROXY protocol's version 2


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(what: Callable[[], bool], why: str) -> None:
    end = time.monotonic() + WITHIN
    while not what():
        assert time.monotonic() < end, why
        time.sleep(0.1)


def _exactly(connection: socket.socket, count: int) -> bytes:
    octets = b""
    while len(octets) < count and (more := connection.recv(count - len(octets))):
        octets += more
    return octets


@dataclass(frozen=True)
class Speech:
    """What a server says at first, to a line that ends it, and to every other."""

    greeting: str
    ends: str
    farewell: str
    answer: str = ""


IMPLICIT = ("submissions", "imaps", "pop3s")  # those that begin with TLS
SMTP = Speech("220 {name}\r\n", "QUIT", "221 bye\r\n", "250-here\r\n250 more\r\n")


@dataclass
class Mail:
    """A mail server behind the PROXY protocol.

    `well`: does it greet? `checks`: dialogues of HAProxy, of which `ended` came to the farewell.
    """

    name: str
    port: int
    speech: Speech = SMTP
    tls: ssl.SSLContext | None = None
    well: bool = True
    ended: int = 0
    share: str = "up 100%\n"
    clients: list[str] = field(default_factory=list)
    checks: int = 0

    def __post_init__(self) -> None:
        self._listening = socket.create_server((ADDRESSES[self.name], self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with plain, contextlib.suppress(OSError):
            head = _exactly(plain, 16)
            if not head:
                return  # HAProxy was ended before it said anything
            assert head[:12] == SIGNATURE, head
            body = _exactly(plain, int.from_bytes(head[14:16], "big"))
            local = head[12] & 0x0F == 0  # HAProxy itself
            if local:
                self.checks += 1
            else:
                self.clients.append(socket.inet_ntoa(body[:4]))
            if not self.well:
                time.sleep(WITHIN)
                return
            connection = plain if self.tls is None else self.tls.wrap_socket(plain, server_side=True)
            with connection, connection.makefile("rb") as heard:
                connection.sendall(self.speech.greeting.format(name=self.name).encode())
                for line in heard:
                    over = line.rstrip(b"\r\n").endswith(self.speech.ends.encode())
                    connection.sendall((self.speech.farewell if over else self.speech.answer).encode())
                    if over:
                        self.ended += local
                        return

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


def readable_here(cfg: str, folder: Path) -> str:
    """Without what only a redirector has: accounts and folders."""
    for there, here in (
        ("    user haproxy\n    group haproxy\n", ""),
        ("    chroot /var/lib/haproxy\n", ""),
        ("user root group holdfast ", ""),
        ("/etc/holdfast/tls/", f"{folder}/"),
        ("/run/haproxy/", f"{folder}/"),
        ("/var/lib/holdfast/redirector/", f"{folder}/"),
    ):
        cfg = cfg.replace(there, here)
    return cfg


def self_signed(folder: Path, *names: str) -> ssl.SSLContext:
    """A server's; its certificate, `ca.pem`, is its own authority."""
    subject = ["-subj", "/CN=tests", "-addext", f"subjectAltName={','.join(f'DNS:{name}' for name in names)}"]
    files = ["-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.pem")]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run(["openssl", "req", "-x509", *curve, *subject, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "ca.key")
    return context


class Bench:
    """HAProxy of internet1a and three servers of each protocol; `mail` are those of the first.

    `folder` has `ca.pem` where a protocol is with TLS. `changes` go over the inventory's variables.
    """

    def __init__(
        self, folder: Path, speeches: Mapping[str, Speech], tls: ssl.SSLContext | None = None, **changes: object
    ) -> None:
        ports = {protocol: {"port": free_port(), "proxy": free_port()} for protocol in speeches}
        agent = free_port()
        self.all = {
            (protocol, name): Mail(name, ports[protocol]["proxy"], speech, tls if protocol in IMPLICIT else None)
            for protocol, speech in speeches.items()
            for name in ADDRESSES
        }
        self.first = next(iter(speeches))
        self.front = ports[self.first]["port"]
        self.mail = {name: self.all[self.first, name] for name in ADDRESSES}
        Listener(ADDRESSES, agent, lambda name: self.mail[name].share).start()
        values = with_redirectors()
        values["identities"][MX3] = dict(values["identities"][MX])
        for name, address in ADDRESSES.items():
            values["identities"][name] = {**values["identities"][name], "address": address}
        values["redirectors"]["internet1"]["addresses"] = [FRONT, "127.0.0.72"]
        values["redirectors"]["internet1"]["protocols"] = {protocol: {"balance": "roundrobin"} for protocol in speeches}
        told = Host(
            "redirector",
            "internet1a",
            values,
            topology_protocols=ports,
            topology_availability_port=agent,
            redirector_check_interval=1,
            redirector_check_timeout=1,
            redirector_check_fall=2,
            redirector_slowstart=1,
            redirector_old_sessions=OLD_SESSIONS,
            **changes,
        )
        text = told.text(next(item for item in told.value("__redirector_files") if item.get("src") == "haproxy.cfg.j2"))
        text = readable_here(text, folder).replace("agent-inter 2s", "agent-inter 200ms")
        self.states = str(folder / "servers")
        self.mine: list[socket.socket] = []
        (folder / "haproxy.cfg").write_text(text)
        argv = ["haproxy", "-W", "-f", str(folder / "haproxy.cfg")]
        self.log = (folder / "log").open("w")
        self.haproxy = subprocess.Popen(argv, stdout=self.log, stderr=self.log)
        self.socket = Haproxy(str(folder / "admin.sock"))
        try:
            until(self.all_checked, "HAProxy checks no servers")
        except BaseException:
            self.close()
            raise

    def all_checked(self) -> bool:
        return all(m.checks > 1 for m in self.all.values()) and bool(self.states_of(self.first))

    def states_of(self, protocol: str = "smtp") -> dict[str, str]:
        """{server: status}, empty while HAProxy does not say."""
        try:
            return {s.name: s.status for s in self.socket.servers() if s.protocol == protocol}
        except Exception:  # noqa: BLE001  in the midst of a reload
            return {}

    def reload(self) -> None:
        """As its unit does; back when a new process serves."""
        assert redirect.main(["save"], self.socket, self.states) == 0
        before = self.loaded()
        self.haproxy.send_signal(signal.SIGUSR2)
        until(lambda: self.loaded() > before, "no reload")
        # Its own looks: a signal that comes before would be lost.
        asked = {name: mail.checks for name, mail in self.mail.items()}
        until(lambda: all(self.mail[name].checks > asked[name] + 1 for name in asked), "no new process")

    def loaded(self) -> int:
        return Path(self.log.name).read_text().count("Loading success")

    def share_of(self, name: str) -> int:
        return next(s.share for s in self.socket.servers() if s.name == name)

    def connect(self) -> tuple[str, socket.socket]:
        """Which server greets; empty when none does."""
        connection = socket.create_connection((FRONT, self.front), 5)
        self.mine.append(connection)
        greeting = connection.recv(100).decode().split()
        return (greeting[1] if greeting else ""), connection

    def who(self, times: int = 20) -> Counter[str]:
        found: Counter[str] = Counter()
        for _ in range(times):
            name, connection = self.connect()
            found[name] += 1
            with connection:
                connection.sendall(b"QUIT\r\n")
                connection.recv(100)
        return found

    def close(self) -> None:
        self.haproxy.send_signal(signal.SIGTERM)
        self.haproxy.wait(10)
        self.log.close()
        for connection in self.mine:
            connection.close()
        for mail in self.all.values():
            mail.close()

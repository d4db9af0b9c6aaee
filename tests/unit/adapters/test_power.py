"""The power switch against a real SSH server: only two certain answers are a proof."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import paramiko
import pytest
from cluster import free_port
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from holdfast.adapters.power import SshPowerSwitch
from holdfast.core.ports import Power, PowerSwitch, Unavailable
from ssh_switch import Answer, Switch, serve


def new_key() -> tuple[paramiko.PKey, str]:
    raw = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return paramiko.Ed25519Key.from_private_key(io.StringIO(raw.decode())), raw.decode()


HOST_KEY, _ = new_key()
CLIENT_KEY, CLIENT_TEXT = new_key()


def line(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {key.get_base64()} switch"


def rack(start: str = "on") -> Callable[[str], Answer]:
    """A switch that does as it is told, for every host."""
    power: dict[str, str] = {}

    def answer(command: str) -> Answer:
        verb, host = command.split()
        if verb in ("on", "off"):
            power[host] = verb
        return f"{host} {power.get(host, start)}\n", 0

    return answer


def switch(answer: Callable[[str], Answer], hang: threading.Event | None = None) -> Switch:
    return Switch(answer, HOST_KEY, CLIENT_KEY, hang=hang)


def client(port: int, key: str = CLIENT_TEXT, host_key: paramiko.PKey = HOST_KEY, user: str = "power") -> PowerSwitch:
    return SshPowerSwitch("lab-switch", "127.0.0.1", port, user, line(host_key), key, timeout=3.0)


def test_off_and_status() -> None:
    server = switch(rack())
    with serve(server) as port:
        assert client(port).status("mail1") is Power.ON
        said = client(port).off("mail1")
        assert client(port).status("mail1") is Power.OFF
    assert said == "off mail1: mail1 off"
    assert server.commands == ["status mail1", "off mail1", "status mail1"]


def test_on() -> None:
    server = switch(rack("off"))
    with serve(server) as port:
        assert client(port).on("mail1") == "mail1 on"  # type: ignore[attr-defined]
        assert client(port).status("mail1") is Power.ON
    with (
        serve(switch(lambda command: ("mail1 off\n", 0))) as port,
        pytest.raises(Unavailable, match="'mail1 off' to on"),
    ):
        client(port).on("mail1")  # type: ignore[attr-defined]


def test_key_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(CLIENT_TEXT)
    with serve(switch(rack())) as port:
        assert client(port, str(path)).status("mail1") is Power.ON


@pytest.mark.parametrize(
    "answer",
    [
        ("mail1 on\n", 0),
        ("mail1 off\n", 1),
        ("mail1 off\n", None),
        ("mail2 off\n", 0),
        ("mail1 off, I think\n", 0),
        ("off\n", 0),
        ("", 0),
        ("", 255),
        ("x" * 10_000, 0),
    ],
)
def test_anything_else_proves_nothing(answer: Answer) -> None:
    with serve(switch(lambda command: answer)) as port, pytest.raises(Unavailable, match="lab-switch"):
        client(port).off("mail1")


def test_no_answer_in_time() -> None:
    with serve(switch(rack(), threading.Event())) as port, pytest.raises(Unavailable, match="no answer"):
        client(port).off("mail1")


def test_other_host_key_gets_no_command() -> None:
    server = switch(rack())
    with serve(server) as port, pytest.raises(Unavailable, match="pinned"):
        client(port, host_key=new_key()[0]).off("mail1")
    assert server.commands == []


@pytest.mark.parametrize(("key", "user"), [(new_key()[1], "power"), (CLIENT_TEXT, "root")])
def test_refused_login(key: str, user: str) -> None:
    with serve(switch(rack())) as port, pytest.raises(Unavailable):
        client(port, key, user=user).off("mail1")


def test_nobody_listens() -> None:
    with pytest.raises(Unavailable, match="refused"):
        client(free_port()).off("mail1")


@pytest.mark.parametrize("host", ["mail1; reboot", "", "-x", "a b", "mail1\noff mail2"])
def test_a_host_is_one_word(host: str) -> None:
    server = switch(rack())
    with serve(server) as port, pytest.raises(Unavailable, match="no host name"):
        client(port).off(host)
    assert server.commands == []


@pytest.mark.parametrize("host_key", ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-ed25519 QUJD", "known AAAA"])
def test_a_host_key_that_is_none(host_key: str) -> None:
    with pytest.raises(ValueError, match="host key"):
        SshPowerSwitch("s", "127.0.0.1", 22, "power", host_key, CLIENT_TEXT)


@pytest.mark.parametrize("key", ["/nowhere/key", "-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense"])
def test_a_client_key_that_is_none(key: str) -> None:
    with pytest.raises(ValueError, match="client key"):
        SshPowerSwitch("s", "127.0.0.1", 22, "power", line(HOST_KEY), key)


def test_a_switch_that_accepts_and_says_nothing_is_given_up_in_its_time() -> None:
    """A half-dead one after a power event: what comes behind it in the plan must still find the run's lock alive."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        with pytest.raises(Unavailable, match="lab-switch"):
            client(silent.getsockname()[1]).off("mail1")
        assert time.monotonic() - begin < 1.5 * 3.0

"""HAProxy's socket: what it says of servers and how it is told; each question is a connection of its own."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from holdfast.adapters.haproxy import Haproxy, Server
from holdfast.core.ports import Unavailable
from holdfast.daemons import redirect

MX, IM = "mx.alpha.example", "mx2.alpha.example"
STAT = f"""# pxname,svname,qcur,scur,status,weight,act,bck,
smtp,{MX},0,7,UP,80,1,0,
smtp,{IM},0,0,DOWN (agent),100,0,1,
imaps,{MX},0,2,no check,100,1,0,

"""
STATE = "1\n# be_id be_name srv_id\n2 smtp 1\n"
Talk = Mapping[str, str]


@contextlib.contextmanager
def served(path: Path, answers: Talk) -> Iterator[list[str]]:
    """What was asked. HAProxy ends a connection behind its answer."""
    asked: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        command = connection.recv(1000).decode().removesuffix("\n")
                        asked.append(command)
                        connection.sendall(answers.get(command, "\n").encode())

        threading.Thread(target=serve, daemon=True).start()
        yield asked
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "admin.sock"


KNOWN = {"show stat -1 4 -1": STAT, "show servers state": STATE}


def test_what_it_knows_of_servers(path: Path) -> None:
    with served(path, KNOWN):
        found = Haproxy(str(path)).servers()
    assert found == [
        Server("smtp", MX, "UP", 80, 7, backup=False),
        Server("smtp", IM, "DOWN (agent)", 100, 0, backup=True),
        Server("imaps", MX, "no check", 100, 2, backup=False),
    ]


def test_a_drain_is_said_for_each_protocol_and_kept_for_the_next_start(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = tmp_path / "servers"
    with served(path, KNOWN) as asked:
        assert redirect.main(["drain", MX], Haproxy(str(path)), str(states)) == 0
    assert [a for a in asked if a.startswith("set")] == [
        f"set server smtp/{MX} state drain",
        f"set server imaps/{MX} state drain",
    ]
    assert asked.index("show servers state") > max(n for n, a in enumerate(asked) if a.startswith("set"))
    assert states.read_text() == STATE and list(tmp_path.glob(".servers.*")) == []
    assert capsys.readouterr().out.splitlines() == [
        f"smtp {MX}: UP, share 80 %, 7 connected",
        f"imaps {MX}: no check, share 100 %, 2 connected",
    ]


def test_ready_ends_it(path: Path, tmp_path: Path) -> None:
    with served(path, KNOWN) as asked:
        assert redirect.main(["ready", IM], Haproxy(str(path)), str(tmp_path / "servers")) == 0
    assert f"set server smtp/{IM} state ready" in asked


def test_status(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(path, KNOWN):
        assert redirect.main(["status"], Haproxy(str(path))) == 0
    assert capsys.readouterr().out.splitlines()[1] == (
        f"smtp {IM}: DOWN (agent), share 100 %, 0 connected (another site's)"
    )


def test_for_playbooks_it_says_its_addresses_too(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = STAT.replace("act,bck,", "act,bck,agent_status,").replace(",1,0,\n", ",1,0,L7OK,\n", 1)
    with served(path, {"show stat -1 4 -1": asked}):
        assert redirect.main(["status", "--json"], Haproxy(str(path))) == 0
    said = json.loads(capsys.readouterr().out)
    assert "127.0.0.1" in said["addresses"] and said["error"] == "" and said["unserved"] == []
    assert said["servers"][0] == {
        "protocol": "smtp",
        "name": MX,
        "status": "UP",
        "share": 80,
        "connected": 7,
        "backup": False,
        "agent": "L7OK",
    }
    assert said["servers"][1]["agent"] == ""


def test_for_playbooks_a_protocol_without_a_server_is_named(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(path, {"show stat -1 4 -1": STAT.replace(",UP,", ",DOWN,")}):
        assert redirect.main(["status", "--json"], Haproxy(str(path))) == 0
    assert json.loads(capsys.readouterr().out)["unserved"] == ["no server is left for smtp"]


def test_for_playbooks_a_haproxy_that_is_away_is_no_silence(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert redirect.main(["status", "--json"], Haproxy(str(path))) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["addresses"] and said["servers"] == [] and said["unserved"] == [said["error"]]
    assert "admin.sock: No such file" in said["error"]


@pytest.mark.parametrize(
    ("words", "answers", "status", "said"),
    [
        (["drain", "mx9.alpha.example"], KNOWN, 64, f"is no server here; known: {MX}, {IM}"),
        (["drain"], KNOWN, 64, "usage: holdfast-redirect status [--json] | drain IDENTITY"),
        ([], KNOWN, 64, "usage:"),
        (["drain", MX], {**KNOWN, f"set server smtp/{MX} state drain": "No such server.\n\n"}, 1, "No such server."),
        (["save"], {"show servers state": "Permission denied\n"}, 1, "show servers state: 'Permission denied"),
        (["status"], {"show stat -1 4 -1": "Unknown command\nmore\n"}, 1, "no such table"),
    ],
)
def test_whatever_goes_wrong_is_one_line(
    path: Path, words: list[str], answers: Talk, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    states = path.with_name("servers")
    states.write_text("before")
    with served(path, answers):
        assert redirect.main(words, Haproxy(str(path)), str(states)) == status
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1
    assert states.read_text() == "before"


def test_a_haproxy_that_is_away_or_silent(path: Path) -> None:
    with pytest.raises(Unavailable, match=r"admin\.sock: No such file"):
        Haproxy(str(path)).servers()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(Unavailable, match="timed out"):
            Haproxy(str(path), timeout=0.2).servers()

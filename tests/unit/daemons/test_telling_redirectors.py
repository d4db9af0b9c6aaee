"""holdfast-availability: what it takes from files, and what a redirector that asks gets (R2.5)."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from edges import MX, Lines
from holdfast.adapters import backlog, machine
from holdfast.adapters.command import CommandError
from holdfast.core.availability import Scale
from holdfast.daemons import availability, running
from holdfast.daemons.availability import Availability, Config, Listener
from holdfast.daemons.config import ConfigError

GONE = "down #does not run here\n"


def file(tmp_path: Path, **changes: Any) -> str:
    data = {
        "port": 10100,
        "identities": {MX.name: {"address": MX.address, "queue": str(tmp_path / "queue")}},
        "drain_file": str(tmp_path / "drain"),
        "marks": str(tmp_path / "running"),
        "leaving": str(tmp_path / "leaving"),
    }
    path = tmp_path / "availability.yml"
    path.write_text(yaml.safe_dump({**data, **changes}))
    return str(path)


class Host:
    """One on which the files say what a test has made of them."""

    def __init__(self, tmp_path: Path) -> None:
        self.settings: Config = availability.load(file(tmp_path))
        self.busy = 0.1
        self.log = Lines()
        self.mark = running.Mark(MX.name, self.settings.marks)
        self.asked: list[str] = []
        self.availability = Availability(self.settings, self.log, lambda: self.busy, self.in_hand)
        self.queue: int | None = 7

    def in_hand(self, queue: str) -> int | None:
        self.asked.append(queue)
        return self.queue

    def line(self, look: bool = True) -> str:
        if look:
            self.availability.look()
        return self.availability.line(MX.name)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_what_does_not_run_here_is_down_and_its_queue_is_left_alone(host: Host) -> None:
    assert host.line() == GONE and host.asked == []
    host.mark.write(1)
    assert host.line() == "up 100%\n" and host.asked == [host.settings.identities[MX.name].queue]
    host.mark.remove()
    assert host.line(look=False) == GONE, "at once: the agent takes the mark away before anything else"


def test_a_busy_host_and_a_queue_that_is_long_or_silent_get_less(host: Host) -> None:
    host.mark.write(1)
    host.busy = 2.35
    assert host.line() == "up 50%\n"
    host.busy, host.queue = 0.0, 2550
    assert host.line() == "up 50%\n"
    host.queue = None
    assert host.line() == "up 1%\n"


def test_a_store_that_does_not_answer_three_looks_gets_nothing_new_until_it_does(host: Host) -> None:
    host.mark.write(1)
    assert host.line() == "up 100%\n"
    host.queue = None
    assert [host.line() for _ in range(4)] == ["up 1%\n", "up 1%\n", "up 0%\n", "up 0%\n"]
    assert host.line(look=False) == "up 0%\n", "looks count and not questions"
    host.queue = 7
    assert host.line() == "up 100%\n"
    host.queue = None
    assert host.line() == "up 1%\n", "looks in a row"
    for _ in range(3):
        host.line()
    host.mark.remove()
    assert host.line() == GONE
    host.mark.write(2)
    assert host.line() == "up 1%\n", "it has come back, and its store may, too"


def test_a_drained_host_and_an_identity_that_is_leaving_get_nothing_new(host: Host) -> None:
    host.mark.write(1)
    host.settings.drain_file.write_text("a new disk\n")
    assert host.line() == "up 0%\n"
    host.settings.drain_file.unlink()
    host.settings.leaving.mkdir()
    (host.settings.leaving / MX.name).write_text("1\n")
    assert host.line() == "up 0%\n"
    (host.settings.leaving / MX.name).write_text("0\n")
    assert host.line() == "up 100%\n"


def test_a_change_is_told_once(host: Host) -> None:
    for _ in range(3):
        host.line()
    host.mark.write(1)
    for host.busy in (0.0, 3.0, 0.0):
        host.line()
    assert [fields["answer"] for fields in host.log.said("availability")] == ["down", "up"]


def ask(port: int) -> bytes:
    said = b""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        while octets := connection.recv(100):
            said += octets
    return said


def listening(addresses: Mapping[str, str], line: Callable[[str], str]) -> Listener:
    made = Listener(addresses, 0, line)
    made.start()
    return made


def test_who_asks_gets_one_line_and_the_end_of_the_connection() -> None:
    listener = listening({"one": "127.0.0.1", "two": "127.0.0.1"}, lambda name: f"up {len(name)}% {name}\n")
    for _ in range(3):
        assert [ask(listener.ports[name]) for name in ("one", "two")] == [b"up 3% one\n", b"up 3% two\n"]


def test_it_listens_before_the_address_is_here() -> None:
    listening({MX.name: "203.0.113.10"}, lambda name: GONE)


def test_who_breaks_off_keeps_nobody_from_asking() -> None:
    asked, broken = threading.Event(), threading.Event()

    def line(name: str) -> str:
        asked.set()
        assert broken.wait(10)
        return "up 100%\n"

    listener = listening({MX.name: "127.0.0.1"}, line)
    gone = socket.create_connection(("127.0.0.1", listener.ports[MX.name]), 5)
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert asked.wait(10)
    gone.close()  # by a reset, before it is answered
    broken.set()
    with socket.create_connection(("127.0.0.1", listener.ports[MX.name]), 5):  # one that reads nothing
        assert ask(listener.ports[MX.name]) == b"up 100%\n"
    assert listener.is_alive()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"load": [4, 0.7]}, "load is [4, 0.7]: give two numbers"),
        ({"queue": [1]}, "queue is [1]: give two numbers"),
        ({"queue": "many"}, "queue is 'many': give two numbers"),
        ({"port": 0}, "port is 0: give a number, 1 or more"),
        ({"ports": 1}, "ports is unknown"),
        ({"identities": {MX.name: {"address": MX.address}}}, f"identities.{MX.name}.queue is missing"),
    ],
)
def test_a_wrong_file(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as why:
        availability.load(file(tmp_path, **changes))
    assert said in str(why.value) and "\n" not in str(why.value)


def test_thresholds_are_the_operators(tmp_path: Path) -> None:
    made = availability.load(file(tmp_path, load=[1, 8], queue=[10, 20]))
    assert (made.limits.load, made.limits.queue) == (Scale(1.0, 8.0), Scale(10.0, 20.0))


def test_letters_in_hand_are_counted_by_name(tmp_path: Path) -> None:
    for folder, count in (("incoming", 2), ("active", 3), ("deferred", 5)):
        (tmp_path / folder).mkdir()
        for n in range(count):
            (tmp_path / folder / f"4f{n}").write_text("")
    assert backlog.in_hand(str(tmp_path)) == 5


def test_a_store_that_does_not_answer_is_no_empty_queue(tmp_path: Path) -> None:
    assert backlog.in_hand(str(tmp_path / "none")) is None

    def late(argv: object, *, timeout: float, stdin: str | None = None) -> str:
        raise CommandError("no end after 5 s")

    assert backlog.in_hand(str(tmp_path), late) is None


def test_the_store_itself_is_asked_and_not_what_is_remembered_of_it(tmp_path: Path) -> None:
    """find(1) may be answered by the NFS client for a minute; the server was asked by statfs(2) alone."""
    asked: list[str] = []

    def run(argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        asked.append(argv[0])
        if argv[0] == "stat":
            raise CommandError("no end after 5 s")
        return "..."

    assert backlog.in_hand(str(tmp_path), run) is None
    assert asked == ["stat"]


def test_load_is_for_each_processor(tmp_path: Path) -> None:
    (tmp_path / "loadavg").write_text("6.00 3.10 1.20 2/345 6789\n")
    assert machine.load(tmp_path) == 6.0 / len(os.sched_getaffinity(0))

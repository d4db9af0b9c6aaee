"""The loop around every daemon, as systemd sees it: run as programs of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = """
import sys, time
from holdfast.daemons import service
def tick():
    print("tick", flush=True)
    {tick}
service.run(tick, {interval}, lambda: print("closed", flush=True), patience={patience})
"""

WOKEN = """
import threading, time
from holdfast.daemons import service
wake = threading.Event()
def tick():
    print("tick", time.monotonic(), flush=True)
    threading.Timer(0.2, wake.set).start()
service.run(tick, 30.0, wake=wake)
"""


class Supervisor:
    """What systemd is for a daemon: a socket for its words and a signal for its end."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(10)
        self.child: subprocess.Popen[str] | None = None

    def start(self, tick: str = "pass", interval: float = 0.05, patience: float = 60.0, watchdog: float = 0.3) -> None:
        env = {
            **os.environ,
            "NOTIFY_SOCKET": self.path,
            "WATCHDOG_USEC": str(int(watchdog * 1_000_000)),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        program = PROGRAM.format(tick=tick, interval=interval, patience=patience)
        self.child = subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, text=True)

    def hear(self) -> str:
        return self.socket.recv(100).decode()

    def count(self, seconds: float) -> int:
        """Signs of life."""
        end, found = time.monotonic() + seconds, 0
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                found += self.hear() == "WATCHDOG=1"
            except TimeoutError:
                break
        self.socket.settimeout(10)
        return found

    def end(self) -> tuple[int, str]:
        assert self.child is not None
        self.child.send_signal(signal.SIGTERM)
        out, _ = self.child.communicate(timeout=10)
        return self.child.returncode, out


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path)
    yield made
    made.socket.close()
    if made.child is not None:
        made.child.kill()
        made.child.communicate()


def test_says_that_it_is_ready_alive_and_stopping(systemd: Supervisor) -> None:
    systemd.start()
    assert systemd.hear() == "READY=1"
    assert systemd.hear() == "WATCHDOG=1"
    assert systemd.count(1.0) >= 3
    status, out = systemd.end()
    assert status == 0
    assert out.count("tick") > 3
    assert out.endswith("closed\n")
    while (said := systemd.hear()) == "WATCHDOG=1":
        pass
    assert said == "STOPPING=1"


def test_a_long_tick_is_no_hang(systemd: Supervisor) -> None:
    systemd.start(tick="time.sleep(2)")
    assert systemd.hear() == "READY=1"
    assert systemd.count(1.5) >= 5


def test_a_tick_that_does_not_end_is_one(systemd: Supervisor) -> None:
    systemd.start(tick="time.sleep(60)", patience=0.5)
    assert systemd.hear() == "READY=1"
    systemd.count(1.0)
    assert systemd.count(1.0) == 0


def test_an_exception_ends_it(systemd: Supervisor) -> None:
    systemd.start(tick="raise SystemExit(3)")
    assert systemd.child is not None
    out, _ = systemd.child.communicate(timeout=10)
    assert systemd.child.returncode == 3
    assert out.endswith("closed\n")


def test_runs_without_systemd(tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if k not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)
    program = PROGRAM.format(tick="raise SystemExit(0)", interval=1, patience=1)
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_is_woken_before_its_interval_is_over() -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen([sys.executable, "-c", WOKEN], env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        times = [float(child.stdout.readline().split()[1]) for _ in range(4)]
        assert times[-1] - times[0] < 10, "three more ticks of 30 s each"
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=10) == 0, "and it ends at once"
    finally:
        child.kill()
        child.communicate()

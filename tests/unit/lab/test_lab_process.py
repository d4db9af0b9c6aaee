"""Finding and ending processes by their session, and being interrupted: with real processes."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import interrupt
from lab.cache import obtain
from lab.errors import Interrupted
from lab.process import Session


@pytest.fixture
def session() -> Iterator[Session]:
    """A leader with two children, the session of which must be found whole."""
    script = "sleep 60 & sleep 60 & echo ready; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        made = Session.of(child.pid)
        yield made
        made.kill()


def test_all_members_are_found_leader_first(session: Session) -> None:
    assert len(session.members()) == 3
    assert session.members()[0].pid == session.leader


def test_kill_returns_when_nobody_is_left(session: Session) -> None:
    session.kill()
    assert session.members() == []
    assert session.leader_state() is None


def test_orphans_of_a_dead_leader_belong_to_the_session(session: Session) -> None:
    os.kill(session.leader, signal.SIGKILL)
    os.waitpid(session.leader, 0)
    assert session.leader_state() is None
    assert len(session.members()) == 2
    session.kill()
    assert session.members() == []


def test_a_reused_process_number_is_a_stranger(session: Session) -> None:
    earlier = dataclasses.replace(session, started=session.started - 1)
    assert earlier.members() == []
    assert dataclasses.replace(session, boot="another boot").members() == []
    earlier.kill()
    assert len(session.members()) == 3


def test_a_stop_shows_in_the_state(session: Session) -> None:
    session.signal(signal.SIGSTOP)
    deadline = time.monotonic() + 5
    while session.leader_state() != "T":
        assert time.monotonic() < deadline
    session.signal(signal.SIGCONT)


@pytest.fixture
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    interrupt.install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals")
def test_an_interruption_waits_for_the_end_of_a_step() -> None:
    done = []

    def step() -> None:
        with interrupt.held():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("the rest of the step")

    with pytest.raises(Interrupted):
        step()
    assert done


@pytest.mark.usefixtures("_signals")
def test_an_interruption_comes_at_once_otherwise() -> None:
    with pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)


def test_an_interrupted_build_leaves_no_product_and_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def build(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise Interrupted(signal.SIGTERM)

    with pytest.raises(Interrupted):
        obtain("thing", "abc", build, free_mb=1)
    assert [path.name for path in (tmp_path / "holdfast").iterdir()] == ["thing.lock"]


def test_a_product_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    built = []

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "content").write_text("x")

    first, was_built = obtain("thing", "abc", build, free_mb=1)
    again, was_built_again = obtain("thing", "abc", build, free_mb=1)
    assert (was_built, was_built_again, len(built)) == (True, False, 1)
    assert first == again
    assert (again / "content").read_text() == "x"

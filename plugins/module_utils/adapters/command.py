"""Running other programs: always with a time limit, and their failure is one line that says what they said."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Protocol

from ..core.ports import Unavailable

SAID = 400  # characters of a failed program's words that go into an error


class CommandError(Unavailable):
    """A program failed, did not end in time or is not there."""


class Late(CommandError):
    """A program did not end in time."""


@dataclass(frozen=True)
class Done:
    """A program that has ended."""

    status: int
    stdout: str
    stderr: str


class Run(Protocol):
    """How adapters start programs; tests bring their own."""

    def __call__(self, argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        """Standard output of a program that ended with status 0. Raises CommandError."""
        ...


class Begin(Protocol):
    """How adapters read what a program says at first."""

    def __call__(self, argv: Sequence[str], *, timeout: float) -> str: ...


class Follow(Protocol):
    """How adapters read what a program goes on to say."""

    def __call__(self, argv: Sequence[str], *, timeout: float) -> AbstractContextManager[Iterator[str]]: ...


def run(argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
    """Run to the end, at most `timeout` seconds; standard output. Raises CommandError with the program's words."""
    return _well(argv, attempt(argv, timeout=timeout, stdin=stdin))


def attempt(argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> Done:
    """Like `run` for programs whose exit status is an answer. Raises CommandError when there is none.

    The program gets a process group of its own, so that a time-out leaves nothing of it behind.
    """
    child = _begin(argv, subprocess.DEVNULL if stdin is None else subprocess.PIPE)
    try:
        out, err = child.communicate(stdin, timeout)
    except subprocess.TimeoutExpired:
        _kill(child)
        raise Late(f"{' '.join(argv)}: no end after {timeout:g} s") from None
    except BaseException:
        _kill(child)
        raise
    return Done(child.returncode, out, err)


def beginning(argv: Sequence[str], *, timeout: float) -> str:
    """The whole lines that a program has said within `timeout` seconds; then it is killed, if it has not ended.

    Raises CommandError when it ended by itself with another status than 0.
    """
    child = _begin(argv, subprocess.DEVNULL)
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as late:
        _kill(child)
        text = (late.stdout or b"").decode(errors="replace")  # in bytes, whatever the mode
        return text[: text.rfind("\n") + 1]
    except BaseException:
        _kill(child)
        raise
    return _well(argv, Done(child.returncode, out, err))


@contextlib.contextmanager
def follow(argv: Sequence[str], *, timeout: float) -> Iterator[Iterator[str]]:
    """The lines of a program that does not end by itself, as they come, for at most `timeout` seconds.

    It is killed when the block is left. Raises CommandError when it can't be started.
    """
    try:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
    except OSError as why:
        raise CommandError(f"{argv[0]}: {why.strerror}") from why
    assert child.stdout is not None
    try:
        yield _lines(child.stdout, time.monotonic() + timeout)
    finally:
        child.stdout.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _lines(stream: IO[bytes], deadline: float) -> Iterator[str]:
    rest = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([stream], [], [], left)[0]:
            return
        data = os.read(stream.fileno(), 65536)
        if not data:
            return
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")


def words(text: str) -> str:
    """What a program said, in one line of bounded length; the end of it, where errors stand."""
    line = " ".join(text.split())
    return line if len(line) <= SAID else f"…{line[-SAID:]}"


def _well(argv: Sequence[str], done: Done) -> str:
    if done.status != 0:
        raise CommandError(f"{' '.join(argv)}: status {done.status}: {words(done.stderr or done.stdout)}")
    return done.stdout


def _begin(argv: Sequence[str], stdin: int) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            process_group=0,
        )
    except OSError as why:
        raise CommandError(f"{argv[0]}: {why.strerror}") from why


def _kill(child: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    # A program that hangs in the kernel (NFS) can't be waited for; init reaps it.
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.communicate(timeout=1.0)

"""What fence_virsh hears from the lab's power switch; the agent itself: tests/full/outages/test_fence_agent.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from lab.virsh import PROMPT, asked_for, reply, session

SHELL = r'/bin/bash -c "PS1=\\[EXPECT\\]#\  /bin/bash --noprofile --norc"'


def switch(line: str = "mail1 off", status: int = 0) -> tuple[Callable[[str], tuple[str, int]], list[str]]:
    asked: list[str] = []

    def answer(command: str) -> tuple[str, int]:
        asked.append(command)
        return line, status

    return answer, asked


def talk(pieces: Iterable[bytes], line: str = "mail1 off", status: int = 0) -> tuple[str, list[str]]:
    coming, sent = iter(pieces), bytearray()
    answer, asked = switch(line, status)
    for _ in session(lambda _: next(coming, b""), sent.extend, answer):
        pass
    return sent.decode(), asked


def test_its_shell_is_told_from_a_command_of_the_switch() -> None:
    assert asked_for(SHELL) and not asked_for("off mail1")


@pytest.mark.parametrize(
    ("line", "said", "status", "asked", "want"),
    [
        ("virsh domstate mail1", "mail1 on", 0, "status mail1", "running"),
        ("virsh domstate mail1", "mail1 off", 0, "status mail1", "shut off"),
        ("virsh domstate nix", "error: unknown host", 2, "status nix", "error: failed to get domain 'nix'"),
        ("virsh destroy mail1", "mail1 off", 0, "off mail1", "Domain 'mail1' destroyed"),
        (
            "virsh destroy mail1",
            "mail1 refused",
            1,
            "off mail1",
            "error: Failed to destroy domain 'mail1': mail1",
        ),
        ("virsh start mail1", "mail1 on", 0, "on mail1", "Domain 'mail1' started"),
    ],
)
def test_virsh_words(line: str, said: str, status: int, asked: str, want: str) -> None:
    answer, heard = switch(said, status)
    assert reply(line, answer).startswith(want) and heard == [asked]


@pytest.mark.parametrize("line", ["virsh undefine mail1", "virsh destroy", "destroy mail1", "virsh destroy a b"])
def test_anything_else_is_an_error_and_does_nothing(line: str) -> None:
    answer, heard = switch()
    assert reply(line, answer).startswith("error: unknown command") and heard == []


def test_a_session_comes_in_pieces_and_ends_with_quit() -> None:
    said, asked = talk([b"virsh dom", b"state mail1\r", b"\nvirsh destroy mail1\nquit\nvirsh start mail1\n"])
    assert asked == ["status mail1", "off mail1"]
    assert said == f"{PROMPT}shut off\r\n{PROMPT}Domain 'mail1' destroyed\r\n{PROMPT}"


def test_a_line_that_was_not_ended_is_not_obeyed() -> None:
    assert talk([b"virsh destroy mail1"])[1] == []

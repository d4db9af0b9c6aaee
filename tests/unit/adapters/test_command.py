"""Programs that say much, or nothing, and how long they are listened to."""

from __future__ import annotations

import time

import pytest
from holdfast.adapters import command
from holdfast.adapters.command import CommandError


def test_the_beginning_of_what_never_ends_is_whole_lines() -> None:
    start = time.monotonic()
    said = command.beginning(["sh", "-c", "echo one; echo two; printf thr; exec sleep 60"], timeout=0.5)
    assert said == "one\ntwo\n" and time.monotonic() - start < 10


def test_what_ends_is_told_whole_and_what_says_nothing_is_nothing() -> None:
    assert command.beginning(["printf", "one\ntwo"], timeout=10) == "one\ntwo"
    assert command.beginning(["sleep", "60"], timeout=0.2) == ""


def test_a_failure_is_no_short_list() -> None:
    with pytest.raises(CommandError, match="status 3: no queue"):
        command.beginning(["sh", "-c", "echo one; echo no queue >&2; exit 3"], timeout=10)
    with pytest.raises(CommandError, match="nowhere"):
        command.beginning(["/nowhere"], timeout=1)

"""What keeps a host from running an identity, and what asking for it costs the one who also keeps the lease."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import pytest
from edges import MX
from holdfast.core.model import Configuration
from holdfast.daemons.instance import Place
from holdfast.daemons.readiness import ANSWER_HOLDS, Checks, Limits, configuration
from one_host import place


class Stores:
    """Each question takes as long as a silent store makes one wait."""

    def __init__(self) -> None:
        self.time, self.asked, self.silent = 0.0, [], {"10.1.3.21"}  # type: ignore[var-annotated]

    def connect(self, store: str) -> None:
        self.asked.append(store)
        if store in self.silent:
            self.time += 1.0
            raise TimeoutError("timed out")

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
def stores() -> Stores:
    return Stores()


@pytest.fixture
def checks(stores: Stores) -> Checks:
    run: Any = lambda argv, timeout: ""  # noqa: E731
    return Checks(Limits(0, 0, "/nowhere"), run, stores.connect, stores.monotonic)


def many(folder: Path, count: int) -> list[Place]:
    (folder / "main.cf").write_text("")
    made = dataclasses.replace(place(MX), postfix_dir=str(folder), mailboxes=None)
    return [dataclasses.replace(made, source=f"10.1.3.21:/srv/store/mx{n}") for n in range(count)]


def test_a_silent_store_is_asked_once_for_all_of_its_identities(checks: Checks, stores: Stores, tmp_path: Path) -> None:
    said = [checks.reasons(one) for one in many(tmp_path, 20)]
    assert set(said) == {("store 10.1.3.21 does not answer: timed out",)}
    assert stores.time <= 1.0 and stores.asked == ["10.1.3.21"], "the lease is kept by the one who waits"


def test_its_answer_holds_for_a_moment_only(checks: Checks, stores: Stores, tmp_path: Path) -> None:
    one = many(tmp_path, 1)[0]
    assert checks.reasons(one)
    stores.silent.clear()
    stores.time += ANSWER_HOLDS
    assert checks.reasons(one) == ()


class Kernel:
    """Whose clock is kept right by somebody only where it is told so."""

    def __init__(self) -> None:
        self.synchronised, self.asked = False, 0

    def ask(self) -> bool:
        self.asked += 1
        return self.synchronised


def test_a_clock_that_nobody_has_set_yet_keeps_it_from_being_ready(stores: Stores, tmp_path: Path) -> None:
    """What it accepted would be dated wrongly, and have expired when the clock steps."""
    kernel, one = Kernel(), many(tmp_path, 1)[0]
    stores.silent.clear()
    run: Any = lambda argv, timeout: ""  # noqa: E731
    checks = Checks(Limits(0, 0, "/nowhere", needs_time=True), run, stores.connect, stores.monotonic, kernel.ask)
    assert checks.reasons(one) == ("its clock has not been synchronised (chronyc tracking)",)
    kernel.synchronised = True
    assert checks.reasons(one) == ()
    kernel.synchronised = False
    assert checks.reasons(one) == (), "time servers that are away later let it drift by seconds a day at most"


def test_where_no_time_is_asked_for_the_kernel_is_not_asked(stores: Stores, tmp_path: Path) -> None:
    kernel, one = Kernel(), many(tmp_path, 1)[0]
    stores.silent.clear()
    run: Any = lambda argv, timeout: ""  # noqa: E731
    assert Checks(Limits(0, 0, "/nowhere"), run, stores.connect, stores.monotonic, kernel.ask).reasons(one) == ()
    assert kernel.asked == 0


def test_a_host_without_memory_or_room_is_passed_over(stores: Stores, tmp_path: Path) -> None:
    """With too little of either it would take over, answer too late, and be fenced itself."""
    one, run = many(tmp_path, 1)[0], lambda argv, timeout: ""
    stores.silent.clear()
    memory, disk = Checks(Limits(1 << 40, 1 << 40, "/nowhere"), run, stores.connect, stores.monotonic).reasons(one)
    assert re.fullmatch(rf"[1-9]\d* MB of memory left, {1 << 40} needed", memory)
    assert re.fullmatch(rf"[1-9]\d* MB left under /var, {1 << 40} needed", disk)


def test_what_was_deployed_and_when(tmp_path: Path) -> None:
    file = tmp_path / "configuration"
    assert configuration(str(file)) is None
    file.write_text("5d41\n")
    os.utime(file, (7.0, 1234.5))
    assert configuration(str(file)) == Configuration("5d41", 1234.5)

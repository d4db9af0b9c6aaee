"""Every planted fault is caught, and none of them is planted nowhere."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from tests.simulation.mutant import Mutant
from tests.simulation.mutants import MUTANTS, Caught, NotFound, catch, planted, rewrite


@pytest.fixture(scope="session")
def catching(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Caught | None]]]:
    """All of them, as many at once as there are processors, one in a process at a time: none may meet another."""
    played = {item.name for item in request.session.items}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        yield {m.name: pool.submit(catch, m) for m in MUTANTS if f"test_caught[{m.name}]" in played}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_caught(mutant: Mutant, catching: dict[str, Future[Caught | None]]) -> None:
    caught = catching[mutant.name].result()
    assert caught is not None, f"{mutant.name}: nothing notices that the rule is gone: {mutant.rule}"
    print(f"{mutant.name}: {caught}")


def test_a_text_that_is_not_there_is_an_error() -> None:
    gone = dataclasses.replace(MUTANTS[0], changes=(("no such text", ""),))
    with pytest.raises(NotFound, match="no such text"):
        rewrite(gone)


def test_planted_everywhere_and_taken_out_again() -> None:
    mutant = next(m for m in MUTANTS if m.name == "threshold_off_by_one")
    threshold = importlib.import_module("holdfast.core.threshold")
    watching = importlib.import_module("holdfast.core.watching")
    before = watching.passed
    with planted(mutant):
        assert watching.passed is threshold.passed is not before
    assert watching.passed is threshold.passed is before

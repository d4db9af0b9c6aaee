"""Every planted fault is caught, and none of them is planted nowhere."""

from __future__ import annotations

import dataclasses
import importlib
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.simulation.mutant import Mutant
from tests.simulation.mutants import MUTANTS, Caught, NotFound, catch, planted, rewrite


@pytest.fixture(scope="session")
def by_tests(request: pytest.FixtureRequest) -> dict[str, Caught | None]:
    """Those that a unit test catches: a process each, so as many at once as there are processors."""
    played = {item.name for item in request.session.items}
    mutants = [m for m in MUTANTS if m.test and f"test_caught[{m.name}]" in played]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip((m.name for m in mutants), pool.map(catch, mutants), strict=True))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_caught(mutant: Mutant, by_tests: dict[str, Caught | None]) -> None:
    caught = by_tests[mutant.name] if mutant.test else catch(mutant)
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

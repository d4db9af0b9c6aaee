"""Every planted fault is caught, and none of them is planted nowhere."""

from __future__ import annotations

import dataclasses
import importlib

import pytest

from tests.simulation.mutant import Mutant
from tests.simulation.mutants import MUTANTS, NotFound, catch, planted, rewrite


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_caught(mutant: Mutant) -> None:
    caught = catch(mutant)
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

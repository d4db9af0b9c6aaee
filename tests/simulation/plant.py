"""A plugin of pytest: plants the mutant that HOLDFAST_MUTANT names before any test is read."""

from __future__ import annotations

import contextlib
import os

from .mutants import MUTANTS, planted

KEPT = contextlib.ExitStack()  # until the end of the process


def pytest_configure() -> None:
    name = os.environ["HOLDFAST_MUTANT"]
    KEPT.enter_context(planted(next(m for m in MUTANTS if m.name == name)))

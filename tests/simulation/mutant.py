"""What a planted fault is (mutants.py plants it, and says what the texts must fulfil)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """`function` of `module` with every `old` text turned into `new`. `rule` is what it takes away.

    `test`: the unit test that catches it; without one the simulation must, within SEEDS, the `hint` first.
    """

    name: str
    rule: str
    module: str
    function: str
    changes: tuple[tuple[str, str], ...]
    test: str = ""
    hint: int | None = None
    pair: bool = False  # played by a store of two members (pair_scenario.py)

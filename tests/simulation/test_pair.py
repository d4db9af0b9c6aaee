"""A few seeds of pairs of stores, the same ones every time, and what they must have met together."""

from __future__ import annotations

from collections import Counter

from tests.simulation.pair_scenario import PairScenario
from tests.simulation.report import short

SEEDS = range(1, 31)
MET = ("fence_peer", "insync", "fence_ordered", "takeover_done", "takeover_held", "stood_still", "coordinator_reached")


def test_pairs_hold() -> None:
    met: Counter[str] = Counter()
    for seed in SEEDS:
        outcome = PairScenario(seed).run()
        assert outcome.violation is None, f"p{seed}: {outcome.violation}\n" + "\n".join(short(outcome))
        met.update({what for _, _, what, _ in outcome.events})
    assert [what for what in MET if not met[what]] == [], "seeds that meet nothing prove nothing"

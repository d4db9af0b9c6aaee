"""Attempts add up to a threshold as R1.4 to R1.6 say."""

from __future__ import annotations

import pytest
from holdfast.core.model import Attempt, Method, Result
from holdfast.core.threshold import Evidence, Threshold, observe, passed, verdict
from hypothesis import given
from hypothesis import strategies as st

INTERVAL = 30.0
results = st.lists(st.sampled_from(list(Result)), max_size=60)


def attempt(result: Result, start: float = 0.0, method: Method = Method.PROBE, route: str = "internet") -> Attempt:
    return Attempt(method, route, result, start, start + 1)


def after(sequence: list[Result], reset_after: int = 2) -> Evidence:
    evidence = Evidence(1)
    for n, result in enumerate(sequence):
        evidence = observe(evidence, [attempt(result, n * INTERVAL)], reset_after)
    return evidence


def test_fourth_down_attempt_passes_the_default() -> None:
    limit = Threshold(4, 120)
    assert passed(after([Result.DOWN] * 3), limit, 61.0) is None
    assert passed(after([Result.DOWN] * 4), limit, 91.0) == "4 of 4 attempts down"


def test_seconds_count_from_the_start_of_the_first_down_attempt() -> None:
    limit = Threshold(None, 120)
    evidence = after([Result.OK, Result.OK, Result.DOWN])
    assert evidence.first_down == 60.0
    assert passed(evidence, limit, 179.9) is None
    assert passed(evidence, limit, 180.0) == "down for 120 of 120 s"


def test_refused_never_counts_and_never_clears() -> None:
    evidence = after([Result.DOWN, Result.REFUSED, Result.DOWN, Result.REFUSED])
    assert (evidence.downs, evidence.first_down) == (2, 0.0)
    assert passed(evidence, Threshold(1, 1), 10_000.0) is None, "the last word was a live server's"


def test_one_success_does_not_clear_a_flapping_server() -> None:
    flapping = after([Result.DOWN, Result.OK, Result.DOWN, Result.OK, Result.DOWN, Result.DOWN])
    assert flapping.downs == 4
    assert after([Result.DOWN, Result.OK, Result.OK, Result.DOWN]).downs == 1


def over_two(internet: list[Result], isolated: list[Result], reset_after: int = 2) -> Evidence:
    """Rounds that alternate between two routes."""
    evidence = Evidence(1)
    for n, (one, other) in enumerate(zip(internet, isolated, strict=True)):
        evidence = observe(evidence, [attempt(one, 2 * n * INTERVAL)], reset_after)
        evidence = observe(evidence, [attempt(other, (2 * n + 1) * INTERVAL, route="isolated")], reset_after)
    return evidence


def test_one_dead_route_adds_up_to_nothing() -> None:
    down, ok = Result.DOWN, Result.OK
    for lives in (ok, Result.REFUSED):
        evidence = over_two([down] * 10, [lives] * 10)
        assert (evidence.downs, evidence.first_down) == (0, None)
    # The outage begins where the other route fails, too, not where the dead one did.
    evidence = over_two([down] * 5, [ok, ok, ok, down, down])
    assert (evidence.downs, evidence.first_down) == (4, 6 * INTERVAL)
    # After an outage that one route does not come back from.
    assert over_two([down] * 5, [down, down, ok, ok, ok]).downs == 0


def test_a_delivery_that_took_another_route_speaks_of_that_one() -> None:
    """Postfix's resolver sends a second attempt within half a minute over the route of the first."""

    def hurried(internet: Result) -> Evidence:
        evidence = observe(Evidence(1), [attempt(internet)], 2)
        for n in range(10):
            table = attempt(Result.OK, n, Method.TOPOLOGY)
            letter = attempt(Result.DOWN, n, Method.DELIVERY, "isolated")
            evidence = observe(evidence, [table, letter, attempt(internet, n)], 2)
        return evidence

    lives = hurried(Result.OK)
    assert lives.words == {"internet": Result.OK, "isolated": Result.DOWN}
    assert (lives.downs, lives.goods, dict(lives.failing)) == (0, 0, {"isolated": 0})
    refuses = hurried(Result.REFUSED)
    assert refuses.downs == 0 and refuses.verdict is Result.REFUSED
    gone = hurried(Result.DOWN)
    assert (gone.downs, gone.first_down) == (11, 0) and passed(gone, Threshold(4, None), 0.0) is not None
    # Nobody spoke over the route that was asked for: its table is no word about the server.
    table, letter = attempt(Result.OK, method=Method.TOPOLOGY), attempt(Result.DOWN, 0, Method.DELIVERY, "isolated")
    alone = observe(Evidence(1), [table, letter], 2)
    assert (alone.downs, dict(alone.words)) == (1, {"isolated": Result.DOWN})


def test_a_server_that_flaps_on_both_routes_still_reaches_the_threshold() -> None:
    down, ok = Result.DOWN, Result.OK
    flapping = over_two([down, ok, down], [down, down, down])
    assert flapping.downs == 5 and passed(flapping, Threshold(4, None), 0.0) is not None


@pytest.mark.parametrize("word", [Result.OK, Result.REFUSED])
def test_not_passed_while_the_last_word_over_another_route_is_good(word: Result) -> None:
    """A blip over one route, and a dead other one."""
    evidence = over_two([Result.DOWN, word], [Result.DOWN, Result.DOWN])
    assert evidence.downs == 3
    assert passed(evidence, Threshold(3, None), 0.0) is None


@pytest.mark.parametrize(("attempts", "seconds"), [(None, None), (0, 10), (2, 0)])
def test_impossible_thresholds_are_refused(attempts: int | None, seconds: float | None) -> None:
    with pytest.raises(ValueError, match="threshold_"):
        Threshold(attempts, seconds)


def test_who_spoke_to_the_server_outweighs_the_routing_table() -> None:
    topology_down = attempt(Result.DOWN, method=Method.TOPOLOGY)
    assert verdict([topology_down, attempt(Result.OK)]) is Result.OK
    assert verdict([attempt(Result.OK, method=Method.TOPOLOGY), attempt(Result.DOWN)]) is Result.DOWN
    assert verdict([topology_down]) is Result.DOWN
    assert verdict([attempt(Result.REFUSED), attempt(Result.DOWN)]) is Result.REFUSED
    assert verdict([]) is None


@given(results, st.integers(1, 4), st.integers(1, 6))
def test_never_passed_without_enough_downs(sequence: list[Result], reset_after: int, limit: int) -> None:
    evidence = after(sequence, reset_after)
    if passed(evidence, Threshold(limit, None), 1e9) is not None:
        assert sequence.count(Result.DOWN) >= limit
        assert sequence[-1] is Result.DOWN


@given(results, st.integers(1, 4))
def test_enough_good_rounds_in_a_row_forget_everything(sequence: list[Result], reset_after: int) -> None:
    evidence = after([*sequence, *[Result.OK] * reset_after], reset_after)
    assert (evidence.downs, evidence.first_down) == (0, None)


@given(results)
def test_evidence_survives_being_written_and_read(sequence: list[Result]) -> None:
    evidence = after(sequence)
    assert Evidence.from_json(evidence.to_json()) == evidence
    assert len(evidence.attempts) <= 1, "each relay reads it every few seconds: older ones are in the journal"


@given(results, st.integers(2, 10))
def test_the_limit_reached_first_counts(sequence: list[Result], limit: int) -> None:
    evidence = after(sequence)
    now = len(sequence) * INTERVAL
    both = passed(evidence, Threshold(limit, 100), now)
    either = passed(evidence, Threshold(limit, None), now) or passed(evidence, Threshold(None, 100), now)
    assert (both is None) == (either is None)

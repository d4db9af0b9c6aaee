"""What redirectors are told: more load never gives more, and whoever is to go gets nothing new (R2.5)."""

from __future__ import annotations

import dataclasses
import re

import pytest
from holdfast.core.availability import LEAST, MOST, SILENT, Answer, Availability, Limits, Scale, Seen, decide
from hypothesis import given
from hypothesis import strategies as st

IDLE = Seen(running=True, leaving=False, drained=False, load=0.1, queue=3)
LIMITS = Limits(load=Scale(1.0, 5.0), queue=Scale(100, 1100))

loads = st.floats(0, 1e6)
queues = st.integers(0, 10**9)
scales = st.tuples(st.floats(0, 1e4), st.floats(1e-3, 1e4)).map(lambda s: Scale(s[0], s[0] + s[1]))
limits = st.builds(Limits, load=scales, queue=scales)
seen = st.builds(Seen, st.booleans(), st.booleans(), st.booleans(), loads, st.none() | queues, st.integers(0, 9))


@given(limits, loads, loads, queues, queues)
def test_more_load_never_gives_more(limits: Limits, load: float, more: float, queue: int, longer: int) -> None:
    one = dataclasses.replace(IDLE, load=min(load, more), queue=min(queue, longer))
    other = dataclasses.replace(IDLE, load=max(load, more), queue=max(queue, longer))
    assert decide(other, limits).weight <= decide(one, limits).weight


@given(seen, limits)
def test_what_is_up_has_a_share_and_nothing_else_has_one(seen: Seen, limits: Limits) -> None:
    found = decide(seen, limits)
    assert LEAST <= found.weight <= MOST if found.answer is Answer.UP else found.weight == 0
    assert (found.reason == "") is (found.weight == MOST)


@given(seen, limits)
def test_who_is_to_go_gets_nothing_new_however_idle(seen: Seen, limits: Limits) -> None:
    found = decide(seen, limits).answer
    if seen.running:
        assert (found is Answer.DRAIN) is (seen.leaving or seen.drained or seen.silent >= SILENT)
    else:
        assert found is Answer.DOWN


@given(seen, limits)
def test_each_answer_is_one_line_that_haproxy_reads(seen: Seen, limits: Limits) -> None:
    assert re.fullmatch(r"up \d{1,3}%\n|down #[^\r\n]+\n", decide(seen, limits).line())


@pytest.mark.parametrize(
    ("load", "queue", "said"),
    [
        (1.0, 100, Availability(Answer.UP, 100)),
        (3.0, 0, Availability(Answer.UP, 50, "load 3.00 for each processor")),
        (0.0, 600, Availability(Answer.UP, 50, "600 letters in hand")),
        (2.0, 600, Availability(Answer.UP, 50, "600 letters in hand")),
        (9.0, 0, Availability(Answer.UP, 1, "load 9.00 for each processor")),
        (0.0, None, Availability(Answer.UP, 1, "its queue cannot be read")),
    ],
)
def test_the_worse_of_both_counts(load: float, queue: int | None, said: Availability) -> None:
    assert decide(dataclasses.replace(IDLE, load=load, queue=queue), LIMITS) == said


def test_a_store_that_stays_silent_leaves_all_to_the_other_site() -> None:
    """R2.6: whoever greets and can take nothing gets nothing new; once, a store may be taken over."""
    said = [decide(dataclasses.replace(IDLE, queue=None, silent=n), LIMITS) for n in range(SILENT + 2)]
    assert [one.line() for one in said] == ["up 1%\n"] * SILENT + ["up 0%\n"] * 2
    assert said[-1] == Availability(Answer.DRAIN, 0, "its store does not answer")


def test_a_drain_leaves_the_operators_alone() -> None:
    """HAProxy's word `drain` would be ended by `ready` only, and that ends what an operator has set by hand, too."""
    lines = [decide(dataclasses.replace(IDLE, **{key: True}), LIMITS).line() for key in ("leaving", "drained")]
    assert lines == ["up 0%\n"] * 2
    assert decide(dataclasses.replace(IDLE, running=False), LIMITS).line() == "down #does not run here\n"

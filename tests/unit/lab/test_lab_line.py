"""The arithmetic of bad lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import LabError
from lab.line import Line

LINES = st.builds(
    Line, st.floats(0, 1000).map(lambda delay: round(delay, 3)), st.floats(0, 100).map(lambda loss: round(loss, 3))
)


def test_delays_add_up_and_losses_are_independent() -> None:
    assert Line(15, 10) + Line(30, 50) == Line(45, 55)


@given(LINES)
def test_a_good_line_changes_nothing(line: Line) -> None:
    total = line + Line()
    assert total.delay_ms == line.delay_ms
    assert total.loss_pct == pytest.approx(line.loss_pct, abs=1e-5)


@given(LINES, LINES)
def test_a_worse_line_is_never_better(one: Line, other: Line) -> None:
    total = one + other
    assert total.delay_ms >= max(one.delay_ms, other.delay_ms)
    assert max(one.loss_pct, other.loss_pct) - 1e-5 <= total.loss_pct <= 100


def test_words_for_tc() -> None:
    assert Line(30, 2.5).tc("dmz") == "qdisc replace dev dmz root netem limit 10000 delay 30ms loss 2.5%"
    assert Line(0, 3).tc("dmz") == "qdisc replace dev dmz root netem limit 10000 loss 3%"
    assert Line().tc("dmz") == "qdisc del dev dmz root"


@pytest.mark.parametrize(("delay", "loss"), [(-1, 0), (0, -1), (0, 101)])
def test_impossible_lines_are_refused(delay: float, loss: float) -> None:
    with pytest.raises(LabError):
        Line(delay, loss)

"""The figure of tests/full_network/throughput.py."""

from __future__ import annotations

import pytest

from tests.full_network.throughput import rate
from tests.story.machines import StoryError


def test_the_rate_is_from_the_first_to_the_last() -> None:
    assert rate([10.0, 12.0, 11.0], 3) == 1.0


def test_a_letter_that_is_missing_is_no_rate() -> None:
    with pytest.raises(StoryError, match="2 of 3 letters"):
        rate([10.0, 12.0], 3)

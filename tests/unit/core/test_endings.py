"""When a certificate is told of, and in which words."""

from __future__ import annotations

import pytest
from holdfast.core.certificates import ALARM_DAYS, DAY, Ending

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (ALARM_DAYS + 0.1, ""),
        (ALARM_DAYS - 0.1, "mail1: its certificate mx.alpha.example ends in 19 days, on 2023-12-04: deploy it"),
        (0.5, "ends in 0 days, on 2023-11-15"),
        (-0.5, "has ended on 2023-11-14"),
    ],
)
def test_told_in_time(days: float, said: str) -> None:
    found = Ending("mx.alpha.example", NOW + days * DAY).alarm("mail1", NOW)
    assert said in found and bool(said) is bool(found), found


def test_one_that_cannot_be_read_is_told() -> None:
    one = Ending("mail1", 0.0, "no such file")
    assert "its certificate mail1 is no good: no such file" in one.alarm("mail1", NOW)
    assert Ending.from_json(one.to_json()) == one

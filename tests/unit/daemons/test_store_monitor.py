"""What a store server's monitor tells, and how seldom."""

from __future__ import annotations

from typing import Any

from edges import Lines
from holdfast.daemons.store_monitor import Changes, Seldom


class Puts:
    def __init__(self) -> None:
        self.put_values: list[dict[str, object]] = []

    def put(self, key: str, value: dict[str, object], lease: int | None = None) -> None:
        self.put_values.append(value)

    def get(self, key: str) -> str:
        return f"value of {key}"


def test_evidence_is_written_when_it_says_something_new() -> None:
    puts: Any = Puts()
    seldom: Any = Seldom(puts)
    for time, downs in ((1, 0), (2, 0), (3, 1), (4, 2), (5, 2)):
        seldom.put("evidence", {"epoch": 1, "downs": downs, "verdict": "down" if downs else "ok", "time": time})
    assert [v["time"] for v in puts.put_values] == [1, 3, 4]
    seldom.put("another", {"epoch": 1, "downs": 2, "verdict": "down", "time": 6})
    assert len(puts.put_values) == 4
    assert seldom.get("x") == "value of x", "reads are the coordinator's own"


def test_attempts_are_told_when_their_result_changes() -> None:
    log = Lines()
    changes = Changes(log)
    for result in ("ok", "ok", "down", "down", "ok"):
        changes("attempt", identity="store1", result=result)
        changes("other")
    assert [f["result"] for f in log.said("attempt")] == ["ok", "down", "ok"]
    assert len(log.said("other")) == 5

"""A few seeds of mail hosts, the same ones every time, and what they must have met together."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.core.fencing import LevelName

from tests.simulation.report import short
from tests.simulation.scenario import Scenario
from tests.simulation.stage import Event

SEEDS = (265, 300005, 300008, 300010, 300019, 300026, 300038, 300039)
# Seeds that have found something, and what.
FOUND = {
    1795978700887: "a relay passed a threshold of seconds between two rounds, and the judge found that it never had",
    1795993329720: "a stop ended while its store was asked whether it answers, and the agent looked at nothing",
    1795993331544: "whoever had moved an identity did not count its own first word with the new owner",
    178: "all lines came back at once, and relays fenced a healthy owner for what they had seen before",
    1796300000040: "the same for what was seen between the last question without an answer and the first answer",
    1796062908180: "an operator's word was recorded by a relay that had stood still, about a later boot",
    1796070409429: "the owner changed while a relay that had just started made its first round, which counted",
}
STEPS = ("prepare", "release", "undo", "goes_on")
MET = {*LevelName, "reset", "asked", "left", "done", *STEPS}


def met(events: list[Event]) -> Iterator[str]:
    for _, who, what, said in events:
        fields = dict(said)
        if what == "wrote" and "/fence/" in str(fields["key"]):
            mark = fields["value"]
            if isinstance(mark, dict) and mark["state"] == "proved":
                yield mark["level"]
        elif what == "takeover_step":
            yield str(fields["step"])
            if fields["step"] == "undo" and who.endswith("/monitor"):
                yield "left"  # by its operator
        elif what == "takeover_asked" and str(fields["reason"]).startswith("asked by"):
            yield "asked"
        elif what == "takeover_ended" and who.endswith("/operator"):
            yield str(fields["state"])
        elif what == "reset":
            yield what


def test_plans_hold() -> None:
    seen: set[str] = set()
    for seed in SEEDS:
        outcome = Scenario(seed).run()
        assert outcome.violation is None, f"{seed}: {outcome.violation}\n" + "\n".join(short(outcome))
        seen.update(met(outcome.events))
    assert seen >= MET, f"seeds that meet nothing prove nothing: {sorted(MET - seen)}"


def test_seeds_that_have_found_something_hold() -> None:
    for seed, found in FOUND.items():
        outcome = Scenario(seed).run()
        assert outcome.violation is None, f"{seed} ({found}): {outcome.violation}\n" + "\n".join(short(outcome))

"""What the story's judge and the runs of it make of what they see."""

from __future__ import annotations

from typing import Any

import pytest
from holdfast.core.model import Owner, Run, RunState, Step

from tests.full import story_runs
from tests.full.figures import percentile
from tests.full.story_runs import One, ends, moment, play, spans, summary, table
from tests.story import journal
from tests.story.machines import Lab, StoryError
from tests.story.messages import ALICE, BOB, Letter
from tests.story.outage import Result, Verdict, judge

LETTER = Letter("s1-000", "plain", "carol@outside.example", (ALICE,), b"Subject: s\n\nbody\n")
CUT = journal.Line(
    1.0,
    "postfix/smtp",
    "4Q1: to=<alice@alpha.example>, relay=mx[1.2.3.4]:25, delay=1, dsn=4.4.2, status=deferred (lost connection"
    " with mx while sending end of data -- message may be sent more than once)",
)
NAMED = journal.Line(1.0, "postfix/cleanup", "4Q1: message-id=<s1-000@outside.example>")


def copy(queue: str | None) -> dict[str, Any]:
    return {"id": LETTER.id, "hash": LETTER.body_hash, "bounce": False, "queue": queue}


def test_two_copies_with_a_250_cut_off_are_the_windows() -> None:
    verdict = judge([LETTER], {ALICE: [copy("4A"), copy("4B")], BOB: []}, [CUT, NAMED])
    assert verdict.mistakes == [] and verdict.twice_excused == [LETTER.id]


def test_two_copies_of_one_queue_entry_have_no_excuse() -> None:
    verdict = judge([LETTER], {ALICE: [copy("4A"), copy("4A")], BOB: []}, [CUT, NAMED])
    assert verdict.twice_excused == [] and verdict.mistakes == [f"2 copies of {LETTER.id}, of one queue entry"]


def test_two_copies_with_no_250_cut_off_have_none_either() -> None:
    verdict = judge([LETTER], {ALICE: [copy("4A"), copy("4B")], BOB: []}, [NAMED])
    assert verdict.mistakes == [f"2 copies of {LETTER.id}, and no 250 was cut off"]


def run(**steps: float) -> Run:
    made = tuple(Step(name.rstrip("_"), end - 1, end) for name, end in steps.items())
    return Run("r", "mx", "relay2", "test", RunState.DONE, "mail1", 100.0, "mail2", steps=made)


def test_parts_are_counted_from_the_threshold() -> None:
    assert spans(One(1, 1.0, ends={"fence": 1.0, "own": 2.0, "start": 5.5})) == {"fence": 1.0, "own": 1.0, "start": 3.5}
    made = ends(run(own=102.0, fence=101.0, verify=106.0, started=106.5, verify_=107.5), 100.0)
    assert list(made.items()) == [("fence", 1.0), ("own", 2.0), ("dialogue", 6.0), ("verify", 7.5)]


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1), (0.01, 1), (0.5, 10), (0.51, 11), (0.95, 19), (0.951, 20), (1.0, 20)]
)
def test_percentiles_of_twenty(share: float, value: float) -> None:
    assert percentile(list(range(20, 0, -1)), share) == value


def test_a_seed_is_a_moment_while_letters_are_sent() -> None:
    moments = [moment(seed) for seed in range(200)]
    assert moments == [moment(seed) for seed in range(200)]
    assert 0 <= min(moments) < 3 and 46 < max(moments) <= 49.5


def good(seed: int, to: str, accepted: float) -> One:
    return One(seed, 1.0, "mail1", to, 100, accepted=accepted, ends={"own": 2.0, "accepted": accepted})


def test_the_sum_tells_bad_runs_apart_from_the_window() -> None:
    runs = [good(1, "mail1", 8.0), good(2, "mail2", 11.0), One(3, 1.0, error="the takeover: not within 420 s")]
    runs[0].window = ["s1-001"]
    runs[1].twice = ["s2-001 (one queue entry)"]
    said = summary(runs, 5)
    assert "3 of 5 runs, 1 good; 200 letters: 0 lost" in said and "1 twice, 1 twice by a 250" in said
    assert (
        "bad: seed 3: the takeover: not within 420 s" in said and "bad: seed 2" in said and "bad: seed 1:" not in said
    )
    assert "beside the store (1): p50 8.0, p95 8.0, max 8.0 s" in said
    assert "| own | 2.0 / 2.0 / 2.0 | 2.0 / 2.0 / 2.0 |" in table(runs)
    assert "| 8.0 / 8.0 / 8.0 | 11.0 / 11.0 / 11.0 | 8.0 / 11.0 / 11.0 |" in table(runs)


class NoLab(Lab):
    """A lab whose every word fails."""

    def word(self, *args: Any, **_: Any) -> str:
        raise StoryError(f"bin/lab {args[0]}: exit 1")


def test_a_run_that_fails_is_a_result_and_not_the_end() -> None:
    lab = NoLab("none")
    stage = story_runs.Stage(lab, story_runs.Records(lab), story_runs.Post(lab, {}), story_runs.INVENTORY)
    one = play(lab, stage, 7, print)
    assert one.error == "bin/lab status: exit 1" and not one.good
    assert "FAILED: bin/lab status" in one.line(1)


def test_what_is_kept_is_read_again(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story_runs, "BUILD", tmp_path)
    one = One(1, 2.0)
    verdict = Verdict(100, 102, 103, twice={"s-1": 2, "s-2": 2}, twice_allowed=["s-1", "s-2"], twice_from_one=["s-2"])
    owner = Owner("mail1", 1, "r", 0.0)
    result = Result(owner, owner, run(own=103.0), 90.0, verdict, [], None, 100.0, 108.5)
    story_runs.judged(one, result)
    assert one.window == ["s-1"] and one.twice == ["s-2 (one queue entry)"] and one.accepted == 8.5
    story_runs.keep([one])
    assert story_runs.kept(tmp_path / "story-runs.json") == [one]

"""Where to, whether, what next and who: the decisions of a transfer."""

from __future__ import annotations

import itertools

import pytest
from holdfast.core.spool import Recipient
from holdfast.core.transfer import (
    INTERNET,
    INTRANET,
    Act,
    Backlog,
    Direction,
    Lies,
    Stays,
    Table,
    Taken,
    next_act,
    share,
    taken,
)
from hypothesis import given
from hypothesis import strategies as st

MX, MX2, IM1, IM2 = "mx1", "mx2", "im1", "im2"
TABLE = Table(
    {MX: INTERNET, MX2: INTERNET, IM1: INTRANET, IM2: INTRANET},
    {"one.example": IM1, "two.example": IM2, "internet.example": MX},
    {"boss@one.example": IM2},
    {IM1: MX, IM2: MX2},
)


@pytest.mark.parametrize(
    ("source", "address", "holder"),
    [
        (MX, "a@one.example", IM1),
        (MX, "A@ONE.example", IM1),
        (MX, "Boss@one.example", IM2),
        (MX2, "b@two.example", IM2),
        (MX, "x@elsewhere.example", None),
        (MX, "x@internet.example", None),  # on its own side: Postfix delivers that itself
        (IM1, "x@elsewhere.example", MX),
        (IM2, "x@elsewhere.example", MX2),
        (IM1, "x@internet.example", MX),
        (IM1, "b@two.example", None),
    ],
)
def test_who_holds_a_recipient(source: str, address: str, holder: str | None) -> None:
    assert TABLE.holder(source, address) == holder


def test_recipients_are_split_and_none_is_left_out() -> None:
    some = [Recipient(a) for a in ("a@one.example", "b@two.example", "c@one.example")]
    assert TABLE.split(MX, some) == {IM1: [some[0], some[2]], IM2: [some[1]]}
    with pytest.raises(Stays, match="x@three"):
        TABLE.split(MX, [*some, Recipient("x@three.example")])


def test_directions_go_by_the_source() -> None:
    assert TABLE.direction(MX) is Direction.INWARD and TABLE.direction(IM1) is Direction.OUTWARD


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("logged", [False, True])
@pytest.mark.parametrize("reached", [set(), {IM1}, {IM2}, {IM1, IM2}])
def test_nothing_is_handed_over_before_archive_and_log_nor_marked_before_all_have_it(
    archived: bool, logged: bool, reached: set[str]
) -> None:
    act, to = next_act(Lies(True, archived, logged, frozenset(reached)), [IM1, IM2])
    assert (act is Act.ARCHIVE) is not archived
    assert (act is Act.LOG) is (archived and not logged)
    assert (act is Act.MARK) is (archived and logged and reached == {IM1, IM2})
    if act is Act.HAND_OVER:
        assert to not in reached
    assert next_act(Lies(False, archived, logged, frozenset(reached)), [IM1, IM2]) == (Act.NOTHING, "")


@pytest.mark.parametrize(
    ("done", "begun", "refused", "what"),
    [
        (False, 0, 0, Taken.SUBMIT),
        (False, 2, 2, Taken.SUBMIT),
        (False, 3, 0, Taken.QUARANTINE),
        (False, 0, 3, Taken.QUARANTINE),
        (True, 0, 0, Taken.DROP),
        (True, 3, 0, Taken.DROP),
    ],
)
def test_what_the_destination_does(done: bool, begun: int, refused: int, what: Taken) -> None:
    assert taken(done, begun, refused, 3) is what


NAMES = st.sets(st.sampled_from([f"mx{n}.example" for n in range(12)]))


@given(NAMES, st.sets(st.sampled_from(["t1", "t2", "t3", "t4"]), min_size=1))
def test_every_spool_has_one_host_and_no_host_has_two_more_than_another(spools: set[str], living: set[str]) -> None:
    sees = dict.fromkeys(living, spools)
    shares = [share(spools, sees, host) for host in sorted(living)]
    assert sorted(itertools.chain(*shares)) == sorted(spools)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert share(spools, sees, "dead") == []


@given(NAMES, st.dictionaries(st.sampled_from(["t1", "t2", "t3"]), NAMES))
def test_whoever_sees_a_spool_may_have_it_and_nobody_else(spools: set[str], sees: dict[str, set[str]]) -> None:
    shares = {host: share(spools, sees, host) for host in sees}
    assert all(set(mine) <= sees[host] for host, mine in shares.items())
    assert sorted(itertools.chain(*shares.values())) == sorted(spools & set().union(*sees.values()))


def test_a_backlog_is_over_by_count_or_by_age() -> None:
    assert Backlog.of([], 100.0) == Backlog(0, 0.0) and Backlog.of([90.0, 40.0], 100.0) == Backlog(2, 60.0)
    assert not Backlog(2, 60.0).over(2, 60.0) and Backlog(3, 0.0).over(2, 60.0) and Backlog(1, 61.0).over(2, 60.0)
    assert Backlog.of([200.0], 100.0).oldest == 0.0  # the file server's clock is ahead

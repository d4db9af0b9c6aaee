"""What has to change in a zone."""

from __future__ import annotations

import pytest
from holdfast.core.records import RecordSet, plan, read, zone_of
from hypothesis import given
from hypothesis import strategies as st

ZONE = """
alpha.example. 60 NS ns.alpha.example.
alpha.example. 60 SOA ns.alpha.example. postmaster.alpha.example. 7 300 60 1209600 60
alpha.example. 60 MX 10 mx.alpha.example.
alpha.example. 60 MX 20 relay2.alpha.example.
_holdfast.mx.alpha.example. 60 TXT "owner=mail1 epoch=2"
"""
MX = RecordSet.of("alpha.example", "mx", 60, ["20 Relay2.alpha.example.", "10  mx.alpha.example."])


@pytest.mark.parametrize(
    ("name", "zones", "zone"),
    [
        ("mx.alpha.example", ["alpha.example"], "alpha.example."),
        ("ALPHA.example.", ["alpha.example"], "alpha.example."),
        ("mx.sub.alpha.example.", ["alpha.example", "sub.alpha.example"], "sub.alpha.example."),
        ("xalpha.example", ["alpha.example"], None),
        ("example", ["alpha.example"], None),
        ("mx.alpha.example", [], None),
    ],
)
def test_zone_of(name: str, zones: list[str], zone: str | None) -> None:
    assert zone_of(name, zones) == zone


def test_order_case_and_blanks_are_no_difference() -> None:
    assert plan(read(ZONE), [MX]) == []


def test_what_differs() -> None:
    other = [
        RecordSet.of("alpha.example", "MX", 30, MX.data),
        RecordSet.of("alpha.example", "MX", 60, ["10 mx.alpha.example."]),
        RecordSet.of("alpha.example", "A", 60, ["10.1.1.1"]),
        RecordSet.of("_holdfast.mx.alpha.example", "TXT", 60, ['"owner=Mail1 epoch=2"']),
    ]
    assert plan(read(ZONE), other) == other


def test_text_is_compared_as_it_stands() -> None:
    assert plan(read(ZONE), [RecordSet.of("_holdfast.mx.alpha.example", "TXT", 60, ['"owner=mail1 epoch=2"'])]) == []


def test_none_is_wanted() -> None:
    none = [RecordSet.of("alpha.example", "MX", 60, []), RecordSet.of("alpha.example", "A", 60, [])]
    assert plan(read(ZONE), none) == none[:1]


def test_the_server_counts_the_serial() -> None:
    soa = RecordSet.of("alpha.example", "SOA", 60, ["ns.alpha.example. postmaster.alpha.example. 1 300 60 1209600 60"])
    assert plan(read(ZONE), [soa]) == []
    assert plan({}, [soa]) == [soa]


def test_a_line_that_is_no_record() -> None:
    with pytest.raises(ValueError, match="no record: 'error: no such zone'"):
        read("error: no such zone\n")


owners = st.sampled_from(["a.example", "b.example", "c.a.example"])
sets = st.builds(
    RecordSet.of, owners, st.sampled_from(["A", "MX"]), st.integers(0, 600), st.lists(st.sampled_from("xyz"))
)


def distinct(records: list[RecordSet]) -> list[RecordSet]:
    return list({(r.owner, r.kind): r for r in records}.values())


@given(st.lists(sets).map(distinct), st.lists(sets).map(distinct))
def test_after_the_change_nothing_is_due(before: list[RecordSet], wanted: list[RecordSet]) -> None:
    there = {(r.owner, r.kind): r for r in before if r.data}
    for record in plan(there, wanted):
        there[record.owner, record.kind] = record
    there = {key: r for key, r in there.items() if r.data}
    assert plan(there, wanted) == []
    assert all(there.get((r.owner, r.kind), RecordSet.of(r.owner, r.kind, r.ttl, [])) == r for r in wanted)

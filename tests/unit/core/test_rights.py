"""Who may write what in the coordinator follows from who runs what."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

import pytest
from holdfast.core import keys
from holdfast.core.rights import OPERATOR, Grant, Served, rights, served
from hypothesis import given, settings
from hypothesis import strategies as st

MX, STORE = "mx.alpha.example", "store1"
IDENTITIES: Mapping[str, Mapping[str, Sequence[str]]] = {
    MX: {"candidates": ["mail1", "mail2"], "relays": ["relay1", "relay2"], "store": STORE}
}
STORES: Mapping[str, Mapping[str, Sequence[str]]] = {STORE: {"members": ["store1a", "store1b"]}}
TRANSFER_HOSTS = ("transfer1", "transfer2")
EVERYTHING = served(IDENTITIES, STORES, ["relay1"])


def may(user: str, key: str, everything: Sequence[Served] = EVERYTHING) -> bool:
    return any(g.covers(key) for g in rights(everything, TRANSFER_HOSTS).get(user, ()))


@pytest.mark.parametrize(
    ("key", "writers"),
    [
        (keys.lease("mail1"), {"mail1"}),
        (keys.watchdog("mail1"), {"mail1"}),
        (keys.ready("mail1", MX), {"mail1"}),
        (keys.report("mail1", MX), {"mail1"}),
        (keys.report("mail1", STORE), set()),
        (keys.report("store1a", STORE), {"store1a"}),
        (keys.confirmed_off("mail1"), set()),
        (keys.fence("mail1", MX), {"relay2"}),
        (keys.fence("store1a", STORE), {"store1a", "store1b"}),
        (keys.owner(MX), {"relay2"}),
        (keys.lock(MX), {"relay2"}),
        (keys.takeover(MX), {"relay2"}),
        (keys.run(MX, "r"), {"relay2"}),
        (keys.request(MX), {"relay1", "relay2"}),
        (keys.evidence(MX, "relay1"), {"relay1"}),
        (keys.inoperable(MX), set()),
        (keys.half("store1a", STORE), {"store1a"}),
        (keys.half("mail1", STORE), set()),
        (keys.owner(STORE), {"store1a", "store1b"}),
        (keys.evidence(STORE, "store1b"), {"store1b"}),
        (keys.access(STORE, MX), {"store1a", "store1b"}),
        (keys.insync(STORE), {"store1a", "store1b"}),
        (keys.manager(STORE), {"store1a", "store1b"}),  # as all below a store; only one from elsewhere has these two
        (keys.door(STORE), {"store1a", "store1b"}),
        (keys.transfer_host("transfer1"), {"transfer1"}),
        (keys.transfer_claim(MX), {"transfer1", "transfer2"}),
        (keys.transfer_claim(STORE), set()),
        (keys.lease("mail10"), set()),
        (keys.access("store10", MX), set()),
    ],
)
def test_every_key_has_its_writers_and_the_operator(key: str, writers: set[str]) -> None:
    assert {user for user in rights(EVERYTHING, TRANSFER_HOSTS) if may(user, key)} == writers | {OPERATOR}


def test_who_opens_a_store_from_elsewhere_writes_its_word_about_access_and_nothing_else() -> None:
    everything = served({MX: {**IDENTITIES[MX], "store": "nas"}}, {}, (), {"nas": {"manager": "door1"}})
    assert rights(everything)["door1"] == {Grant(keys.store("nas"), prefix=True)}
    assert {u for u in rights(everything) if may(u, keys.access("nas", MX), everything)} == {"door1", OPERATOR}


def test_no_key_is_left_out_above() -> None:
    """Whoever adds a key says who may write it."""
    named = test_every_key_has_its_writers_and_the_operator.pytestmark[0].args[1]  # type: ignore[attr-defined]
    covered = {key for key, _ in named}
    made = {
        name: function(*("mail1", MX)[: len(inspect.signature(function).parameters)])
        for name, function in inspect.getmembers(keys, inspect.isfunction)
    }
    for name, key in made.items():
        if not key.endswith("/"):  # a prefix
            words = set(key.split("/")) - {"mail1", MX, "", "holdfast"}
            assert any(words <= set(k.split("/")) for k in covered), f"keys.{name}: {key} has no writer above"


def test_a_relay_may_fence_an_owner_that_is_no_candidate_of_this_identity_any_more() -> None:
    other = {"mx.beta.example": {"candidates": ["mail3"], "relays": ["relay2"], "store": STORE}}
    assert may("relay2", keys.fence("mail3", MX), served({**IDENTITIES, **other}, STORES))


NAMES = st.sampled_from(["h1", "h2", "h3", "h4"])
SOME = st.lists(NAMES, min_size=1, max_size=3, unique=True)


@settings(deadline=None)
@given(st.lists(st.tuples(SOME, SOME), min_size=1, max_size=3), SOME)
def test_never_anothers_lease_nor_an_operators_word(
    made: list[tuple[list[str], list[str]]], members: list[str]
) -> None:
    identities = {f"i{n}": {"candidates": c, "relays": r, "store": "s"} for n, (c, r) in enumerate(made)}
    everything = served(identities, {"s": {"members": members}})
    for user, grants in rights(everything).items():
        if user == OPERATOR:
            continue

        def may(key: str, grants: frozenset[Grant] = grants) -> bool:
            return any(g.covers(key) for g in grants)

        for host in ("h1", "h2", "h3", "h4"):
            assert not may(keys.confirmed_off(host))
            assert user == host or not may(keys.lease(host))
        for name, (_, relays) in zip(identities, made, strict=True):
            assert not may(keys.inoperable(name))
            assert may(keys.owner(name)) == (user in relays)

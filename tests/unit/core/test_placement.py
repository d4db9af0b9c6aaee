"""Which candidate comes first, and who takes the mail afterwards (R1.9, R2.9)."""

from __future__ import annotations

import dataclasses

import pytest
from holdfast.core.fencing import FencePlan
from holdfast.core.model import Configuration, Identity, RunState
from holdfast.core.placement import Placement, outdated, ranked
from holdfast.core.promotion import Promote, is_primary
from hypothesis import given
from hypothesis import strategies as st
from world import MX, World

SITES = {"mail1a": "dc1", "mail1b": "dc1", "mail2a": "dc2", "mail2b": "dc2", "store1": "dc1", "relay2": "dc2"}
ONE = dataclasses.replace(MX, home="mail1a", candidates=("mail2a", "mail1a", "mail2b", "mail1b"))


@pytest.mark.parametrize(
    ("placement", "sites", "order"),
    [
        (Placement.LOCAL_FIRST, SITES, ("mail1a", "mail1b", "mail2a", "mail2b")),
        (Placement.RELAY_FIRST, SITES, ("mail2a", "mail2b", "mail1a", "mail1b")),
        # The store stands in another site than the home: where the data is comes first, then the home.
        (Placement.LOCAL_FIRST, {**SITES, "store1": "dc2"}, ("mail2a", "mail2b", "mail1a", "mail1b")),
        (Placement.LOCAL_FIRST, {}, ONE.candidates),
        (Placement.RELAY_FIRST, {}, ONE.candidates),
        (Placement.RELAY_FIRST, {"mail1b": "dc2", "relay2": "dc2"}, ("mail1b", "mail2a", "mail1a", "mail2b")),
    ],
)
def test_order(placement: Placement, sites: dict[str, str], order: tuple[str, ...]) -> None:
    assert ranked(ONE, placement, sites, "relay2") == order


hosts = st.sampled_from(["a", "b", "c", "d", "e"])
places = st.sampled_from(["dc1", "dc2", "third"])


@given(
    st.lists(hosts, unique=True, min_size=1),
    st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e", "store1", "relay2"]), places),
    st.sampled_from(Placement),
)
def test_nobody_is_lost_and_equal_rank_keeps_the_order(
    candidates: list[str], sites: dict[str, str], placement: Placement
) -> None:
    identity = Identity("i", "192.0.2.1", "internet", ("x",), candidates[0], tuple(candidates), "store1")
    order = ranked(identity, placement, sites, "relay2")
    assert sorted(order) == sorted(candidates)
    for site in {sites.get(h) for h in candidates}:
        same = [h for h in candidates if sites.get(h) == site]
        assert [h for h in order if sites.get(h) == site] == same


OLD, NEW = Configuration("old", 100.0), Configuration("new", 200.0)


@pytest.mark.parametrize(
    ("its", "owners", "missed"),
    [
        (OLD, NEW, True),
        (None, NEW, True),  # nobody knows what it would serve
        (NEW, OLD, False),  # the dead owner has missed the deploy: somebody must be able to take over
        (dataclasses.replace(OLD, digest="new"), NEW, False),  # the same, whatever the two clocks said
        (dataclasses.replace(NEW, digest="back"), NEW, False),  # two deploys in one second
        (NEW, dataclasses.replace(OLD, since=300.0), True),  # an older inventory that was deployed again
        (OLD, None, False),  # an owner from before the upgrade tells nothing
        (None, None, False),
    ],
)
def test_who_has_missed_a_deploy(its: Configuration | None, owners: Configuration | None, missed: bool) -> None:
    why = outdated("mail2", its, "mail1", owners)
    assert (why is not None) is missed
    if why is not None:
        assert why == "its configuration is older than that of mail1 (deploy it: playbooks/site.yml --limit mail2)"


@pytest.mark.parametrize(
    ("promote", "owner", "primary"),
    [
        (Promote.PRIMARY, "mail2", True),
        (Promote.PRIMARY, "mail1", True),
        (Promote.RELAY, "mail2", False),
        (Promote.RELAY, "mail1", True),  # home again: its own primary
    ],
)
def test_who_is_named_as_exchanger(promote: Promote, owner: str, primary: bool) -> None:
    assert is_primary(promote, MX, owner) is primary
    world = World()
    if owner == "mail1":
        assert world.takeover().execute("away", 1).state is RunState.DONE
        world.up.add("mail1")
        world.clock.sleep(1)
    epoch = world.owner.epoch
    run = world.takeover(plan=FencePlan(), promote=promote).execute("test", epoch, automatic=False)
    assert run.state is RunState.DONE and world.published[-1] == (owner, epoch + 1)
    assert world.exchangers[-1] is primary

"""Planted faults that a simulated pair of stores catches (pair_scenario.py). mutants.py says how they are planted."""

from __future__ import annotations

from .mutant import Mutant

TAKEOVER, STORES = "holdfast.core.takeover", "holdfast.core.stores"
MEMBER, FENCE_PEER = "holdfast.daemons.store_instance", "holdfast.daemons.fence_peer"

PAIR_MUTANTS = (
    Mutant(
        "anybody_may_be_promoted",
        "only a member of the in-sync set owns a store",
        STORES,
        "outside",
        (("    if host not in insync.members:\n", "    if False:\n"),),
        pair=True,
    ),
    Mutant(
        "set_asked_after_the_fence_only",
        "a store's owner is fenced only for a member of the set",
        STORES,
        "only_members",
        (("is not None:", "is not None and False:"),),
        pair=True,
    ),
    Mutant(
        "own_in_spite_of_a_new_lease",
        "a fenced owner that is back before the owner changes keeps its store",
        TAKEOVER,
        "Course._still_off",
        (
            ("if mark is None or mark.boot_id != view.boot_id:", "if False:"),
            ("{keys.lease(host): 0, keys.watchdog(host): view.watchdog_revision}", "{}"),
        ),
        hint=33,
        pair=True,
    ),
    Mutant(
        "lease_that_came_and_went",
        "a fenced owner that came back, served and lost its lease again is fenced again",
        TAKEOVER,
        "Course._still_off",
        (
            ("if mark is None or mark.boot_id != view.boot_id:", "if False:"),
            (", keys.watchdog(host): view.watchdog_revision", ""),
        ),
        hint=93,
        pair=True,
    ),
    Mutant(
        "alone_without_the_set",
        "I/O goes on without the partner only when that is out of the set",
        FENCE_PEER,
        "take_out",
        (("if records.replace(keys.insync(store), new.to_json(), judged.unchanged):", "if True:"),),
        pair=True,
    ),
    Mutant(
        "alone_without_a_write",
        "a partner that is out already is taken out again, which ends a `rejoined` decided before",
        FENCE_PEER,
        "take_out",
        (("if records.replace(", "if new.members == judged.insync.members or records.replace("),),
        hint=90,
        pair=True,
    ),
    Mutant(
        "rejoined_before_the_copy",
        "a member joins the set only with both disks the same",
        MEMBER,
        "StoreInstance._review",
        (("elif not state.mirrored:", "elif False:"),),
        pair=True,
    ),
    Mutant(
        "rejoined_on_an_old_look",
        "a member joins only if the set is as it was before DRBD was looked at",
        MEMBER,
        "StoreInstance._review",
        (("judged.unchanged)", "{})"),),
        hint=90,
        pair=True,
    ),
)

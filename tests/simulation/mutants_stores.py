"""Planted faults of stores, pairs, hand-overs and the daemons around a store. mutants.py takes them in.

None has a seed: the simulation runs identities of mail hosts on a store that always serves.
"""

from __future__ import annotations

from .mutant import Mutant

STORES, PAIRING, TAKEOVER = "holdfast.core.stores", "holdfast.core.pairing", "holdfast.core.takeover"
HANDOVER, DROPPING, FENCE_RUN = "holdfast.core.handover", "holdfast.core.dropping", "holdfast.core.fence_run"
STORE, INSTANCE = "holdfast.daemons.store", "holdfast.daemons.store_instance"
FENCE_PEER, ANNOUNCEMENT = "holdfast.daemons.fence_peer", "holdfast.adapters.announcement"
MAIL_INSTANCE, KEEPER = "holdfast.daemons.instance", "holdfast.daemons.keeper"
TEST_STORES, TEST_INSTANCE = "tests/unit/core/test_stores.py", "tests/unit/daemons/test_store_instance.py"

UNREAD = '            return False\n        self._tell("coordinator", "coordinator_reached"'
NOBODY = "states = {n: State(None, None, None) for n in self._settings.identities}"

STORE_MUTANTS = (
    # --- the in-sync set ---------------------------------------------------------------------------------------
    Mutant(
        "disk_outside_the_set_may_own",
        "only a member of the in-sync set may be promoted",
        STORES,
        "outside",
        (("if host not in insync.members:", "if False:"),),
        test=f"{TEST_STORES}::test_an_owner_outside_the_set_never_goes_on_alone",
    ),
    Mutant(
        "anybody_goes_on_alone",
        "only the owner, at its epoch, takes its partner out of the set",
        STORES,
        "alone",
        (("not_owner(host, epoch, owner) or outside(insync, store, host)", "outside(insync, store, host)"),),
        test=f"{TEST_STORES}::test_the_owner_goes_on_alone_at_its_epoch_only",
    ),
    Mutant(
        "anybody_lets_the_partner_in",
        "only the owner, at its epoch, lets its partner into the set",
        STORES,
        "rejoined",
        (("not_owner(host, epoch, owner) or outside(insync, store, host)", "outside(insync, store, host)"),),
        test=f"{TEST_STORES}::test_only_the_owner_lets_the_partner_in",
    ),
    Mutant(
        "owner_outside_the_set_is_admitted",
        "an owner outside the set neither starts its store nor goes on with it",
        STORES,
        "as_access",
        (("owner.host if owner.host in insync.members else None", "owner.host"),),
        test=f"{TEST_STORES}::test_an_owner_outside_the_set_is_not_started_and_is_stopped",
    ),
    Mutant(
        "candidate_outside_the_set",
        "a host outside the set is no candidate, and its owner is not fenced for it",
        STORES,
        "only_members",
        (("is not None:", "is not None and False:"),),
        test=f"{TEST_STORES}::test_a_partner_outside_the_set_is_not_promoted_and_the_owner_is_not_even_fenced",
    ),
    Mutant(
        "set_not_read_before_the_promotion",
        "a member reads the set once more before it promotes its disk",
        INSTANCE,
        "StoreInstance._confirm",
        (("        why = why or stores.outside(judged.insync, self._name, self._host)\n", ""),),
        test=f"{TEST_INSTANCE}::test_a_set_that_changed_after_the_decision_is_seen_before_the_promotion",
    ),
    Mutant(
        "set_not_read_before_the_owner_changes",
        "a run reads the set once more before it changes the owner",
        TAKEOVER,
        "Course._while_in_sync",
        (("if why is not None:", "if False:"),),
        test=f"{TEST_STORES}::test_a_set_that_changes_after_the_choice_holds_before_the_owner_changes",
    ),
    Mutant(
        "set_not_bound_to_the_owner",
        "the owner changes only while the set is as it was read",
        TAKEOVER,
        "Course._while_in_sync",
        (("keys.insync(self.identity.name): entry.revision, ", ""),),
        test=f"{TEST_STORES}::test_a_set_that_changes_right_before_the_owner_does_holds",
    ),
    Mutant(
        "partner_is_let_in_during_its_resync",
        "the partner is let in only when it has everything",
        INSTANCE,
        "StoreInstance._review",
        (("elif not state.mirrored:", "elif False:"),),
        test=f"{TEST_INSTANCE}::test_a_partner_that_has_everything_again_is_let_in",
    ),
    Mutant(
        "partner_is_let_in_by_an_old_look",
        "the partner is let in only if the set is as it was before the look at DRBD",
        INSTANCE,
        "StoreInstance._review",
        (("new.to_json(), judged.unchanged)", "new.to_json(), {})"),),
        test=f"{TEST_INSTANCE}::test_a_link_that_breaks_before_the_write_keeps_the_partner_out",
    ),
    Mutant(
        "goes_on_although_the_set_was_not_written",
        "DRBD goes on alone only behind a set that was written",
        FENCE_PEER,
        "take_out",
        (("judged.unchanged):", "judged.unchanged) or True:"),),
        test=f"{TEST_INSTANCE}::test_a_set_that_changes_before_the_handler_writes_is_read_anew",
    ),
    Mutant(
        "goes_on_without_the_coordinator",
        "DRBD's writes stay frozen while the coordinator does not answer",
        FENCE_PEER,
        "take_out",
        (("        except Unavailable as why:\n", "        except Unavailable as why:\n            return GO_ON\n"),),
        test=f"{TEST_INSTANCE}::test_the_handler_waits_for_the_coordinator",
    ),
    # --- a store's takeover, and those on it -------------------------------------------------------------------
    Mutant(
        "store_that_does_not_serve",
        "an identity waits for its store's own takeover",
        STORES,
        "not_serving",
        (("    value = coordinator.get(keys.owner(store)).value\n", "    return None\n"),),
        test=f"{TEST_STORES}::test_while_its_store_is_not_serving_an_identity_is_not_taken_over",
    ),
    Mutant(
        "store_is_fenced_by_any_level",
        "only power and an operator take a disk from a store's owner",
        FENCE_RUN,
        "FenceRun.until_proved",
        (("if self.identity.kind == stores.KIND and level.level not in stores.FENCED_BY:", "if False:"),),
        test=f"{TEST_STORES}::test_a_store_is_not_fenced_by_revocation_or_watchdog",
    ),
    Mutant(
        "fenced_owner_is_not_outlived",
        "a store's owner changes only after the lease of the fenced one is over",
        TAKEOVER,
        "Course._outlive",
        (("if self.wait(over, self.timeouts.revoke) is None:", "if False:"),),
        test=f"{TEST_STORES}::test_a_living_owner_is_outlived_before_its_store_is_owned",
    ),
    Mutant(
        "owner_that_is_back_loses_its_store",
        "a store's owner changes only while the old one has no lease",
        TAKEOVER,
        "Course._still_off",
        (("keys.lease(host): 0, ", ""),),
        test=f"{TEST_STORES}::test_an_owner_that_is_back_before_the_owner_changes_keeps_its_store",
    ),
    Mutant(
        "owner_watches_itself",
        "what a host says about itself is no evidence, and nobody fences himself",
        PAIRING,
        "Pairing.tick",
        (("if self._owner is not None and self._owner != self._host:", "if self._owner is not None:"),),
        test=f"{TEST_STORES}::test_an_owner_does_not_watch_itself",
    ),
    Mutant(
        "own_run_is_left",
        "a new owner ends the run that made it the owner, if its invoker is gone",
        PAIRING,
        "Pairing._look",
        (("and unfinished(state)", "and False"),),
        test=f"{TEST_STORES}::test_the_new_owner_ends_a_run_whose_invoker_it_was",
    ),
    Mutant(
        "identity_that_its_store_cannot_serve",
        "nobody is fenced for an identity that its store would not open to anybody else",
        STORES,
        "not_admitting",
        (("if error else None", "if False else None"),),
        test=f"{TEST_STORES}::test_an_identity_that_its_store_cannot_serve_is_not_taken_over",
    ),
    # --- a planned change of owner -----------------------------------------------------------------------------
    Mutant(
        "old_word_of_the_owner",
        "an owner's word that it has stopped counts only for this run",
        HANDOVER,
        "_Planned._stop",
        ((" and report.run == self.run.run", ""),),
        test="tests/unit/core/test_handover.py::test_a_word_about_an_earlier_order_is_not_believed",
    ),
    Mutant(
        "store_withdraws_before_the_owner_stops",
        "a living owner closes its files before the store takes them away",
        HANDOVER,
        "_Planned._stop",
        (("raise Held(why)", "pass"),),
        test="tests/unit/core/test_handover.py::test_the_store_withdraws_only_after_the_owner_has_stopped",
    ),
    Mutant(
        "word_that_was_taken_back",
        "a store is handed over only while its owner's word that it has stopped stands",
        HANDOVER,
        "_Planned._still_off",
        (("return {said: entry.revision}", "return {}"),),
        test="tests/unit/core/test_store_handover.py::test_a_word_that_is_taken_back_before_the_owner_changes_counts_for_nothing",
    ),
    Mutant(
        "address_is_left_on",
        "a store's owner has stopped only when its address is off",
        INSTANCE,
        "StoreInstance.release",
        (("        running.until_no_address(self._clock, self.place.identity.address, self._has_address)\n", ""),),
        test=f"{TEST_INSTANCE}::test_no_word_that_it_has_stopped_while_keepalived_leaves_the_address_on",
    ),
    # --- what a store does to hosts ----------------------------------------------------------------------------
    Mutant(
        "nobody_is_dropped",
        "a store's firewall drops who was shut out and may still run",
        DROPPING,
        "to_drop",
        (("return tuple(h for h in found if h not in served)", "return ()"),),
        test="tests/unit/daemons/test_store_firewall.py::test_dropped_then_withdrawn_then_expired_then_told",
    ),
    Mutant(
        "dropped_is_said_before_it_is",
        "a store says of nobody that it drops him before it does",
        STORE,
        "Store._drop",
        (("self._dropped = self._dropped, ()", "self._dropped = self._dropped, hosts"),),
        test="tests/unit/daemons/test_store_firewall.py::test_a_firewall_that_fails_holds_back_the_word_but_not_the_withdrawal",
    ),
    Mutant(
        "client_not_expired",
        "a store takes opens and locks from the host that it shuts out",
        STORE,
        "Store._expire",
        (("count = self._clients.expire(addresses)", "count = 0"),),
        test="tests/unit/daemons/test_store.py::TestTakeover::test_withdrawn_then_expired_then_told",
    ),
    Mutant(
        "silence_is_nobody",
        "without the coordinator a store leaves everything as it is",
        STORE,
        "Store.tick",
        ((UNREAD, UNREAD.replace("return False", NOBODY)),),
        test="tests/unit/daemons/test_store.py::test_nothing_is_exported_before_the_first_read",
    ),
    Mutant(
        "up_before_the_first_read",
        "a store's address waits for exports by a read of the coordinator",
        STORE,
        "Store.tick",
        ((UNREAD, UNREAD.replace("return False", "return True")),),
        test="tests/unit/daemons/test_store.py::test_a_store_is_not_ready_before_its_first_read",
    ),
    Mutant(
        "up_before_the_firewall_is_set",
        "a store's address waits for its firewall",
        STORE,
        "Store.tick",
        (("return closed", "return True"),),
        test="tests/unit/daemons/test_store_firewall.py::test_a_store_is_not_ready_before_its_firewall_is_set",
    ),
    Mutant(
        "up_whatever_the_first_look_did",
        "a store's daemon is up only after a look that did all",
        STORE,
        "start",
        (("while not store.tick():", "while False:"),),
        test="tests/unit/daemons/test_store.py::test_the_daemon_says_that_it_is_up_when_a_look_has_done_all",
    ),
    Mutant(
        "mending_takes_down_what_serves",
        "a read that fails takes no store down that serves",
        KEEPER,
        "Keeper._start",
        (("isinstance(why, NotConfirmed):", "False:"),),
        test=f"{TEST_INSTANCE}::test_a_mending_that_meets_a_coordinator_that_is_gone_leaves_what_serves",
    ),
    Mutant(
        "slow_server_hangs",
        "a slow machine is no server that hangs",
        INSTANCE,
        "StoreInstance._hangs",
        (("timeout=NFSD_WITHIN", "timeout=2.0"),),
        test=f"{TEST_INSTANCE}::test_a_server_that_answers_late_goes_on",
    ),
    # --- addresses ---------------------------------------------------------------------------------------------
    Mutant(
        "med_of_no_epoch",
        "gateways take the path of the later owner: its MED is smaller",
        ANNOUNCEMENT,
        "Announcement.tell",
        (("{FIRST - epoch}", "{FIRST}"),),
        test="tests/unit/adapters/test_announcement.py::test_a_later_epoch_has_a_smaller_med",
    ),
    Mutant(
        "address_before_its_epoch",
        "routers learn the epoch before there is an address to be announced",
        MAIL_INSTANCE,
        "Instance._attach",
        (("        self._announcement.tell(self.place.identity.name, epoch)\n", ""),),
        test="tests/unit/daemons/test_release.py::TestStart::test_routers_learn_the_epoch_before_there_is_an_address",
    ),
    Mutant(
        "epoch_is_told_once",
        "a routing daemon that was started anew learns the epoch, too",
        KEEPER,
        "Keeper._look_closely",
        (("            self._works.announce(epoch)\n", "            pass\n"),),
        test="tests/unit/daemons/test_agent.py::test_the_routing_daemon_is_told_the_epoch_now_and_then",
    ),
)

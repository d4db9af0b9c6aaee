"""An owner that lives and cannot bring the identity up: its own word is the second evidence, and nobody is fenced."""

from __future__ import annotations

import dataclasses

import pytest
from holdfast.core import keys
from holdfast.core.model import Phase, Report, RunState
from holdfast.core.returning import without_candidate
from holdfast.core.threshold import Threshold
from test_handover import Site
from world import MX

DEFAULT = Threshold(4, 120)


@pytest.fixture
def site() -> Site:
    site = Site(waiting=3)
    site.broken.add("mail1")
    site.running.clear()
    return site


def test_it_hands_over_without_a_fence_and_not_before_the_threshold(site: Site) -> None:
    watch = site.watch(DEFAULT)
    site.let_run(watch, 80)
    assert site.owner.epoch == 1 and not site.said("handover_asked")
    site.let_run(watch, 60)
    run = site.record
    assert run.state is RunState.DONE and run.planned and run.automatic
    assert run.reason == "4 of 4 attempts down; mail1 says: store: no route to host"
    assert (site.owner.host, site.running, site.up) == ("mail2", {"mail2": 2}, {"mail1", "mail2"})
    assert run.proof is not None and run.proof.level == "handover"


def test_what_it_said_of_an_earlier_epoch_is_no_word_about_this_one(site: Site) -> None:
    old = Report("mail1", 0, Phase.FAILED, 0.0).to_json()
    site.clock.on_sleep.append(lambda: site.coordinator._put(keys.report("mail1", MX.name), old))
    site.let_run(site.watch(DEFAULT), 300)
    assert site.owner.epoch == 1 and not site.said("handover_asked") and site.said("second_evidence_missing")


def test_an_owner_whose_stop_failed_is_left_to_a_fence(site: Site) -> None:
    stuck = Report("mail1", 1, Phase.FAILED, 0.0, error="store: away; stop: umount: busy", stuck=True).to_json()
    site.clock.on_sleep.append(lambda: site.coordinator._put(keys.report("mail1", MX.name), stuck))
    site.let_run(site.watch(DEFAULT), 300)
    assert site.owner.epoch == 1 and not site.said("handover_asked") and site.said("second_evidence_missing")


def test_what_it_does_not_let_go_is_fenced_when_another_relay_agrees(site: Site) -> None:
    site.let_run(watch := site.watch(DEFAULT), 5)
    site.deaf = True
    site.let_run(watch, 200)
    assert site.owner.epoch == 1 and site.record.state is RunState.HELD and site.up == {"mail1", "mail2"}
    word = {"relay": "relay1", "time": site.clock.time, "passed": True, "epoch": 1}
    watch.identity = dataclasses.replace(MX, relays=("relay2", "relay1"))

    site.clock.on_sleep.append(lambda: site.coordinator._put(keys.evidence(MX.name, "relay1"), word))
    site.let_run(watch, 120)
    assert site.owner.host == "mail2" and "mail1" not in site.up and "relay1 agrees" in site.record.reason


def test_without_anybody_to_get_it_this_is_an_outage_like_any_other(site: Site) -> None:
    """The run says so, and what is held for too long goes back (R1.10)."""
    site.up.discard("mail2")
    site.clock.sleep(30)
    watch = site.watch(DEFAULT)
    watch.identity = dataclasses.replace(MX, relays=("relay2", "relay1"))
    word = {"relay": "relay1", "time": site.clock.time, "passed": True, "epoch": 1}
    site.clock.on_sleep.append(lambda: site.coordinator._put(keys.evidence(MX.name, "relay1"), word))
    site.let_run(watch, 200)
    assert site.record.state is RunState.HELD and without_candidate(site.record)
    assert site.owner.epoch == 1 and site.up == {"mail1"}
    site.up.add("mail2")
    site.let_run(watch, 60)
    assert site.owner.host == "mail2" and site.record.planned and site.up == {"mail1", "mail2"}


def test_a_host_that_cannot_either_is_no_reason_for_a_fence_and_an_alert_says_so(site: Site) -> None:
    site.broken.add("mail2")
    site.let_run(site.watch(DEFAULT), 1800)
    assert site.owner.epoch <= 3 and site.up == {"mail1", "mail2"}
    assert site.said("takeover_held")
    site.broken.clear()
    site.let_run(site.watch(DEFAULT), 120)
    assert site.running == {site.owner.host: site.owner.epoch}

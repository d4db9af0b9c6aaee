"""A host that has missed a deploy is no candidate: it would refuse what the owner accepts."""

from __future__ import annotations

import dataclasses

import pytest
from edges import MX
from holdfast.core import keys
from holdfast.core.model import Configuration, Phase, Readiness, Report
from holdfast.daemons.agent import READY_EVERY
from one_host import TTL, Host

OLD, NEW = Configuration("old", 100.0), Configuration("new", 200.0)


class Deployed(Host):
    """mail1, which a deploy has given `mine`; mail2 owns the identity and has said what it has."""

    def __init__(self, mine: Configuration | None) -> None:
        super().__init__()
        self.mine = mine
        self.begin(configured=lambda place: self.mine)
        self.own(host="mail2")
        self.owner_has(NEW)

    def owner_has(self, one: Configuration | None) -> None:
        report = Report("mail2", 1, Phase.RUNNING, 1.0, configuration=one)
        self.coordinator.data[keys.report("mail2", MX.name)] = report.to_json()

    def word(self) -> Readiness:
        return Readiness.from_json(self.coordinator.data[keys.ready("mail1", MX.name)])


@pytest.mark.parametrize("mine", [OLD, None])
def test_it_says_so_until_it_is_deployed(mine: Configuration | None) -> None:
    host = Deployed(mine)
    host.reasons = ("no room",)
    host.tick()
    assert not host.word().ready
    said = "its configuration is older than that of mail2 (deploy it: playbooks/site.yml --limit mail1)"
    assert host.word().reasons == ("no room", said)
    host.reasons, host.mine = (), dataclasses.replace(NEW, since=900.0)
    host.tick(int(READY_EVERY))
    assert host.word().ready


def test_the_same_is_ready_whatever_the_clocks_said() -> None:
    host = Deployed(dataclasses.replace(NEW, since=1.0))
    host.tick()
    assert host.word().ready


def test_an_owner_that_has_missed_it_itself_keeps_nobody_from_taking_over() -> None:
    host = Deployed(NEW)
    host.owner_has(OLD)
    host.tick()
    assert host.word().ready


def test_an_owner_that_says_nothing_of_it_keeps_nobody_either() -> None:
    host = Deployed(OLD)
    host.owner_has(None)
    host.tick()
    assert host.word().ready
    host.coordinator.data.pop(keys.report("mail2", MX.name))
    host.tick(int(READY_EVERY))
    assert host.word().ready


def test_a_deploy_of_the_owner_is_noticed() -> None:
    host = Deployed(NEW)
    host.tick()
    host.owner_has(Configuration("newer", 300.0))
    host.tick(int(READY_EVERY))
    assert not host.word().ready


def test_its_own_word_outlives_its_lease() -> None:
    """A dead owner's configuration is what its candidates go by."""
    host = Deployed(NEW)
    host.own(epoch=2)
    host.tick()
    assert host.report().configuration == NEW
    host.mine = Configuration("newer", 300.0)
    host.tick()
    assert (host.report().configuration, host.report().phase) == (host.mine, Phase.RUNNING)
    host.clock.sleep(TTL + 1)
    host.coordinator._enter()
    assert keys.lease("mail1") not in host.coordinator.data
    assert host.report().configuration == host.mine


def test_the_owner_asks_nobody() -> None:
    host = Deployed(OLD)
    host.own(epoch=2)
    host.tick()
    assert host.word().ready

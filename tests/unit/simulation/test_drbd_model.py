"""The model of DRBD: what it acknowledges, freezes, copies and refuses, as drbd.conf(5) and its sources have it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.drbd import CONSISTENT, GO_ON, INCONSISTENT, OUTDATED, UP, Member, Pair
from tests.simulation.hosts import Host
from tests.simulation.kernel import Kernel
from tests.simulation.network import STORAGE, Network


class Lab:
    """Two hosts, no product; the handler answers with `status` after `takes` seconds."""

    def __init__(self) -> None:
        self.kernel = Kernel(1)
        self.hosts = {name: Host(self.kernel, name, "dc1") for name in ("a", "b")}
        self.network = Network(self.hosts, self.kernel.random)
        self.status = GO_ON
        self.takes = 1.0
        self.asked: list[str] = []
        self.pair = Pair(self.kernel, self.network, self.hosts["a"], self.hosts["b"], self.handler)
        self.a, self.b = self.pair.members
        self.diverged: list[str] = []
        self.pair.diverged = self.diverged.append
        self.acknowledged: list[int] = []
        for member in self.pair.members:
            member.host.on_change = self.changed
            member.begin()
        self.passes(10.0)

    def handler(self, member: Member) -> int:
        self.asked.append(member.host.name)
        self.kernel.sleep(self.takes)
        return self.status

    def changed(self, host: Host, what: str) -> None:
        member = self.pair.of(host)
        acts = {"off": member.power_lost, "booted": member.booted}
        acts["paused"] = lambda: self.kernel.halt(member.group)
        acts["goes on"] = lambda: self.kernel.go_on(member.group)
        acts[what]()

    def passes(self, seconds: float) -> None:
        self.kernel.run(self.kernel.now + seconds)

    def promote(self, member: Member) -> str:
        done: list[str] = []
        member.promote(done)
        self.passes(5.0)
        return done[0]

    def write(self, member: Member, record: int) -> None:
        member.write(record, lambda: True, self.acknowledged.append)
        self.passes(1.0)

    def cut(self) -> None:
        self.network.cut(self.network.between(["a"], ["b"], [STORAGE]))

    def mend(self) -> None:
        self.network.mend(self.network.between(["a"], ["b"], [STORAGE]))


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.kernel.close()


def test_a_write_is_acknowledged_when_both_have_it(lab: Lab) -> None:
    assert lab.promote(lab.a) == "" and lab.asked == []
    lab.write(lab.a, 1)
    assert lab.acknowledged == [1] and lab.a.data == lab.b.data == {1}
    assert lab.a.state().mirrored
    assert "Multiple primaries" in lab.promote(lab.b)


def test_it_is_frozen_until_the_handler_lets_it_go_on(lab: Lab) -> None:
    lab.promote(lab.a)
    lab.cut()
    lab.write(lab.a, 1)
    lab.passes(3.7)
    assert lab.a.frozen and lab.acknowledged == [] and lab.a.state().suspended
    lab.passes(3.0)
    assert lab.asked == ["a"] and lab.acknowledged == [1] and lab.b.data == set()
    assert (lab.a.state().peer_disk, lab.b.disk) == (OUTDATED, UP), "the other end was not told"


def test_a_refusing_handler_leaves_it_frozen_until_they_are_linked(lab: Lab) -> None:
    lab.promote(lab.a)
    lab.status = 1
    lab.cut()
    lab.write(lab.a, 1)
    lab.passes(60.0)
    assert lab.a.frozen and lab.acknowledged == [] and lab.asked == ["a"]
    lab.mend()
    lab.passes(10.0)
    assert lab.acknowledged == [1] and lab.b.data == {1} and lab.a.state().mirrored


def test_an_exit_code_that_comes_behind_a_new_link_is_ignored(lab: Lab) -> None:
    lab.promote(lab.a)
    lab.takes = 20.0
    lab.cut()
    while not lab.asked:
        lab.passes(0.1)
    lab.mend()
    while not lab.a.linked:
        lab.passes(0.05)
    lab.passes(30.0)
    assert lab.a.state().mirrored and lab.a.current == lab.b.current == 1


def test_who_went_on_alone_is_copied_to_the_other(lab: Lab) -> None:
    lab.promote(lab.a)
    lab.cut()
    lab.passes(10.0)
    lab.write(lab.a, 1)
    lab.mend()
    lab.pair.copy_seconds = (20.0, 20.0)
    lab.passes(10.0)
    assert lab.b.disk == INCONSISTENT and lab.a.state().connection == "SyncSource" and not lab.a.state().mirrored
    # Interrupted: half a copy is no disk that anybody could use, and the primary needs to ask nobody.
    lab.cut()
    lab.passes(10.0)
    assert "UpToDate" in lab.promote(lab.b) and lab.asked == ["a"] and not lab.a.frozen
    lab.mend()
    lab.passes(40.0)
    assert lab.b.disk == UP and lab.b.data == {1}


def test_a_crashed_primary_is_copied_even_if_nobody_went_on(lab: Lab) -> None:
    """Its disk may have what was never acknowledged: both must be the same."""
    lab.promote(lab.a)
    lab.cut()
    lab.write(lab.a, 1)
    lab.hosts["a"].power_off()
    assert lab.a.disk == CONSISTENT
    lab.mend()
    lab.hosts["a"].power_on()
    lab.passes(100.0)
    assert lab.acknowledged == [] and lab.a.data == lab.b.data == {1} and lab.b.disk == UP


def test_a_partner_that_took_over_is_copied_to_the_crashed_one(lab: Lab) -> None:
    lab.promote(lab.a)
    lab.cut()
    lab.write(lab.a, 1)
    lab.hosts["a"].power_off()
    lab.passes(10.0)
    assert lab.promote(lab.b) == "" and lab.asked[-1] == "b"
    lab.write(lab.b, 2)
    lab.mend()
    lab.hosts["a"].power_on()
    lab.passes(100.0)
    assert lab.a.data == lab.b.data == {2} and lab.acknowledged == [2]


def test_promotion_without_the_partner_asks_first(lab: Lab) -> None:
    lab.hosts["a"].power_off()
    lab.passes(10.0)
    lab.status = 1
    assert "not outdated" in lab.promote(lab.b) and not lab.b.primary


def test_two_disks_that_were_both_written_to_are_not_linked(lab: Lab) -> None:
    """What the in-sync set is there to prevent."""
    lab.promote(lab.a)
    lab.cut()
    lab.passes(10.0)
    assert lab.promote(lab.b) == ""
    lab.mend()
    lab.passes(10.0)
    assert len(lab.diverged) == 1 and lab.a.state().connection == "StandAlone"


def test_a_host_that_stands_still_notices_later(lab: Lab) -> None:
    lab.promote(lab.b)
    lab.hosts["b"].pause()
    lab.write(lab.b, 1)
    lab.passes(60.0)
    assert not lab.a.linked and lab.b.linked and lab.acknowledged == []
    lab.hosts["b"].go_on()
    lab.passes(10.0)
    assert lab.acknowledged == [1] and lab.a.data == {1}

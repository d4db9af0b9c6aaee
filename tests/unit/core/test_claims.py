"""Two transfer hosts share the spools, and neither believes in a claim for longer than the coordinator does."""

from __future__ import annotations

import pytest
from holdfast.core import keys
from holdfast.core.claims import TTL, ClaimLost, Claims
from holdfast.core.ports import LockLost, Unavailable
from world import FakeClock, FakeCoordinator

SPOOLS = ("mx1", "mx2", "im1", "im2")
FAR = ("mx9", "im9")


def told(event: str, /, **fields: object) -> None:
    """A log that nobody reads."""


class Pair:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.coordinator = FakeCoordinator(self.clock)
        self.t1, self.t2 = (Claims(h, SPOOLS, self.coordinator, self.clock, told) for h in ("t1", "t2"))

    def wait(self, seconds: int, *hosts: Claims) -> None:
        for _ in range(seconds):
            self.clock.sleep(1)
            for host in hosts:
                host.look((*SPOOLS, *FAR))


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_one_host_has_all_and_gives_the_half_away(pair: Pair) -> None:
    pair.t1.look(SPOOLS)
    assert pair.t1.held() == sorted(SPOOLS)
    pair.t2.look(SPOOLS)
    assert pair.t2.held() == []
    pair.wait(2, pair.t1, pair.t2)
    assert len(pair.t1.held()) == len(pair.t2.held()) == 2
    assert sorted(pair.t1.held() + pair.t2.held()) == sorted(SPOOLS)


def test_hosts_of_another_site_have_no_share_in_it(pair: Pair) -> None:
    far = [Claims(h, FAR, pair.coordinator, pair.clock, told) for h in ("a1", "z9")]
    pair.wait(3, pair.t1, pair.t2, *far)
    assert sorted(pair.t1.held() + pair.t2.held()) == sorted(SPOOLS)
    assert sorted(far[0].held() + far[1].held()) == ["im9", "mx9"]


def test_what_a_dead_host_had_goes_on_elsewhere_when_its_leases_are_over(pair: Pair) -> None:
    pair.wait(3, pair.t1, pair.t2)
    pair.wait(TTL - 2, pair.t1)
    assert len(pair.t1.held()) == 2
    pair.wait(4, pair.t1)
    assert pair.t1.held() == sorted(SPOOLS)


def test_whoever_stops_leaves_all_to_the_others_at_once(pair: Pair) -> None:
    pair.wait(3, pair.t1, pair.t2)
    pair.t1.close()
    pair.wait(1, pair.t2)
    assert pair.t1.held() == [] and pair.t2.held() == sorted(SPOOLS)
    pair.wait(2, pair.t1, pair.t2)
    assert len(pair.t1.held()) == 2, "it may begin again"


def test_a_host_that_sees_no_spools_has_none(pair: Pair) -> None:
    pair.wait(3, pair.t1, pair.t2)
    for _ in range(TTL + 3):
        pair.clock.sleep(1)
        pair.t1.look(())
        pair.t2.look(SPOOLS)
    assert pair.t1.held() == [] and pair.t2.held() == sorted(SPOOLS)
    assert keys.transfer_host("t1") not in pair.coordinator.data


def test_a_spool_that_one_host_does_not_see_is_the_other_ones(pair: Pair) -> None:
    pair.wait(3, pair.t1, pair.t2)
    gone = pair.t1.held()[0]
    for _ in range(3):
        pair.clock.sleep(1)
        pair.t1.look([s for s in SPOOLS if s != gone])
        pair.t2.look(SPOOLS)
    assert gone in pair.t2.held() and pair.t1.held(), "and it keeps its share of the others"
    assert sorted(pair.t1.held() + pair.t2.held()) == sorted(SPOOLS)
    pair.wait(3, pair.t1, pair.t2)
    assert gone in pair.t1.held()


def test_a_spool_that_nobody_sees_keeps_none_of_the_others_waiting(pair: Pair) -> None:
    for _ in range(3):
        pair.clock.sleep(1)
        pair.t1.look(("mx2", "im1", "im2"))
        pair.t2.look(("mx2", "im1", "im2"))
    assert sorted(pair.t1.held() + pair.t2.held()) == ["im1", "im2", "mx2"]


def test_a_host_of_the_release_before_says_only_that_it_sees_all(pair: Pair) -> None:
    word = {"host": "t2", "spools": sorted(SPOOLS), "since": 0.0}
    pair.coordinator.put(keys.transfer_host("t2"), word, pair.coordinator.grant(TTL))
    pair.t1.look(SPOOLS)
    assert len(pair.t1.held()) == 2


def test_a_host_that_was_paused_knows_that_its_claim_is_over(pair: Pair) -> None:
    pair.t1.look(SPOOLS)
    pair.t1.check("mx1")
    pair.clock.sleep(TTL + 1)
    with pytest.raises(ClaimLost):
        pair.t1.check("mx1")
    pair.t2.look(SPOOLS)
    pair.t1.look(SPOOLS)
    assert "mx1" in pair.t2.held() and "mx1" not in pair.t1.held()


def test_every_claim_is_kept_however_long_something_is_done_under_one_of_them(pair: Pair) -> None:
    """A spool whose round takes minutes must not cost this host the others, which its partner would leave alone."""
    pair.wait(3, pair.t1, pair.t2)
    mine = pair.t1.held()
    for _ in range(3 * TTL):
        pair.wait(1, pair.t1, pair.t2)
        pair.t1.check(mine[0])
    assert pair.t1.held() == mine and len(mine) == 2
    for spool in mine:
        pair.t1.check(spool)
    assert pair.coordinator.list(keys.TRANSFER_HOSTS)


def test_to_check_a_claim_asks_nobody(pair: Pair) -> None:
    """Each spool has a thread, and a connection to the coordinator is one thread's."""
    pair.t1.look(SPOOLS)
    calls = pair.coordinator.calls
    pair.clock.sleep(TTL / 2 - 1)
    pair.t1.check("mx1")
    assert pair.coordinator.calls == calls
    with pytest.raises(ClaimLost):
        pair.t1.check("mx9")


def test_one_host_of_a_site_is_the_first(pair: Pair) -> None:
    far = Claims("a1", FAR, pair.coordinator, pair.clock, told)

    def firsts() -> list[str]:
        claimed = pair.coordinator.list(keys.TRANSFER_CLAIMS)
        return [f for f in (host.first(claimed) for host in (pair.t1, pair.t2)) if f is not None]

    assert firsts() == []
    pair.wait(3, pair.t1, pair.t2, far)
    assert firsts() == ["im1"] and far.first(pair.coordinator.list(keys.TRANSFER_CLAIMS)) == "im9"
    holder = pair.t1 if "im1" in pair.t1.held() else pair.t2
    holder.close()
    left = firsts()
    assert left == [min(pair.t1.held() or pair.t2.held())]
    pair.t1.look([s for s in SPOOLS if s != "im1"])
    pair.t2.look([s for s in SPOOLS if s != "im1"])
    assert len(firsts()) == 1, "also where nobody sees the first one"


def test_without_the_coordinator_a_claim_stands_for_half_its_time(pair: Pair) -> None:
    pair.t1.look(SPOOLS)
    pair.coordinator.reachable = False
    pair.clock.sleep(TTL / 2 - 1)
    pair.t1.check("mx1")
    pair.clock.sleep(2)
    with pytest.raises(ClaimLost):
        pair.t1.check("mx1")
    with pytest.raises(Unavailable):
        pair.t1.look(SPOOLS)
    pair.coordinator.reachable = True
    pair.t1.look(SPOOLS)
    pair.t1.check("mx1")


def test_an_answer_that_took_too_long_is_none(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host slept between the coordinator's yes and its reading: the lease may be over."""
    pair.t1.look(SPOOLS)
    pair.clock.sleep(TTL / 4 + 1)
    monkeypatch.setattr(pair.coordinator, "refresh", lambda lock: pair.clock.sleep(TTL))
    monkeypatch.setattr(pair.coordinator, "lock", lambda key, value, ttl: None)
    pair.t1.look(SPOOLS)
    with pytest.raises(ClaimLost):
        pair.t1.check("mx1")


def test_the_end_gives_all_back(pair: Pair) -> None:
    pair.wait(3, pair.t1, pair.t2)
    pair.t1.close()
    assert pair.t1.held() == []
    assert {k for k in pair.coordinator.data if "/claim/" in k} == {keys.transfer_claim(s) for s in pair.t2.held()}
    assert LockLost is not Unavailable

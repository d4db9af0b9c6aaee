"""When nobody can take over (R1.10): what is returned, and that nothing is while somebody still could."""

from __future__ import annotations

import pytest
from holdfast.core.model import Identity, Method
from holdfast.core.ports import Unavailable
from holdfast.core.returning import Held, Order, due, outlasted
from holdfast.core.threshold import Threshold
from holdfast.core.watching import Settings, Watch
from hypothesis import given
from hypothesis import strategies as st
from world import MX, ROUTES, World

DOMAINS = {"alpha.example": "mx.alpha.example", "beta.example": "mx.beta.example"}
ALPHA, BETA = Order("mx.alpha.example", 1000.0, "none left"), Order("mx.beta.example", 500.0, "none left")


def held(*recipients: str, arrival: float = 900.0, queue: str = "deferred") -> Held:
    return Held("4XYZ", queue, "s@out.example", recipients, arrival)


@pytest.mark.parametrize(
    ("message", "orders", "returned"),
    [
        (held("a@alpha.example"), [ALPHA], True),
        (held("a@ALPHA.example", "b@alpha.example"), [ALPHA], True),
        (held("a@alpha.example", arrival=1000.5), [ALPHA], False),
        (held("a@alpha.example", queue="hold"), [ALPHA], False),
        (held("a@alpha.example"), [], False),
        (held("a@alpha.example"), [BETA], False),
        (held("a@other.example"), [ALPHA], False),
        (held(), [ALPHA], False),
        # It waits for somebody else, too: Postfix returns it for all or for none.
        (held("a@alpha.example", "b@beta.example"), [ALPHA], False),
        (held("a@alpha.example", "b@beta.example"), [ALPHA, BETA], False),
        (held("a@alpha.example", "b@beta.example", arrival=400.0), [ALPHA, BETA], True),
    ],
)
def test_what_is_due(message: Held, orders: list[Order], returned: bool) -> None:
    assert bool(list(due([message], orders, DOMAINS))) is returned


@given(
    st.lists(st.sampled_from(["a@alpha.example", "b@beta.example", "c@else.example"])),
    st.floats(0, 2000),
    st.sets(st.sampled_from([ALPHA, BETA])),
)
def test_nothing_younger_than_any_order_of_its_recipients(
    recipients: list[str], arrival: float, orders: set[Order]
) -> None:
    for message, _ in due([held(*recipients, arrival=arrival)], orders, DOMAINS):
        by = {o.identity: o for o in orders}
        assert all(message.arrival <= by[DOMAINS[r.partition("@")[2]]].before for r in message.recipients)


def test_the_outage_itself_must_have_lasted() -> None:
    assert outlasted(600.0, 600.0)
    assert not outlasted(599.0, 600.0)
    assert not outlasted(None, 600.0)
    assert not outlasted(1e9, None)


class Box:
    def __init__(self, world: World, fails: bool = False) -> None:
        self.world = world
        self.fails = fails
        self.orders: list[tuple[float, str]] = []

    def order(self, identity: Identity, reason: str) -> None:
        if self.fails:
            raise Unavailable("read-only file system")
        self.orders.append((self.world.clock.time, reason))


def watch(world: World, box: Box, archive_after: float | None, armed: bool = True) -> Watch:
    settings = Settings("relay2", 30.0, tuple(Method), Threshold(4, 120), ROUTES, 2, archive_after)
    takeover = world.takeover() if armed else None
    return Watch(MX, settings, world.coordinator, world, world, takeover, world.clock, world.log, box)  # type: ignore[arg-type]


def outage(archive_after: float | None, seconds: float, fails: bool = False) -> tuple[World, Box]:
    world = World()
    world.up.clear()
    world.clock.sleep(16)
    begin = world.clock.time
    box = Box(world, fails)
    world.let_run(watch(world, box, archive_after), seconds)
    box.orders = [(at - begin, reason) for at, reason in box.orders]
    return world, box


def test_off_by_default() -> None:
    world, box = outage(None, 4000)
    assert box.orders == [] and not world.said("archive_and_return")


def test_ordered_only_after_the_time_and_again_while_it_lasts() -> None:
    world, box = outage(600, 900)
    assert box.orders and box.orders[0][0] >= 600 and len(box.orders) >= 3
    assert "no candidate: mail1: is the present owner; mail2: no live lease" in box.orders[0][1]
    assert all(e["level"] == "alert" for e in world.said("archive_and_return"))


def test_not_while_somebody_could_take_over() -> None:
    world = World()
    world.switch.answer = "refuse"
    world.up.discard("mail1")
    box = Box(world)
    world.let_run(watch(world, box, 600), 2000)
    assert box.orders == [], "the fence is what holds it back, and an operator can mend that"


def test_a_candidate_that_is_away_for_a_moment_returns_nothing() -> None:
    """What held mail back for all that time was the fence; only behind it there is really nobody."""
    world = World()
    world.switch.answer = "refuse"
    world.up.discard("mail1")
    box = Box(world)
    monitor = watch(world, box, 600)
    world.let_run(monitor, 2000)
    world.up.discard("mail2")
    world.let_run(monitor, 120)
    assert any("no candidate" in str(e.get("why")) for e in world.said("takeover_held")) and box.orders == []
    world.up.add("mail2")
    world.let_run(monitor, 120)
    world.up.discard("mail2")
    away = world.clock.time
    world.let_run(monitor, 900)
    assert box.orders and box.orders[0][0] - away >= 600


def test_an_owner_that_is_back_gets_its_access_and_nothing_is_returned() -> None:
    """The run that was held for want of a candidate is given up: then mail is about to be delivered."""
    world = World()
    world.store_up = False
    world.up.discard("mail1")
    box = Box(world)
    monitor = watch(world, box, 120)
    world.let_run(monitor, 150)
    assert world.record.revoke_epoch == 1
    world.up.clear()
    world.let_run(monitor, 240)
    before = len(box.orders)
    assert before and "no candidate" in box.orders[-1][1]
    world.store_up = True
    world.up.add("mail1")
    world.let_run(monitor, 120)
    assert world.record.step("given_up") is not None and "mail1" in world.running
    assert len(box.orders) == before


def test_an_order_that_cannot_be_given_is_told_and_given_again() -> None:
    world, _ = outage(600, 900, fails=True)
    assert len(world.said("archive_and_return_failed")) >= 3


def test_a_clock_that_is_set_forward_makes_no_outage_longer() -> None:
    world = World()
    world.up.clear()
    world.clock.sleep(16)
    box = Box(world)
    monitor = watch(world, box, 7200)
    world.let_run(monitor, 300)
    world.clock.ahead = 86400.0
    world.let_run(monitor, 600)
    assert world.said("takeover_ended") and box.orders == []
    world.let_run(monitor, 7200 - 900 + 120)
    assert box.orders


def test_a_relay_without_fence_rights_returns_what_it_holds_when_the_others_run_found_nobody() -> None:
    world = World()
    world.up.clear()
    world.clock.sleep(16)
    mine, others = Box(world), Box(world)
    unarmed, armed = watch(world, mine, 600, armed=False), watch(world, others, 600)
    end = world.clock.time + 900
    while world.clock.time < end:
        armed.tick()
        unarmed.tick()
        world.clock.sleep(1)
    assert mine.orders and mine.orders[0][0] - end + 900 >= 600


def test_a_run_of_an_earlier_outage_returns_nothing() -> None:
    world = World()
    world.up.clear()
    world.clock.sleep(16)
    mine = Box(world)
    unarmed, armed = watch(world, mine, 600, armed=False), watch(world, Box(world), None)
    for _ in range(200):
        armed.tick()
        unarmed.tick()
        world.clock.sleep(1)
    world.let_run(unarmed, 900)  # nobody who may fence says any more that there is no candidate
    assert mine.orders == []

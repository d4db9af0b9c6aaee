"""A relay is an identity too: the hosts that may own it watch each other, and nobody fences himself."""

from __future__ import annotations

import dataclasses

import pytest
from holdfast.core import keys, telling
from holdfast.core.model import Method, Run, RunState
from holdfast.core.pairing import Pairing
from holdfast.core.takeover import Refused
from holdfast.core.threshold import Threshold
from holdfast.core.watching import Settings, Watch
from world import MX, ROUTES, World

HOSTS = ("mail1", "mail2")
RELAY = dataclasses.replace(MX, kind="relay", domains=(), relays=HOSTS)
DEFAULT = Threshold(4, 120)


def monitor(world: World, host: str) -> Pairing:
    takeover = world.takeover(relay=host, identity=RELAY)
    settings = Settings(host, 30.0, (Method.DELIVERY, Method.TOPOLOGY, Method.PROBE), DEFAULT, ROUTES)
    return Pairing(Watch(RELAY, settings, world.coordinator, world, world, takeover, world.clock, world.log))  # type: ignore[arg-type]


@dataclasses.dataclass
class Site:
    """Both hosts, each with its monitor, which lives while its host does."""

    world: World

    def __post_init__(self) -> None:
        self.monitors = {host: monitor(self.world, host) for host in HOSTS}

    def run(self, seconds: float) -> None:
        end = self.world.clock.time + seconds
        while self.world.clock.time < end:
            for host, one in self.monitors.items():
                if host in self.world.up:
                    one.tick()
            self.world.clock.sleep(1.0)

    def evidence(self, host: str) -> dict[str, object] | None:
        return self.world.coordinator.get(keys.evidence(RELAY.name, host)).value


def test_its_owner_says_nothing_about_it_and_the_other_host_does() -> None:
    site = Site(World())
    site.run(100)
    assert site.evidence("mail1") is None
    word = site.evidence("mail2")
    assert word is not None and word["verdict"] == "ok"
    known = telling.Known.from_json(RELAY, telling.read_about(site.world.coordinator, RELAY), 30.0, {})
    assert telling.needs(known, site.world.clock.time) == []


def test_a_dead_host_is_followed_by_the_other_and_nothing_is_flushed_to_a_relay() -> None:
    world = World(waiting=7)
    site = Site(world)
    site.run(60)
    world.waiting = 7
    world.up.discard("mail1")
    site.run(200)
    assert (world.owner.host, world.owner.epoch) == ("mail2", 2)
    assert world.record.state is RunState.DONE and world.record.invoker == "mail2"
    assert [s.name for s in world.record.steps if s.name in ("dns", "flush")] == ["dns"]
    assert world.flushed == 0 and world.published == [("mail2", 2)]
    # The host that comes back watches, and finds all well.
    world.up.add("mail1")
    site.run(100)
    assert world.owner.epoch == 2 and site.evidence("mail1") is not None


def test_the_owner_is_not_taken_from_by_an_operators_flag_on_its_own_host() -> None:
    """The flag is for all monitors; the one on the owner's host would fence itself in the middle of its own run."""
    world = World()
    site = Site(world)
    world.coordinator.put(keys.inoperable(RELAY.name), {"by": "anna", "reason": "x", "time": 1.0, "epoch": 1})
    site.run(100)
    assert world.owner.host == "mail2" and world.record.invoker == "mail2"


def test_nobody_fences_himself() -> None:
    world = World()
    with pytest.raises(Refused, match="mail1 owns it and would fence itself"):
        world.takeover(relay="mail1", identity=RELAY).execute("by hand", 1, automatic=False)
    assert "mail1" in world.up and world.owner.epoch == 1
    assert keys.takeover(RELAY.name) not in world.coordinator.data


def test_a_new_owner_ends_the_run_that_made_it_one() -> None:
    """Its monitor began it and died behind the change of owner."""
    world = World()
    site = Site(world)
    site.run(60)
    takeover = world.takeover(relay="mail2", identity=RELAY)
    world.start_fails = True
    world.up.discard("mail1")
    world.clock.sleep(20)
    assert takeover.execute("down", 1).state is RunState.HELD
    assert world.owner.host == "mail2"
    world.start_fails = False
    site.run(60)
    assert world.record.state is RunState.DONE and world.owner.epoch == 2


def test_a_relay_that_is_down_holds_up_no_mail_identity() -> None:
    """Each has its own watch: the run of a relay that nobody can fence does not wait for anything of the other's."""
    world = World()
    world.switch.answer = "refuse"
    site = Site(world)
    site.run(60)
    world.up.discard("mail1")
    site.run(240)
    held = Run.from_json(world.coordinator.data[keys.takeover(RELAY.name)][0])
    assert held.state is RunState.HELD and world.owner.host == "mail1"
    assert keys.lock(RELAY.name) not in world.coordinator.data, "a held run keeps no lock"

"""mail1 with an agent whose works remember what was done: for test_agent.py, test_keeper.py and others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edges import MX, Clock, Coordinator, Lines
from holdfast.core import keys
from holdfast.core.model import Identity, Report
from holdfast.core.ports import Unavailable
from holdfast.daemons.agent import Agent
from holdfast.daemons.instance import Mailboxes, Place
from holdfast.daemons.keeper import Keeper
from holdfast.daemons.running import Cancel, Found

TTL = 15
STEPS = ("store", "queue", "address", "start", "verify")


def place(identity: Identity) -> Place:
    folder = f"/etc/holdfast/identity/{identity.name}"
    return Place(
        identity,
        f"10.1.3.21:/srv/store/{identity.name}",
        f"/srv/holdfast/{identity.name}",
        f"{folder}/postfix",
        f"{folder}/configuration",
        "/etc/holdfast/tls/ca.pem",
        "postmaster@alpha.example",
        Mailboxes(f"{folder}/dovecot/dovecot.conf", "probe@alpha.example", "/etc/holdfast/probe"),
    )


class Works:
    """An identity's machinery: remembers what was done, and fails where it is told to."""

    def __init__(self, identity: Identity) -> None:
        self.place = place(identity)
        self.did: list[str] = []
        self.fails: dict[str, str] = {}
        self.on_step: Callable[[str], None] = lambda name: None
        self.left = Found(None, ())
        self.gone: str | None = None
        self.dead_units: str | None = None
        self.no_look = False
        self.lacking: str | None = None
        self.no_address = False
        self.announced: list[int] = []
        self.no_announcement = False

    def _do(self, name: str) -> str:
        self.did.append(name)
        self.on_step(name)
        if name in self.fails:
            raise Unavailable(self.fails[name])
        return f"{name} done"

    def steps(self, epoch: int, cancel: Cancel) -> Sequence[tuple[str, Callable[[], str]]]:
        return [(name, lambda name=name: self._do(name)) for name in STEPS]  # type: ignore[misc]

    def mark(self, epoch: int) -> None:
        self.did.append(f"mark {epoch}")
        self.gone = self.dead_units = None

    def down(self) -> None:
        self._do("down")

    def release(self) -> None:
        self._do("release")

    def lost(self) -> str | None:
        return self.gone

    def dead(self) -> str | None:
        self.did.append("look")
        if self.no_look:
            raise Unavailable("systemctl: no answer within 20 s")
        return self.dead_units

    def lacks(self) -> str | None:
        return self.lacking

    def address_missing(self) -> bool:
        return self.no_address

    def announce(self, epoch: int) -> None:
        if self.no_announcement:
            raise Unavailable("vtysh: could not lock candidate DS")
        self.announced.append(epoch)

    def reload(self) -> None:
        self._do("reload")

    def found(self) -> Found:
        return self.left


class Host:
    """mail1 with an agent. Work is done at once unless `later` holds it back."""

    def __init__(self, *identities: Identity) -> None:
        self.clock = Clock()
        self.coordinator = Coordinator(self.clock)
        self.log = Lines()
        self.works = {i.name: Works(i) for i in identities or (MX,)}
        self.later: list[Callable[[], None]] | None = None
        self.gap = 0.0
        self.reasons: tuple[str, ...] = ()
        self.silent: set[str] = set()  # stores that do not answer

    def spawn(self, work: Callable[[], None]) -> None:
        if self.later is None:
            work()
        else:
            self.later.append(work)

    def begin(self, boot: str = "boot-1", **more: Any) -> None:
        """`more`: what else the agent is given."""
        self.keepers = {n: Keeper("mail1", w, self.clock, self.log, self.spawn) for n, w in self.works.items()}
        for keeper in self.keepers.values():
            keeper.find()
        self.agent = Agent(
            "mail1",
            TTL,
            [(k, self.works[n].place) for n, k in self.keepers.items()],
            self.coordinator,
            lambda place: self.reasons,
            self.take_gap,
            boot,
            self.clock,
            self.log,
            store_answers=lambda place: place.identity.store not in self.silent,
            **more,
        )

    def take_gap(self) -> float:
        gap, self.gap = self.gap, 0.0
        return gap

    def tick(self, times: int = 1) -> list[str]:
        for work in self.works.values():
            work.did.clear()
        for _ in range(times):
            self.clock.sleep(1.0)
            self.agent.tick()
        return [d for w in self.works.values() for d in w.did]

    def own(self, epoch: int = 1, host: str = "mail1", identity: Identity = MX) -> None:
        self.coordinator.own(host, epoch, identity)
        self.coordinator.admit(host, epoch, identity)

    def report(self, identity: Identity = MX) -> Report:
        return Report.from_json(self.coordinator.data[keys.report("mail1", identity.name)])

    @property
    def mx(self) -> Works:
        return self.works[MX.name]

"""The other ports: attempts, power switches, names, the relay's queue, an identity's machinery, a store's exports.

All of them look at the same `World`; each call takes virtual time, and what a fault does to it is decided there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from holdfast.core.model import Attempt, Identity, Method, Route
from holdfast.core.ports import Power, Unavailable
from holdfast.daemons.instance import MOUNT_WITHIN, Place
from holdfast.daemons.keeper import Located
from holdfast.daemons.running import ADDRESS_WITHIN, VERIFY_WITHIN, Cancel, Cancelled, Found

from .hosts import Host
from .kernel import Kernel
from .network import GATEWAY, MAIL_ROUTES, MANAGEMENT

if TYPE_CHECKING:
    from .world import World

POLL = 1.0  # seconds; production polls four times as often


class RelayProber:
    """Implements core.ports.Prober. `counts`: attempts of the monitor, as opposed to a takeover's own look."""

    def __init__(self, world: World, relay: Host, counts: bool) -> None:
        self._world = world
        self._kernel = world.kernel
        self._relay = relay
        self._counts = counts

    def _attempt(self, method: Method, identity: Identity, route: Route) -> Attempt:
        world, clock = self._world, self._relay.clock
        self._kernel.alive()
        start = clock.now()
        if method is Method.TOPOLOGY:
            result, seconds = world.routed(self._relay, identity, route.name)
        else:
            result, seconds = world.talk(self._relay, identity, route.name)
        if self._counts:
            world.judge.attempted(self._relay.name, identity.name, method, result)
        world.heard(self._relay.name, identity.name, method, result)
        self._kernel.sleep(seconds)
        return Attempt(method, route.name, result, start, clock.now())

    def probe(self, identity: Identity, route: Route) -> Attempt:
        return self._attempt(Method.PROBE, identity, route)

    def topology(self, identity: Identity, route: Route) -> Attempt:
        return self._attempt(Method.TOPOLOGY, identity, route)

    def deliver(self, identity: Identity, route: Route) -> Attempt | None:
        self._kernel.alive()
        if not self._world.waiting[self._relay.name, identity.name]:
            return None
        return self._attempt(Method.DELIVERY, identity, route)


class Queue:
    """Implements core.ports.RelayQueue."""

    def __init__(self, world: World, relay: Host) -> None:
        self._world = world
        self._relay = relay

    def waiting(self, identity: Identity) -> int:
        return self._world.waiting[self._relay.name, identity.name]

    def flush(self, identity: Identity) -> None:
        self._world.kernel.alive()
        if self._world.queue_broken:
            raise Unavailable("postqueue: mail system is down")
        self._world.kernel.sleep(0.1)

    def use_route(self, identities: Sequence[Identity], route: Route) -> None:
        self._world.kernel.alive()


class Names:
    """Implements core.ports.NameService."""

    def __init__(self, world: World, relay: Host) -> None:
        self._world = world
        self._relay = relay

    def publish(self, identity: Identity, owner: str, epoch: int, *, primary: bool = True) -> str:
        world = self._world
        world.kernel.alive()
        server = world.witness
        if not server.acts or world.names_broken or not world.network.joined(MANAGEMENT, self._relay.name, server.name):
            world.kernel.sleep(5.0)
            raise Unavailable("dns: no answer")
        world.kernel.sleep(0.1)
        world.published[identity.name] = owner
        return f"{owner} {epoch}"


class Switch:
    """Implements core.ports.PowerSwitch. The device's mood is a fault; it never says off of a host that runs."""

    method = "switch"
    TIMEOUT = 20.0

    def __init__(self, world: World, relay: Host) -> None:
        self._world = world
        self._relay = relay

    def _reached(self) -> bool:
        return self._world.network.joined(MANAGEMENT, self._relay.name, self._world.witness.name)

    def _silence(self) -> Unavailable:
        self._world.kernel.sleep(self.TIMEOUT)
        return Unavailable(f"{self.method}: no answer within {self.TIMEOUT:g} s")

    def off(self, host: str) -> str:
        world, kernel = self._world, self._world.kernel
        kernel.alive()
        process = kernel.current
        assert process is not None
        world.judge.fence_ordered(self._relay.name, process.context[0], host)
        mood = world.mood[host]
        if not self._reached() or mood == "silent":
            raise self._silence()
        if mood == "refusing":
            kernel.sleep(0.3)
            raise Unavailable(f"{self.method}: status 1: refused")
        target = world.hosts[host]
        if mood == "slow":
            takes = kernel.random.uniform(5.0, 40.0)
            kernel.after(takes, target.power_off)
            kernel.sleep(min(takes + 0.01, self.TIMEOUT))
            if takes >= self.TIMEOUT:
                raise Unavailable(f"{self.method}: no answer within {self.TIMEOUT:g} s")
        else:
            kernel.after(0.2, target.power_off)
            kernel.sleep(0.3)
        if mood == "lost answer":
            raise Unavailable(f"{self.method}: connection lost")
        return self._status_words(host)

    def _status_words(self, host: str) -> str:
        if self.status(host) is not Power.OFF:
            raise Unavailable(f"{self.method}: answered '{host} on' after off")
        return f"off {host}"

    def status(self, host: str) -> Power:
        world = self._world
        world.kernel.alive()
        mood = world.mood[host]
        if not self._reached() or mood == "silent":
            raise self._silence()
        world.kernel.sleep(0.2)
        if mood == "lying" and world.kernel.random.random() < 0.5:
            raise Unavailable(f"{self.method}: answered 'unknown'")
        return Power.ON if mood == "lying" or world.hosts[host].up else Power.OFF


class Routes:
    """Implements core.fencing.AddressView, as adapters.topology.Topology: what the gateways announce."""

    def __init__(self, world: World, relay: Host) -> None:
        self._world = world
        self._relay = relay

    def withdrawn(self, identity: Identity, routes: Iterable[Route]) -> str:
        world = self._world
        world.kernel.sleep(0.05)
        for route in routes:
            if not world.network.joined(route.name, self._relay.name, GATEWAY):
                raise Unavailable(f"BFD towards {', '.join(route.routers)} is down, so what it announces is not known")
        if any(world.chosen(route, identity.name) is not None for route in MAIL_ROUTES):
            raise Unavailable(f"a path to {identity.address}/32 is announced")
        world.judge.silent[identity.name] = world.kernel.now
        return "no path is announced"


class Works:
    """Implements daemons.keeper.Works: the steps of daemons/instance.py with their times, on the world's services."""

    def __init__(self, world: World, host: Host, place: Place) -> None:
        self.place = place
        self._world = world
        self._kernel: Kernel = world.kernel
        self._host = host
        self._name = place.identity.name
        self._service = host.services[self._name]

    def _take(self, least: float, most: float) -> None:
        self._kernel.sleep(self._kernel.random.uniform(least, most))

    # --- going up ----------------------------------------------------------------------------------------------

    def steps(self, epoch: int, cancel: Cancel) -> Sequence[tuple[str, Callable[[], str]]]:
        self._kernel.alive()
        self._world.judge.starting(self._host.name, self._name)
        return (
            ("store", lambda: self._attach(epoch, cancel)),
            ("queue", self._adopt),
            ("address", lambda: self._raise_address(cancel)),
            ("start", self._start),
            ("verify", lambda: self._verify(cancel)),
        )

    def _until(self, what: Callable[[], str | None], within: float, cancel: Cancel) -> str | None:
        end = self._host.clock.boottime() + within
        while True:
            if cancel():
                raise Cancelled
            said = what()
            if said is not None or self._host.clock.boottime() >= end:
                return said
            self._kernel.sleep(POLL)

    def _attach(self, epoch: int, cancel: Cancel) -> str:
        self._service.announced = epoch

        def mounted() -> str | None:
            self._take(0.05, 0.3)
            if not self._world.admits(self._host, self._name):
                return None
            self._service.mounted = True
            self._world.judge.look(self._name)
            return "mounted"

        said = self._until(mounted, MOUNT_WITHIN, cancel)
        if said is None:
            raise Unavailable("mount: access denied or no answer")
        return said

    def _adopt(self) -> str:
        self._take(0.05, 0.5)
        return "adopted as it is"

    def _raise_address(self, cancel: Cancel) -> str:
        self._track(True)
        said = self._until(lambda: "there" if self._service.address else None, ADDRESS_WITHIN, cancel)
        if said is None:
            raise Unavailable("keepalived did not put the address on")
        return said

    def _track(self, wanted: bool) -> None:
        """keepalived follows the track file after a moment."""
        self._kernel.alive()
        service, boot = self._service, self._host.boot_number
        service.track = wanted

        def follow() -> None:
            if self._host.up and self._host.boot_number == boot and not (service.track and service.no_address):
                if self._host.paused:
                    self._kernel.after(1.0, follow)
                elif service.address != service.track:
                    service.address = service.track
                    self._world.changed(self._name, f"{self._host.name} {'+' if service.track else '-'}address")

        self._kernel.after(self._kernel.random.uniform(0.2, 1.5), follow)

    def _start(self) -> str:
        self._take(0.5, 3.0)
        self._service.units = True
        self._world.changed(self._name, f"{self._host.name} +units")
        return "started"

    def _verify(self, cancel: Cancel) -> str:
        def answers() -> str | None:
            self._take(0.3, 1.5)
            good = self._service.answers and self._world.writes(self._host, self._name)
            return "answers" if good and not self._service.refusing and not self._service.sick else None

        said = self._until(answers, VERIFY_WITHIN, cancel)
        if said is None:
            raise Unavailable("SMTP: no answer on its own address")
        return said

    def mark(self, epoch: int) -> None:
        self._kernel.alive()
        self._service.mark = epoch

    # --- going down --------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Sessions and deliveries end first."""
        self._take(0.3, 2.0)
        self.down()

    def down(self) -> None:
        self._kernel.alive()
        self._world.judge.stopping(self._host.name, self._name)
        self._track(False)
        self._service.mark = None
        if self._service.mounted and self._service.units and not self._world.store_answers(self._host, self._name):
            # Processes that wait for a dead store end when their requests are given up.
            self._take(10.0, 20.0)
            self._service.mounted = False
        self._take(0.2, 2.0)
        if self._service.units:
            self._service.units = False
            self._world.changed(self._name, f"{self._host.name} -units")
        self._take(0.05, 0.3)
        self._service.mounted = False

    # --- looking -----------------------------------------------------------------------------------------------

    def lost(self) -> str | None:
        self._kernel.alive()
        return None if self._service.mounted else "not mounted"

    def dead(self) -> str | None:
        self._take(0.05, 0.2)
        return None if self._service.units else "units are failed"

    def lacks(self) -> str | None:
        return None

    def address_missing(self) -> bool:
        self._kernel.alive()
        return not self._service.address

    def announce(self, epoch: int) -> None:
        self._kernel.alive()
        self._service.announced = epoch

    def reload(self) -> None:
        self._take(0.05, 0.2)

    def found(self) -> Found:
        self._take(0.05, 0.2)
        service = self._service
        if service.mark is not None and service.mounted and service.units:
            return Found(service.mark, ())
        there = {"units": service.units, "mark": service.mark is not None, "track file": service.track}
        there["mount"] = service.mounted
        return Found(None, tuple(name for name, is_there in there.items() if is_there))


class Disk:
    """What daemons.store.Config.root is: a mount point whose folders were laid out when the store was deployed."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __str__(self) -> str:
        return self._path

    def __truediv__(self, name: str) -> Disk:
        return Disk(f"{self._path}/{name}")

    def is_mount(self) -> bool:
        return True

    def is_dir(self) -> bool:
        return True


class Exports:
    """As adapters.nfsd.Exports, on the world's table of that store."""

    def __init__(self, world: World, store: Host) -> None:
        self._world = world
        self._store = store
        self._table = world.exports[store.name]

    def table(self) -> set[tuple[str, str]]:
        self._world.kernel.alive()
        return set(self._table)

    def _work(self) -> None:
        self._world.kernel.sleep(self._world.kernel.random.uniform(0.02, 0.3))
        if self._store.name in self._world.exportfs_broken:
            raise Unavailable("exportfs: failed")

    def grant(self, path: str, client: str, with_options: str) -> None:
        self._work()
        self._table.add((path, client))
        self._world.exported(self._store, path, f"+{client}")

    def withdraw(self, path: str, client: str) -> None:
        self._work()
        self._table.discard((path, client))
        self._world.exported(self._store, path, f"-{client}")


class Clients:
    """As adapters.nfsd.Clients."""

    def __init__(self, world: World, store: Host) -> None:
        self._world = world
        self._store = store

    def serving(self) -> bool:
        self._world.kernel.alive()
        return self._store.name not in self._world.nfsd_down

    def expire(self, addresses: Sequence[str]) -> int:
        self._world.kernel.sleep(self._world.kernel.random.uniform(0.02, 1.0))
        if self._store.name in self._world.expire_broken:
            raise Unavailable("NFS clients do not expire")
        return 0


class Firewall:
    """As adapters.nft.Firewall, on the world's table of that store."""

    def __init__(self, world: World, store: Host) -> None:
        self._world = world
        self._store = store

    def dropped(self) -> frozenset[str]:
        self._world.kernel.alive()
        return self._world.dropped[self._store.name]

    def connected(self, addresses: frozenset[str]) -> None:
        """None of them, behind `drop`."""

    def drop(self, addresses: frozenset[str]) -> None:
        self._world.kernel.sleep(self._world.kernel.random.uniform(0.02, 0.3))
        if self._store.name in self._world.nft_broken:
            raise Unavailable("nft: failed")
        self._world.dropped[self._store.name] = addresses
        self._world.drops(self._store)


def reasons(world: World, host: Host) -> Callable[[Located], tuple[str, ...]]:
    """As daemons.readiness.Checks.reasons."""

    def ask(place: Located) -> tuple[str, ...]:
        if host.name in world.drained:
            return ("drained",)
        return () if connects(world, host)(place) else (f"store {place.identity.store} does not answer",)

    return ask


def connects(world: World, host: Host) -> Callable[[Located], bool]:
    """As daemons.readiness.Checks.silent."""

    def ask(place: Located) -> bool:
        found = world.connects(host, place.identity.name)
        world.kernel.sleep(0.01 if found else 1.0)
        return found

    return ask

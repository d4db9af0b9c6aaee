"""Everything that a scenario has: hosts, networks, coordinator, daemons of the product, and the truth about them."""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.core import keys
from holdfast.core.locked_run import Ports, Timeouts
from holdfast.core.model import Identity, Method, Owner, Result, Route
from holdfast.core.rights import rights, served
from holdfast.core.takeover import Takeover
from holdfast.core.threshold import Threshold
from holdfast.core.watching import Settings, Watch
from holdfast.daemons.agent import Agent
from holdfast.daemons.instance import Mailboxes, Place
from holdfast.daemons.keeper import Keeper
from holdfast.daemons.store import Config, Store

from .coordinator import Client, pack
from .edges import Clients, Disk, Exports, Names, Queue, RelayProber, Switch, Works, reasons
from .hosts import EPOCH, Host, Service
from .judge import Judge
from .kernel import Group, Kernel, Process
from .network import MAIL_ROUTES, STORAGE
from .stage import Stage, brief

ROOT = "/srv/store"


@dataclass(frozen=True)
class Topology:
    """What is deployed: sites by host, and each program's settings. Seconds."""

    mail: Mapping[str, str]
    relays: Mapping[str, str]
    stores: Mapping[str, str]
    witness: str
    members: tuple[str, ...]
    identities: tuple[Identity, ...]
    lease_ttl: int
    agent_tick: float
    store_tick: float
    monitor_tick: float
    interval: float
    methods: tuple[Method, ...]
    threshold: Threshold
    reset_after: int
    timeouts: Timeouts
    hourly_limit: int


class World(Stage):
    """One run. What happens in it is a function of the topology, the seed and the faults that a scenario schedules."""

    judge: Judge

    def __init__(self, topology: Topology, kernel: Kernel) -> None:
        self.topology = topology
        sites = {**topology.mail, **topology.relays, **topology.stores, topology.witness: "third"}
        super().__init__(kernel, sites, topology.members, topology.witness, topology.mail)
        self.identities = {i.name: i for i in topology.identities}
        self.threshold = topology.threshold
        self.interval = topology.interval
        self.reset_after = topology.reset_after
        self.hourly_limit = topology.hourly_limit
        # The truth.
        self.addresses = {name: f"10.0.0.{n}" for n, name in enumerate(topology.mail, 11)}
        self.exports: dict[str, set[tuple[str, str]]] = {name: set() for name in topology.stores}
        self.owners: dict[str, tuple[str, int]] = {}
        self.waiting: dict[tuple[str, str], int] = defaultdict(int)
        self.published: dict[str, str] = {}
        # Faults.
        self.names_broken = False
        self.queue_broken = False
        self.exportfs_broken: set[str] = set()
        self.expire_broken: set[str] = set()
        self.nfsd_down: set[str] = set()
        self.drained: dict[str, float] = {}
        self.clocks_stepped = False
        self.stood_still: set[str] = set()
        self._paused_at: dict[str, tuple[float, Group | None]] = {}
        self.judge = Judge(self)
        kernel.on_failure = self._failed
        self._run_ids = itertools.count(1)
        self._rights = rights(
            served(
                {
                    n: {"candidates": i.candidates, "relays": i.relays, "store": i.store}
                    for n, i in self.identities.items()
                },
                {name: {"members": (name,)} for name in topology.stores},
            )
        )
        self._deploy()

    # --- records -----------------------------------------------------------------------------------------------

    def _failed(self, process: Process, why: Exception) -> None:
        self.judge.failed(process.group.name, why)

    def _written(self, key: str, value: dict[str, Any] | None) -> None:
        parts = key.split("/")
        if parts[4] in ("owner", "lock", "takeover", "lease", "inoperable") or parts[2] == "store":
            process = self.kernel.current
            said = value if value is None or parts[4] != "takeover" else brief(value)
            self.events.append(
                (
                    self.kernel.now,
                    "coordinator",
                    "wrote",
                    (("key", key), ("value", said), ("by", process and process.name)),
                )
            )
        self.judge.wrote(key, value)
        if parts[4] == "owner":
            self.judge.look(parts[3])
        self.on_write(key, value)

    # --- deployment --------------------------------------------------------------------------------------------

    def _deploy(self) -> None:
        for identity in self.identities.values():
            for name in self.topology.mail:
                self.hosts[name].services[identity.name] = Service()
            owner = Owner(identity.home, 1, "deploy", EPOCH)
            self.cluster.state.put(keys.owner(identity.name), pack(owner.to_json()))
        for name in self.topology.mail:
            self._daemon(name, "agent", self._agent)
        for name in self.topology.stores:
            self._daemon(name, "store", self._store)
        for name in self.topology.relays:
            self._daemon(name, "monitor", self._monitor)
        for host in self.hosts.values():
            host.begin()

    def place(self, identity: Identity) -> Place:
        folder = f"/etc/holdfast/identity/{identity.name}"
        source = f"{identity.store}:{ROOT}/{identity.name}"
        return Place(
            identity,
            source,
            f"/srv/holdfast/{identity.name}",
            f"{folder}/postfix",
            f"{folder}/configuration",
            "/etc/holdfast/tls/ca.pem",
            "postmaster@example",
            Mailboxes(f"{folder}/dovecot/dovecot.conf", "probe@example", "/etc/holdfast/probe"),
        )

    def _client(self, host: Host) -> Client:
        return Client(self.cluster, host, self._rights[host.name])

    def _agent(self, host: Host, group: Group) -> None:
        log = self._log(f"{host.name}/agent")
        keepers = []
        for identity in self.identities.values():
            if host.name in identity.candidates:
                place = self.place(identity)
                spawn = functools.partial(self._thread, group, identity.name)
                keeper = Keeper(host.name, Works(self, host, place), host.clock, log, spawn)
                keeper.find()
                keepers.append((keeper, place))
        pulse = self._pulse(host, group)
        agent = Agent(
            host.name,
            self.topology.lease_ttl,
            keepers,
            self._client(host),
            reasons(self, host),
            pulse.take,
            host.boot_id,
            host.clock,
            log,
        )
        self._loop(host, self.topology.agent_tick, agent.tick)

    def _store(self, host: Host, group: Group) -> None:
        settings = Config(
            store=host.name,
            root=Disk(ROOT),  # type: ignore[arg-type]
            tick=self.topology.store_tick,
            coordinator=None,  # type: ignore[arg-type]
            identities={n: i for n, i in self.identities.items() if i.store == host.name},
            hosts={name: (address,) for name, address in self.addresses.items()},
            mail_owner=(2005, 2005),
        )
        store = Store(
            settings,
            self._client(host),
            Exports(self, host),
            Clients(self, host),
            host.clock,
            self._log(f"{host.name}/store"),
        )
        self._loop(host, self.topology.store_tick, store.tick)

    def _monitor(self, host: Host, group: Group) -> None:
        t, log = self.topology, self._log(f"{host.name}/monitor")
        client, queue, names = self._client(host), Queue(self, host), Names(self, host)
        routes = tuple(Route(name, f"10.{n}.0.1", f"10.{n}.0.254") for n, name in enumerate(MAIL_ROUTES))
        switch = Switch(self, host)
        ports = Ports(
            client,
            {name: [switch] for name in t.mail},
            RelayProber(self, host, counts=False),
            names,
            queue,
            host.clock,
            log,
            lambda: f"run-{next(self._run_ids)}",
        )
        settings = Settings(host.name, t.interval, t.methods, t.threshold, routes, t.reset_after)
        watches = []
        for identity in self.identities.values():
            if host.name in identity.relays:
                takeover = Takeover(identity, host.name, routes, ports, t.timeouts, t.hourly_limit)
                prober = RelayProber(self, host, counts=True)
                watches.append(Watch(identity, settings, client, prober, queue, takeover, host.clock, log))
        process = self.kernel.current
        assert process is not None

        def tick() -> None:
            for watch in watches:
                self._ticks += 1
                process.context = (watch.identity.name, self._ticks)
                watch.tick()

        self._loop(host, t.monitor_tick, tick)

    # --- changes -----------------------------------------------------------------------------------------------

    def _host_changed(self, host: Host, what: str) -> None:
        self.tell(host.name, what)
        if what == "off" and host.name in self.exports:
            # At the next boot exportfs -r leaves what stands in /etc/exports: nothing of an identity.
            self.exports[host.name].clear()
        elif what == "paused":
            agent = host.daemons.get("agent")
            self._paused_at[host.name] = (self.kernel.now, None if agent is None else agent.group)
        elif what == "goes on":
            self.stood_still.add(host.name)
            self._judge_pause(host, *self._paused_at[host.name])
        self.cluster.look()

    def _judge_pause(self, host: Host, since: float, agent: Group | None) -> None:
        """The agent that was at work before must notice."""
        if agent is None or agent.dead or self.kernel.now - since <= self.topology.lease_ttl:
            return
        for name, service in host.services.items():
            if service.units and service.mark is not None:
                self.judge.goes_on(host.name, name, agent)

    def changed(self, identity: str, what: str) -> None:
        """An address or units of an identity came or went."""
        self.tell("world", "changed", identity=identity, what=what)
        self.judge.look(identity)

    def exported(self, store: Host, path: str, what: str) -> None:
        self.tell(store.name, "exports", path=path, what=what)
        self.judge.look(path.rpartition("/")[2])

    def heard(self, relay: str, identity: str, method: Method, result: Result) -> None:
        """Senders hand their mail to the relay while the identity does not take it."""
        if result is Result.DOWN:
            self.waiting[relay, identity] += self.kernel.random.randrange(5)
        elif method is Method.DELIVERY and result is Result.OK:
            self.waiting[relay, identity] = 0

    # --- the truth ---------------------------------------------------------------------------------------------

    def owner(self, identity: str) -> tuple[str, int] | None:
        return self.owners.get(identity)

    def admitted(self, identity: str) -> list[str]:
        """Hosts that the store would let write now."""
        path, table = f"{ROOT}/{identity}", self.exports[self.identities[identity].store]
        return [host for host, address in self.addresses.items() if (path, address) in table]

    def answering(self, identity: str) -> list[str]:
        return [name for name in self.topology.mail if self.hosts[name].services[identity].answers]

    def store_answers(self, host: Host, identity: str) -> bool:
        store = self.hosts[self.identities[identity].store]
        return store.acts and store.name not in self.nfsd_down and self.network.joined(STORAGE, host.name, store.name)

    def admits(self, host: Host, identity: str) -> bool:
        """Could this host mount the identity's files now?"""
        path, store = f"{ROOT}/{identity}", self.identities[identity].store
        return self.store_answers(host, identity) and (path, self.addresses[host.name]) in self.exports[store]

    def writes(self, host: Host, identity: str) -> bool:
        return host.services[identity].mounted and self.admits(host, identity)

    def talk(self, relay: Host, identity: Identity, route: str) -> tuple[Result, float]:
        """What a dialogue over one route comes to, and how long it takes."""
        dice = self.kernel.random
        for name in self.topology.mail:
            host = self.hosts[name]
            service = host.services[identity.name]
            if not service.address or not self.network.joined(route, relay.name, name):
                continue
            if self.network.lost(relay.name, name) or host.paused:
                return Result.DOWN, 10.0
            if not service.units:
                return Result.DOWN, 0.05
            if service.refusing:
                return Result.REFUSED, 0.1
            if service.sick or not self.writes(host, identity.name):
                return Result.DOWN, 20.0
            return Result.OK, dice.uniform(0.05, 0.4)
        return Result.DOWN, dice.choice((0.1, 3.0, 10.0))

    def routed(self, relay: Host, identity: Identity, route: str) -> tuple[Result, float]:
        """Is the identity's address announced over that route?"""
        for name in self.topology.mail:
            host = self.hosts[name]
            if host.services[identity.name].address and host.acts and self.network.joined(route, relay.name, name):
                return Result.OK, 0.02
        return Result.DOWN, 0.02

    def reachable(self, relay: str, identity: str) -> bool:
        """Over any route, whether it takes mail or refuses it."""
        for name in self.topology.mail:
            host = self.hosts[name]
            service = host.services[identity]
            if (
                service.answers
                and host.acts
                and not service.sick
                and (service.refusing or self.writes(host, identity))
                and any(self.network.joined(route, relay, name) for route in MAIL_ROUTES)
            ):
                return True
        return False

    def lossy(self, relay: str, identity: str) -> bool:
        """Do requests between that relay and whoever answers get lost now and then?"""
        return any(self.network.lossy(relay, name) for name in self.topology.mail)

    def unserved(self, identity: str) -> str | None:
        """Why the identity is not as it should be when nothing is broken; None when all is well."""
        record = self.cluster.state.records
        owner = self.owners[identity][0]
        answering, admitted = self.answering(identity), self.admitted(identity)
        if answering != [owner] or admitted != [owner]:
            return f"owner {owner}, answering {answering or 'nobody'}, admitted {admitted or 'nobody'}"
        for relay in self.identities[identity].relays:
            for route in MAIL_ROUTES:
                service = self.hosts[owner].services[identity]
                if service.sick or service.refusing or not self.network.joined(route, relay, owner):
                    return f"{relay} does not reach it over {route}"
        if not self.writes(self.hosts[owner], identity):
            return f"{owner} cannot write"
        if keys.lock(identity) in record:
            return "a takeover is under way"
        run = record.get(keys.takeover(identity))
        value = {} if run is None else run.read()
        mine = value.get("run") == Owner.from_json(record[keys.owner(identity)].read()).run
        if value.get("state") == "running" or (value.get("state") == "held" and mine):
            return f"{value['run']} is {value['state']}"
        return None

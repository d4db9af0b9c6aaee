"""Everything that a scenario has: hosts, networks, coordinator, daemons of the product, and the truth about them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from holdfast.adapters.watchdog import Guard
from holdfast.core import handover, keys
from holdfast.core.fencing import ConfirmedOff, FencePlan, HostView, Withdrawal
from holdfast.core.handover import Handover, read_plan
from holdfast.core.locked_run import Ports, Timeouts
from holdfast.core.model import Identity, Method, Owner, Result, Route
from holdfast.core.ports import LockLost, Log, Unavailable
from holdfast.core.rights import OPERATOR, rights, served
from holdfast.core.takeover import Refused, Takeover
from holdfast.core.threshold import Threshold
from holdfast.core.watching import Settings, Watch
from holdfast.daemons.agent import Agent
from holdfast.daemons.instance import Mailboxes, Place
from holdfast.daemons.keeper import Keeper
from holdfast.daemons.store import Config, Store

from .coordinator import Client, pack
from .edges import Clients, Disk, Exports, Firewall, Names, Queue, RelayProber, Routes, Switch, Works, connects, reasons
from .hosts import EPOCH, Dog, Host, Service
from .judge import Judge
from .kernel import Group, Kernel, Process
from .network import GATEWAY, MAIL_ROUTES, STORAGE
from .stage import Stage, brief

ROOT = "/srv/store"
ROUTES = tuple(Route(name, f"10.{n}.0.1", (f"10.{n}.0.254",)) for n, name in enumerate(MAIL_ROUTES))


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
    asking: frozenset[str] = frozenset()  # relays without the right to fence (`monitor_invoker: host`)
    plan: FencePlan = field(default_factory=FencePlan)
    dogs: Mapping[str, tuple[str, float]] = field(default_factory=dict)  # host to its watchdog's kind and time


CONFIRMING = 60.0  # seconds that playbook confirm_fenced.yml waits for the boot of the host
TOLD = ("owner", "lock", "takeover", "lease", "inoperable", "fence", "confirmed_off", "request")


class Never:
    """Stands in for a threading.Event that nobody sets: its daemon ends by a crash."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def is_set(self) -> bool:
        return False

    def wait(self, seconds: float) -> None:
        self._kernel.sleep(seconds)


class World(Stage):
    """One run. What happens in it is a function of the topology, the seed and the faults that a scenario schedules."""

    judge: Judge

    def __init__(self, topology: Topology, kernel: Kernel) -> None:
        self.topology = topology
        sites = {**topology.mail, **topology.relays, **topology.stores, topology.witness: "third"}
        super().__init__(kernel, sites, topology.members, topology.witness, topology.mail, (GATEWAY,))
        self.identities = {i.name: i for i in topology.identities}
        self.threshold = topology.threshold
        self.interval = topology.interval
        self.reset_after = topology.reset_after
        self.hourly_limit = topology.hourly_limit
        # The truth.
        self.addresses = {name: f"10.0.0.{n}" for n, name in enumerate(topology.mail, 11)}
        self.exports: dict[str, set[tuple[str, str]]] = {name: set() for name in topology.stores}
        self.dropped: dict[str, frozenset[str]] = dict.fromkeys(topology.stores, frozenset())
        # Hosts whose address is taken from them at the gateways: only there it is judged whether they answer.
        self.by_routes = {
            name
            for name in topology.mail
            if any(level.address_withdrawal is Withdrawal.ROUTES for level in topology.plan.levels(name))
        }
        self.owners: dict[str, tuple[str, int]] = {}
        self.waiting: dict[tuple[str, str], int] = defaultdict(int)
        self.published: dict[str, str] = {}
        # Faults.
        self.names_broken = False
        self.queue_broken = False
        self.exportfs_broken: set[str] = set()
        self.expire_broken: set[str] = set()
        self.nft_broken: set[str] = set()
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
                topology.asking,
            )
        )
        self._deploy()

    # --- records -----------------------------------------------------------------------------------------------

    def _failed(self, process: Process, why: Exception) -> None:
        self.judge.failed(process.group.name, why)

    def _written(self, key: str, value: dict[str, Any] | None) -> None:
        parts = key.split("/")
        if parts[4] in TOLD or parts[2] == "store":
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
        for name, (kind, timeout) in self.topology.dogs.items():
            self.hosts[name].dog = Dog(self.hosts[name], kind, timeout)
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
            self.topology.plan.stops_alone(host.name),
            store_answers=connects(self, host),
        )
        if host.dog is not None:
            agent.arm = functools.partial(self._arm, host.dog, agent, log, group)
        self._loop(host, self.topology.agent_tick, agent.tick)

    def _arm(self, dog: Dog, agent: Agent, log: Log, group: Group) -> Dog:
        """As daemons.agent._arm."""
        dog.pat()  # opening it
        guard = Guard(cast(Any, dog), agent.safe, log)
        guard._over = cast(Any, Never(self.kernel))
        self.kernel.spawn(group, "guard", guard.run)
        return dog

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
            Firewall(self, host),
        )
        self._loop(host, self.topology.store_tick, store.tick)

    def _ports(self, host: Host, log: Log) -> Ports:
        switch = Switch(self, host)
        return Ports(
            self._client(host),
            {name: [switch] for name in self.topology.mail},
            RelayProber(self, host, counts=False),
            Names(self, host),
            Queue(self, host),
            host.clock,
            log,
            lambda: f"run-{next(self._run_ids)}",
            Routes(self, host),
        )

    def _takeover(self, identity: Identity, host: Host, ports: Ports) -> Takeover:
        t = self.topology
        return Takeover(identity, host.name, ROUTES, ports, t.timeouts, t.hourly_limit, t.plan)

    def _monitor(self, host: Host, group: Group) -> None:
        t, log = self.topology, self._log(f"{host.name}/monitor")
        ports = self._ports(host, log)
        client, queue = ports.coordinator, ports.queue
        settings = Settings(host.name, t.interval, t.methods, t.threshold, ROUTES, t.reset_after)
        watches = []
        for identity in self.identities.values():
            if host.name in identity.relays:
                takeover = None if host.name in t.asking else self._takeover(identity, host, ports)
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

    # --- what operators do -------------------------------------------------------------------------------------

    def desks(self) -> tuple[str, ...]:
        """Where operators sit."""
        return tuple(name for name in self.topology.relays if name not in self.topology.asking)

    def hand_over(self, desk: str, names: Sequence[str], to: str | None = None) -> None:
        """As module handover, for one identity after the other."""
        host, log = self.hosts[desk], self._log(f"{desk}/operator")

        def body() -> None:
            ports = self._ports(host, log)
            for name in names:
                takeover = self._takeover(self.identities[name], host, ports)
                try:
                    plan = read_plan(ports.coordinator, takeover.identity, host.clock.now(), to)
                    if not plan.changes:
                        log("takeover_refused", identity=name, detail=str(plan))
                        continue
                    # Production waits in steps of a tenth of a second.
                    planned = Handover.beside(takeover, dataclasses.replace(handover.TIMEOUTS, poll=0.5))
                    run = planned.hand_over("operator", plan.epoch, to)
                    log("takeover_ended", identity=name, run=run.run, state=run.state, host=run.to_host)
                except (Refused, Unavailable, LockLost) as why:
                    log("takeover_refused", identity=name, detail=str(why))

        self.operator(desk, "hand-over", body)

    def confirm_off(self, desk: str, name: str) -> None:
        """As playbook confirm_fenced.yml, once the host's lease is over, about the boot that the operator saw off.

        Given up after a while, or when the boot could not be asked for in time, or is another one by then."""
        host, log, asked = self.hosts[desk], self._log(f"{desk}/operator"), self.kernel.now

        def body() -> None:
            client = Client(self.cluster, host, self._rights[OPERATOR])
            seen: str | None = None
            for _ in range(20):
                try:
                    view = HostView.of(name, client.list(keys.host(name)))
                    if seen is None and self.kernel.now - asked <= CONFIRMING:
                        seen = view.boot_id
                    if view.boot_id != seen:
                        log("not_confirmed", host=name, detail=f"its boot is {view.boot_id}, seen off in time: {seen}")
                        return
                    owners = {n: client.get(keys.owner(n)).value for n in self.identities}
                    epochs = {n: int(o["epoch"]) for n, o in owners.items() if o is not None and o["host"] == name}
                    if view.lease is None and epochs:
                        word = ConfirmedOff("operator", "pulled the plug", host.clock.now(), view.boot_id, epochs)
                        client.put(keys.confirmed_off(name), word.to_json())
                        log("confirmed_off", host=name, epochs=epochs)
                        return
                except Unavailable as why:
                    log("not_confirmed", host=name, detail=str(why))
                self.kernel.sleep(5.0)

        self.operator(desk, "confirmation", body)

    # --- changes -----------------------------------------------------------------------------------------------

    def rewired(self) -> None:
        super().rewired()
        self._look_at_gateways()

    def _look_at_gateways(self) -> None:
        if self.by_routes:
            for name in self.identities:
                self.judge.look(name)

    def _host_changed(self, host: Host, what: str) -> None:
        self.tell(host.name, what)
        self._tools_follow(host, what)
        if what == "off" and host.name in self.exports:
            # At the next boot exportfs -r leaves what stands in /etc/exports: nothing of an identity.
            self.exports[host.name].clear()
            self.dropped[host.name] = frozenset()
        elif what == "paused":
            agent = host.daemons.get("agent")
            self._paused_at[host.name] = (self.kernel.now, None if agent is None else agent.group)
        elif what == "goes on":
            self.stood_still.add(host.name)
            self._judge_pause(host, *self._paused_at[host.name])
        self.cluster.look()
        self._look_at_gateways()

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
        identity = path.rpartition("/")[2]
        if what.startswith("-"):
            self.judge.withdrawn(identity, next(h for h, a in self.addresses.items() if a == what[1:]))
        self.judge.look(identity)

    def drops(self, store: Host) -> None:
        hosts = [host for host, address in self.addresses.items() if address in self.dropped[store.name]]
        self.tell(store.name, "drops", hosts=hosts)
        for name, identity in self.identities.items():
            if identity.store == store.name:
                self.judge.look(name)

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
        path, store = f"{ROOT}/{identity}", self.identities[identity].store
        table, dropped = self.exports[store], self.dropped[store]
        return [h for h, address in self.addresses.items() if (path, address) in table and address not in dropped]

    def chosen(self, route: str, identity: str) -> Host | None:
        """Whom the gateway of that route takes: who announces the address, of several the one of the latest epoch."""
        found, epoch = None, -1
        for name in self.topology.mail:
            host = self.hosts[name]
            service = host.services[identity]
            if (
                service.address
                and host.acts
                and service.announced > epoch
                and self.network.joined(route, GATEWAY, name)
            ):
                found, epoch = host, service.announced
        return found

    def answering(self, identity: str) -> list[str]:
        found = [name for name in self.topology.mail if self.hosts[name].services[identity].answers]
        if found and self.by_routes:
            chosen = {host.name for route in MAIL_ROUTES if (host := self.chosen(route, identity)) is not None}
            found = [name for name in found if name in chosen or name not in self.by_routes]
        return found

    def store_answers(self, host: Host, identity: str) -> bool:
        store = self.hosts[self.identities[identity].store]
        return store.acts and store.name not in self.nfsd_down and self.network.joined(STORAGE, host.name, store.name)

    def connects(self, host: Host, identity: str) -> bool:
        """Does the store's NFS port take this host's connection?"""
        dropped = self.dropped[self.identities[identity].store]
        return self.addresses[host.name] not in dropped and self.store_answers(host, identity)

    def admits(self, host: Host, identity: str) -> bool:
        """Could this host mount the identity's files now?"""
        path, store, address = f"{ROOT}/{identity}", self.identities[identity].store, self.addresses[host.name]
        return (path, address) in self.exports[store] and self.connects(host, identity)

    def writes(self, host: Host, identity: str) -> bool:
        return host.services[identity].mounted and self.admits(host, identity)

    def talk(self, relay: Host, identity: Identity, route: str) -> tuple[Result, float]:
        """What a dialogue over one route comes to, and how long it takes."""
        dice = self.kernel.random
        host = self._led_to(relay.name, identity.name, route)
        if host is None:
            return Result.DOWN, dice.choice((0.1, 3.0, 10.0))
        service = host.services[identity.name]
        if self.network.lost(relay.name, host.name):
            return Result.DOWN, 10.0
        if not service.units:
            return Result.DOWN, 0.05
        if service.refusing:
            return Result.REFUSED, 0.1
        if service.sick or not self.writes(host, identity.name):
            return Result.DOWN, 20.0
        return Result.OK, dice.uniform(0.05, 0.4)

    def _led_to(self, relay: str, identity: str, route: str) -> Host | None:
        """Whom a relay meets on the identity's address over that route."""
        host = self.chosen(route, identity)
        way = host is not None and self.network.joined(route, relay, host.name)
        return host if way and self.network.joined(route, relay, GATEWAY) else None

    def routed(self, relay: Host, identity: Identity, route: str) -> tuple[Result, float]:
        """Is the identity's address announced over that route?"""
        return Result.DOWN if self._led_to(relay.name, identity.name, route) is None else Result.OK, 0.02

    def reachable(self, relay: str, identity: str) -> bool:
        """Over any route, whether it takes mail or refuses it."""
        for host in [self._led_to(relay, identity, route) for route in MAIL_ROUTES]:
            if host is None:
                continue
            service = host.services[identity]
            if service.answers and not service.sick and (service.refusing or self.writes(host, identity)):
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

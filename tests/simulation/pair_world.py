"""A store of two members: the product's daemons on both, DRBD between them, a client that writes, and the truth."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from holdfast.adapters.track import TrackFile
from holdfast.core import keys, stores
from holdfast.core.handover import Handover
from holdfast.core.locked_run import Ports, Timeouts
from holdfast.core.model import Identity, Method, Owner, Route
from holdfast.core.pairing import Pairing
from holdfast.core.ports import LockLost, Unavailable
from holdfast.core.rights import OPERATOR, rights, served
from holdfast.core.stores import Half, InSync
from holdfast.core.takeover import Refused, Takeover
from holdfast.core.threshold import Threshold
from holdfast.core.watching import Settings, Watch
from holdfast.daemons import fence_peer, store_monitor, wiring
from holdfast.daemons.agent import Agent
from holdfast.daemons.keeper import Keeper, Located
from holdfast.daemons.store_instance import LOOPBACK, StoreChecks, StoreInstance, StorePlace

from .coordinator import Client, pack
from .drbd import Member, Pair
from .edges import Switch
from .hosts import EPOCH, Host
from .kernel import Group, Kernel, Process
from .network import STORAGE
from .pair_edges import CONNECT, Clients, Disk, Drbd, Files, Prober, Side, Units, follow
from .pair_judge import PairJudge
from .stage import Stage, brief

STORE, ADDRESS = "store1", "10.255.3.1"
BOTH = ("store1a", "store1b")
SITES = {"store1a": "dc1", "store1b": "dc1", "mail1": "dc1", "relay2": "dc2", "witness1": "third"}
CLIENT, DESK = "mail1", "relay2"  # where records come from, and where operators sit
EPOCHS, MARKS, TRACK = "/run/holdfast/store", "/run/holdfast/running", "/run/holdfast/track"
ROUTE = Route("storage", "10.1.3.21")


@dataclass(frozen=True)
class PairTopology:
    """Each program's settings, in seconds, and where the coordinator's members are."""

    members: tuple[str, ...]
    lease_ttl: int
    agent_tick: float
    threshold: float
    interval: float
    retry: float
    hourly_limit: int
    timeouts: Timeouts


class PairWorld(Stage):
    """One run."""

    judge: PairJudge

    def __init__(self, topology: PairTopology, kernel: Kernel) -> None:
        self.topology = topology
        super().__init__(kernel, SITES, topology.members, "witness1", BOTH)
        self.identity = Identity(STORE, ADDRESS, stores.KIND, (), BOTH[0], BOTH, STORE)
        # The truth.
        self.owner: tuple[str, int] = ("", 0)
        self.insync: tuple[str, ...] = ()
        self.sides = {name: Side(Files(kernel)) for name in BOTH}
        self.acknowledged: set[int] = set()
        self.last_ack = 0.0
        self.clocks_stepped = False
        self.returns: tuple[float, float] | None = (30.0, 150.0)  # seconds until a host that is off is switched on
        self.on_link: Callable[[str], None] = lambda what: None  # scenarios that strike when the link changes
        for name, side in self.sides.items():
            side.files.on_replace = functools.partial(self._replaced, name)
        self.judge = PairJudge(self)
        kernel.on_failure = self._failed
        self.pair = Pair(kernel, self.network, self.hosts[BOTH[0]], self.hosts[BOTH[1]], self._fence_peer)
        self.pair.on_change = self.changed
        self.pair.told = self._told
        self.pair.diverged = lambda what: self.judge.violate("diverged", what)
        self.pair.promoted = lambda member: self.judge.promoted(member.host.name)
        self._rights = rights(served({}, {STORE: {"members": BOTH}}))
        self._run_ids = itertools.count(1)
        self._records = itertools.count(1)
        self._deploy()

    # --- records -----------------------------------------------------------------------------------------------

    def _failed(self, process: Process, why: Exception) -> None:
        self.judge.violate("no_crash", f"{process.group.name} ended by {type(why).__name__}: {why}")

    def _written(self, key: str, value: dict[str, Any] | None) -> None:
        kind = key.split("/")[4]
        if kind in ("owner", "lock", "takeover", "lease", "insync"):
            process = self.kernel.current
            said = value if value is None or kind != "takeover" else brief(value)
            self.tell("coordinator", "wrote", key=key, value=said, by=process and process.name)
        self.judge.wrote(key, value)
        self.judge.look()
        self.on_write(key, value)

    def _told(self, what: str) -> None:
        self.tell("drbd", "link", what=what)
        self.on_link(what)

    def _replaced(self, host: str, path: str) -> None:
        if path.startswith(TRACK):
            self.follow(host)

    def follow(self, host: str) -> None:
        """keepalived looks at its track file."""
        follow(self, self.hosts[host], f"{TRACK}/{STORE}")

    def changed(self, what: str) -> None:
        """A role, a disk, a mount, an address or units changed."""
        self.tell("world", "changed", what=what)
        self.judge.look()

    # --- deployment --------------------------------------------------------------------------------------------

    def _deploy(self) -> None:
        state = self.cluster.state
        state.put(keys.owner(STORE), pack(Owner(BOTH[0], 1, "deploy", EPOCH).to_json()))
        state.put(keys.insync(STORE), pack(InSync(BOTH, 1, 1, EPOCH).to_json()))
        for name in BOTH:
            self._daemon(name, "agent", self._agent)
            self._daemon(name, "monitor", self._monitor)
        self._daemon(CLIENT, "writer", self._writer)
        for host in self.hosts.values():
            host.begin()
        for member in self.pair.members:
            member.begin()

    def _client(self, host: Host) -> Client:
        return Client(self.cluster, host, self._rights.get(host.name, ()))

    def _folder(self, host: Host, path: str) -> Any:
        """Stands in for a pathlib.Path."""
        return self.sides[host.name].files.folder(path)

    def _agent(self, host: Host, group: Group) -> None:
        """As daemons.agent.start on a store host."""
        log, clock = self._log(f"{host.name}/agent"), host.clock
        place = StorePlace(self.identity, "/dev/drbd0", 0, "/srv/store")
        drbd: Any = Drbd(self, host)
        disk: Any = Disk(self, host)
        units: Any = Units(self, host)
        clients: Any = Clients(self, host)
        works = StoreInstance(
            host.name,
            place,
            self._client(host),
            drbd,
            disk,
            units,
            clients,
            TrackFile(STORE, self._folder(host, TRACK)),
            clock,
            log,
            probe=lambda address, timeout=CONNECT: self._null(host, address),
            has_address=lambda address: self.sides[host.name].address,
            run_folder=self._folder(host, EPOCHS),
            marks=self._folder(host, MARKS),
        )
        keeper = Keeper(host.name, works, clock, log, functools.partial(self._thread, group, STORE))
        keeper.find()
        # No such file on any machine: nobody is drained here.
        checks = StoreChecks("/nonexistent/drain", {STORE: drbd}, {STORE: disk}, clock, log, room=_no_room)

        def reasons(asked: Located) -> tuple[str, ...]:
            return checks.reasons(cast(StorePlace, asked))

        def half(asked: Located) -> Half:
            return checks.half(cast(StorePlace, asked))

        take = self._pulse(host, group).take
        ttl, client = self.topology.lease_ttl, self._client(host)
        agent = Agent(
            host.name, ttl, [(keeper, place)], client, reasons, take, host.boot_id, clock, log, False, half
        )  # fmt: skip
        self._loop(host, self.topology.agent_tick, agent.tick)

    def _null(self, host: Host, address: str) -> str | None:
        self.kernel.sleep(0.02)
        side = self.sides[host.name]
        return None if (side.serves if address == LOOPBACK else side.answers) else "Connection refused"

    def _monitor(self, host: Host, group: Group) -> None:
        """As daemons.store_monitor.pairing."""
        t, clock, mail = self.topology, host.clock, wiring.NoMail()
        log, client = store_monitor.Changes(self._log(f"{host.name}/monitor")), self._client(host)
        partner = next(name for name in BOTH if name != host.name)
        watched = Settings(
            host.name, t.interval, (Method.PROBE,), Threshold(None, t.threshold), (ROUTE,), reset_after=1, retry=t.retry
        )
        switch = Switch(cast(Any, self), host)
        switches = {name: [switch] for name in BOTH}
        ports = Ports(
            client,
            switches,
            Prober(self, host, None),
            mail,
            mail,
            clock,
            log,
            lambda: f"run-{next(self._run_ids)}",
        )
        takeover = Takeover(self.identity, host.name, (ROUTE,), ports, t.timeouts, t.hourly_limit)
        seldom = cast(Any, store_monitor.Seldom(cast(Any, client)))
        prober = Prober(self, host, partner)
        pairing = Pairing(Watch(self.identity, watched, seldom, prober, mail, takeover, clock, log))
        process = self.kernel.current
        assert process is not None

        def tick() -> None:
            self._ticks += 1
            process.context = (STORE, self._ticks)
            pairing.tick()

        self._loop(host, store_monitor.TICK, tick)

    def hand_over(self) -> None:
        """As playbooks/failback.yml on a relay (daemons.wiring.movable): an operator's user, and no fence rights."""
        host, mail, epoch = self.hosts[DESK], wiring.NoMail(), self.owner[1]
        log = self._log(f"{DESK}/operator")

        def body() -> None:
            client = Client(self.cluster, host, self._rights[OPERATOR])
            prober = Prober(self, host, None)
            ports = Ports(client, {}, prober, mail, mail, host.clock, log, lambda: f"run-{next(self._run_ids)}")
            t = self.topology
            takeover = Takeover(self.identity, host.name, (ROUTE,), ports, t.timeouts, t.hourly_limit)
            try:
                run = Handover.beside(takeover).hand_over("operator", epoch)
                log("takeover_ended", identity=STORE, run=run.run, state=run.state, host=run.to_host)
            except (Refused, Unavailable, LockLost) as why:
                log("takeover_refused", identity=STORE, detail=str(why))

        self.operator(DESK, "hand-over", body)

    def _fence_peer(self, member: Member) -> int:
        """As /usr/lib/holdfast/fence-peer, which begins by starting an interpreter."""
        host = member.host
        self.kernel.sleep(self.kernel.random.uniform(0.1, 0.5))
        log = self._log(f"{host.name}/fence-peer")
        return fence_peer.take_out(
            host.name, STORE, self._client(host), log, host.clock.now, self.kernel.sleep, self._folder(host, EPOCHS)
        )

    # --- the client --------------------------------------------------------------------------------------------

    def _writer(self, host: Host, group: Group) -> None:
        """One record after the other, each until it is acknowledged: a hard mount gives nothing up."""
        random = self.kernel.random
        while True:
            record = next(self._records)
            while record not in self.acknowledged:
                member = self.reached(host)
                if member is not None:
                    member.write(record, functools.partial(self._there, member), self._acknowledge(host, member))
                self.kernel.sleep(0.1)
            self.kernel.sleep(random.uniform(0.1, 2.0))

    def _there(self, member: Member) -> bool:
        return self.sides[member.host.name].mounted

    def _acknowledge(self, client: Host, member: Member) -> Any:
        def acknowledge(record: int) -> None:
            side, server = self.sides[member.host.name], member.host
            heard = client.acts and server.acts and self.network.joined(STORAGE, client.name, server.name)
            if side.answers and heard:
                self.acknowledged.add(record)
                self.last_ack = self.kernel.now
                self.judge.look()

        return acknowledge

    def reached(self, client: Host) -> Member | None:
        """Whose NFS server answers that client on the store's address."""
        for member in self.pair.members:
            side, server = self.sides[member.host.name], member.host
            joined = self.network.joined(STORAGE, client.name, server.name)
            if server.acts and side.answers and side.mounted and joined:
                return member
        return None

    # --- changes -----------------------------------------------------------------------------------------------

    def _host_changed(self, host: Host, what: str) -> None:
        self.tell(host.name, what)
        if host.name in self.sides:
            member = self.pair.of(host)
            if what == "off":
                self.sides[host.name].power_lost()
                member.power_lost()
                if self.returns is not None:
                    self.kernel.after(self.kernel.random.uniform(*self.returns), host.power_on)
            elif what == "booted":
                member.booted()
            elif what == "paused":
                self.kernel.halt(member.group)
            elif what == "goes on":
                self.kernel.go_on(member.group)
        self._tools_follow(host, what)
        self.cluster.look()
        self.judge.look()

    # --- the truth ---------------------------------------------------------------------------------------------

    def unserved(self) -> str | None:
        """Why the store is not as it should be when nothing is broken; None when all is well."""
        owner, records = self.owner[0], self.cluster.state.records
        for name, side in self.sides.items():
            member, mine = self.pair.of(self.hosts[name]), name == owner
            if (side.answers, side.mounted, member.primary) != (mine, mine, mine):
                return f"owner {owner}, but {name}: answers {side.answers}, mounted {side.mounted}, {member.primary}"
            if not member.up or not member.state().mirrored:
                return f"{name} is not mirrored: {member.state() if member.up else 'down'}"
        if set(self.insync) != set(BOTH):
            return f"in sync: {', '.join(self.insync)}"
        if self.kernel.now - self.last_ack > 10.0:
            return f"no write was acknowledged for {self.kernel.now - self.last_ack:.0f} s"
        if keys.lock(STORE) in records:
            return "a takeover is under way"
        run = records.get(keys.takeover(STORE))
        value = {} if run is None else run.read()
        mine_too = value.get("run") == Owner.from_json(records[keys.owner(STORE)].read()).run
        if value.get("state") == "running" or (value.get("state") == "held" and mine_too):
            return f"{value['run']} is {value['state']}"
        return None


def _no_room(path: str) -> Any:
    """Room is told to people only."""
    raise OSError("not simulated")

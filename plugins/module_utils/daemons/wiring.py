"""From a relay's monitor.yml to the parts that make attempts and run takeovers: for the monitor and for modules.

host, interval, methods, threshold {attempts, seconds}, reset_after, hourly_limit
routes [{name, bind_address, routers}], identities {I: {…, probe_recipient}}
coordinator {endpoints, ca, cert, key, timeout}
fence_devices, fence_plan, sites, placement, promote, no_candidate: see fences.py
stores {S: {address, members, home}}: only for people: status, and hand-overs by hand
external_stores {S: {I: candidates}}: stores from elsewhere, whose program is given its time
dns {servers {ADDRESS: [I]}, port, zones, key_name, algorithm, secret_file, ttl, relay_names {I: {HOST: NAME}},
     reached {I: {OWNER: [ADDRESS]}}}
relay {transport, running, deliver_timeout}
probe {port, connect_timeout, timeout, ca}; `port`: where identities serve our own hosts, also with what relays hold
"""

from __future__ import annotations

import dataclasses
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..adapters import external_nfs, smtp
from ..adapters.clock import SystemClock
from ..adapters.dns import DnsUpdate, EveryServer
from ..adapters.etcd import EtcdCoordinator, Login
from ..adapters.held_mail import OrderFiles
from ..adapters.log import LineLog
from ..adapters.nfs_probe import NfsProber
from ..adapters.postfix import Instance, PostfixQueue
from ..adapters.prober import RelayProber
from ..adapters.topology import Topology
from ..core.checks import INTERVAL
from ..core.fencing import FencePlan
from ..core.locked_run import Ports, Timeouts
from ..core.model import RELAY_KIND, Identity, Method, Route
from ..core.placement import ranked
from ..core.ports import Clock, Log, PowerSwitch
from ..core.rights import OPERATOR
from ..core.schedule import routes_to
from ..core.takeover import Takeover
from ..core.threshold import Threshold
from ..core.watching import Settings
from . import fences
from .config import ConfigError, Section, coordinator, identity
from .fences import Devices, Endings, Invoker
from .running import MARKS
from .store_instance import place


@dataclass(frozen=True)
class Relays:
    """The relays that this host may own, by side, and what those of a side share; seconds for `deliver_timeout`."""

    instances: Mapping[str, tuple[Instance, ...]]
    transport: str
    deliver_timeout: float

    def table(self, side: str) -> str:
        return f"{self.transport}-{side}" if side else self.transport


@dataclass(frozen=True)
class Config:
    """A relay's configuration, checked. What needs a secret is made when it is called."""

    host: str
    interval: float
    methods: tuple[Method, ...]
    threshold: Threshold
    reset_after: int
    hourly_limit: int
    routes: tuple[Route, ...]
    identities: Mapping[str, Identity]
    stores: Mapping[str, Identity]
    endings: Mapping[str, Endings]
    recipients: Mapping[str, str]
    coordinator: EtcdCoordinator
    invoker: Invoker
    fence_plan: FencePlan
    lock: int
    store_programs: Mapping[str, float]  # by store from elsewhere: seconds for its program
    switches: Callable[[], dict[str, list[PowerSwitch]]]
    names: Callable[[str], EveryServer]
    relays: Relays
    probe_port: int
    probe_ca: str
    probe_timeouts: smtp.Timeouts


def require(config: Config, name: str, file: str) -> None:
    """Raises ConfigError unless the configuration, read from `file`, has an identity of that name."""
    if name not in config.identities:
        raise ConfigError(f"{name} is no identity of {file}; known: {', '.join(config.identities)}")


def require_movable(config: Config, name: str, file: str) -> None:
    """The same for an identity or a store."""
    if name not in config.stores:
        require(config, name, file)


def load(path: str) -> Config:
    """Read and check the file. Raises ConfigError."""
    s = Section.load(path)
    low, high = INTERVAL
    interval = s.number("interval")
    if not low <= interval <= high:
        raise s.wrong("interval", interval, f"give seconds from {low} to {high}")
    named = s.texts("methods")
    try:
        methods = tuple(Method(m) for m in named)
    except ValueError:
        raise s.wrong("methods", list(named), f"name some of {', '.join(Method)}") from None
    if not methods:
        raise s.wrong("methods", [], f"name some of {', '.join(Method)}")
    routes = _routes(s)
    identities, recipients, endings = {}, {}, {}
    all_endings, sites = Endings(s), {key: str(value) for key, value in s.values("sites", {}).items()}
    for name, one in s.sections("identities"):
        endings[name] = Endings(one, all_endings)
        found = identity(name, one)
        order = ranked(found, endings[name].placement, sites, s.text("host"))
        identities[name] = dataclasses.replace(found, candidates=order)
        if not found.has_mailboxes:
            endings[name].archive_after = None  # nobody holds anything for a relay
        recipients[name] = one.text("probe_recipient")
        if len(routes_to(found, routes)) < 2:
            known = ", ".join(r.name for r in routes)
            raise one.wrong("networks", list(found.networks), f"name two or more of this relay's routes: {known}")
        one.done()
    pairs = {}
    for name, one in s.sections("stores", {}):
        pairs[name] = place(name, one).identity
        one.done()
    elsewhere = s.section("external_stores", {})
    programs = {name: external_nfs.longest(elsewhere.lists(name).values()) for name in elsewhere.names()}
    probe, relay = s.section("probe", {}), s.section("relay", {})
    devices = Devices(s)
    config = Config(
        host=s.text("host"),
        interval=interval,
        methods=methods,
        threshold=_threshold(s),
        reset_after=s.whole("reset_after", 2, least=1),
        hourly_limit=s.whole("hourly_limit", 2),
        routes=routes,
        identities=identities,
        stores=pairs,
        endings=endings,
        recipients=recipients,
        coordinator=coordinator(s.section("coordinator")),
        invoker=devices.invoker,
        fence_plan=fences.plan(s, devices),
        lock=devices.lock,
        store_programs=programs,
        switches=devices.switches,
        names=_names(s.section("dns"), identities),
        relays=_relays(relay, identities.values(), s.text("host")),
        probe_port=probe.whole("port", smtp.PORT, least=1),
        probe_ca=probe.path("ca", "/etc/holdfast/tls/ca.pem"),
        # One that takes longer than a round would keep others from being made, and count for none (core/watching.py).
        probe_timeouts=smtp.Timeouts(probe.number("connect_timeout", 10.0), probe.number("timeout", 20.0), interval),
    )
    for section in (probe, relay, s):
        section.done()
    return config


def _relays(s: Section, identities: Iterable[Identity], host: str) -> Relays:
    """Of those relays that are watched here, the ones that this host may own; the agent marks what runs."""
    marks = Path(s.path("running", str(MARKS)))
    instances: dict[str, tuple[Instance, ...]] = {}
    for i in identities:
        if i.kind == RELAY_KIND and host in i.candidates:
            made = Instance(f"/etc/holdfast/identity/{i.name}/postfix", f"holdfast/{i.name}", marks / i.name)
            instances[i.side] = (*instances.get(i.side, ()), made)
    transport = s.path("transport", "/var/lib/holdfast/relay/transport")
    return Relays(instances, transport, s.number("deliver_timeout", 45.0, least=1))


def _threshold(s: Section) -> Threshold:
    section = s.section("threshold")
    attempts = None if section.off("attempts") else section.whole("attempts", least=1)
    seconds = None if section.off("seconds") else section.number("seconds", least=1)
    section.done()
    try:
        return Threshold(attempts, seconds)
    except ValueError as why:
        raise s.wrong("threshold", None, str(why)) from None


def _routes(s: Section) -> tuple[Route, ...]:
    found = []
    for one in s.list("routes"):
        # `gateway`, and below `server` and names for all identities, are of the release before. The code is new from a
        # deploy's beginning on, and in playbooks that work on a relay before it has been deployed.
        routers = (one.text("gateway"),) if "gateway" in one.names() else one.texts("routers")
        found.append(Route(one.text("name"), one.text("bind_address"), routers))
        if not found[-1].routers:
            raise one.wrong("routers", [], "name at least one")
        one.done()
    if len(found) < 2:
        raise s.wrong("routes", [r.name for r in found], "give two or more: attempts alternate between them")
    return tuple(found)


def _names(d: Section, known: Iterable[str]) -> Callable[[str], EveryServer]:
    port, zones = d.whole("port", 53), d.texts("zones")
    if "server" in d.names():
        telling = {d.text("server"): tuple(known)}
    else:
        servers = d.section("servers")
        telling = {address: servers.texts(address) for address in servers.names()}
        servers.done()
    key_name, file, algorithm = d.text("key_name"), d.path("secret_file"), d.text("algorithm", "hmac-sha256")
    ttl = d.whole("ttl", 60)
    relay_names = _relay_names(d, known)
    reached = {}
    for name, section in d.sections("reached", {}):
        reached[name] = {host: section.texts(host) for host in section.names()}
    d.done()

    def make(identity: str) -> EveryServer:
        try:
            secret = Path(file).read_text()
            return EveryServer(
                DnsUpdate(
                    address,
                    zones,
                    key_name,
                    secret,
                    relay_names.get(identity, {}),
                    algorithm,
                    ttl,
                    port,
                    reached=reached.get(identity),
                )
                for address, identities in telling.items()
                if identity in identities
            )
        except (OSError, ValueError) as why:
            raise d.wrong("secret_file", file, f"{why}; deploy the role monitor") from None

    return make


def _relay_names(d: Section, known: Iterable[str]) -> dict[str, dict[str, str]]:
    raw = d.values("relay_names")
    if all(isinstance(value, str) for value in raw.values()):
        return {goal: dict(raw) for goal in known}
    found = {}
    for goal, names in raw.items():
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise d.wrong(f"relay_names.{goal}", names, "give a mapping of hosts to the relays at home there")
        found[goal] = dict(names)
    return found


@dataclass(frozen=True)
class Parts:
    """All that works on one identity."""

    identity: Identity
    settings: Settings
    coordinator: EtcdCoordinator
    prober: RelayProber
    queue: PostfixQueue
    takeover: Takeover
    clock: Clock
    log: Log
    returns: OrderFiles


def new_run_id() -> str:
    return uuid.uuid4().hex[:12]


def build(config: Config, name: str, log: Log | None = None) -> Parts:
    """The parts for identity `name`, which share nothing with those of another. Raises ConfigError for unreadable keys.

    `log`: standard error if not given, since a module's standard output is its answer.
    """
    clock = SystemClock()
    log = log or LineLog(sys.stderr)
    one = config.identities[name]
    routes = routes_to(one, config.routes)
    queue = PostfixQueue(
        [i for i in config.identities.values() if i.has_mailboxes and i.side == one.side],
        config.routes,
        clock,
        log,
        instances=config.relays.instances.get(one.side, ()),
        table=config.relays.table(one.side),
        port=config.probe_port,
        timeout=config.relays.deliver_timeout,
    )
    client = config.coordinator.another()
    attempts = RelayProber(
        queue,
        Topology(clock),
        config.recipients,
        clock,
        port=config.probe_port,
        ca=config.probe_ca,
        timeouts=config.probe_timeouts,
    )
    settings = Settings(
        config.host,
        config.interval,
        config.methods,
        config.threshold,
        routes,
        config.reset_after,
        config.endings[name].archive_after,
    )
    topology = Topology(clock)
    ports = Ports(client, config.switches(), attempts, config.names(name), queue, clock, log, new_run_id, topology)
    takeover = Takeover(
        one,
        config.host,
        routes,
        ports,
        Timeouts(lock=config.lock, store=config.store_programs.get(one.store, 0.0)),
        config.hourly_limit,
        config.fence_plan,
        config.endings[name].promote,
    )
    orders = OrderFiles(Path(config.relays.transport).with_name("return"), clock)
    return Parts(one, settings, client, attempts, queue, takeover, clock, log, orders)


class NoMail:
    """A store has neither names in DNS nor a relay: a run of a store asks for none of this."""

    def publish(self, identity: Identity, owner: str, epoch: int, *, primary: bool = True) -> str:
        raise AssertionError(f"{identity.name} is a store")

    def waiting(self, identity: Identity) -> int:
        raise AssertionError(f"{identity.name} is a store")

    def flush(self, identity: Identity) -> None:
        raise AssertionError(f"{identity.name} is a store")

    def use_route(self, identities: Sequence[Identity], route: Route) -> None:
        raise AssertionError(f"{[i.name for i in identities]} are stores")


def movable(config: Config, name: str, password_file: str) -> Takeover:
    """What moves identity or store `name` by hand.

    A relay has no rights on a store, and fences none: that is its partner's. An operator has, by `password_file`.
    """
    if name not in config.stores:
        return build(config, name).takeover
    clock, mail = SystemClock(), NoMail()
    route = Route("storage", "")
    client = config.coordinator.as_user(Login(OPERATOR, password_file))
    ports = Ports(client, {}, NfsProber(clock), mail, mail, clock, LineLog(sys.stderr), new_run_id)
    return Takeover(config.stores[name], config.host, (route,), ports, Timeouts(lock=config.lock), config.hourly_limit)


__all__ = ["Config", "ConfigError", "Parts", "build", "load", "movable", "require", "require_movable"]

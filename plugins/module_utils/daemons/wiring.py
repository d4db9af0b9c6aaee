"""From a relay's monitor.yml to the parts that make attempts and run takeovers: for the monitor and for modules.

host, interval, methods, threshold {attempts, seconds}, reset_after, hourly_limit
routes [{name, bind_address, gateway}], identities {I: {…, probe_recipient}}
coordinator {endpoints, ca, cert, key, timeout}
fence_devices {NAME: {address, port, user, hosts, timeout, host_key, client_key_file}}
dns {server, port, zones, key_name, algorithm, secret_file, ttl, relay_names}
relay {config_dir, transport, syslog_name, deliver_timeout}, probe {port, connect_timeout, timeout, ca}
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..adapters import smtp
from ..adapters.clock import SystemClock
from ..adapters.dns import DnsUpdate
from ..adapters.etcd import EtcdCoordinator
from ..adapters.log import LineLog
from ..adapters.postfix import PostfixQueue
from ..adapters.power import SshPowerSwitch
from ..adapters.prober import RelayProber
from ..adapters.topology import Topology
from ..core.checks import INTERVAL
from ..core.model import Identity, Method, Route
from ..core.ports import Clock, Log, PowerSwitch
from ..core.takeover import Ports, Takeover
from ..core.threshold import Threshold
from ..core.watching import Settings

Section = Mapping[str, Any]


class ConfigError(Exception):
    """One line: file, key, value, remedy."""


REQUIRED = ("host", "interval", "methods", "threshold", "routes", "identities", "coordinator", "fence_devices", "dns")
OPTIONAL = ("reset_after", "hourly_limit", "relay", "probe")


@dataclass(frozen=True)
class Config:
    """A relay's configuration, checked."""

    host: str
    interval: float
    methods: tuple[Method, ...]
    threshold: Threshold
    routes: tuple[Route, ...]
    identities: Mapping[str, Identity]
    recipients: Mapping[str, str]
    coordinator: Section
    fence_devices: Mapping[str, Section]
    dns: Section
    reset_after: int = 2
    hourly_limit: int = 2
    relay: Section = field(default_factory=dict)
    probe: Section = field(default_factory=dict)


def load(path: str) -> Config:
    """Read and check the file. Raises ConfigError."""

    def wrong(key: str, value: object, remedy: str) -> ConfigError:
        return ConfigError(f"{path}: {key} is {value!r}: {remedy}")

    try:
        data = yaml.safe_load(Path(path).read_text())
    except OSError as why:
        raise ConfigError(f"{path}: {why.strerror}; deploy the role monitor") from why
    except yaml.YAMLError as why:
        raise ConfigError(f"{path}: is no YAML: {' '.join(str(why).split())}") from why
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: is no mapping; deploy the role monitor")
    for key in REQUIRED:
        if not data.get(key):
            raise wrong(key, data.get(key), "is missing")
    for key in data:
        if key not in (*REQUIRED, *OPTIONAL):
            raise wrong(key, data[key], f"is unknown; known: {', '.join((*REQUIRED, *OPTIONAL))}")
    interval, (low, high) = data["interval"], INTERVAL
    if not isinstance(interval, int | float) or not low <= interval <= high:
        raise wrong("interval", interval, f"give seconds from {low} to {high}")
    try:
        methods = tuple(Method(m) for m in data["methods"])
    except ValueError as why:
        raise wrong("methods", data["methods"], f"name some of {', '.join(Method)}") from why
    try:
        threshold = Threshold(data["threshold"].get("attempts"), data["threshold"].get("seconds"))
    except (ValueError, TypeError, AttributeError) as why:
        raise wrong("threshold", data["threshold"], str(why)) from why
    try:
        routes = tuple(Route(r["name"], r["bind_address"], r["gateway"]) for r in data["routes"])
        identities = {n: Identity.from_json(n, i) for n, i in data["identities"].items()}
        recipients = {n: str(i["probe_recipient"]) for n, i in data["identities"].items()}
    except (KeyError, TypeError, AttributeError) as why:
        raise ConfigError(f"{path}: routes or identities: {why} is missing or of a wrong kind") from why
    if len(routes) < 2:
        raise wrong("routes", [r.name for r in routes], "give two: attempts go over alternate routes")
    return Config(
        host=str(data["host"]),
        interval=float(interval),
        methods=methods,
        threshold=threshold,
        routes=routes,
        identities=identities,
        recipients=recipients,
        coordinator=data["coordinator"],
        fence_devices=data["fence_devices"],
        dns=data["dns"],
        reset_after=int(data.get("reset_after", 2)),
        hourly_limit=int(data.get("hourly_limit", 2)),
        relay=data.get("relay") or {},
        probe=data.get("probe") or {},
    )


def coordinator(config: Config) -> EtcdCoordinator:
    c = config.coordinator
    return EtcdCoordinator(c["endpoints"], c.get("ca"), c.get("cert"), c.get("key"), float(c.get("timeout", 3)))


def switches(config: Config) -> dict[str, list[PowerSwitch]]:
    """Host to the devices that can fence it, in the order of the file."""
    found: dict[str, list[PowerSwitch]] = {}
    for name, d in config.fence_devices.items():
        try:
            key = Path(d["client_key_file"]).read_text()
            switch = SshPowerSwitch(
                name, d["address"], int(d.get("port", 22)), d["user"], d["host_key"], key, float(d.get("timeout", 20))
            )
        except (OSError, ValueError, KeyError) as why:
            raise ConfigError(f"fence_devices.{name}: {why}") from why
        for host in d["hosts"]:
            found.setdefault(host, []).append(switch)
    return found


def name_service(config: Config) -> DnsUpdate:
    d = config.dns
    try:
        secret = Path(d["secret_file"]).read_text()
        return DnsUpdate(
            d["server"],
            d["zones"],
            d["key_name"],
            secret,
            d["relay_names"],
            d.get("algorithm", "hmac-sha256"),
            int(d.get("ttl", 60)),
            int(d.get("port", 53)),
        )
    except (OSError, ValueError, KeyError) as why:
        raise ConfigError(f"dns: {why}") from why


def prober(config: Config, queue: PostfixQueue, clock: Clock) -> RelayProber:
    p = config.probe
    return RelayProber(
        queue,
        Topology(clock),
        config.recipients,
        clock,
        port=int(p.get("port", 25)),
        ca=str(p.get("ca", "/etc/holdfast/tls/ca.pem")),
        timeouts=smtp.Timeouts(float(p.get("connect_timeout", 10)), float(p.get("timeout", 20))),
    )


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


def new_run_id() -> str:
    return uuid.uuid4().hex[:12]


def build(config: Config, name: str, log: Log | None = None) -> Parts:
    """The parts for identity `name`. Raises ConfigError for keys and secrets that cannot be read.

    `log`: standard error if not given, since a module's standard output is its answer.
    """
    clock = SystemClock()
    log = log or LineLog(sys.stderr)
    identity = config.identities[name]
    r = config.relay
    queue = PostfixQueue(
        list(config.identities.values()),
        config.routes,
        clock,
        log,
        config_dir=r.get("config_dir", "/etc/postfix"),
        table=r.get("transport", "/var/lib/holdfast/relay/transport"),
        syslog_name=r.get("syslog_name", "holdfast-relay"),
        timeout=float(r.get("deliver_timeout", 45)),
    )
    client = coordinator(config)
    attempts = prober(config, queue, clock)
    settings = Settings(
        config.host, config.interval, config.methods, config.threshold, config.routes, config.reset_after
    )
    ports = Ports(client, switches(config), attempts, name_service(config), queue, clock, log, new_run_id)
    takeover = Takeover(identity, config.host, config.routes, ports, hourly_limit=config.hourly_limit)
    return Parts(identity, settings, client, attempts, queue, takeover, clock, log)

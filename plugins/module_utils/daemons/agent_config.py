"""/etc/holdfast/agent.yml, what holdfast-agent is told of its host; (o) marks what may be left out, with its default:

host: mail1
lease_ttl: 15                     # seconds
tick: 2                           # (o) seconds between decisions, lease_ttl / 2 at most; changes make one at once
coordinator: {endpoints: [https://10.1.3.21:2379], ca: …, cert: …, key: …,
              user: (o), password_file: (o), timeout: 3 (o)}
identities:                       # those of which this host is a candidate
  mx.alpha.example:
    address, kind, domains, home, candidates, store, relays
    store_address: 10.1.3.21      # where the store's NFS server answers
    store_path: /srv/store/mx.alpha.example         # (o)
    mount: /srv/holdfast/mx.alpha.example           # (o)
    postfix_dir: /etc/holdfast/identity/mx.alpha.example/postfix                 # (o)
    dovecot_conf: /etc/holdfast/identity/mx.alpha.example/dovecot/dovecot.conf   # (o)
    configuration: /etc/holdfast/identity/mx.alpha.example/configuration         # (o) digest of what was deployed
    tls_ca: /etc/holdfast/tls/ca.pem
    probe: {user: probe@alpha.example, password_file: …, recipient: postmaster@alpha.example, port: 25 (o)}
                                  # a relay has neither dovecot_conf nor a user who logs in; port: for our own hosts
stores:                           # (o) those of which this host is a member, looked after in the same way
  store1: {address, members, home, device: /dev/drbd0 (o), minor: 0 (o), root: /srv/store (o)}
ready: {memory_mb: 24, disk_mb: 100,    # (o) least of both for being a candidate
        needs_time: false}              # (o) and only with a clock that was synchronised
drain_file: /etc/holdfast/drain   # (o) while it exists this host takes nothing over
watchdog: {device: /dev/watchdog, timeout: 30}   # (o) where the fence plan has that level: this host then stops
                                  # its identities by itself before its lease ends, or is reset
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..adapters import smtp
from ..adapters.etcd import EtcdCoordinator
from . import config
from .instance import Mailboxes, Place
from .readiness import Limits
from .store_instance import StorePlace
from .store_instance import place as store_place

FILE = "/etc/holdfast/agent.yml"
TICK = 2.0  # seconds


@dataclass(frozen=True)
class WatchdogPlan:
    """The device, and seconds after which it resets this host."""

    device: str
    timeout: int


@dataclass(frozen=True)
class Config:
    """A host's configuration, checked."""

    host: str
    lease_ttl: int
    tick: float
    coordinator: EtcdCoordinator
    places: tuple[Place, ...]
    limits: Limits
    stores: tuple[StorePlace, ...] = ()
    records: EtcdCoordinator | None = None  # a second connection, for the threads that bring stores up
    watchdog: WatchdogPlan | None = None
    certificates: tuple[str, ...] = ()  # files that this host and its identities need


def load(file: str) -> Config:
    """Raises ConfigError."""
    top = config.Section.load(file)
    places = []
    for name, section in top.sections("identities"):
        places.append(_place(name, section))
        section.done()
    owned = []
    for name, section in top.sections("stores", {}):
        owned.append(store_place(name, section))
        section.done()
    ready = top.section("ready", {})
    limits = Limits(
        memory_mb=ready.whole("memory_mb", 24),
        disk_mb=ready.whole("disk_mb", 100),
        drain_file=top.path("drain_file", "/etc/holdfast/drain"),
        needs_time=ready.value("needs_time", False),
    )
    if not isinstance(limits.needs_time, bool):
        raise ready.wrong("needs_time", limits.needs_time, "give true or false")
    ready.done()
    etcd = config.coordinator(top.section("coordinator"))
    made = Config(
        host=top.text("host"),
        lease_ttl=top.whole("lease_ttl", least=3),
        tick=_tick(top),
        coordinator=etcd,
        places=tuple(places),
        limits=limits,
        stores=tuple(owned),
        records=config.coordinator(top.section("coordinator")) if owned else None,
        watchdog=_watchdog(top),
        certificates=(
            *(file for file in (etcd.tls.cert, etcd.tls.ca) if file is not None),
            *(str(Path(p.tls_ca).with_name(f"{p.identity.name}.pem")) for p in places),
        ),
    )
    top.done()
    for identity in (*(p.identity for p in places), *(p.identity for p in owned)):
        if made.host not in identity.candidates:
            remedy = f"is no candidate of {identity.name}; remove that identity here"
            raise top.wrong("host", made.host, remedy)
    return made


def _tick(top: config.Section) -> float:
    tick = top.number("tick", TICK, least=0.1)
    if tick > max(TICK, top.whole("lease_ttl", least=3) / 2):
        raise top.wrong("tick", tick, "give no more than half of lease_ttl, or the lease runs out between two looks")
    return tick


def _watchdog(top: config.Section) -> WatchdogPlan | None:
    if "watchdog" not in top.names():
        return None
    section = top.section("watchdog")
    made = WatchdogPlan(section.path("device", "/dev/watchdog"), section.whole("timeout", 30, least=5))
    section.done()
    return made


def _place(name: str, section: config.Section) -> Place:
    probe = section.section("probe")
    folder = f"/etc/holdfast/identity/{name}"
    identity, mailboxes = config.identity(name, section), None
    if identity.has_mailboxes:
        mailboxes = Mailboxes(
            dovecot_conf=section.path("dovecot_conf", f"{folder}/dovecot/dovecot.conf"),
            probe_user=probe.text("user"),
            probe_password_file=probe.path("password_file"),
        )
    made = Place(
        identity=identity,
        source=f"{section.text('store_address')}:{section.path('store_path', f'/srv/store/{name}')}",
        mount=section.path("mount", f"/srv/holdfast/{name}"),
        postfix_dir=section.path("postfix_dir", f"{folder}/postfix"),
        configuration=section.path("configuration", f"{folder}/configuration"),
        tls_ca=section.path("tls_ca"),
        probe_recipient=probe.text("recipient"),
        mailboxes=mailboxes,
        smtp_port=probe.whole("port", smtp.PORT, least=1),
    )
    probe.done()
    return made

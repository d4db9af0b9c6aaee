"""holdfast-store: admits the owner of each identity to its files, and nobody else (I2).

    python3 -m holdfast.daemons.store [--check] [FILE]

FILE is /etc/holdfast/store.yml:

    store: store1                 # the store's name, whichever member this is
    root: /srv/store              # (o) a mount point; one folder an identity
    tick: 1                       # (o) seconds between looks at the coordinator; a change there makes one at once
    coordinator: {endpoints: [https://10.1.3.21:2379], ca: …, cert: …, key: …,
                  user: (o), password_file: (o), timeout: 3 (o)}
    identities:
      mx.alpha.example: {address, kind, domains, home, candidates, store, relays}
    hosts: {mail1: [10.1.3.11]}   # addresses, as the NFS server sees them, of every host that may own one of them
    owners: {mail: [2005, 2005], transfer: [2007, 2007]}  # (o) uid and gid of the folders of mailboxes and of what
                                  # transfer hosts keep
    carriers: {transfer1: [10.1.3.61]}    # (o) addresses of transfer hosts: each identity's `spool` is theirs, too
    external: {address: 192.0.2.9, program: /usr/local/sbin/nfs-access, host: door1}
                                  # (o) an NFS service from elsewhere (adapters/external_nfs.py); `root` is its path,
                                  # `host` this host's name

Whom to admit is decided in core/access.py. What is withdrawn is withdrawn before anything else is granted, and only
what has been done is written to `store/S/access/I`. Without the coordinator everything stays as it is.

An identity whose owner cannot be admitted keeps none of the others from being served: the store stays up, and that
identity's record says why (`error`), which alarms here and in the status, and keeps it where it is.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..adapters.clock import SystemClock
from ..adapters.etcd import EtcdCoordinator
from ..adapters.etcd_watch import woken_by
from ..adapters.external_nfs import ExternalClients, ExternalExports, ExternalFirewall
from ..adapters.log import LineLog
from ..adapters.nfsd import Clients, Export, Exports, options
from ..adapters.nft import Firewall
from ..core import access, dropping, keys
from ..core.access import Wanted
from ..core.fencing import HostView
from ..core.model import Access, Identity, Owner, Run
from ..core.ports import AT_ONCE, Clock, Entry, Log, Unavailable
from ..core.telling import value_of
from . import config, service
from .door import Door

FILE = "/etc/holdfast/store.yml"

RECORDS = "transfer"  # the folder with archive and log of what has crossed
LOOK_EVERY = 60.0  # seconds between looks at what the firewall holds


@dataclass(frozen=True)
class External:
    """An NFS service from elsewhere: where it answers, and the operator's program that opens and closes it."""

    address: str
    program: str
    host: str  # its manager, on which this runs


@dataclass(frozen=True)
class Config:
    """A store's configuration, checked."""

    store: str
    root: Path
    tick: float
    coordinator: EtcdCoordinator
    identities: Mapping[str, Identity]
    hosts: Mapping[str, tuple[str, ...]]
    mail_owner: tuple[int, int]
    external: External | None = None
    carriers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    carrier_owner: tuple[int, int] = (2007, 2007)


def load(file: str) -> Config:
    top = config.Section.load(file)
    identities = {}
    for name, section in top.sections("identities"):
        identities[name] = config.identity(name, section)
        section.done()
    owners = top.section("owners", {})
    mail_uid, mail_gid = owners.wholes("mail", 2, (2005, 2005))
    carrier_uid, carrier_gid = owners.wholes("transfer", 2, (2007, 2007))
    owners.done()
    made = Config(
        store=top.text("store"),
        root=Path(top.path("root", "/srv/store")),
        tick=top.number("tick", 1.0, least=0.1),
        coordinator=config.coordinator(top.section("coordinator")),
        identities=identities,
        hosts=top.lists("hosts"),
        mail_owner=(mail_uid, mail_gid),
        external=_external(top),
        carriers=top.lists("carriers") if "carriers" in top.names() else {},
        carrier_owner=(carrier_uid, carrier_gid),
    )
    top.done()
    if made.carriers and made.external is not None:
        raise top.wrong("carriers", sorted(made.carriers), "remove it: whoever runs that service admits transfer hosts")
    for name, identity in identities.items():
        unknown = [h for h in identity.candidates if h not in made.hosts]
        if unknown:
            raise top.wrong("hosts", sorted(made.hosts), f"add {', '.join(unknown)}, candidate of {name}")
    return made


def _external(top: config.Section) -> External | None:
    if "external" not in top.names():
        return None
    section = top.section("external")
    made = External(section.text("address"), section.path("program"), section.text("host"))
    section.done()
    return made


class Opens(Protocol):
    """Who may mount what: adapters.nfsd.Exports, adapters.external_nfs.ExternalExports."""

    def table(self) -> set[Export]: ...

    def grant(self, path: str, client: str, with_options: str) -> None: ...

    def withdraw(self, path: str, client: str) -> None: ...


class Serves(Protocol):
    """The server's clients: adapters.nfsd.Clients, adapters.external_nfs.ExternalClients."""

    def serving(self) -> bool: ...

    def expire(self, addresses: Sequence[str]) -> int: ...


class Drops(Protocol):
    """Whom the server hears no more: adapters.nft.Firewall, adapters.external_nfs.ExternalFirewall."""

    def dropped(self) -> frozenset[str]: ...

    def connected(self, addresses: frozenset[str]) -> object: ...

    def drop(self, addresses: frozenset[str]) -> None: ...


class Reader(Protocol):
    """What this daemon needs of the coordinator."""

    def list(self, *prefixes: str) -> dict[str, Entry]: ...

    def put(self, key: str, value: Mapping[str, object]) -> None: ...


@dataclass(frozen=True)
class State:
    """One identity as the coordinator has it."""

    owner: Owner | None
    run: Run | None
    access: Access | None


class NotYet(Exception):
    """Something stands in the way of what is wanted; it is tried again with the next tick."""


class Store:
    """Call `tick` about once a second."""

    def __init__(
        self,
        settings: Config,
        coordinator: Reader,
        exports: Opens,
        clients: Serves,
        clock: Clock,
        log: Log,
        firewall: Drops | None = None,
        door: Door | None = None,
    ) -> None:
        self._settings = settings
        self._coordinator = coordinator
        self._exports = exports
        self._elsewhere = exports if isinstance(exports, ExternalExports) else None
        self._clients = clients
        self._firewall = firewall
        self._door = door
        self._views: dict[str, HostView] = {}
        self._dropped: tuple[str, ...] = ()  # hosts
        self._look_at = 0.0
        self._clock = clock
        self._log = log
        self._settled: set[str] = set()  # identities of which this process has made sure once
        self._said: dict[str, str] = {}

    def tick(self) -> bool:
        """Whether the coordinator was read and the firewall is as that asks for; then the rest was tried, too."""
        try:
            if self._door is not None and not self._door.tick():
                return False
            states = self._read()
        except Unavailable as why:
            # An owner goes on: whoever wants to take over needs this very store's word first.
            self._tell("coordinator", "coordinator_unreachable", str(why))
            return False
        self._tell("coordinator", "coordinator_reached", "")
        identities = self._settings.identities
        wanted = {n: access.decide(identities[n], s.owner, s.run) for n, s in states.items()}
        # Dropped before unexported: what is on its way meets a closed door, not a half-open one.
        closed = self._attempt("firewall", "firewall_set", functools.partial(self._drop, states, wanted))
        self._attempt("exports", "strangers_removed", self._remove_strangers)
        for name, state in states.items():
            if not self._attempt(name, "settled", functools.partial(self._settle, name, state, wanted)):
                self._attempt(f"{name}: error", "error_told", functools.partial(self._tell_error, name, state, wanted))
        self._attempt("carriers", "carriers_admitted", self._admit_carriers)
        return closed

    def _attempt(self, name: str, event: str, act: Callable[[], None]) -> bool:
        """Whether it was done. What fails is told once and tried again with the next tick."""
        try:
            act()
            self._tell(name, event, "")
            return True
        except (Unavailable, NotYet) as why:
            self._tell(name, f"not_{event}", str(why))
        except OSError as why:
            self._tell(name, f"not_{event}", f"{why.filename}: {why.strerror}")
        self._settled.discard(name)  # what was begun is begun again, whatever a table says of it
        return False

    def _read(self) -> dict[str, State]:
        names = {n: self._keys(n) for n in self._settings.identities}
        # Orders to fence a host by their prefix: mostly there is none, and each key that is asked for costs etcd.
        hosts = [r for h in self._settings.hosts for r in (keys.lease(h), keys.watchdog(h), keys.fences(h))]
        entries: dict[str, Entry] = {}
        for some in itertools.batched([*itertools.chain(*names.values()), *hosts], AT_ONCE, strict=False):
            entries |= self._coordinator.list(*some)
        self._views = {h: HostView.of(h, entries) for h in self._settings.hosts}

        def state(name: str) -> State:
            owner, run, access = (value_of(entries, key) for key in names[name])
            return State(
                None if owner is None else Owner.from_json(owner),
                None if run is None else Run.from_json(run),
                None if access is None else Access.from_json(access),
            )

        return {name: state(name) for name in names}

    def _keys(self, name: str) -> tuple[str, str, str]:
        return keys.owner(name), keys.takeover(name), keys.access(self._settings.store, name)

    def _drop(self, states: Mapping[str, State], wanted: Mapping[str, Wanted]) -> None:
        """The firewall drops the hosts that were shut out and may still run; what it holds is checked now and then."""
        if self._firewall is None:
            return
        owners, runs = {n: s.owner for n, s in states.items()}, {n: s.run for n, s in states.items()}
        admitted = [w.admit for w in wanted.values() if w.admit is not None]
        hosts = dropping.to_drop(self._settings.identities.values(), owners, runs, self._views, admitted)
        if hosts == self._dropped and self._clock.boottime() < self._look_at:
            return
        # Until it is certain what is dropped, nothing is said to be.
        before, self._dropped = self._dropped, ()
        addresses = frozenset(a for h in hosts for a in self._settings.hosts.get(h, ()))
        if self._firewall.dropped() != addresses or self._firewall.connected(addresses):
            self._firewall.drop(addresses)
            self._log("firewall", dropped=hosts or "none", before=before or None)
        self._dropped, self._look_at = hosts, self._clock.boottime() + LOOK_EVERY

    def _tell(self, about: str, event: str, detail: str) -> None:
        """Say a condition when it changes. Without detail all is well, which is worth a line only after a bad one."""
        before = self._said.get(about, "")
        if detail != before:
            identity = about if about in self._settings.identities else None
            bad = "error" if identity is None else "alert"
            self._log(event, identity=identity, detail=detail or None, level=bad if detail else "info")
        self._said[about] = detail

    # --- exports -----------------------------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return str(self._settings.root / name)

    def _remove_strangers(self) -> None:
        """What lies below the root and belongs to no identity of ours is nobody's to read."""
        ours, carried = {self._path(n) for n in self._settings.identities}, self._carried()
        root = str(self._settings.root)
        for path, client in sorted(self._exports.table()):
            if path in carried and client in self._carriers():
                continue
            if path not in ours and (path == root or path.startswith(f"{root}/")):
                self._exports.withdraw(path, client)
                self._log("export_removed", path=path, client=client, level="warning")

    def _carriers(self) -> set[str]:
        return {address for some in self._settings.carriers.values() for address in some}

    def _carried(self) -> dict[str, str]:
        """What transfer hosts mount, and the name of each: spools, and what they keep; nothing where there are none."""
        if not self._settings.carriers:
            return {}
        spools = [f"{n}/spool" for n, identity in self._settings.identities.items() if identity.has_mailboxes]
        return {self._path(name): name for name in (*spools, RECORDS)}

    def _admit_carriers(self) -> None:
        """Whoever owns an identity, its spool is there for transfer hosts once its first owner has made it (R3.1)."""
        if not self._settings.carriers:
            return
        table = self._exports.table()
        for path, name in self._carried().items():
            missing = sorted(c for c in self._carriers() if (path, c) not in table)
            if not missing:
                continue
            if not self._settings.root.is_mount() or not self._clients.serving():
                raise NotYet("the disk is missing, or the NFS server does not run")
            folder = self._settings.root / name
            if name == RECORDS:
                folder.mkdir(mode=0o750, exist_ok=True)
                os.chown(folder, *self._settings.carrier_owner)
            if folder.is_dir():
                for client in missing:
                    self._exports.grant(path, client, options(name, str(self._settings.root), root_stays=False))
                self._log("carriers", path=path, admitted=missing)

    def _settle(self, name: str, state: State, wanted: Mapping[str, Wanted]) -> None:
        want, path = wanted[name], self._path(name)
        done = state.access
        told = done is not None and (done.epoch, done.run, done.admitted) == (want.epoch, want.run, want.admit)
        if self._elsewhere is not None and not (told and name in self._settled):
            # What an earlier daemon or word has begun there may be done by now: no list is proof enough.
            hosts = self._settings.hosts
            self._elsewhere.suspect((path, a) for h in want.expire for a in hosts.get(h, ()))
        there = {client for exported, client in self._exports.table() if exported == path}
        admitted = set(self._settings.hosts.get(want.admit, ())) if want.admit is not None else set()
        dropped = tuple(h for h in want.expire if h in self._dropped)
        as_wanted = told and done is not None and done.dropped == dropped and not done.error
        if as_wanted and there == admitted and name in self._settled:
            return
        for client in sorted(there - admitted):
            self._exports.withdraw(path, client)
        expired = done.expired if as_wanted and done is not None else ()
        if not as_wanted:
            expired = self._expire(name, state, wanted)
        if want.admit is not None:
            self._grant(name, want.admit, there if name in self._settled else set(), state)
        record = Access(want.epoch, want.run, want.admit, self._clock.now(), expired, dropped)
        if not as_wanted:
            self._coordinator.put(keys.access(self._settings.store, name), record.to_json())
        self._settled.add(name)
        self._log(
            "access",
            identity=name,
            epoch=want.epoch,
            run=want.run,
            admitted=want.admit or "none",
            withdrawn=sorted(there - admitted) or None,
            expired=expired or None,
            dropped=dropped or None,
        )

    def _tell_error(self, name: str, state: State, wanted: Mapping[str, Wanted]) -> None:
        """Written where the owner is one that could be admitted: what keeps him out keeps every other host out.

        A withdrawal that fails needs no word: whoever has ordered it waits for the one that it is done.
        """
        if wanted[name].admit not in self._settings.hosts:
            return
        now = self._clock.now()
        done = state.access or Access(0, "", None, now)
        if done.error != self._said[name]:
            record = dataclasses.replace(done, error=self._said[name], time=now)
            self._coordinator.put(keys.access(self._settings.store, name), record.to_json())

    def _expire(self, name: str, state: State, wanted: Mapping[str, Wanted]) -> tuple[str, ...]:
        """Take opens and locks from the hosts that must not have any: all of those whose state is only this identity's.

        NFSv4 keeps state by host, not by export. A host that also serves another identity from here keeps its state
        until it is proved to be off.
        """
        busy = {w.admit for n, w in wanted.items() if n != name and w.admit is not None}
        run = state.run
        proved = None
        if run is not None and run.proof is not None and state.owner is not None:
            proved = run.proof.host if run.revoke_epoch == state.owner.epoch else None
        gone = tuple(h for h in wanted[name].expire if h not in busy or h == proved)
        addresses = [a for h in gone for a in self._settings.hosts.get(h, ())]
        count = self._clients.expire(addresses)
        if count:
            self._log("clients_expired", identity=name, hosts=gone, count=count)
        return gone

    def _grant(self, name: str, host: str, there: set[str], state: State) -> None:
        addresses = self._settings.hosts.get(host)
        if not addresses:
            raise NotYet(f"owner {host} has no address in `hosts` of this store's configuration")
        if not self._clients.serving():
            raise NotYet("the NFS server does not run")
        # Epoch 0 is the word about an identity without an owner: nobody has been admitted yet.
        first = state.access is None or state.access.epoch == 0
        if first and (other := self._served_by(name)) is not None:
            raise NotYet(
                f"its queue and mailboxes lie on store {other}; move them (docs/runbooks/store.md, Moving an identity)"
            )
        self._lay_out(name, first)
        for client in addresses:
            if client not in there:
                self._exports.grant(self._path(name), client, options(name, str(self._settings.root)))

    def _served_by(self, name: str) -> str | None:
        """Another store that has served it: an empty one in its place would hide what is held there."""
        for key, entry in self._coordinator.list(keys.STORES).items():
            store, _, rest = key.removeprefix(keys.STORES).partition("/")
            if rest == f"access/{name}" and store != self._settings.store and entry.value and entry.value["epoch"] > 0:
                return store
        return None

    def _lay_out(self, name: str, first: bool) -> None:
        """The identity's folders, made once: later a missing one is a lost disk, and a new one would hide that."""
        root = self._settings.root
        if self._settings.external is not None:
            return  # whoever runs that service makes them; the agent refuses to run without
        if not root.is_mount():
            raise NotYet(f"{root} is no mount point: the disk is missing")
        folder = root / name
        if not first and not folder.is_dir():
            raise NotYet(f"{folder} is gone, and it has been served before; restore it, or mount the right disk")
        wanted = [(folder, 0o755, 0, 0), (folder / "queue", 0o755, 0, 0)]
        if self._settings.identities[name].has_mailboxes:
            wanted.append((folder / "mail", 0o700, *self._settings.mail_owner))
        for path, mode, uid, gid in wanted:
            if not path.is_dir():
                path.mkdir(mode=mode)
                path.chmod(mode)
                os.chown(path, uid, gid)


def _from_elsewhere(settings: Config, external: External, clock: Clock, log: Log) -> Store:
    exports = ExternalExports(external.program, settings.root, clock)
    clients = ExternalClients(external.program, external.address)

    def unfit() -> str | None:
        return exports.unfit() or (None if clients.serving() else f"{external.address} does not answer NFS")

    door = Door(settings.store, external.host, settings.coordinator, unfit, clock, log)
    return Store(settings, settings.coordinator, exports, clients, clock, log, ExternalFirewall(exports), door)


def start(settings: Config) -> None:
    clock, log = SystemClock(), LineLog()
    if settings.external is None:
        store = Store(settings, settings.coordinator, Exports(), Clients(clock), clock, log, Firewall(clock))
    else:
        store = _from_elsewhere(settings, settings.external, clock, log)
    # The agent puts the store's address on once this daemon says that it is up: then exports and firewall are what they
    # must be.
    while not store.tick():
        clock.sleep(settings.tick)

    def tick() -> None:
        store.tick()

    wake = woken_by(settings.coordinator, keys.IDENTITIES)
    service.run(tick, settings.tick, settings.coordinator.close, wake=wake)


def prepare(file: str) -> Callable[[], None]:
    settings = load(file)
    return lambda: start(settings)


if __name__ == "__main__":
    sys.exit(config.main(sys.argv[1:], FILE, prepare))

"""A store on one of its two members: the steps by which it comes up and goes down, each of them safe to repeat.

insync   this host owns the store and is in its in-sync set, by a read of this moment
promote  DRBD's primary; without its partner only after the partner was taken out of the set (fence_peer.py)
mount    the file system; its journal is replayed here after a power cut, and errors that it has noted are mended
nfsd     the NFS server, with the clients of the server before it, whose records lie on the replicated disk
exports  holdfast-store has admitted the owners of identities, and nobody else, by a read of its own
address  keepalived has put the store's address on, told by the track file
verify   the NFS server answers there
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..adapters import machine, nfs_probe
from ..adapters.disk import DiskMount, Room, room
from ..adapters.drbd import Drbd
from ..adapters.nfsd import Clients
from ..adapters.track import TrackFile
from ..adapters.units import Units
from ..core import keys, stores
from ..core.model import Identity, Owner
from ..core.ports import Clock, Entry, Log, Unavailable
from ..core.stores import Half
from . import config, running

EPOCHS = Path("/run/holdfast/store")
# Without nfsdcld no client gets its files back behind a takeover, without mountd no new client is let in; a kernel that
# goes on serving those that it knows tells of neither.
SERVER_UNIT = "nfs-server.service"
NFS_UNITS = ("nfsdcld.service", "nfs-mountd.service", SERVER_UNIT)
EXPORTS_UNIT = "holdfast-store.service"
LOOPBACK = "127.0.0.1"
# Seconds in which nfsd answers a call that reads no disk, however slow the machine: one that hangs never does. As long
# as DRBD waits for a disk (`store_disk_timeout`), own or the partner's, since all its threads may wait for that.
NFSD_WITHIN = 60.0
# What DRBD says of a connected partner's disk that takes no writes.
WITHOUT_DISK = {"Diskless", "Failed", "Detaching", "Inconsistent", "Outdated"}
ALL_UNITS = (EXPORTS_UNIT, *reversed(NFS_UNITS), "nfs-idmapd.service")


@dataclass(frozen=True)
class StorePlace:
    """Where a store's parts are on this host. `identity.name` is the store's name, its candidates are the members."""

    identity: Identity
    device: str
    minor: int
    root: str
    alarm_percent: float = 10.0


def place(name: str, section: config.Section) -> StorePlace:
    """From `stores: {S: {address, members, home, device (o), root (o), alarm_percent (o)}}`."""
    members = section.texts("members")
    made = StorePlace(
        Identity(name, section.text("address"), stores.KIND, (), section.text("home"), members, name),
        device=section.path("device", "/dev/drbd0"),
        minor=section.whole("minor", 0),
        root=section.path("root", "/srv/store"),
        alarm_percent=section.number("alarm_percent", 10.0),
    )
    if len(members) != 2:
        raise section.wrong("members", list(members), "name the two hosts of the pair")
    return made


class Records(Protocol):
    """What a store's owner needs of the coordinator, besides what the agent does."""

    def read(self, keys: Sequence[str]) -> dict[str, Entry]: ...

    def replace(self, key: str, value: Mapping[str, object], unchanged: Mapping[str, int]) -> bool: ...


def epoch_file(store: str, folder: Path = EPOCHS) -> Path:
    """The epoch at which this host acts as the store's owner; missing: it does not."""
    return folder / store


def read_epoch(store: str, folder: Path = EPOCHS) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(epoch_file(store, folder).read_text())
    return None


@dataclass(frozen=True)
class Judged:
    """Owner and in-sync set as they were read, with the revisions that a write is bound to."""

    owner: Owner | None
    insync: stores.InSync | None
    unchanged: Mapping[str, int]


def judge(records: Records, store: str) -> Judged:
    """Both at one revision. Raises Unavailable."""
    owner_key, set_key = keys.owner(store), keys.insync(store)
    entries = records.read([owner_key, set_key])
    owner = entries[owner_key].value
    return Judged(
        None if owner is None else Owner.from_json(owner),
        stores.parse(entries[set_key].value),
        {key: entry.revision for key, entry in entries.items()},
    )


class StoreInstance:
    """Does what it is told; whether is core/ownership.py's to say. Methods raise Unavailable or OSError."""

    def __init__(
        self,
        host: str,
        place: StorePlace,
        records: Records,
        drbd: Drbd,
        disk: DiskMount,
        units: Units,
        clients: Clients,
        track: TrackFile,
        clock: Clock,
        log: Log,
        probe: Callable[..., str | None] = nfs_probe.null,
        has_address: Callable[[str], bool] = machine.has_address,
        run_folder: Path = EPOCHS,
        marks: Path = running.MARKS,
    ) -> None:
        self.place = place
        self._host = host
        self._name = place.identity.name
        self._records = records
        self._drbd = drbd
        self._disk = disk
        self._units = units
        self._clients = clients
        self._track = track
        self._clock = clock
        self._log = log
        self._probe = probe
        self._has_address = has_address
        self._epochs = run_folder
        self._mark = running.Mark(place.identity.name, marks)

    # --- going up ----------------------------------------------------------------------------------------------

    def steps(self, epoch: int, cancel: running.Cancel) -> Sequence[tuple[str, Callable[[], str]]]:
        """In their order. Each returns what is worth telling."""
        return (
            ("insync", self._confirm),
            ("promote", self._promote),
            ("mount", self._attach),
            ("nfsd", self._serve),
            ("exports", self._export),
            ("address", lambda: self._raise_address(cancel)),
            ("verify", lambda: self._verify(cancel)),
        )

    def _confirm(self) -> str:
        try:
            judged = judge(self._records, self._name)
        except Unavailable as away:
            raise running.NotConfirmed(str(away)) from away
        owner = judged.owner
        why = stores.not_owner(self._host, None if owner is None else owner.epoch, owner)
        why = why or stores.outside(judged.insync, self._name, self._host)
        if why is not None or owner is None or judged.insync is None:
            raise Unavailable(f"{self._host}: {why}")
        # The fence-peer handler acts at this epoch; DRBD may call it as soon as the next step.
        file = epoch_file(self._name, self._epochs)
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}.new")
        new.write_text(f"{owner.epoch}\n")
        new.replace(file)
        return f"epoch {owner.epoch}, in sync: {', '.join(judged.insync.members)}"

    def _promote(self) -> str:
        self._drbd.up()
        if not self._drbd.state().primary:
            self._drbd.primary()
        return str(self._drbd.state())

    def _attach(self) -> str:
        self._disk.mount()
        return f"{self.place.device} at {self.place.root}"

    def _serve(self) -> str:
        self._units.start(NFS_UNITS)
        if not self._clients.serving():
            raise Unavailable("nfs-server.service is up, but the kernel has no nfsd threads; see its journal")
        return ", ".join(NFS_UNITS)

    def _export(self) -> str:
        # It says that it is up when it has rendered the exports once.
        self._units.start([EXPORTS_UNIT])
        return EXPORTS_UNIT

    def _raise_address(self, cancel: running.Cancel) -> str:
        address = self.place.identity.address
        self._track.write(True)
        return running.until_address(self._clock, address, cancel, self._has_address)

    def _verify(self, cancel: running.Cancel) -> str:
        address, why = self.place.identity.address, ""

        def answers() -> str | None:
            nonlocal why
            why = self._probe(address) or ""
            return None if why else f"{address} answers"

        said = running.until(self._clock, answers, running.VERIFY_WITHIN, cancel)
        if said is None:
            raise Unavailable(f"NFS at {address}: {why}")
        return said

    def mark(self, epoch: int) -> None:
        """Remember, until the next boot, that it runs here and since which epoch."""
        self._mark.write(epoch)

    # --- going down --------------------------------------------------------------------------------------------

    def down(self) -> None:
        """Address first, so that nobody comes any more; then nobody is admitted, nothing served, mounted, written.

        Everything is tried, even if something before it failed. The epoch goes last: as long as this host may be
        primary, its fence-peer handler must know at which epoch it acts.
        """
        attempt = running.Attempts()
        attempt(lambda: self._track.write(False))
        attempt(self._mark.remove)
        attempt(lambda: self._units.stop(ALL_UNITS))
        attempt(self._disk.unmount)
        attempt(self._demote)
        attempt.end()
        epoch_file(self._name, self._epochs).unlink(missing_ok=True)

    def release(self) -> None:
        """Down for the partner to go on. What the server has begun it ends and answers, before its address goes.

        Its replies are kept in memory only (RFC 8881, 2.10.6.5): a rename that was done and not answered is asked again
        of the partner, which says that there is no such file, and a program that only had to wait is told of an error.

        Routers know no later owner of a store's address, as they do of an identity's (adapters/announcement.py): a path
        that still leads here would swallow its share of the clients. Whoever is to come up here again needs no wait.
        """
        # What fails here is tried again by `down`, which tells it.
        with contextlib.suppress(Unavailable):
            self._units.stop((SERVER_UNIT,))
        self.down()
        running.until_no_address(self._clock, self.place.identity.address, self._has_address)

    def _demote(self) -> None:
        if self._drbd.state().primary:
            self._drbd.secondary()

    # --- looking -----------------------------------------------------------------------------------------------

    def lost(self) -> str | None:
        """What of a running store is gone, as far as files tell it."""
        if not self._disk.is_mounted():
            return f"{self.place.root} is not mounted"
        if self._disk.is_read_only():
            # Down and up again: e2fsck looks at it before it is mounted anew.
            return f"the file system at {self.place.root} is read-only"
        return None if self._clients.serving() else "the NFS server has no threads"

    def dead(self) -> str | None:
        """What does not run. A look at the pair goes with it: the partner joins when it has everything again.

        The units come first: the other look needs the coordinator. So does mending them, and waits for it.
        """
        dead = running.dead(self._units.states((*NFS_UNITS, EXPORTS_UNIT))) or self._hangs()
        if dead is None:
            self._review()
        return dead

    def lacks(self) -> str | None:
        return None  # there is nothing beside what it serves with

    def _hangs(self) -> str | None:
        """Do the server's threads answer? By the loopback: whether the address is there is another question.

        What is behind it: `verify` tries once more, then the server is stopped and begun anew here. It moves only as
        far as the host's power does. From the first word on, identities wait for the store, and no mail host is blamed.
        """
        why = self._probe(LOOPBACK, timeout=NFSD_WITHIN)
        return None if why is None else f"nfsd at {LOOPBACK}: {why}"

    def _review(self) -> None:
        """Who has everything? Read owner and set, look at DRBD, write if nothing has changed: core/stores.py says why.

        Besides the partner that has caught up there is one that lost its disk while the link holds: DRBD goes on
        without it and calls no handler.
        """
        judged = judge(self._records, self._name)
        peer = next(h for h in self.place.identity.candidates if h != self._host)
        known = (self._host, read_epoch(self._name, self._epochs), judged.owner, judged.insync)
        now = self._clock.now()
        try:
            new = stores.rejoined(*known, peer, self._name, now)
            state = self._drbd.state()
            if new is None and state.peer_disk in WITHOUT_DISK:
                new = stores.alone(*known, self._name, now)
            elif not state.mirrored:
                return
        except stores.NotAllowed as why:
            self._log("insync_unchanged", store=self._name, peer=peer, why=str(why), level="warning")
            return
        if new is not None and self._records.replace(keys.insync(self._name), new.to_json(), judged.unchanged):
            self._log("insync", store=self._name, members=new.members, drbd=str(state))

    def announce(self, epoch: int) -> None:
        """Nothing: whoever owned the store before is off, or has said that its address is (`release`)."""

    def reload(self) -> None:
        """Nothing: NFS server and DRBD are the kernel's, which plans by a clock that nobody sets."""

    def address_missing(self) -> bool:
        return not self._has_address(self.place.identity.address)

    def found(self) -> running.Found:
        """Does it run here already, from before a restart of the agent? Raises Unavailable."""
        if not self._track.path.exists():
            self._track.write(False)  # keepalived has something to read from the beginning
        epoch = self._mark.read()
        states = self._units.states((*NFS_UNITS, EXPORTS_UNIT))
        traces = running.alive(states)
        same = epoch is not None and read_epoch(self._name, self._epochs) == epoch
        if same and self._disk.is_mounted() and len(traces) == len(states):
            return running.Found(epoch, ())
        there = {"mark": self._mark.exists(), "track file": self._track.read(), "mount": self._disk.is_mounted()}
        try:
            there["primary"] = self._drbd.state().primary
        except Unavailable:
            there["primary"] = False  # what is not up is not primary
        return running.Found(None, (*traces, *(name for name, is_there in there.items() if is_there)))


class StoreChecks:
    """Could this host own the store now? Whether it is in the in-sync set is for the invoker to ask."""

    def __init__(
        self,
        drain_file: str,
        drbd: Mapping[str, Drbd],
        disks: Mapping[str, DiskMount],
        clock: Clock,
        log: Log,
        room: Callable[[str], Room] = room,
    ) -> None:
        self._drain = Path(drain_file)
        self._drbd = drbd
        self._disks = disks
        self._clock = clock
        self._log = log
        self._room = room
        self._low: dict[str, bool] = {}

    def reasons(self, place: StorePlace) -> tuple[str, ...]:
        """Why not; empty when it could."""
        found = []
        if aside := machine.set_aside(self._drain):
            found.append(f"drained: {aside}")
        try:
            state = self._drbd[place.identity.name].state()
        except Unavailable as why:
            found.append(str(why))
        else:
            # A member that came up without its partner is Consistent: the in-sync set knows whether that is enough.
            if state.disk not in ("UpToDate", "Consistent"):
                found.append(f"its disk is {state.disk}: {state}")
        return tuple(found)

    def half(self, place: StorePlace) -> Half:
        """This host's half of the pair, for whoever wants to know. A disk that is nearly full alarms here."""
        name, error, state, free = place.identity.name, "", None, None
        try:
            state = self._drbd[name].state()
            free = self._room(place.root) if self._disks[name].is_mounted() else None
        except (Unavailable, OSError) as why:
            error = str(why)
        low = free is not None and free.free_percent < place.alarm_percent
        if free is not None and low != self._low.get(name, False):
            left = f"{free.free_mb} of {free.size_mb} MB ({free.free_percent:.1f} %) left at {place.root}"
            self._log("store_room", store=name, low=low, detail=left, level="alert" if low else "info")
        self._low[name] = low
        return Half(
            time=self._clock.now(),
            error=error,
            drbd=None if state is None else state.to_json(),
            room=None if free is None else dataclasses.asdict(free),
            low=low,
        )

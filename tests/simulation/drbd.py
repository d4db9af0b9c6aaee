"""DRBD with protocol C over two disks, as far as a takeover of a store meets it: `fencing resource-and-stonith`.

A write is acknowledged when both disks have it, or when the primary may go on alone. A primary that loses its partner
freezes and calls the fence-peer handler; exit 4 lets it go on, anything else leaves it frozen until they are linked.
The names of states are DRBD's own; generations (UUIDs) say which disk is copied from which (drbd_uuid_compare).

Everything here that takes time is a process of the host's kernel: it stands still and dies with the host, and not with
the daemon that asked for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from holdfast.adapters.drbd import State
from holdfast.core.ports import Unavailable

from .hosts import Host
from .kernel import Group, Kernel
from .network import STORAGE, Network

UP, CONSISTENT, OUTDATED, INCONSISTENT, UNKNOWN = "UpToDate", "Consistent", "Outdated", "Inconsistent", "DUnknown"
GO_ON = 4  # status of the handler: the peer is outdated
SILENT = 4.0  # seconds without an answer that end the link (store_drbd_timeout)
PING = 0.5  # seconds between looks at the link; production's 5 only add to SILENT
ADJUST = (0.3, 2.0)  # seconds behind the boot until holdfast-drbd.service has the resource up

Handler = Callable[["Member"], int]  # in a process of that host


class Member:
    """One host's half of the resource. What is said in the class stands on the disk, and outlives a boot."""

    def __init__(self, pair: Pair, host: Host) -> None:
        self.pair = pair
        self.host = host
        self.kernel: Kernel = pair.kernel
        # On the disk.
        self.data: set[int] = set()
        self.disk = UP
        self.current = 1  # generation of the data
        self.before: frozenset[int] = frozenset()  # generations that it grew from
        self.was_primary = False  # it crashed as primary: its disk may have writes that the peer's has not
        self.peer_known = UNKNOWN  # of the peer's disk without a link; Inconsistent and Outdated stay
        # In memory.
        self.up = True
        self.primary = False
        self.frozen = False
        self.link: int | None = None  # number of the connection, the same on both ends
        self.standalone = False
        self.heard = ("Unknown", UNKNOWN)  # role and disk, as the peer told them last over the link
        self.errors = False  # a request failed for want of data: ext4 makes itself read-only
        self.writing: set[int] = set()
        self.group: Group = self.kernel.group(f"{host.name}/kernel")

    # --- what others see ---------------------------------------------------------------------------------------

    @property
    def peer(self) -> Member:
        one, other = self.pair.members
        return other if self is one else one

    @property
    def linked(self) -> bool:
        """By this end's word: the other one may not have noticed yet that it is gone."""
        return self.link is not None

    @property
    def _ready(self) -> bool:
        """Would it take a connection?"""
        return self.up and not self.linked and not self.standalone

    def reaches(self) -> bool:
        """Does a packet to the peer, and its answer, get through now?"""
        peer = self.peer
        return (
            self.link is not None
            and peer.link == self.link
            and peer.host.acts
            and self.host.acts
            and self.pair.network.joined(STORAGE, self.host.name, peer.host.name)
        )

    def state(self) -> State:
        """As adapters.drbd.Drbd.state."""
        if not self.up:
            raise Unavailable("DRBD resource is not up; start holdfast-drbd.service")
        role = "Primary" if self.primary else "Secondary"
        if not self.linked:
            connection = "StandAlone" if self.standalone else "WFConnection"
            return State(role, self.disk, connection, "Unknown", self.peer_known, suspended=self.frozen)
        connection = "Connected"
        if self.pair.source is not None:
            connection = "SyncSource" if self.pair.source is self else "SyncTarget"
        return State(role, self.disk, connection, *self.hear(), self.pair.percent, self.frozen)

    def hear(self) -> tuple[str, str]:
        """A peer that has just died, or is cut off, is known by what it told last."""
        if self.reaches():
            self.heard = ("Primary" if self.peer.primary else "Secondary", self.peer.disk)
        return self.heard

    # --- power -------------------------------------------------------------------------------------------------

    def power_lost(self) -> None:
        self.kernel.kill(self.group)
        if self.primary:
            self.was_primary = True
        if self.linked:
            self.peer_known = self.heard[1]
        self.peer_known = OUTDATED if self.peer_known in (OUTDATED, INCONSISTENT) else UNKNOWN
        if self.disk == UP and self.peer_known == UNKNOWN:
            self.disk = CONSISTENT  # as it comes up again: who knows what the peer has done meanwhile
        self.up = self.primary = self.frozen = self.standalone = self.errors = False
        self.link = None
        self.writing.clear()

    def booted(self) -> None:
        self.group = self.kernel.group(f"{self.host.name}/kernel")
        self.kernel.spawn(self.group, "adjust", self._adjust)

    def _adjust(self) -> None:
        self.kernel.sleep(self.kernel.random.uniform(*ADJUST))
        self.bring_up()

    def begin(self) -> None:
        self.kernel.spawn(self.group, "link", self._keep_link)

    def bring_up(self) -> None:
        if not self.up:
            self.up = True
            self.begin()

    # --- the link ----------------------------------------------------------------------------------------------

    def _keep_link(self) -> None:
        """Ping, notice, connect again."""
        silent_since: float | None = None
        while self.up:
            self.kernel.sleep(PING * self.kernel.random.uniform(0.8, 1.2))
            peer, now = self.peer, self.kernel.now
            joined = peer.host.acts and self.pair.network.joined(STORAGE, self.host.name, peer.host.name)
            if self.linked:
                if self.reaches():
                    self.hear()
                    silent_since = None
                    continue
                silent_since = now if silent_since is None else silent_since
                # At once if the peer has ended it, or has booted meanwhile.
                if joined or now - silent_since >= SILENT:
                    self._drop()
                    silent_since = None
            elif joined and self._ready and peer._ready and self.kernel.random.random() < 0.4:
                self.pair.connect()

    def _drop(self) -> None:
        self.link = None
        self.peer_known = self.heard[1] if self.heard[1] in (OUTDATED, INCONSISTENT) else UNKNOWN
        self.pair.source = None
        self.pair.told(f"{self.host.name} has lost its link, peer {self.peer_known}")
        if not self.primary:
            return
        if self.peer_known == UNKNOWN:
            self.frozen = True
            self.kernel.spawn(self.group, "fence-peer", self._ask_to_go_on)
        else:
            self._alone()

    def _ask_to_go_on(self) -> None:
        serial = self.pair.serial
        status = self.pair.handler(self)
        if self.pair.serial != serial or self.linked:
            return  # it has been connected meanwhile: the exit code is ignored
        self.pair.told(f"{self.host.name}: fence-peer handler ended with {status}")
        if status == GO_ON:
            self.peer_known = OUTDATED
            if self.primary:
                self.frozen = False
                self._alone()

    def _alone(self) -> None:
        """What is written from now on the peer does not have."""
        if self.disk != UP:
            return
        self.before |= {self.current}
        self.current = self.pair.generation()

    # --- roles -------------------------------------------------------------------------------------------------

    def promote(self, done: list[str]) -> None:
        """`done` gets a word when it is over, an empty one if it went well. It goes on though the asker is gone."""
        self.kernel.spawn(self.group, "promote", lambda: done.append(self._promote()))

    def _promote(self) -> str:
        while True:
            self.kernel.sleep(self.kernel.random.uniform(0.02, 0.2))
            if self.primary:
                return ""
            if self.linked:
                if not self.reaches():
                    # The change of the role has to be agreed upon.
                    self.kernel.sleep(PING)
                    continue
                if self.peer.primary:
                    return "Multiple primaries not allowed by config"
                if self.disk != UP and self.peer.disk != UP:
                    return "Need access to UpToDate data"
            elif self.disk not in (UP, CONSISTENT):
                return "Need access to UpToDate data"
            elif self.peer_known == UNKNOWN:
                serial = self.pair.serial
                status = self.pair.handler(self)
                if self.pair.serial != serial:
                    continue
                if status != GO_ON:
                    return "Refusing to be Primary while peer is not outdated"
                self.peer_known = OUTDATED
            if not self.linked:
                self.disk = UP
                self._alone()
            self.primary = True
            self.pair.promoted(self)
            self.pair.on_change(f"{self.host.name} +primary")
            return ""

    def demote(self) -> None:
        if self.primary:
            self.primary = self.frozen = False
            self.pair.on_change(f"{self.host.name} -primary")

    # --- writes ------------------------------------------------------------------------------------------------

    def write(self, record: int, served: Callable[[], bool], acknowledge: Callable[[int], None]) -> None:
        """`served`: is the file system still there? Whoever waits for a frozen disk waits."""
        if record not in self.writing:
            self.writing.add(record)
            self.kernel.spawn(self.group, "write", lambda: self._write(record, served, acknowledge))

    def _write(self, record: int, served: Callable[[], bool], acknowledge: Callable[[int], None]) -> None:
        self.kernel.sleep(self.kernel.random.uniform(0.001, 0.02))
        while served() and self.primary:
            if self.frozen:
                self.kernel.sleep(0.2)
                continue
            if self.disk not in (UP, CONSISTENT) and not self.linked:
                self.errors = True
                break
            self.data.add(record)
            if self.linked:
                if not self.reaches():
                    self.kernel.sleep(0.1)  # TCP sends it again
                    continue
                self.peer.data.add(record)
                self.kernel.sleep(self.kernel.random.uniform(0.001, 0.02))
                if not self.reaches():
                    continue
            elif self.peer_known == UNKNOWN:
                self.kernel.sleep(0.1)
                continue
            acknowledge(record)
            break
        self.writing.discard(record)


class Pair:
    """The two members and what runs between them. `handler`: what DRBD calls, `on_change`: roles and disks changed."""

    def __init__(self, kernel: Kernel, network: Network, one: Host, other: Host, handler: Handler) -> None:
        self.kernel = kernel
        self.network = network
        self.handler = handler
        self.on_change: Callable[[str], None] = lambda what: None
        self.promoted: Callable[[Member], None] = lambda member: None
        self.told: Callable[[str], None] = lambda what: None
        self.diverged: Callable[[str], None] = lambda what: None
        self.serial = 0  # of the last connection
        self.source: Member | None = None  # of the resync that runs
        self.percent: float | None = None
        self.copy_seconds = (1.0, 30.0)
        self._generations = itertools.count(2)
        self.members = (Member(self, one), Member(self, other))

    def of(self, host: Host) -> Member:
        return next(m for m in self.members if m.host is host)

    def generation(self) -> int:
        return next(self._generations)

    def connect(self) -> None:
        one, other = self.members
        source = self._compare(one, other)
        if one.standalone:
            return
        if source is not None and source.peer.primary and source.peer.disk != INCONSISTENT:
            one.standalone = other.standalone = True
            self.diverged(f"{source.peer.host.name} is primary, and its disk lacks what {source.host.name} has")
            return
        self.serial += 1
        one.link = other.link = self.serial
        for member in self.members:
            member.frozen = False
        self.source, self.percent = source, None
        if source is None:
            self.told("linked")
            self._in_step()
        else:
            source.disk = UP
            for member in self.members:
                member.hear()
            self.told(f"linked, {source.host.name} is copied to {source.peer.host.name}")
            self.kernel.spawn(source.group, "resync", lambda: self._copy(source, self.serial))

    def _compare(self, one: Member, other: Member) -> Member | None:
        """Whose disk is copied to the other one; None: both are the same."""
        unfit = [m for m in self.members if m.disk == INCONSISTENT]
        if len(unfit) == 1:
            return unfit[0].peer
        if one.current == other.current:
            crashed = [m for m in self.members if m.was_primary]
            # Both: the one that connects first, which is as good as any.
            return crashed[0] if crashed else None
        if one.current in other.before:
            return other
        if other.current in one.before:
            return one
        one.standalone = other.standalone = True
        self.diverged(f"both disks were written to: generations {one.current} and {other.current}")
        return None

    def _in_step(self) -> None:
        self.source = self.percent = None
        for member in self.members:
            member.disk, member.was_primary, member.peer_known = UP, False, UP
            member.heard = (member.heard[0], UP)
        self.told("in step")
        self.on_change("both disks are up to date")

    def _copy(self, source: Member, serial: int) -> None:
        """A process of the source's kernel."""
        target, random = source.peer, self.kernel.random
        target.disk = OUTDATED
        self.kernel.sleep(random.uniform(0.1, 0.5))
        if not self._goes_on(source, serial):
            return
        target.disk = INCONSISTENT
        seconds = random.uniform(*self.copy_seconds)
        done = 0.0
        while done < seconds:
            self.percent = round(100 * done / seconds, 1)
            self.kernel.sleep(0.5)
            if source.reaches():
                done += 0.5
            if not self._goes_on(source, serial):
                return
        while not source.reaches():
            # The last blocks are on their way, and never get there if the link is lost now.
            self.kernel.sleep(0.2)
            if not self._goes_on(source, serial):
                return
        target.data = set(source.data)
        target.current, target.before = source.current, source.before
        self._in_step()

    def _goes_on(self, source: Member, serial: int) -> bool:
        return source.link == serial and source.peer.link == serial

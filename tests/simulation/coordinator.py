"""etcd in virtual time: one linearizable state with revisions and leases, members on hosts, and a client.

The state has etcd's semantics (create, mod and version of a key; a lease takes its keys along; a new leader extends all
leases). The client behaves as adapters/etcd.py does: every member is asked once, a lost answer says nothing about the
request, transactions on a lock compare the lock key's version and can be sent again.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from holdfast.core.ports import Entry, Lock, LockLost, Unavailable
from holdfast.core.rights import Grant

from .hosts import Host
from .kernel import Kernel
from .network import MANAGEMENT, Network

TIMEOUT = 3.0  # seconds that a client waits for one member
ELECTION = (1.0, 3.5)  # seconds without a leader
NEVER = float("inf")

Json = dict[str, Any]


def pack(value: Mapping[str, Any]) -> bytes:
    """As JSON would carry it, in a form that is quick to read: nobody shares an object with the coordinator."""
    return marshal.dumps(json.loads(json.dumps(value)))


class Record:
    """One key."""

    __slots__ = ("create", "lease", "mod", "value", "version")

    def __init__(self, value: bytes, create: int, mod: int, version: int, lease: int) -> None:
        self.value = value
        self.create = create
        self.mod = mod
        self.version = version
        self.lease = lease

    def read(self) -> Json:
        found: Json = marshal.loads(self.value)  # noqa: S302 - written by `pack`
        return found

    def entry(self) -> Entry:
        return Entry(self.read(), self.mod)


class State:
    """What a majority has agreed on."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.records: dict[str, Record] = {}
        self.revision = 1
        self.leases: dict[int, tuple[int, float]] = {}  # seconds granted, end
        self.next_end = NEVER
        self.on_change: Callable[[str, Json | None], None] = lambda key, value: None
        self._lease_number = 100

    def put(self, key: str, value: bytes, lease: int = 0) -> Record:
        self.revision += 1
        old = self.records.get(key)
        if old is None:
            made = Record(value, self.revision, self.revision, 1, lease)
        else:
            made = Record(value, old.create, self.revision, old.version + 1, lease)
        self.records[key] = made
        self.on_change(key, made.read())
        return made

    def delete(self, key: str) -> bool:
        if self.records.pop(key, None) is None:
            return False
        self.revision += 1
        self.on_change(key, None)
        return True

    def grant(self, ttl: int) -> int:
        self._lease_number += 1
        self._set_end(self._lease_number, ttl)
        return self._lease_number

    def _set_end(self, lease: int, ttl: int) -> None:
        end = self.kernel.now + ttl
        self.leases[lease] = (ttl, end)
        self.next_end = min(self.next_end, end)

    def keepalive(self, lease: int) -> bool:
        if lease not in self.leases:
            return False
        self._set_end(lease, self.leases[lease][0])
        return True

    def revoke(self, lease: int) -> None:
        if self.leases.pop(lease, None) is not None:
            for key in [k for k, r in self.records.items() if r.lease == lease]:
                self.delete(key)

    def expire(self) -> None:
        """End the leases whose time is over. Only a leader does that."""
        if self.kernel.now < self.next_end:
            return
        for lease in [n for n, (_, end) in self.leases.items() if self.kernel.now >= end]:
            self.revoke(lease)
        self.next_end = min((end for _, end in self.leases.values()), default=NEVER)

    def extend_all(self) -> None:
        """A new leader does not know when they were renewed last (lessor.Promote)."""
        self.next_end = NEVER
        for lease, (ttl, _) in self.leases.items():
            self._set_end(lease, ttl)


class Cluster:
    """The members: who leads, and who can be asked from where."""

    def __init__(self, kernel: Kernel, network: Network, members: Sequence[Host]) -> None:
        self.kernel = kernel
        self.network = network
        self.members = tuple(members)
        self.state = State(kernel)
        self.leader: Host | None = self.members[0]
        self.doubt = 0.0  # share of the requests whose answer is lost although they are carried out, now or later
        self.on_leader: Callable[[str], None] = lambda name: None
        self._stuck: dict[str, list[Callable[[], object]]] = {}
        self._asking: dict[tuple[str, str], bool] = {}

    def _fit(self, member: Host) -> bool:
        """Could it lead: is it joined with a majority?"""
        if not member.acts:
            return False
        peers = sum(other.acts and self.network.joined(MANAGEMENT, member.name, other.name) for other in self.members)
        return 2 * peers > len(self.members)

    def look(self) -> None:
        """Call after every change of hosts or network."""
        self._asking.clear()
        if self.leader is not None and not self._fit(self.leader):
            self.depose()
        for member in self.members:
            if member.acts and member.name in self._stuck and self.leader is not None:
                for request in self._stuck.pop(member.name):
                    self._late(request)

    def depose(self) -> None:
        """The leader is lost or steps down; another is elected after a while."""
        if self.leader is None:
            return
        self.state.expire()
        self.leader = None
        self._asking.clear()
        self.on_leader("none")
        self.kernel.after(self.kernel.random.uniform(*ELECTION), self._elect)

    def _elect(self) -> None:
        if self.leader is not None:
            return
        fit = [m for m in self.members if self._fit(m)]
        if not fit:
            self.kernel.after(1.0, self._elect)
            return
        self.leader = self.kernel.random.choice(fit)
        self.state.extend_all()
        self._asking.clear()
        self.on_leader(self.leader.name)
        self.look()

    def serves(self, member: Host) -> bool:
        """Does a request that reached this member get carried out?"""
        leader = self.leader
        return (
            leader is not None
            and member.acts
            and (member is leader or self.network.joined(MANAGEMENT, member.name, leader.name))
        )

    def answers(self, client: str, member: Host) -> bool:
        """Can this client ask this member? Remembered between changes."""
        asking = (client, member.name)
        known = self._asking.get(asking)
        if known is None:
            known = self.serves(member) and self.network.joined(MANAGEMENT, client, member.name)
            self._asking[asking] = known
        return known

    def put_aside(self, member: Host, request: Callable[[], object]) -> None:
        """A member that stands still carries a request out when it goes on."""
        self._stuck.setdefault(member.name, []).append(request)

    def later(self, request: Callable[[], object]) -> None:
        self.kernel.after(self.kernel.random.uniform(0.1, 8.0), lambda: self._late(request))

    def _late(self, request: Callable[[], object]) -> None:
        if self.leader is not None:
            self.state.expire()
            request()


class _Held:
    __slots__ = ("serial", "value", "version")

    def __init__(self, value: Json, version: int) -> None:
        self.value = value
        self.version = version
        self.serial = 0


class Client:
    """Implements core.ports.Coordinator and `read`, for one process on one host.

    `grants`: what the host's user may write. The product never tries anything else: that would be its mistake.
    """

    def __init__(self, cluster: Cluster, host: Host, grants: Collection[Grant]) -> None:
        self._grants = grants
        self._cluster = cluster
        self._state = cluster.state
        self._kernel = cluster.kernel
        self._host = host
        self._now = self._kernel.random.randrange(len(cluster.members))
        self._held: dict[Lock, _Held] = {}

    def _may_write(self, keys: Iterable[str]) -> None:
        for key in keys:
            assert any(g.covers(key) for g in self._grants), f"{self._host.name} has no right to write {key}"

    # --- calls -------------------------------------------------------------------------------------------------

    def _ask[T](self, request: Callable[[], T], changes: bool = True) -> tuple[T, bool]:
        """What the request gave, and whether an earlier copy of it may have been carried out."""
        kernel, cluster, mine = self._kernel, self._cluster, self._host.name
        kernel.alive()
        doubt = False
        for _ in cluster.members:
            member = cluster.members[self._now]
            network = cluster.network
            if cluster.answers(mine, member) and not network.lost(mine, member.name):
                if not cluster.doubt or kernel.random.random() >= cluster.doubt:
                    cluster.state.expire()
                    said = request()
                    kernel.sleep(network.delay(mine, member.name))
                    return said, doubt
                if changes:
                    doubt = True
                    if kernel.random.random() < 0.6:
                        cluster.state.expire()
                        request()
                    else:
                        cluster.later(request)
            elif changes and network.carries(MANAGEMENT, mine, member.name):
                if member.up and not member.acts:
                    doubt = True
                    cluster.put_aside(member, request)
                elif cluster.serves(member) and not network.lossy(mine, member.name):
                    # The request gets there, only the answer finds no way back.
                    doubt = True
                    cluster.state.expire()
                    request()
            kernel.sleep(TIMEOUT)
            self._now = (self._now + 1) % len(cluster.members)
        raise Unavailable("coordinator: no answer from any member")

    # --- reads -------------------------------------------------------------------------------------------------

    def get(self, key: str) -> Entry:
        return self.read([key])[key]

    def read(self, keys: Sequence[str]) -> dict[str, Entry]:
        records = self._state.records

        def request() -> dict[str, Entry]:
            return {k: r.entry() if (r := records.get(k)) is not None else Entry(None, 0) for k in keys}

        return self._ask(request, changes=False)[0]

    def list(self, *prefixes: str) -> dict[str, Entry]:
        records = self._state.records
        return self._ask(lambda: {k: r.entry() for k, r in records.items() if k.startswith(prefixes)}, changes=False)[0]

    # --- single keys -------------------------------------------------------------------------------------------

    def create(self, key: str, value: Mapping[str, Any]) -> bool:
        return self._create(key, value, 0) is not None

    def put(self, key: str, value: Mapping[str, Any], lease: int | None = None) -> None:
        self._may_write([key])
        packed, state = pack(value), self._state

        def request() -> bool:
            if lease and lease not in state.leases:
                return False
            state.put(key, packed, lease or 0)
            return True

        if not self._ask(request)[0]:
            raise Unavailable("coordinator: requested lease not found")

    def replace(self, key: str, value: Mapping[str, Any], unchanged: Mapping[str, int]) -> bool:
        self._may_write([key])
        packed, state = pack(value), self._state

        def request() -> tuple[bool, Record | None]:
            if any(_mod(state.records.get(k)) != revision for k, revision in unchanged.items()):
                return False, state.records.get(key)
            return True, state.put(key, packed)

        (done, record), doubt = self._ask(request)
        # After a lost answer the value tells whose write was carried out.
        return done or (doubt and record is not None and record.value == packed)

    def delete(self, key: str) -> bool:
        self._may_write([key])
        return self._ask(lambda: self._state.delete(key))[0]

    def _create(self, key: str, value: Mapping[str, Any], lease: int) -> Record | None:
        self._may_write([key])
        packed, state = pack(value), self._state

        def request() -> tuple[bool, Record | None]:
            there = state.records.get(key)
            if there is not None:
                return False, there
            if lease and lease not in state.leases:
                return False, None
            return True, state.put(key, packed, lease)

        (made, record), doubt = self._ask(request)
        if record is None:
            raise Unavailable("coordinator: requested lease not found")
        return record if made or (doubt and record.value == packed and record.lease == lease) else None

    # --- locks -------------------------------------------------------------------------------------------------

    def lock(self, key: str, value: Mapping[str, Any], ttl: int) -> Lock | None:
        lease = self.grant(ttl)
        record = None
        try:
            record = self._create(key, value, lease)
        finally:
            if record is None:
                self._revoke(lease)
        if record is None:
            return None
        lock = Lock(key, record.create, lease)
        self._held[lock] = _Held(dict(value), record.version)
        return lock

    def refresh(self, lock: Lock) -> None:
        if not self.keepalive(lock.lease):
            raise LockLost(f"the lease of {lock.key} has run out")

    def write(self, lock: Lock, puts: Mapping[str, Mapping[str, Any]], unchanged: Mapping[str, int]) -> bool:
        self._may_write([lock.key, *puts])
        held, state = self._held.get(lock), self._state
        if held is None:
            raise LockLost(f"{lock.key}: this process does not hold the lock")
        held.serial += 1
        mark = pack({**held.value, "write": held.serial})
        packed = {key: pack(value) for key, value in puts.items()}
        while True:
            version = held.version

            def request(version: int = version) -> tuple[bool, Record | None]:
                there = state.records.get(lock.key)
                if (
                    there is None
                    or there.create != lock.revision
                    or there.version != version
                    or any(_mod(state.records.get(k)) != revision for k, revision in unchanged.items())
                ):
                    return False, there
                for key, value in packed.items():
                    state.put(key, value)
                return True, state.put(lock.key, mark, lock.lease)

            done, there = self._ask(request)[0]
            if done:
                held.version += 1
                return True
            if there is None or there.create != lock.revision:
                raise LockLost(f"{lock.key} is {'gone' if there is None else 'held by somebody else'}")
            if there.version == version:
                return False
            held.version = there.version
            if there.read().get("write") == held.serial:
                return True

    def unlock(self, lock: Lock) -> None:
        self._kernel.alive()
        self._held.pop(lock, None)
        self._revoke(lock.lease)

    # --- leases ------------------------------------------------------------------------------------------------

    def grant(self, ttl: int) -> int:
        return self._ask(lambda: self._state.grant(ttl))[0]

    def keepalive(self, lease: int) -> bool:
        return self._ask(lambda: self._state.keepalive(lease))[0]

    def _revoke(self, lease: int) -> None:
        try:
            self._ask(lambda: self._state.revoke(lease))
        except Unavailable:
            return  # then it runs out by itself


def _mod(record: Record | None) -> int:
    return 0 if record is None else record.mod

"""Who may write what in the coordinator: least rights, derived from who runs what (docs/architecture.md).

Pure. Everybody who has any right reads everything below `keys.ROOT`; what is named here is for writing. A host has one
user, whatever runs on it: a process that is taken over there could read the others' passwords just as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from . import keys

OPERATOR = "operator"  # the user of people and of a deploy
ADMIN = "root"  # etcd's own name for the user that manages users; nothing of the product acts as it
RESERVED = (OPERATOR, ADMIN)


@dataclass(frozen=True, order=True)
class Grant:
    """The right to write `key`, or with `prefix` every key that begins with it."""

    key: str
    prefix: bool = False

    def covers(self, key: str) -> bool:
        return key.startswith(self.key) if self.prefix else key == self.key


@dataclass(frozen=True)
class Served:
    """What an identity's or a store's rights follow from.

    `candidates`: hosts that may own it. `watchers`: hosts whose monitor gives evidence on it; `invokers`: those of them
    that may also take it over. `store`: where an identity's files lie; for a store its own name.
    """

    name: str
    candidates: tuple[str, ...]
    watchers: tuple[str, ...]
    invokers: tuple[str, ...]
    store: str
    doors: tuple[str, ...] = ()  # hosts that open and close an NFS service from elsewhere, which nobody here owns

    @property
    def is_store(self) -> bool:
        return self.name == self.store


def served(
    identities: Mapping[str, Mapping[str, Sequence[str]]],
    stores: Mapping[str, Mapping[str, Sequence[str]]],
    without_fence_rights: Collection[str] = (),
    external_stores: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Served]:
    """From the inventory; relays of `without_fence_rights` only ask others (R1.11)."""
    found = []
    for name, one in identities.items():
        relays = tuple(one.get("relays", ()))
        invokers = tuple(r for r in relays if r not in without_fence_rights)
        found.append(Served(name, tuple(one["candidates"]), relays, invokers, str(one["store"])))
    for name, one in stores.items():
        members = tuple(one["members"])
        found.append(Served(name, members, members, members, name))
    for name, door in (external_stores or {}).items():
        found.append(Served(name, (), (), (), name, (door["manager"],)))
    return found


def rights(everything: Sequence[Served], transfer_hosts: Collection[str] = ()) -> dict[str, frozenset[Grant]]:
    """{user: what it may write}."""
    found: dict[str, set[Grant]] = {OPERATOR: {Grant(keys.ROOT, prefix=True)}}
    # An owner may be a candidate no more, by a change of the inventory: whoever may fence, may fence each host.
    hosts = {
        kind: sorted({h for one in everything if one.is_store is kind for h in one.candidates})
        for kind in (False, True)
    }
    for one in everything:
        for host in one.candidates:
            found.setdefault(host, set()).update(_candidate(one, host))
        for host in one.doors:
            found.setdefault(host, set()).add(Grant(keys.store(one.store), prefix=True))
        for host in one.watchers:
            found.setdefault(host, set()).update(_watcher(one, host))
        for host in one.invokers:
            found.setdefault(host, set()).update(_invoker(one, one.candidates if one.is_store else hosts[False]))
    spools = {Grant(keys.transfer_claim(one.name)) for one in everything if not one.is_store}
    for host in transfer_hosts:
        found.setdefault(host, set()).update(spools, {Grant(keys.transfer_host(host))})
    return {user: frozenset(grants) for user, grants in found.items()}


def _candidate(one: Served, host: str) -> set[Grant]:
    own = {
        Grant(keys.lease(host)),
        Grant(keys.watchdog(host)),
        Grant(keys.ready(host, one.name)),
        Grant(keys.report(host, one.name)),
    }
    # The store's owner decides who gets in and who is in sync; each member may be that.
    its = {Grant(keys.half(host, one.name)), Grant(keys.store(one.store), prefix=True)}
    return own | (its if one.is_store else set())


def _watcher(one: Served, host: str) -> set[Grant]:
    return {Grant(keys.evidence(one.name, host)), Grant(keys.request(one.name))}


def _invoker(one: Served, to_fence: Collection[str]) -> set[Grant]:
    return {
        Grant(keys.owner(one.name)),
        Grant(keys.lock(one.name)),
        Grant(keys.takeover(one.name)),
        Grant(keys.runs(one.name), prefix=True),
        *(Grant(keys.fence(host, one.name)) for host in to_fence),
    }

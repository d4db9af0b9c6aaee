"""Stores as lines for people, and what of them needs an operator. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from . import keys, stores, telling
from .model import Identity, Json, Phase, RunState
from .ports import Coordinator, Entry
from .stores import Half, InSync
from .telling import Known, Question


@dataclass(frozen=True)
class KnownStore:
    """One store: what it shares with an identity, its in-sync set, and what its members say of their halves.

    No word about a half outlives its host's lease.
    """

    known: Known
    insync: InSync | None
    halves: Mapping[str, Half]

    @classmethod
    def from_json(cls, store: Identity, data: Json) -> KnownStore:
        """From what `read_about` returns."""
        halves = {h: Half.from_json(v) for h, v in data["halves"].items() if v is not None}
        return cls(Known.from_json(store, data, 0.0, {}), stores.parse(data["insync"]), halves)


def question(store: Identity) -> Question:
    """As telling.question, with the in-sync set and the members' words about their halves."""
    shared = telling.question(store)
    halves = {h: keys.half(h, store.name) for h in store.candidates}

    def told(entries: Mapping[str, Entry]) -> Json:
        return {
            **shared.told(entries),
            "insync": telling.value_of(entries, keys.insync(store.name)),
            "halves": {h: telling.value_of(entries, key) for h, key in halves.items()},
        }

    return Question([*shared.ranges, keys.insync(store.name), *halves.values()], told)


def read_about(coordinator: Coordinator, store: Identity) -> Json:
    """All of one store that stands in the coordinator and is told, as JSON. Raises Unavailable."""
    return telling.ask(coordinator, {store.name: question(store)})[store.name]


def read_all(
    coordinator: Coordinator, identities: Mapping[str, Identity], stores: Mapping[str, Identity]
) -> tuple[dict[str, Json], dict[str, Json]]:
    """The same of many identities and stores, which share no name. Raises Unavailable."""
    questions = {name: telling.question(one) for name, one in identities.items()}
    said = telling.ask(coordinator, {**questions, **{name: question(one) for name, one in stores.items()}})
    return {name: said[name] for name in identities}, {name: said[name] for name in stores}


def _half_words(half: Half | None) -> tuple[str, str, str, str]:
    """Role, disk, link and how much is copied, room."""
    if half is None:
        return "?", "?", "?", "?"
    if half.drbd is None:
        return "?", half.error or "?", "?", "?"
    d = half.drbd
    link = d["connection"] + ("" if d["percent"] is None else f" {d['percent']:.1f} %")
    link += ", I/O frozen" if d["suspended"] else ""
    room = half.room
    left = "-" if room is None else f"{room['free_mb']} of {room['size_mb']} MB ({room['free_percent']:.0f} %)"
    return d["role"], d["disk"], link, left


def needs(one: KnownStore, aside: Collection[str] = ()) -> list[str]:
    """What an operator should look at; empty when all is well, also while a planned run is under way.

    `aside`: hosts in the midst of planned work, which may be away and lack writes.
    """
    known, name = one.known, one.known.identity.name
    owner, run = known.owner, known.run
    if owner is None or one.insync is None:
        return [f"{name}: no owner is recorded; deploy it (playbooks/site.yml)"]
    found = []
    moving = run is not None and run.state is RunState.RUNNING and known.locked_by is not None
    serves = known.leases.get(owner.host, False) and telling.phase(known) == Phase.RUNNING
    if run is not None and run.state is RunState.HELD:
        # One that changed nothing is history as soon as the owner serves again.
        begun = run.run == owner.run or run.revoke_epoch == owner.epoch
        if begun or not (serves or run.planned):
            found.append(f"{name}: run {run.run} of {telling.clock(run.time)} is held: {run.steps[-1].detail}")
    if not moving:
        if not known.leases.get(owner.host, False):
            found.append(f"{name}: its owner {owner.host} has no live lease")
        found += telling.unserved(known) + telling.lacking(known)
    for host in known.identity.candidates:
        half = one.halves.get(host)
        if half is not None and half.low:
            found.append(f"{name}: nearly full: {_half_words(half)[3]} left on {host}")
        if host in aside and host != owner.host:
            continue
        if host not in one.insync.members:
            found.append(
                f"{name}: {host} lacks writes, {', '.join(one.insync.members)} alone has all: {_copying(half)}"
            )
        elif host != owner.host and (why := telling.why_not_ready(known, host)):
            found.append(f"{name}: {host} could not take it over: {why}")
    return found


def _copying(half: Half | None) -> str:
    if half is None:
        return "it says nothing"
    role, disk, link, _ = _half_words(half)
    return f"{role} {disk} {link}"


def table(all_known: Iterable[KnownStore]) -> list[str]:
    """Two tables in one list of lines: stores, their members. All times are UTC."""
    some = list(all_known)
    if not some:
        return []
    rows = [["STORE", "OWNER", "EPOCH", "HOME", "PHASE", "IN SYNC", "LAST RUN"]]
    members = [["MEMBER", "STORE", "LEASE", "DRBD", "DISK", "LINK", "ROOM", "OBSTACLE"]]
    for one in some:
        known, store = one.known, one.known.identity
        insync = "?" if one.insync is None else ", ".join(one.insync.members)
        home, who = telling.whereabouts(known)
        rows.append([store.name, *who, home, telling.phase(known), insync, telling.last_run(known)])
        for host in store.candidates:
            role, disk, link, left = _half_words(one.halves.get(host))
            lease = "yes" if known.leases.get(host, False) else "no"
            owns = known.owner is not None and known.owner.host == host
            why = "-" if owns else telling.why_not_ready(known, host) or "-"
            members.append([host, store.name, lease, role, disk, link, left, why])
    return [*telling.columns(rows), "", *telling.columns(members)]

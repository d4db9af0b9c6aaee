"""What stands in the coordinator as lines for people, and what of it needs an operator. Times are Unix seconds."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import keys, stores
from .model import Access, Identity, Json, Owner, Phase, Readiness, Report, Run, RunState
from .placement import outdated
from .ports import AT_ONCE, Coordinator, Entry
from .takeover import state_of

LEFT_BEHIND = 180.0  # seconds after which a run that nobody works on is no pause between two invokers any more
SILENT_AFTER = 3  # intervals without a word of a monitor


@dataclass(frozen=True)
class Known:
    """One identity as the coordinator has it. Hosts are its candidates; relays write their evidence as JSON."""

    identity: Identity
    owner: Owner | None
    run: Run | None
    locked_by: str | None
    inoperable: bool
    access: Access | None
    reports: Mapping[str, Report]
    ready: Mapping[str, Readiness]
    leases: Mapping[str, bool]
    evidence: Mapping[str, Json | None]
    interval: float = 30.0
    held: Mapping[str, int] = field(default_factory=dict)  # messages on each relay that was asked
    not_opened: str | None = None  # why its store, one from elsewhere, cannot be opened to a new owner

    @classmethod
    def from_json(cls, identity: Identity, data: Json, interval: float, held: Mapping[str, int]) -> Known:
        """From what `read_about` and `ask` return."""

        def some[T](values: Json, make: type[T]) -> dict[str, T]:
            return {h: make.from_json(v) for h, v in values.items() if v is not None}  # type: ignore[attr-defined]

        owner, run, access = data["owner"], data["run"], data["access"]
        return cls(
            identity=identity,
            owner=None if owner is None else Owner.from_json(owner),
            run=None if run is None else Run.from_json(run),
            locked_by=data["locked_by"],
            inoperable=data["inoperable"],
            access=None if access is None else Access.from_json(access),
            reports=some(data["reports"], Report),
            ready=some(data["ready"], Readiness),
            leases=data["leases"],
            evidence=data["evidence"],
            interval=interval,
            held=held,
            not_opened=data["not_opened"],
        )


@dataclass(frozen=True)
class Question:
    """What to read of one identity or store (prefixes of keys), and how it is told by what was found."""

    ranges: Sequence[str]
    told: Callable[[Mapping[str, Entry]], Json]


def question(identity: Identity) -> Question:
    """The history of runs is no part of it: it is the largest, and nobody is told of it."""
    name, hosts, store = identity.name, identity.candidates, identity.store
    state = [key(name) for key in (keys.owner, keys.takeover, keys.lock, keys.inoperable)]
    words = [key(h, name) for key in (keys.report, keys.ready) for h in hosts]
    of_store = [keys.access(store, name), keys.manager(store), keys.door(store)]
    ranges = [*state, keys.evidences(name), *of_store, *words, *map(keys.lease, hosts)]
    return Question(ranges, functools.partial(_told, identity))


def _told(identity: Identity, entries: Mapping[str, Entry]) -> Json:
    name, hosts, store = identity.name, identity.candidates, identity.store
    state = state_of(entries, name, hosts)
    value = functools.partial(value_of, entries)
    return {
        "candidates": list(hosts),
        "owner": None if state.owner is None else state.owner.to_json(),
        "inoperable": state.inoperable,
        "locked_by": state.locked_by,
        "run": None if state.run is None else state.run.to_json(),
        "evidence": {r: value(keys.evidence(name, r)) for r in identity.relays},
        "access": value(keys.access(store, name)),
        "reports": {h: value(keys.report(h, name)) for h in hosts},
        "ready": {h: value(keys.ready(h, name)) for h in hosts},
        "leases": {h: h in state.alive for h in hosts},
        "not_opened": stores.closed(store, value(keys.manager(store)), value(keys.door(store))),
    }


def value_of(entries: Mapping[str, Entry], key: str) -> Mapping[str, Any] | None:
    return entries[key].value if key in entries else None


def ask(coordinator: Coordinator, questions: Mapping[str, Question]) -> dict[str, Json]:
    """The answers by the questions' names, each of one revision. Raises Unavailable.

    In as few reads as the coordinator allows, since each costs every member: a deploy asks for all that there is.
    """
    found: dict[str, Json] = {}
    together: dict[str, Question] = {}
    ranges: dict[str, None] = {}  # without those that several ask for
    for name, one in questions.items():
        if together and len({**ranges, **dict.fromkeys(one.ranges)}) > AT_ONCE:
            found |= _answers(coordinator, together, ranges)
            together, ranges = {}, {}
        together[name] = one
        ranges |= dict.fromkeys(one.ranges)
    return found | (_answers(coordinator, together, ranges) if together else {})


def _answers(coordinator: Coordinator, questions: Mapping[str, Question], ranges: Iterable[str]) -> dict[str, Json]:
    entries = coordinator.list(*ranges)
    return {name: one.told(entries) for name, one in questions.items()}


def read_about(coordinator: Coordinator, identity: Identity) -> Json:
    """All of one identity that stands in the coordinator and is told, as JSON. Raises Unavailable."""
    return ask(coordinator, {identity.name: question(identity)})[identity.name]


def steps(run: Run) -> list[str]:
    """A run's steps, one line each, with the seconds that they took."""
    return [f"{s.name:<10} {(s.end or s.start) - s.start:6.1f} s  {s.result} {s.detail}".rstrip() for s in run.steps]


def phase(known: Known) -> str:
    """What the owner says of the identity; a word about another epoch is none."""
    report = None if known.owner is None else known.reports.get(known.owner.host)
    if known.owner is None or report is None or report.epoch != known.owner.epoch:
        return "unknown"
    return str(report.phase)


def unserved(known: Known) -> list[str]:
    """Why nobody is served by an identity or store, by its owner's word; empty while it runs."""
    name, owner = known.identity.name, known.owner
    if owner is None:
        return [f"{name}: no owner is recorded; deploy it (playbooks/site.yml)"]
    if phase(known) == Phase.RUNNING:
        return []
    report = known.reports.get(owner.host)
    error = f": {report.error}" if report is not None and report.error else ""
    return [f"{name}: {owner.host} does not run it at epoch {owner.epoch} ({phase(known)}){error}"]


def why_not_ready(known: Known, host: str) -> str:
    """Empty when it could take the identity over now."""
    word = known.ready.get(host)
    if not known.leases.get(host, False):
        return "no live lease"
    if word is None:
        return "its agent says nothing about being ready"
    return "" if word.ready else ", ".join(word.reasons) or "not ready"


def unprotected(known: Known, aside: Collection[str] = ()) -> list[str]:
    """Why nobody could take it over from its owner; empty while somebody could. `aside` as in `needs`."""
    name, owner, found = known.identity.name, known.owner, []
    others = [h for h in known.identity.candidates if owner is None or h != owner.host]
    reasons = {h: "" if h in aside else why_not_ready(known, h) for h in others}
    if all(reasons.values()):
        said = "; ".join(f"{h}: {why}" for h, why in reasons.items()) or "it has no other candidate"
        found.append(f"{name}: nobody could take it over: {said}")
    if known.not_opened is not None:
        found.append(f"{name}: nobody could take it over: {known.not_opened}")
    return found


def needs(known: Known, now: float, aside: Collection[str] = ()) -> list[str]:
    """What an operator should look at; empty when all is well, also while a planned run is under way.

    `aside`: hosts in the midst of planned work, of which nothing is expected but what they own.
    """
    name, owner, run = known.identity.name, known.owner, known.run
    if owner is None:
        return unserved(known)
    found = []
    moving = run is not None and run.state is RunState.RUNNING and known.locked_by is not None
    if run is not None and run.state is RunState.RUNNING and known.locked_by is None and now - run.time > LEFT_BEHIND:
        found.append(f"{name}: run {run.run} is under way since {clock(run.time)}, and nobody works on it")
    if run is not None and run.state is RunState.HELD:
        detail = run.steps[-1].detail if run.steps else ""
        if run.run == owner.run:
            found.append(f"{name}: run {run.run} gave it to {owner.host} and is not finished: {detail}")
        elif run.revoke_epoch == owner.epoch:
            found.append(f"{name}: run {run.run} held behind the fence of {owner.host}: {detail}")
    if not moving:
        found += _service(known, owner, aside)
    if known.inoperable:
        found.append(f"{name}: flagged as inoperable against {owner.host}")
    return found + unprotected(known, aside) + _relays(known, owner, now, aside)


def lacking(known: Known) -> list[str]:
    """What its owner says that it lacks, or cannot tell, though it runs."""
    owner = known.owner
    if owner is None or phase(known) != Phase.RUNNING or not (lacks := known.reports[owner.host].lacks):
        return []
    return [f"{known.identity.name}: on {owner.host} {lacks}"]


def _service(known: Known, owner: Owner, aside: Collection[str]) -> list[str]:
    name, found = known.identity.name, []
    if not known.leases.get(owner.host, False):
        found.append(f"{name}: its owner {owner.host} has no live lease")
    found += unserved(known)
    found += lacking(known)
    found += missed(known, aside)
    access = known.access
    if access is not None and access.error:
        found.append(f"{name}: store {known.identity.store} does not serve it: {access.error}")
    elif access is None or (access.epoch, access.admitted) != (owner.epoch, owner.host):
        admits = "nobody" if access is None or access.admitted is None else access.admitted
        epoch = 0 if access is None else access.epoch
        found.append(f"{name}: store {known.identity.store} admits {admits} at epoch {epoch}, not {owner.host}")
    return found


def missed(known: Known, aside: Collection[str] = ()) -> list[str]:
    """A deploy that has reached another candidate and not the owner, which goes on with what it had."""
    owner = known.owner
    if owner is None:
        return []
    its = known.reports[owner.host].configuration if owner.host in known.reports else None
    others = [h for h in known.identity.candidates if h != owner.host and h in known.reports and h not in aside]
    for other in others if its is not None else ():
        if (why := outdated(owner.host, its, other, known.reports[other].configuration)) is not None:
            return [f"{known.identity.name}: its owner {owner.host} has missed a deploy: {why}"]
    return []


def _relays(known: Known, owner: Owner, now: float, aside: Collection[str]) -> list[str]:
    name, found = known.identity.name, []
    for relay, word in known.evidence.items():
        if relay == owner.host or relay in aside:
            continue  # nobody watches himself (core/pairing.py)
        if word is None:
            found.append(f"{name}: the monitor on {relay} has said nothing yet")
        elif now - float(word["time"]) > SILENT_AFTER * known.interval:
            found.append(f"{name}: the monitor on {relay} says nothing since {clock(float(word['time']))}")
        elif word["passed"] and int(word["epoch"]) == owner.epoch:
            found.append(f"{name}: {relay} is past its threshold: {word['reason']}")
    return found


def certificates(all_known: Iterable[Known], now: float) -> list[str]:
    """Those that end soon, by their hosts' own words: a line a host, whatever it is a candidate of."""
    words = {host: word.certificate for known in all_known for host, word in known.ready.items()}
    return [line for host, word in words.items() if word is not None and (line := word.alarm(host, now))]


# --- tables -----------------------------------------------------------------------------------------------------


def clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of words as lines with aligned columns."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def whereabouts(known: Known) -> tuple[str, tuple[str, str]]:
    """Is it at home, and its owner with the epoch."""
    owner, home = known.owner, known.identity.home
    if owner is None:
        return "?", ("none", "0")
    return "yes" if owner.host == home else f"no, {home}", (owner.host, str(owner.epoch))


def last_run(known: Known) -> str:
    run = known.run
    if run is None:
        return "none"
    kind = "hand-over" if run.planned else "takeover"
    way = f"{run.from_host} to {run.to_host or 'nobody'}"
    why = f": {run.steps[-1].detail}" if run.state is RunState.HELD and run.steps else f" ({run.reason})"
    return f"{clock(run.time)} {kind} {way} {run.state}{why}"


def table(all_known: Iterable[Known], now: float) -> list[str]:
    """Three tables in one list of lines: identities, hosts, relays. All times are UTC."""
    some = list(all_known)
    identities = [["IDENTITY", "OWNER", "EPOCH", "HOME", "PHASE", "LAST RUN"]]
    hosts = [["HOST", "LEASE", "DRAINING", "OWNS", "READY FOR", "NOT READY FOR"]]
    relays = [["RELAY", "IDENTITY", "HELD", "DOWN", "LAST ATTEMPT"]]
    for known in some:
        home, who = whereabouts(known)
        identities.append([known.identity.name, *who, home, phase(known), last_run(known)])
        for relay, word in known.evidence.items():
            held = str(known.held.get(relay, "?"))
            downs, last = ("?", "never") if word is None else (str(word.get("downs", "?")), clock(float(word["time"])))
            relays.append([relay, known.identity.name, held, downs, last])
    names = dict.fromkeys(h for known in some for h in known.identity.candidates)
    hosts += [_host(h, [known for known in some if h in known.identity.candidates], now) for h in names]
    return [line for rows in (identities, hosts, relays) for line in (*columns(rows), "")][:-1]


def _host(host: str, mine: Sequence[Known], now: float) -> list[str]:
    reasons = {known.identity.name: why_not_ready(known, host) for known in mine}
    lease = any(known.leases.get(host, False) for known in mine)
    words = [known.ready[host] for known in mine if host in known.ready]
    drained = [r.removeprefix("drained: ") for word in words for r in word.reasons if r.startswith("drained: ")]
    owns = [known.identity.name for known in mine if known.owner is not None and known.owner.host == host]
    ready = [name for name, why in reasons.items() if not why]
    unready = [f"{name}: {why}" for name, why in reasons.items() if why]
    return [
        host,
        "yes" if lease else "no",
        drained[0] if lease and drained else "no",
        ", ".join(owns) or "-",
        ", ".join(ready) or "-",
        "; ".join(unready) or "-",
    ]

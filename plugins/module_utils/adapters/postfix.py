"""The Postfix of each relay on this host: what waits in its queue, which route it takes, what became of a delivery.

Postfix 3.10: postqueue(1), transport(5), and the smtp client's log lines (src/global/log_adhoc.c), read from the
journal. One transport a route, bound to the host's own address in it; they log as `holdfast/RELAY/route-ROUTE/smtp`.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.model import Attempt, Identity, Method, Result, Route
from ..core.ports import Clock, Log, Unavailable
from ..core.schedule import next_route, routes_to
from . import command, smtp

TRANSPORT = "route-"

# The queue manager keeps the last answer of its resolver for so long (src/global/resolve_clnt.c), in whole seconds: a
# second attempt for the same address within it takes the route of the first, whatever the table says by then.
RESOLVER_CACHE = 31.0
PATIENCE = 2.0  # seconds that an attempt is put off for the sake of its route

# Seconds. showq(8) opens each message: of 1,000 beyond a line of 30 ms the last took more than 30 s, the first came
# at once.
LIST_WITHIN = 5.0

DELIVERY = re.compile(
    r"(?P<queue_id>[0-9A-Za-z]+): to=<(?P<recipient>[^>]*)>, (?:.*, )?dsn=(?P<dsn>\d\.\d+\.\d+), "
    r"status=(?P<status>\w+) \((?P<text>.*)\)"
)
SUSPENDED = "delivery temporarily suspended: "

# connect(2) failed. "Connection refused" is down too: the host lives, no server does.
NOT_CONNECTED = re.compile(
    r"connect to \S+: (Connection refused|Connection timed out|Operation timed out|No route to host|Host is down"
    r"|Network is unreachable|Network is down|Connection reset by peer|Software caused connection abort)"
)
LOST = re.compile(r"(lost connection with|conversation with) ")
CLOSING = re.compile(r"refused to talk to me: 421[ -]")
NOT_GREETED = re.compile(r"(lost connection with|conversation with) .* while receiving the initial server greeting")
# dsn codes of RFC 3463 for texts that are not known: no answer from host, bad connection.
LINE_CODES = {"4.4.1", "4.4.2"}
OWN_FAULTS = re.compile(r"connect to \S+: (Permission denied|Cannot assign requested address|Operation not permitted)")


def classify(status: str, dsn: str, text: str) -> Result:
    """What a delivery's log line says about the server.

    `status`: sent, deferred, bounced, …; `text`: what stands in brackets behind it. DOWN needs a sign that nobody
    answered; whatever else kept a message back, here or there, is no reason to take a server's identity away.
    """
    if status == "sent":
        return Result.OK
    text = text.removeprefix(SUSPENDED)
    if OWN_FAULTS.match(text):
        return Result.REFUSED
    if NOT_CONNECTED.match(text) or LOST.match(text) or CLOSING.search(text):
        return Result.DOWN
    if dsn in LINE_CODES and not re.match(r"host \S+ (said|refused)", text):
        return Result.DOWN
    return Result.REFUSED


def ungreeted(text: str) -> bool:
    """Was nothing said to Postfix before it gave up, but that nobody has time?"""
    return any(sign.search(text) for sign in (NOT_CONNECTED, NOT_GREETED, CLOSING))


@dataclass(frozen=True)
class Delivery:
    """A log line about one recipient; `transport` is the one that logged it."""

    queue_id: str
    recipient: str
    dsn: str
    status: str
    text: str
    transport: str


def parse_journal(line: str) -> Delivery | None:
    """An entry of `journalctl -o json`, None when it tells of no delivery."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    message = entry.get("MESSAGE")
    if not isinstance(message, str) or (found := DELIVERY.match(message)) is None:
        return None
    parts = str(entry.get("SYSLOG_IDENTIFIER", "")).split("/")
    return Delivery(**found.groupdict(), transport=parts[2] if len(parts) == 4 else "")


def _taken(delivery: Delivery, asked: Route) -> str:
    """The route that a delivery took: `error` and `retry`, which speak for a whole destination, name none."""
    named = delivery.transport.removeprefix(TRANSPORT)
    return named if delivery.transport.startswith(TRANSPORT) else asked.name


@dataclass(frozen=True)
class Waiting:
    """A message in the queue. `arrival`: Unix seconds."""

    queue_id: str
    queue: str
    arrival: float
    recipients: tuple[str, ...]


def parse_queue(text: str) -> Iterator[Waiting]:
    """`postqueue -j`: one JSON object a line. Raises ValueError."""
    for line in text.splitlines():
        if line.strip():
            entry: dict[str, Any] = json.loads(line)
            yield Waiting(
                str(entry["queue_id"]),
                str(entry["queue_name"]),
                float(entry["arrival_time"]),
                tuple(str(r["address"]) for r in entry.get("recipients", ())),
            )


def serves(domains: Collection[str], recipient: str) -> bool:
    return recipient.rpartition("@")[2].lower() in domains


def oldest(messages: Iterable[Waiting], domains: Collection[str]) -> Waiting | None:
    """The message to try: the oldest of the deferred ones, else the oldest that is not held back by hand."""
    mine = [m for m in messages if m.queue != "hold" and any(serves(domains, r) for r in m.recipients)]
    return min(mine, key=lambda m: (m.queue != "deferred", m.arrival, m.queue_id), default=None)


def parse_table(text: str) -> dict[str, str]:
    """Domain to route."""
    found = {}
    for line in text.splitlines():
        domain, _, nexthop = line.partition("\t")
        if nexthop.startswith(TRANSPORT):
            found[domain] = nexthop.removeprefix(TRANSPORT).partition(":")[0]
    return found


def nexthops(address: str, port: int) -> str:
    """transport(5): a server's port for our own hosts, and the public one while that cannot be had."""
    return ", ".join(f"[{address}]:{p}" for p in dict.fromkeys((port, smtp.PORT)))


def render_table(identities: Iterable[Identity], routes: Mapping[str, str], port: int = smtp.PORT) -> str:
    """transport(5): every domain goes over its identity's route (`routes`) to its address, without asking DNS."""
    lines = ["# Written by holdfast-monitor, which chooses the routes; changes are lost.\n"]
    for identity in identities:
        nexthop = nexthops(identity.address, port)
        lines += [f"{domain}\t{TRANSPORT}{routes[identity.name]}:{nexthop}\n" for domain in identity.domains]
    return "".join(lines)


@dataclass(frozen=True)
class Instance:
    """The Postfix of one relay: its configuration, its name in log lines, and a file that is there while it runs."""

    config_dir: str
    syslog_name: str
    running: Path


class PostfixQueue:
    """Implements `core.ports.RelayQueue`, and `deliver` of `core.ports.Prober`.

    `identities`: all that this host's relays hold mail for; `routes`: in their order, the first is used until somebody
    chooses; `instances`: the relays that this host may own: those that run here are worked, none is no fault;
    `table`: source text of the map `lmdb:TABLE`, which all of them use, and where the choice is remembered, for other
    programs and for the next start; `port`: where identities serve our own hosts; `timeout`: seconds that one attempt
    may take, longer than the transports' connection and greeting timeouts together, at both ports.
    """

    def __init__(
        self,
        identities: Sequence[Identity],
        routes: Sequence[Route],
        clock: Clock,
        log: Log,
        *,
        instances: Sequence[Instance],
        table: str = "/var/lib/holdfast/relay/transport",
        port: int = smtp.PORT,
        timeout: float = 45.0,
        run: command.Run = command.run,
        begin: command.Begin = command.beginning,
        follow: command.Follow = command.follow,
    ) -> None:
        self._identities = identities
        self._routes = {r.name: r for r in routes}
        self._clock = clock
        self._log = log
        self._instances = instances
        self._table = Path(table)
        self._port = port
        self._timeout = timeout
        self._run = run
        self._begin = begin
        self._follow = follow
        self._tried: dict[str, tuple[str, float]] = {}

    def route(self, name: str) -> Route:
        return self._routes[name]

    def waiting(self, identity: Identity) -> int:
        messages = itertools.chain.from_iterable(self._queue(instance) for instance in self._here())
        return sum(any(serves(identity.domains, r) for r in m.recipients) for m in messages)

    def flush(self, identity: Identity) -> None:
        """All of a queue is tried, since Postfix can flush one destination only where it kept a list for it."""
        for instance in self._here():
            self._postqueue(instance, "-f")

    def _here(self) -> list[Instance]:
        """The relays that this host owns now, and that are up."""
        return [i for i in self._instances if i.running.exists()]

    def use_route(self, identities: Sequence[Identity], route: Route) -> None:
        """Nothing is written when the table says so already. Its map changes in one transaction (lmdb)."""
        chosen = {i.name: route.name for i in identities}
        try:
            with (self._table.with_name(f".{self._table.name}.lock")).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                text = render_table(self._identities, {**self._chosen(), **chosen}, self._port)
                if not self._built() or self._table.read_text() != text:
                    self._write(text)
        except OSError as why:
            raise Unavailable(f"{self._table}: {why.strerror}") from why

    def _chosen(self) -> dict[str, str]:
        """The route of every identity, as the table has it."""
        there = parse_table(self._table.read_text()) if self._table.exists() else {}
        found = {i.name: there.get(i.domains[0], "") for i in self._identities}
        usable = {i.name: [r.name for r in self._routes_to(i)] for i in self._identities}
        return {name: route if route in usable[name] else usable[name][0] for name, route in found.items()}

    def _routes_to(self, identity: Identity) -> tuple[Route, ...]:
        return routes_to(identity, list(self._routes.values()))

    def _write(self, text: str) -> None:
        new = self._table.with_name(f".{self._table.name}.new")
        new.write_text(text)
        if os.geteuid() == 0:
            # postmap works as the owner of its source; the monitor, which is not root, goes on writing both.
            owner = self._table.parent.stat()
            os.chown(new, owner.st_uid, owner.st_gid)
        new.replace(self._table)
        self._run(["postmap", f"lmdb:{self._table}"], timeout=20.0)

    def _built(self) -> bool:
        """Is the map as new as its source? It is not, where somebody was interrupted between the two."""
        built = self._table.with_name(f"{self._table.name}.lmdb")
        try:
            return built.stat().st_mtime_ns >= self._table.stat().st_mtime_ns
        except FileNotFoundError:
            return False

    def deliver(self, identity: Identity, route: Route) -> Attempt | None:
        """Let Postfix deliver the identity's oldest message that is listed, and read in the journal what came of it.

        None when no message waits, and when this host's own Postfix says nothing: that is logged, and no word
        about the server. The attempt's route is the one that the log names.
        """
        listed = start = self._clock.now()
        try:
            queues = {instance: self._queue(instance) for instance in self._here()}
            message = oldest(itertools.chain(*queues.values()), identity.domains)
            if message is None:
                return None
            instance = next(i for i, messages in queues.items() if message in messages)
            self._wait_for_resolver(identity, route)
            self.use_route([identity], route)
            start = self._clock.now()
            tried = self._clock.boottime()
            self._postqueue(instance, "-i", message.queue_id)
            # Postfix may have tried it by itself since it was listed; then that is the attempt.
            delivery = self._outcome(instance, message, identity, listed)
            result = classify(delivery.status, delivery.dsn, delivery.text) if delivery else None
            taken = _taken(delivery, route) if delivery else route.name
            if taken == route.name:  # else its resolver goes on with what it learnt before
                self._tried[identity.name] = (taken, tried)
            if result is Result.DOWN:
                # Postfix's own retries go over the other route too, and its resolver learns it in time.
                self.use_route([identity], next_route(self._routes_to(identity), taken))
        except Unavailable as why:
            self._log("relay_queue_failed", identity=identity.name, detail=str(why), level="alert")
            return None
        if delivery is None or result is None:
            detail = f"no word of {message.queue_id} within {self._timeout:g} s"
            self._log(
                "relay_queue_failed", identity=identity.name, message=message.queue_id, detail=detail, level="alert"
            )
            return None
        if taken != route.name:
            self._log("route_differs", identity=identity.name, message=message.queue_id, asked=route.name, route=taken)
        words = f"{delivery.recipient}: {delivery.status} {delivery.dsn} {delivery.text}"
        return Attempt(Method.DELIVERY, taken, result, start, self._clock.now(), words, message.queue_id)

    def _queue(self, instance: Instance) -> list[Waiting]:
        """As much of it as is told within LIST_WITHIN."""
        argv = ["postqueue", "-c", instance.config_dir, "-j"]
        try:
            return list(parse_queue(self._begin(argv, timeout=LIST_WITHIN)))
        except (ValueError, KeyError) as why:
            raise Unavailable(f"postqueue -j: {why}") from why

    def _postqueue(self, instance: Instance, *words: str) -> str:
        return self._run(["postqueue", "-c", instance.config_dir, *words], timeout=30.0)

    def _wait_for_resolver(self, identity: Identity, route: Route) -> None:
        """Put an attempt off for a moment when that lets it take its route (RESOLVER_CACHE)."""
        last, at = self._tried.get(identity.name, (route.name, 0.0))
        if last != route.name:
            left = at + RESOLVER_CACHE - self._clock.boottime()
            self._clock.sleep(max(0.0, min(left, PATIENCE)))

    def _outcome(self, instance: Instance, message: Waiting, identity: Identity, since: float) -> Delivery | None:
        name = instance.syslog_name
        tags = [*(f"{name}/{TRANSPORT}{route}/smtp" for route in self._routes), f"{name}/error", f"{name}/retry"]
        argv = ["journalctl", "--follow", "--no-tail", "--quiet", "--output=json", f"--since=@{since:.6f}"]
        argv += [f"--identifier={tag}" for tag in tags]
        with self._follow(argv, timeout=self._timeout) as lines:
            for line in lines:
                found = parse_journal(line)
                if found and found.queue_id == message.queue_id and serves(identity.domains, found.recipient):
                    return found
        return None

"""holdfast-return: archives held messages and has them returned, when a monitor has ordered it (R1.10).

    python3 -m holdfast.daemons.returner [--check] [--list] [FILE]

FILE is /etc/holdfast/return.yml; (o) marks what may be left out, with its default:

    orders: /var/lib/holdfast/relay/return      # (o)
    archive: /var/lib/holdfast/archive          # (o)
    relays:                                     # those that this host may own; what does not run here is left out
      relay.dc2.alpha.example:
        config_dir: …
        running: /run/holdfast/running/relay.dc2.alpha.example
        identities: [mx.alpha.example]          # (o) those whose mail it holds; all
    identities: {mx.alpha.example: {domains: [alpha.example], archive_after: 86400}}

Runs as root, once for each order, since only root may read and expire what lies in Postfix's queue. How old a message
must be stands here and not in the order. `--list` tells what is in the archive.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..adapters.clock import SystemClock
from ..adapters.held_mail import Archive, HeldMail, OrderFiles
from ..adapters.log import LineLog
from ..core.ports import Clock, Log, Unavailable
from ..core.returning import Held, Order, due
from . import config

FILE = "/etc/holdfast/return.yml"
AT_ONCE = 100  # messages that are archived before Postfix is told


@dataclass(frozen=True)
class Relay:
    """The configuration of its Postfix, and a file that is there while it runs here.

    `domains`: domain to the identity whose mail waits here; a domain has one of each side, and a relay is of one side.
    """

    config_dir: str
    running: Path
    domains: Mapping[str, str]


@dataclass(frozen=True)
class Config:
    """Checked. `archive_after`: identity to seconds."""

    orders: Path
    archive: Path
    relays: tuple[Relay, ...]
    archive_after: Mapping[str, float]


def load(file: str) -> Config:
    """Raises ConfigError."""
    top = config.Section.load(file)
    served: dict[str, tuple[str, ...]] = {}
    after = {}
    for name, one in top.sections("identities"):
        served[name] = one.texts("domains")
        after[name] = one.number("archive_after", least=60)
        one.done()
    relays = []
    for _, one in top.sections("relays"):
        relays.append(Relay(one.path("config_dir"), Path(one.path("running")), _domains(one, served)))
        one.done()
    made = Config(
        Path(top.path("orders", "/var/lib/holdfast/relay/return")),
        Path(top.path("archive", "/var/lib/holdfast/archive")),
        tuple(relays),
        after,
    )
    top.done()
    return made


def _domains(relay: config.Section, served: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Whose order mail in this relay falls under. Raises ConfigError."""
    found: dict[str, str] = {}
    for name in relay.texts("identities", tuple(served)):
        if name not in served:
            raise relay.wrong("identities", name, f"name some of identities: {', '.join(served) or 'none'}")
        for domain in served[name]:
            if found.setdefault(domain, name) != name:
                remedy = f"both have {domain}: name the one whose mail this relay holds"
                raise relay.wrong("identities", [found[domain], name], remedy)
    return found


class Returner:
    """One pass over the queues. What fails is told, and ordered again by the monitor while it holds.

    `queues`: each with the domains of its relay.
    """

    def __init__(
        self,
        settings: Config,
        orders: OrderFiles,
        queues: Sequence[tuple[HeldMail, Mapping[str, str]]],
        archive: Archive,
        clock: Clock,
        log: Log,
    ) -> None:
        self._settings = settings
        self._orders = orders
        self._queues = queues
        self._archive = archive
        self._clock = clock
        self._log = log

    def run(self) -> int:
        """How many messages were returned. Safe to repeat after an end at any point."""
        orders, now = [], self._clock.now()
        for identity, reason in self._orders.waiting().items():
            after = self._settings.archive_after.get(identity)
            if after is None or reason is None:
                why = "no archive_after is set for it" if after is None else "it is of an earlier boot or outage"
                self._log("order_refused", identity=identity, why=why, level="error")
                self._orders.done(identity)
            else:
                orders.append(Order(identity, now - after, reason))
        count = 0
        for mail, domains in self._queues:
            try:
                found = due(mail.waiting(), orders, domains)
                # What Postfix has been told about already it is about to return.
                new = ((m, o) for m, o in found if not self._archive.is_returned(o.identity, m.queue_id))
                for some in itertools.batched(new, AT_ONCE, strict=False):
                    # A long queue takes its time: what serves again meanwhile gets its mail and sends none back.
                    standing = {name for name, reason in self._orders.waiting().items() if reason is not None}
                    count += self._give_back(mail, [(m, o) for m, o in some if o.identity in standing], now)
            except (Unavailable, OSError, ValueError) as why:
                self._log("return_failed", detail=str(why), level="alert")
        for order in orders:
            self._orders.done(order.identity)
        return count

    def _give_back(self, mail: HeldMail, some: Sequence[tuple[Held, Order]], now: float) -> int:
        """How many; one that cannot be copied stays, and is told, and keeps no other back."""
        kept = []
        for message, order in some:
            try:
                self._archive.keep(order.identity, message, order.reason, mail.copy)
                kept.append((message, order))
            except Unavailable as why:
                self._log("return_failed", message=message.queue_id, detail=str(why), level="alert")
        if kept:
            mail.give_back([message.queue_id for message, _ in kept])
        for message, order in kept:
            self._archive.returned(order.identity, message.queue_id)
            self._log(
                "archived_and_returned",
                identity=order.identity,
                message=message.queue_id,
                sender=message.sender or "<>",
                recipients=message.recipients,
                hours=round((now - message.arrival) / 3600, 1),
                reason=order.reason,
                level="alert",
            )
        return len(kept)


def prepare(file: str) -> Callable[[], None]:
    settings, clock = load(file), SystemClock()
    archive = Archive(settings.archive, clock)
    queues = [(HeldMail(relay.config_dir), relay.domains) for relay in settings.relays if relay.running.exists()]
    returner = Returner(settings, OrderFiles(settings.orders, clock), queues, archive, clock, LineLog())
    return lambda: print(f"{returner.run()} messages returned")


def show(file: str) -> Callable[[], None]:
    archive = Archive(load(file).archive, SystemClock())

    def tell() -> None:
        for entry in archive.listed():
            to, state = ", ".join(entry["recipients"]), "returned" if "returned" in entry else "archived"
            print(f"{entry['identity']}\t{entry['queue_id']}\t{state}\t<{entry['sender']}>\t{to}")

    return tell


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(config.main(arguments, FILE, show if "--list" in arguments else prepare))

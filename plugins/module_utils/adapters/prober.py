"""The three ways to find out whether an identity can be reached (R1.4), put together for the monitor."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.model import Attempt, Identity, Route
from ..core.ports import Clock
from . import smtp
from .postfix import PostfixQueue
from .topology import Topology


class RelayProber:
    """Implements `core.ports.Prober`. `recipients`: by identity, an address that RCPT TO is accepted for."""

    def __init__(
        self,
        queue: PostfixQueue,
        topology: Topology,
        recipients: Mapping[str, str],
        clock: Clock,
        *,
        port: int = 25,
        ca: str | None = None,
        timeouts: smtp.Timeouts | None = None,
    ) -> None:
        self._queue = queue
        self._topology = topology
        self._recipients = recipients
        self._clock = clock
        self._port = port
        self._ca = ca
        self._timeouts = timeouts

    def probe(self, identity: Identity, route: Route) -> Attempt:
        recipient = self._recipients[identity.name]
        return smtp.probe(
            identity, route, recipient, self._clock, port=self._port, ca=self._ca, timeouts=self._timeouts
        )

    def topology(self, identity: Identity, route: Route) -> Attempt:
        return self._topology.look(identity, route)

    def deliver(self, identity: Identity, route: Route) -> Attempt | None:
        return self._queue.deliver(identity, route)

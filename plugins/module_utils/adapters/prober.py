"""The three ways to find out whether an identity can be reached (R1.4), put together for the monitor."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ..core.model import Attempt, Identity, Result, Route
from ..core.ports import Clock
from . import smtp
from .postfix import PostfixQueue, ungreeted
from .topology import Topology


class RelayProber:
    """Implements `core.ports.Prober`.

    `recipients`: by identity, an address that RCPT TO is accepted for; `port`: where identities serve our own hosts.
    """

    def __init__(
        self,
        queue: PostfixQueue,
        topology: Topology,
        recipients: Mapping[str, str],
        clock: Clock,
        *,
        port: int = smtp.PORT,
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
        """Postfix tries the port for our own hosts, then the public one, and tells of the last alone.

        There nobody may answer because strangers have taken all that it has, while the first one did answer and kept
        the message back for a reason of its own. So before that counts as no answer, the server is asked itself.
        """
        attempt = self._queue.deliver(identity, route)
        if self._port == smtp.PORT or attempt is None or attempt.result is not Result.DOWN:
            return attempt
        if not ungreeted(attempt.detail):
            return attempt
        asked = self.probe(identity, self._queue.route(attempt.route))
        if asked.result is Result.DOWN:
            return attempt
        detail = f"{attempt.detail}; asked itself: {asked.detail}"
        return dataclasses.replace(
            attempt, result=asked.result, end=asked.end, detail=detail, temporary=asked.temporary
        )

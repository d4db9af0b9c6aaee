"""The retry monitor of one identity on one relay (R1.3 to R1.6): attempts, evidence, and when to ask for a takeover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import keys
from .model import Attempt, Identity, Method, Result, Route, Run
from .ports import Clock, Coordinator, LockLost, Log, Prober, RelayQueue, Unavailable
from .schedule import next_route
from .takeover import Refused, State, Takeover, abandoned, read_state, unfinished
from .threshold import Evidence, Threshold, observe, passed

LOOK = 2.0  # seconds between looks at the coordinator (flag, lease, runs) in between rounds


@dataclass(frozen=True)
class Settings:
    """`interval`: seconds between rounds, 30 to 60. `reset_after`: good rounds in a row that end an outage."""

    relay: str
    interval: float
    methods: tuple[Method, ...]
    threshold: Threshold
    routes: tuple[Route, ...]
    reset_after: int = 2
    retry: float | None = None  # seconds before a held run is tried again; `interval` if not given


def make_round(prober: Prober, identity: Identity, route: Route, methods: Sequence[Method]) -> list[Attempt]:
    """One round of attempts over one route.

    A delivery says all that a probe would say, so a probe is made only when no message was there to deliver.
    """
    made: list[Attempt] = []
    if Method.TOPOLOGY in methods:
        made.append(prober.topology(identity, route))
    delivery = prober.deliver(identity, route) if Method.DELIVERY in methods else None
    if delivery is not None:
        made.append(delivery)
    elif Method.PROBE in methods:
        made.append(prober.probe(identity, route))
    return made


class Watch:
    """Call `tick` about once a second."""

    def __init__(
        self,
        identity: Identity,
        settings: Settings,
        coordinator: Coordinator,
        prober: Prober,
        queue: RelayQueue,
        takeover: Takeover,
        clock: Clock,
        log: Log,
    ) -> None:
        self.identity = identity
        self.settings = settings
        self.coordinator = coordinator
        self.prober = prober
        self.queue = queue
        self.takeover = takeover
        self.clock = clock
        self.log = log
        self.evidence: Evidence | None = None
        self.last_route: str | None = None
        self._next_round = clock.boottime()
        self._next_look = clock.boottime()
        self._retry_takeover = clock.boottime()
        self._lease_seen: bool | None = None
        self._said: tuple[str, str] | None = None

    def try_now(self) -> None:
        """The next tick makes a round (R1.3: by hand, or because the server came back)."""
        self._next_round = self.clock.boottime()

    def tick(self) -> None:
        if self.clock.boottime() >= self._next_round:
            # Counted from the beginning of a round: a slow attempt does not stretch the interval.
            self._next_round = self.clock.boottime() + self.settings.interval
            self._round()
            self._next_look = self.clock.boottime()
        if self.clock.boottime() >= self._next_look:
            self._next_look = self.clock.boottime() + LOOK
            try:
                self._tell(*self._judge())
            except Unavailable as why:
                # A relay that is cut off from the majority never triggers anything; it holds and tries again.
                self._tell("coordinator_unreachable", str(why))
            except LockLost as why:
                self._tell("lock_lost", str(why))
            except Refused as why:
                self._tell("takeover_refused", str(why))

    def _round(self) -> None:
        route = next_route(self.settings.routes, self.last_route)
        self.last_route = route.name
        attempts = make_round(self.prober, self.identity, route, self.settings.methods)
        for a in attempts:
            level = "alert" if a.result is Result.REFUSED else "info"
            self.log(
                "attempt",
                identity=self.identity.name,
                route=a.route,
                method=a.method,
                result=a.result,
                message=a.message,
                seconds=round(a.end - a.start, 3),
                detail=a.detail,
                level=level,
            )
        try:
            evidence = self._known(read_state(self.coordinator, self.identity.name))
            self.evidence = observe(evidence, attempts, self.settings.reset_after)
            self._publish()
        except Unavailable as why:
            # What was seen counts all the same; it is shared with the next round.
            if self.evidence is not None:
                self.evidence = observe(self.evidence, attempts, self.settings.reset_after)
            self._tell("coordinator_unreachable", str(why))

    def _known(self, state: State) -> Evidence:
        """The evidence against the present owner: our own, or what this relay had written before a restart."""
        epoch = 0 if state.owner is None else state.owner.epoch
        if self.evidence is None:
            value = self.coordinator.get(keys.evidence(self.identity.name, self.settings.relay)).value
            self.evidence = Evidence(epoch) if value is None else Evidence.from_json(value)
        if self.evidence.epoch != epoch:
            self.evidence = Evidence(epoch)
        return self.evidence

    def _publish(self) -> None:
        assert self.evidence is not None
        reason = passed(self.evidence, self.settings.threshold, self.clock.now())
        value = {
            "relay": self.settings.relay,
            "time": self.clock.now(),
            "passed": reason is not None,
            "reason": reason,
            **self.evidence.to_json(),
        }
        self.coordinator.put(keys.evidence(self.identity.name, self.settings.relay), value)

    def _judge(self) -> tuple[str, str]:
        """Act on what is known. Returns a condition worth telling, as event and detail; no detail: all is well."""
        state = read_state(self.coordinator, self.identity.name)
        nothing = ("judging", "")
        if state.owner is None:
            return nothing
        evidence = self._known(state)
        lease = self.coordinator.get(keys.lease(state.owner.host)).value is not None
        if lease and self._lease_seen is False:
            self.log("server_came_back", identity=self.identity.name, host=state.owner.host)
            self.try_now()
        self._lease_seen = lease
        if state.locked_by is not None or self.clock.boottime() < self._retry_takeover:
            return nothing
        now = self.clock.now()
        reason = passed(evidence, self.settings.threshold, now)
        if state.inoperable:
            self._request("operator: treat as inoperable", state.owner.epoch)
        elif reason is not None and (second := self._second(lease, state.owner.epoch)) is not None:
            self._request(f"{reason}; {second}", state.owner.epoch)
        elif reason is not None:
            return "second_evidence_missing", f"{reason}, but {state.owner.host} keeps its lease"
        elif abandoned(state):
            assert state.run is not None
            self._request(f"goes on for {state.run.run}: {state.run.reason}", state.owner.epoch, state.run.automatic)
        elif unfinished(state):
            self._finish()
        return nothing

    def _second(self, lease: bool, epoch: int) -> str | None:
        """Evidence from a second place: the owner's lost lease, or another relay past its threshold."""
        if not lease:
            return "lease lost"
        for relay in self.identity.relays:
            if relay != self.settings.relay:
                value = self.coordinator.get(keys.evidence(self.identity.name, relay)).value
                fresh = value is not None and self.clock.now() - float(value["time"]) <= 2 * self.settings.interval
                if value is not None and fresh and value["passed"] and int(value["epoch"]) == epoch:
                    return f"{relay} agrees"
        return None

    def _request(self, reason: str, epoch: int, automatic: bool = True) -> None:
        # Held runs are tried again once a round, not at every look.
        self._retry_takeover = self.clock.boottime() + (self.settings.retry or self.settings.interval)
        self.log("takeover_asked", identity=self.identity.name, reason=reason, epoch=epoch)
        self._ended(self.takeover.execute(reason, epoch, automatic))

    def _finish(self) -> None:
        self._retry_takeover = self.clock.boottime() + (self.settings.retry or self.settings.interval)
        self._ended(self.takeover.finish())

    def _ended(self, run: Run) -> None:
        self.log("takeover_ended", identity=run.identity, run=run.run, state=run.state, host=run.to_host)
        self._lease_seen = None
        self.try_now()

    def _tell(self, event: str, detail: str) -> None:
        """Say a condition once, and again only when it has changed."""
        if (event, detail) != self._said and detail:
            self.log(event, identity=self.identity.name, detail=detail)
        self._said = (event, detail)

"""The retry monitor of one identity on one relay (R1.3 to R1.6): attempts, evidence, and when to ask for a takeover."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import keys, stores
from .handover import Handover, interrupted, obstacle_in
from .model import FIRST_RUN, Attempt, Identity, Method, Owner, Phase, Report, Result, Route, Run, RunState
from .ports import Clock, Coordinator, LockLost, Log, Prober, RelayQueue, Unavailable
from .requests import Request, granted
from .returning import Returns, outlasted, without_candidate
from .schedule import next_route
from .takeover import Limited, Refused, State, Takeover, abandoned, left_behind, read_choice, read_state, unfinished
from .threshold import Evidence, Threshold, observe, over, passed, verdict

LOOK = 2.0  # seconds between looks at the coordinator (flag, lease, runs) in between rounds
CALM = 5.0  # while nothing of an outage or of a run is to be seen: each look costs every member of the coordinator
UNSEEN = 3  # intervals without a round after which what was seen before says nothing any more
# Seconds; at the least that. A store's partner makes a round every other second, and while a member of the coordinator
# is dying a single call may outlast three of them.
UNSEEN_LEAST = 30.0
# Seconds. Who has had no answer of the coordinator for longer may have been cut off from everything, and whoever lives
# has its lease and its routes back so much later than the coordinator answers again. So does who renews late.
APART = 10.0
LATE = 5.0  # seconds of one read: who has answers so late cannot tell a lost lease from one that is renewed late


@dataclass(frozen=True)
class Settings:
    """`interval`: seconds between rounds, 30 to 60. `reset_after`: good rounds in a row that end an outage.

    `archive_after`: seconds of an outage without any candidate after which held mail is returned (R1.10); None: never.
    """

    relay: str
    interval: float
    methods: tuple[Method, ...]
    threshold: Threshold
    routes: tuple[Route, ...]
    reset_after: int = 2
    archive_after: float | None = None
    retry: float | None = None  # seconds before a held run is tried again; `interval` if not given

    @property
    def unseen(self) -> float:
        """Seconds without a round after which what was seen before says nothing any more."""
        return max(UNSEEN * self.interval, UNSEEN_LEAST)

    @property
    def pause(self) -> float:
        return self.interval if self.retry is None else self.retry


def next_look(now: float, pause: float) -> float:
    """When to look again: all watches of a host at the same moments, so that those of one process share a read."""
    return (now // pause + 1) * pause


def make_round(prober: Prober, identity: Identity, route: Route, methods: Sequence[Method]) -> list[Attempt]:
    """One round of attempts over one route.

    A delivery says all that a probe would say, so a probe is made only when no message was there to deliver. A delivery
    that took another route, as it does for half a minute behind an attempt over that one (adapters/postfix.py), says
    nothing of this one, which is then probed whatever the methods: else its last word would stand for good.
    """
    made: list[Attempt] = []
    if Method.TOPOLOGY in methods:
        made.append(prober.topology(identity, route))
    delivery = prober.deliver(identity, route) if Method.DELIVERY in methods else None
    if delivery is not None:
        made.append(delivery)
    if (delivery is None and Method.PROBE in methods) or (delivery is not None and delivery.route != route.name):
        made.append(prober.probe(identity, route))
    return made


def _heard[T](before: tuple[T, float] | None, what: T, now: float) -> tuple[T, float]:
    """`what`, and when it was new here, by this host's CLOCK_BOOTTIME. What is seen first may be of any age."""
    if before is None:
        return what, float("-inf")
    return before if before[0] == what else (what, now)


class Watch:
    """Call `tick` about once a second.

    `takeover`: None on a relay without the right to fence, which asks other monitors instead (R1.11).
    """

    def __init__(
        self,
        identity: Identity,
        settings: Settings,
        coordinator: Coordinator,
        prober: Prober,
        queue: RelayQueue,
        takeover: Takeover | None,
        clock: Clock,
        log: Log,
        returns: Returns | None = None,
    ) -> None:
        self.identity = identity
        self.returns = returns
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
        self._lost: tuple[str, float] | None = None  # owner without a lease, CLOCK_BOOTTIME at which that was new here
        self._late = float("-inf")  # CLOCK_BOOTTIME of the last answer that had taken longer than LATE
        self._calm = False  # nothing of an outage or of a run was to be seen at the last look
        self._observed: float | None = None  # CLOCK_BOOTTIME at which the last round that counts began
        self._down_since: tuple[float, float] | None = None  # `first_down` as it is written, and in CLOCK_BOOTTIME
        self._answered = float("-inf")  # CLOCK_BOOTTIME at which the coordinator last answered
        self._apart = float("-inf")  # CLOCK_BOOTTIME at which it last gave none, for longer than APART
        self._others: dict[str, tuple[int, float]] = {}  # relay -> revision of its evidence, when that was new here
        self._asking: tuple[int, float] | None = None  # the same of a request of a relay without fence rights
        self._last_run: tuple[str, float] | None = None  # id of the last run, when that was new here
        self._last_held: tuple[str, float] | None = None  # id of the last run that was held, when that was new here
        self._starts: int | None = None  # epoch at which the owner was seen to start, and has not yet been seen to run
        self._started = float("-inf")  # CLOCK_BOOTTIME until which it has been starting, as far as is known here
        self._could = float("-inf")  # CLOCK_BOOTTIME at which somebody was last known to be able to take over
        self._said: tuple[str, str] | None = None
        self._spoken = float("-inf")  # CLOCK_BOOTTIME at which the last round began, if it spoke with the owner
        self._asked_to_go = 0  # epoch whose owner was asked to let go, since it cannot bring the identity up
        self._flushed = 0  # epoch for which this relay's own queue has been tried

    def try_now(self) -> None:
        """The next tick makes a round (R1.3: by hand, or because the server came back)."""
        self._next_round = self.clock.boottime()

    def tick(self) -> None:
        if self.clock.boottime() >= self._next_round:
            # Counted from the beginning of a round: a slow attempt does not stretch the interval.
            self._next_round = self.clock.boottime() + self.settings.interval
            self._round()
            if not self._calm or self.evidence is None or self.evidence.downs:
                self._next_look = self.clock.boottime()
        if (now := self.clock.boottime()) >= self._next_look:
            self._calm = False
            try:
                self._tell(*self._judge())
                self._answered = self.clock.boottime()
            except Unavailable as why:
                # A relay that is cut off from the majority never triggers anything; it holds and tries again.
                self._tell("coordinator_unreachable", str(why))
                if self.clock.boottime() - self._answered > APART:
                    self._apart = self.clock.boottime()
            except LockLost as why:
                self._tell("lock_lost", str(why))
            except Limited as why:
                self._tell("takeover_refused", str(why), "alert")
            except Refused as why:
                self._tell("takeover_refused", str(why))
            self._next_look = next_look(now, CALM if self._calm else LOOK)

    def _round(self) -> None:
        route = next_route(self.settings.routes, self.last_route)
        self.last_route = route.name
        if self.evidence is None:
            self._remember()
        before, begin = self.evidence, self.clock.boottime()
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
        counted = False
        try:
            owner = self._owner()
            self._heard_again()
            evidence = self._known(owner)
            # Attempts that were made while the owner changed say nothing about the new one.
            if before is not None and before.epoch == evidence.epoch:
                self._observe(evidence, attempts, begin)
            counted = True
            self._publish()
        except Unavailable as why:
            # What was seen counts all the same; it is shared with the next round.
            if not counted and self.evidence is not None:
                self._observe(self.evidence, attempts, begin)
            self._tell("coordinator_unreachable", str(why))

    def _remember(self) -> None:
        """Whose evidence the first round is: the owner may change while that lasts."""
        try:
            self._known(self._owner())
        except Unavailable as why:
            self._tell("coordinator_unreachable", str(why))

    def _owner(self) -> Owner | None:
        """Asked for alone, not with all that a look reads: nobody shares the read of a round."""
        value = self.coordinator.get(keys.owner(self.identity.name)).value
        return None if value is None else Owner.from_json(value)

    def _observe(self, evidence: Evidence, attempts: Sequence[Attempt], begin: float) -> None:
        """Count a round. Times are compared by CLOCK_BOOTTIME: a wall clock may be stepped, a relay may stand still."""
        longest = self.settings.unseen
        if self.clock.boottime() - begin > longest:
            return  # this relay stood still in the middle of it
        if self._observed is not None and begin - self._observed > longest:
            evidence = Evidence(evidence.epoch)
        self._observed = begin
        # By a server, not by a routing table.
        spoke = verdict(attempts) is Result.OK and any(a.method is not Method.TOPOLOGY for a in attempts)
        self._spoken = begin if spoke else float("-inf")
        self.evidence = observe(evidence, attempts, self.settings.reset_after)
        first = self.evidence.first_down
        if first is None:
            self._down_since = None
        elif self._down_since is None or self._down_since[0] != first:
            self._down_since = (first, begin)

    def _passed(self, evidence: Evidence) -> str | None:
        """Why the threshold is passed, by what was seen lately."""
        now = self.clock.boottime()
        if self._observed is None or self._down_since is None or evidence.first_down != self._down_since[0]:
            return None
        if now - self._observed > self.settings.unseen:
            return None
        if self._observed < self._apart + APART:
            return None  # all lines may have been down: the owner is tried once more
        return passed(evidence, self.settings.threshold, self._down_since[0] + now - self._down_since[1])

    def _known(self, owner: Owner | None) -> Evidence:
        """The evidence against the present owner: our own, or what this relay had written before a restart."""
        epoch = 0 if owner is None else owner.epoch
        if self.evidence is None:
            value = self.coordinator.get(keys.evidence(self.identity.name, self.settings.relay)).value
            self.evidence = Evidence(epoch) if value is None else self._from_before(value)
        if self.evidence.epoch != epoch:
            self.evidence = Evidence(epoch)
        return self.evidence

    def _from_before(self, value: Mapping[str, Any]) -> Evidence:
        """What this relay wrote before a restart, if that was not too long ago by its own wall clock."""
        evidence, now = over(Evidence.from_json(value), (r.name for r in self.settings.routes)), self.clock.now()
        age = now - float(value["time"])
        if not 0 <= age <= self.settings.unseen:
            return Evidence(evidence.epoch)
        boottime = self.clock.boottime()
        self._observed = boottime - age
        if evidence.first_down is not None:
            self._down_since = (evidence.first_down, boottime - max(age, now - evidence.first_down))
        return evidence

    def _publish(self) -> None:
        assert self.evidence is not None
        reason = self._passed(self.evidence)
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
        begun = self.clock.boottime()
        state = read_state(self.coordinator, self.identity.name, self.identity.candidates)
        self._heard_again()
        if self.clock.boottime() - begun > LATE:
            self._late = self.clock.boottime()
        nothing = ("judging", "")
        if state.owner is None:
            return nothing
        evidence = self._known(state.owner)
        self._hear(state)
        self._follow(state)
        lease = self._alive(state, state.owner)
        if lease and self._lease_seen is False:
            self.log("server_came_back", identity=self.identity.name, host=state.owner.host)
            self.try_now()
        self._lease_seen = lease
        kept = self._keeps(state.owner, lease)
        if evidence.downs:
            self._look_at_start(state.owner)
        ended = state.run is None or state.run.state is RunState.DONE
        self._calm = lease and not evidence.downs and ended and state.locked_by is None and not state.inoperable
        if state.locked_by is not None or self.clock.boottime() < self._retry_takeover:
            return nothing
        reason = self._passed(evidence)
        if reason is not None and not state.inoperable and self._never_served(state, state.owner):
            return "never_served", f"{reason}, but {state.owner.host} has not said yet that it begins to serve it"
        if self.takeover is not None and interrupted(state):
            self._ended(Handover.beside(self.takeover).undo())
        elif state.inoperable:
            self._request("operator: treat as inoperable", state.owner.epoch)
        elif reason is not None and lease and (word := self._gives_up(state)) is not None:
            self._hand_over(f"{reason}; {word}", state.owner.epoch)
        elif reason is not None and (second := self._second(kept, state)) is not None:
            self._request(f"{reason}; {second}", state.owner.epoch, run=state.run)
        elif (asked := self._asked(kept, state)) is not None:
            self._request(asked, state.owner.epoch)
        elif reason is not None:
            if left_behind(state) and (lease or not kept):
                # The owner is back, and all that keeps it from its work is a run that could not go on.
                self._give_up()
            why = f"{state.owner.host} keeps its lease" if kept else f"{self._reached(state)} has just reached it"
            return "second_evidence_missing", f"{reason}, but {why}"
        elif abandoned(state) and not self._came_back(lease, state):
            assert state.run is not None
            self._request(f"goes on for {state.run.run}: {state.run.reason}", state.owner.epoch, state.run.automatic)
        elif unfinished(state):
            self._finish()
        elif left_behind(state) and state.run is not None and state.run.state is RunState.RUNNING:
            self._give_up()
        return nothing

    def _heard_again(self) -> None:
        """Who was apart from the coordinator was so until this answer of it, not until the last question."""
        if self._apart > self._answered:
            self._apart = self.clock.boottime()

    def _alive(self, state: State, owner: Owner) -> bool:
        if owner.host in self.identity.candidates:
            return owner.host in state.alive
        return self.coordinator.get(keys.lease(owner.host)).value is not None  # it is no candidate any more

    def _keeps(self, owner: Owner, lease: bool) -> bool:
        """Has the owner its lease, or may it yet have it again? On a starved machine renewals come late."""
        now, least = self.clock.boottime(), min(APART, self.settings.interval)
        if lease:
            self._lost = None
        elif self._lost is None or self._lost[0] != owner.host:
            self._lost = (owner.host, now)
        return self._lost is None or now - self._lost[1] < least or now - self._late < least

    def _never_served(self, state: State, owner: Owner) -> bool:
        """Is it the owner that a deploy has named, and no agent has begun with the identity yet? That is no outage."""
        if owner.run != FIRST_RUN or state.run is not None or self.identity.kind == stores.KIND:
            return False
        return self.coordinator.get(keys.report(owner.host, self.identity.name)).value is None

    def _hear(self, state: State) -> None:
        """When did the other relays write? By this relay's own CLOCK_BOOTTIME: their wall clocks may be wrong."""
        now = self.clock.boottime()
        for relay, entry in state.evidence.items():
            self._others[relay] = _heard(self._others.get(relay), entry.revision, now)
        self._last_run = _heard(self._last_run, "" if state.run is None else state.run.run, now)
        self._last_held = _heard(self._last_held, self._held(state), now)
        if state.run is not None and state.owner is not None and state.run.run != state.owner.run:
            self._note(state.run)

    def _note(self, run: Run) -> None:
        """A run that found somebody, whatever held it then: from here on nobody could take over anew, if at all."""
        if run.to_host is not None:
            self._could = self.clock.boottime()

    def _second(self, lease: bool, state: State) -> str | None:
        """Evidence from a second place: the owner's lost lease, or another relay past its threshold.

        A lease is lost with the coordinator's answers, too, so it proves nothing against a relay that has just reached
        the owner.
        """
        if not lease:
            return None if self._reached(state) else "lease lost"
        for relay, value in self._evidence_of_others(state, self._fresh):
            if value["passed"] and state.owner is not None:
                # Whoever took it from a host that adopts a long queue would begin anew what that host is about to end.
                # And whoever began anew as soon as a run was held would keep a host that is back from ever starting.
                if self._starts is not None or self._just_held():
                    self._started = self.clock.boottime()
                    return None
                # What both saw while it started says nothing of what it does now.
                if self._observed is None or min(self._observed, self._others[relay][1]) <= self._started:
                    self.try_now()
                    continue
                return f"{relay} agrees"
        return None

    def _reached(self, state: State) -> str | None:
        """Another relay that spoke with the owner within the last round; a routing table is no word of a server."""
        for relay, value in self._evidence_of_others(state, self.settings.interval):
            methods = {a["method"] for a in value["attempts"][-1:]}
            if value["verdict"] == Result.OK and Method.TOPOLOGY not in methods:
                return relay
        return None

    def _evidence_of_others(self, state: State, within: float) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What other relays have written about this owner and was new here not longer ago than that, seconds."""
        for relay in self.identity.relays:
            value = state.evidence[relay].value if relay in state.evidence else None
            if relay == self.settings.relay or value is None or state.owner is None:
                continue
            fresh = self.clock.boottime() - self._others[relay][1] <= within
            if fresh and int(value["epoch"]) == state.owner.epoch:
                yield relay, value

    def _look_at_start(self, owner: Owner) -> None:
        """Does the owner, by its agent's word, bring the identity up? Each step of that has a limit of its own.

        Looked at from the first attempt on that fails, and not only once both relays are past their thresholds: that
        may be in the very moment at which the owner begins to serve.
        """
        report = self._report(owner)
        starts = owner.epoch if report is not None and report.phase is Phase.STARTING else None
        if owner.epoch in (starts, self._starts):
            self._started = self.clock.boottime()
        self._starts = starts

    def _held(self, state: State) -> str:
        """The run that was held, if the last one was; of a hand-over the owner itself had said that it cannot."""
        run = state.run
        return "" if run is None or run.planned or run.state is not RunState.HELD else run.run

    def _just_held(self) -> bool:
        """Has a run that kept the owner from its work ended so lately that the owner could not start meanwhile?"""
        if self._last_held is None or not self._last_held[0]:
            return False
        return self.clock.boottime() - self._last_held[1] < self.settings.pause

    def _report(self, owner: Owner) -> Report | None:
        """What the owner's agent says of this identity at the present epoch."""
        value = self.coordinator.get(keys.report(owner.host, self.identity.name)).value
        report = None if value is None else Report.from_json(value)
        return None if report is None or report.epoch != owner.epoch else report

    def _gives_up(self, state: State) -> str | None:
        """The word of an owner that lives and cannot bring the identity up: evidence from the one place that knows.

        Then it need not be fenced, and what else it owns goes on: all of it is down. What a fence has begun is ended by
        one, and so is what such an owner has not let go at this epoch when it was asked, unless this relay is alone
        with its evidence. A store's disks are told apart by their set, not by such words.
        """
        assert state.owner is not None
        if self.takeover is None or self.identity.kind == stores.KIND:
            return None
        if obstacle_in(state) is not None or abandoned(state):
            return None
        report = self._report(state.owner)
        if report is None or report.phase is not Phase.FAILED or report.stuck:
            return None
        if self._asked_to_go == state.owner.epoch and self._second(True, state) is not None:
            return None
        # Without anybody to get it this is an outage like any other, and what is held for too long goes back.
        if read_choice(self.coordinator, self.identity, state.owner, self.clock.now(), None).host is None:
            return None
        return f"{state.owner.host} says: {report.error}"

    def _came_back(self, lease: bool, state: State) -> bool:
        """Has the owner, whom a dead invoker had only cut off, booted with its access as it was?

        Then it serves, and what is said about it now decides. Until its lease is there it is as dead as the proof says.
        """
        assert state.run is not None and state.owner is not None
        return lease and state.run.revoke_epoch != state.owner.epoch

    def _asked(self, lease: bool, state: State) -> str | None:
        """Has a relay without fence rights asked, and do its evidence and the lease, read here and now, bear it out?

        Whoever has just spoken with the owner knows that it is the other relay that is cut off.
        """
        if self.takeover is None or state.owner is None:
            return None
        entry, now, fresh = state.request, self.clock.boottime(), self._fresh
        self._asking = _heard(self._asking, entry.revision, now)
        if entry.value is None or now - self._asking[1] > fresh:
            return None
        if now < self._apart + APART:
            return None
        if now - self._spoken <= fresh:
            return None
        request, words = Request.from_json(entry.value), dict(self._evidence_of_others(state, fresh))
        return granted(request, words.get(request.relay), state.owner.epoch, lease)

    @property
    def _fresh(self) -> float:
        """Seconds for which another relay's word about an outage holds."""
        return 2 * self.settings.interval

    def _follow(self, state: State) -> None:
        """Another monitor's takeover has ended: what this relay holds goes to the new owner at once, too."""
        run, owner = state.run, state.owner
        if not self.identity.has_mailboxes:
            return  # nobody holds anything for a store or a relay
        if run is None or owner is None or run.state is not RunState.DONE or run.run != owner.run:
            return
        if run.invoker != self.settings.relay and self._flushed != owner.epoch:
            try:
                self.queue.flush(self.identity)
                self.log("flush", identity=self.identity.name, epoch=owner.epoch)
            except Unavailable as why:
                self.log("relay_queue_failed", identity=self.identity.name, detail=str(why), level="alert")
        self._flushed = owner.epoch

    def _request(self, reason: str, epoch: int, automatic: bool = True, run: Run | None = None) -> None:
        # Held runs are tried again once a round, not at every look.
        self._retry_takeover = self.clock.boottime() + self.settings.pause
        self.log("takeover_asked", identity=self.identity.name, reason=reason, epoch=epoch)
        if self.takeover is None:
            request = Request(self.settings.relay, reason, epoch, self.clock.now())
            self.coordinator.put(keys.request(self.identity.name), request.to_json())
            # What this relay holds, nobody else returns. A run of an earlier outage says nothing of this one, while
            # which lasts those who may fence begin a new one every round.
            if (
                run is not None
                and self._last_run is not None
                and self.clock.boottime() - self._last_run[1] <= self._fresh
            ):
                self._return_late(run)
            return
        ended = self.takeover.execute(reason, epoch, automatic)
        self._ended(ended)
        # Only of a run of this moment: one that is given up here found nobody at its own, and its owner is back.
        self._return_late(ended)

    def _hand_over(self, reason: str, epoch: int) -> None:
        self._retry_takeover = self.clock.boottime() + self.settings.pause
        self._asked_to_go = epoch
        self.log("handover_asked", identity=self.identity.name, reason=reason, epoch=epoch)
        assert self.takeover is not None
        self._ended(Handover.beside(self.takeover).hand_over(reason, epoch, automatic=True))

    def _finish(self) -> None:
        self._retry_takeover = self.clock.boottime() + self.settings.pause
        if self.takeover is not None:
            self._ended(self.takeover.finish())

    def _give_up(self) -> None:
        self._retry_takeover = self.clock.boottime() + self.settings.pause
        if self.takeover is not None:
            self._ended(self.takeover.give_up())

    def _ended(self, run: Run) -> None:
        self.log("takeover_ended", identity=run.identity, run=run.run, state=run.state, host=run.to_host)
        self._lease_seen = None
        if self.evidence is not None and run.epoch > self.evidence.epoch:
            # The round that follows at once is about the new owner: who speaks with it there takes part in no request
            # of a relay that does not.
            self.evidence = Evidence(run.epoch)
        self.try_now()

    def _return_late(self, run: Run) -> None:
        """The time without any candidate goes by CLOCK_BOOTTIME: a wall clock that is set forward must return nothing.

        It begins with the outage, and anew with every run that found somebody: a candidate that is away for a moment
        must not return what a fence, which an operator can mend, has held back for days.
        """
        self._note(run)
        seen, since = self.evidence, self._down_since
        lasted = None
        if seen is not None and since is not None and seen.first_down == since[0]:
            lasted = self.clock.boottime() - max(since[1], self._could)
        if without_candidate(run) and outlasted(lasted, self.settings.archive_after):
            self._return_mail(run)

    def _return_mail(self, run: Run) -> None:
        """Nobody can take over, for too long: what was held for that time is archived and goes back (R1.10)."""
        why = run.steps[-1].detail
        self.log("archive_and_return", identity=run.identity, run=run.run, why=why, level="alert")
        try:
            if self.returns is not None:
                self.returns.order(self.identity, why)
        except Unavailable as failed:
            self.log("archive_and_return_failed", identity=run.identity, detail=str(failed), level="alert")

    def _tell(self, event: str, detail: str, level: str = "info") -> None:
        """Say a condition once, and again only when it has changed."""
        if (event, detail) != self._said and detail:
            self.log(event, identity=self.identity.name, detail=detail, level=level)
        self._said = (event, detail)

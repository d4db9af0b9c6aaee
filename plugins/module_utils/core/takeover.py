"""A takeover: prove that the owner can no longer act, then let another host run the identity (docs/architecture.md).

Every change in the coordinator is a transaction on the run's lock. Who loses the lock stops at once; whoever gets
it next either goes on behind `own` (`finish`) or begins anew, since every step is safe to repeat.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from . import fencing, keys, stores
from .fence_run import FenceRun
from .fencing import FencePlan, HostView, MarkState
from .locked_run import Held, LockedRun, Ports, Timeouts
from .model import Access, Identity, Owner, Phase, Readiness, Report, Result, Route, Run, RunState, Step
from .placement import Choice, choose
from .ports import Coordinator, Entry, Lock, LockLost, Unavailable
from .promotion import Promote, is_primary

HOUR = 3600.0
KEPT_RUNS = 20  # records of runs kept in the coordinator, where each look reads them; the journal has them all


class Refused(Exception):
    """A run was not begun, and nothing was changed; the text says why."""


class Limited(Refused):
    """One more automatic takeover would be more than are allowed within an hour: an operator is needed."""


NONE = Entry(None, 0)  # no such key


@dataclass(frozen=True)
class State:
    """What the coordinator holds of one identity, read at one revision."""

    owner: Owner | None
    owner_revision: int
    run: Run | None
    locked_by: str | None
    inoperable: bool
    history: tuple[Run, ...] = ()
    evidence: Mapping[str, Entry] = field(default_factory=dict)  # by relay
    request: Entry = NONE  # of a relay without fence rights
    alive: frozenset[str] = frozenset()  # hosts that keep their lease, of those that were asked for


def read_state(coordinator: Coordinator, identity: str, hosts: Collection[str] = ()) -> State:
    """One read, since each costs every member. `hosts`: whose leases to look at. Raises Unavailable."""
    entries = coordinator.list(keys.identity(identity), keys.evidences(identity), *map(keys.lease, hosts))
    return state_of(entries, identity, hosts)


def state_of(entries: Mapping[str, Entry], identity: str, hosts: Collection[str] = ()) -> State:
    """The same of what was read together with more."""
    owner_entry = entries.get(keys.owner(identity), NONE)
    owner = None if owner_entry.value is None else Owner.from_json(owner_entry.value)
    run = entries.get(keys.takeover(identity), NONE).value
    lock = entries.get(keys.lock(identity), NONE).value
    flag = entries.get(keys.inoperable(identity), NONE).value
    prefix = keys.runs(identity)
    return State(
        owner=owner,
        owner_revision=owner_entry.revision,
        run=None if run is None else Run.from_json(run),
        locked_by=None if lock is None else str(lock.get("invoker", "?")),
        # The flag was set against the owner of that epoch; a new owner starts without it.
        inoperable=flag is not None and owner is not None and int(flag.get("epoch", 0)) == owner.epoch,
        history=tuple(Run.from_json(e.value) for k, e in entries.items() if k.startswith(prefix) and e.value),
        evidence={k.rpartition("/")[2]: e for k, e in entries.items() if k.startswith(keys.evidences(identity))},
        request=entries.get(keys.request(identity), NONE),
        alive=frozenset(h for h in hosts if keys.lease(h) in entries),
    )


def read_choice(coordinator: Coordinator, identity: Identity, owner: Owner, now: float, to: str | None) -> Choice:
    """Whom a run would choose now, by the candidates' leases and words; only `to` if given. Raises Unavailable."""
    if identity.kind != stores.KIND:
        why = stores.not_serving(coordinator, identity.store) or stores.not_admitting(coordinator, identity)
        if why is not None:
            return Choice(None, dict.fromkeys(identity.candidates, why))
    alive = {h for h in identity.candidates if coordinator.get(keys.lease(h)).value is not None}
    words = {h: coordinator.get(keys.ready(h, identity.name)).value for h in identity.candidates}
    readiness = {h: Readiness.from_json(w) for h, w in words.items() if w is not None}
    if identity.kind == stores.KIND:
        readiness = stores.only_members(coordinator, identity, readiness, now)
    fenced = {h: why for h in identity.candidates if h != owner.host and (why := _fenced(coordinator, h)) is not None}
    return choose(identity, owner.host, alive, readiness, to, fenced)


def _fenced(coordinator: Coordinator, host: str) -> str | None:
    """Why a host is no candidate for having been fenced, or being fenced right now, by a run of any identity."""
    view = HostView.of(host, coordinator.list(keys.host(host)))
    mark = fencing.fenced_by(view)
    if mark is not None:
        return f"fenced for {mark.identity} by {mark.level} (run {mark.run}) and not started anew since"
    for mark in view.marks:
        if mark.state is MarkState.ORDERED and fencing.stands(mark, view.boot_id):
            lock = coordinator.get(keys.lock(mark.identity)).value
            # An order whose run is gone orders nothing any more.
            if lock is not None and lock.get("run") == mark.run:
                return f"is being fenced for {mark.identity} (run {mark.run})"
    return None


def unfinished(state: State) -> bool:
    """Has a run changed the owner without having told everybody (DNS, relays)?"""
    return (
        state.run is not None
        and state.owner is not None
        and state.run.state is not RunState.DONE
        and state.run.run == state.owner.run
    )


def abandoned(state: State) -> bool:
    """Did an invoker die after it had fenced or shut out the owner, and before it named a new one?"""
    return (
        state.run is not None
        and state.owner is not None
        and state.locked_by is None
        and state.run.state is RunState.RUNNING
        and (state.run.proof is not None or state.run.revoke_epoch == state.owner.epoch)
        and state.run.run != state.owner.run
        and state.run.from_host == state.owner.host
    )


def left_behind(state: State) -> bool:
    """Has a run that did not change the owner left itself unended, or the owner without its access?"""
    return (
        state.run is not None
        and state.owner is not None
        and state.run.run != state.owner.run
        and not state.run.planned
        and (state.run.state is RunState.RUNNING or state.run.revoke_epoch == state.owner.epoch)
    )


def until_own(steps: Sequence[Step]) -> tuple[Step, ...]:
    """A run's steps to the change of owner; where the record was cut off before that, to where it was."""
    ends = (i + (s.name == "own") for i, s in enumerate(steps) if s.name in ("own", "started", "hold"))
    return tuple(steps[: next(ends, len(steps))])


class Takeover:
    """Runs takeovers of one identity for one invoker."""

    def __init__(
        self,
        identity: Identity,
        invoker: str,
        routes: Sequence[Route],
        ports: Ports,
        timeouts: Timeouts | None = None,
        hourly_limit: int = 2,
        plan: FencePlan | None = None,
        promote: Promote = Promote.PRIMARY,
    ) -> None:
        self.identity = identity
        self.invoker = invoker
        self.routes = routes
        self.ports = ports
        self.timeouts = timeouts or Timeouts()
        self.hourly_limit = hourly_limit
        self.plan = plan or FencePlan()
        self.promote = promote

    def execute(self, reason: str, expected_epoch: int, automatic: bool = True, to: str | None = None) -> Run:
        """Take the identity over from its owner of `expected_epoch`.

        Returns the run, DONE or HELD. Raises Refused (nothing was changed), Unavailable (no quorum), LockLost.
        """
        with self._locked() as (run_id, lock, state):
            owner = self._check(state, expected_epoch, automatic)
            if owner.host == self.invoker:
                why = f"{owner.host} owns it and would fence itself; let another relay do it, or hand it over"
                raise Refused(f"{self.identity.name}: {why} (playbooks/failback.yml)")
            run = dataclasses.replace(
                self._new_run(run_id, reason, owner, state),
                # What an earlier run has withdrawn stays withdrawn; behind a planned one no proof stood yet.
                revoke_epoch=owner.epoch
                if state.run and state.run.revoke_epoch == owner.epoch and not state.run.planned
                else 0,
                automatic=automatic,
            )
            # With a proof behind it a revocation is final at its epoch; one without may be taken back by this run.
            final = any(
                r.revoke_epoch == owner.epoch and r.proof is not None
                for r in (*state.history, *([state.run] if state.run else []))
            )
            return Course(self, lock, run, final).from_the_start(owner, state.owner_revision, to)

    def finish(self) -> Run:
        """Go on with a run that has changed the owner and was cut off behind that. Raises as `execute` does."""
        with self._locked() as (_, lock, state):
            if state.run is None or not unfinished(state):
                raise Refused(f"{self.identity.name}: no unfinished run")
            assert state.owner is not None
            # The owner record is right: the record of a run whose `own` got no answer is older than that.
            to, epoch = state.owner.host, state.owner.epoch
            run = dataclasses.replace(
                state.run,
                invoker=self.invoker,
                state=RunState.RUNNING,
                to_host=to,
                epoch=epoch,
                # What failed behind it is tried every round, for days maybe: the record must not grow with each.
                steps=until_own(state.run.steps),
            )
            return Course(self, lock, run).behind_own()

    def give_up(self) -> Run:
        """Bring to rest what a run has left before it changed the owner, and let the owner have its access again.

        Nobody else was ever admitted at the epoch of that owner, and whoever ran it has lost its lock.
        Raises as `execute` does.
        """
        with self._locked() as (_, lock, state):
            if state.run is None or not left_behind(state):
                raise Refused(f"{self.identity.name}: no run to be given up")
            course = Course(self, lock, dataclasses.replace(state.run, invoker=self.invoker))
            now = self.ports.clock.now()
            course.step("given_up", now, "held", "nobody goes on with it", state=RunState.HELD, revoke_epoch=0)
            return course.run

    def _check(self, state: State, expected_epoch: int, automatic: bool) -> Owner:
        name = self.identity.name
        if state.owner is None:
            raise Refused(f"{name}: no owner is recorded; deploy it first (playbooks/site.yml)")
        if state.owner.epoch != expected_epoch:
            raise Refused(f"{name}: epoch is {state.owner.epoch}, not {expected_epoch}: somebody else took it over")
        if automatic:
            since = self.ports.clock.now() - HOUR
            # Whatever came of it afterwards: two hosts that neither start it must not be fenced in turn for ever.
            recent = [r for r in state.history if r.automatic and r.epoch > 0 and r.time >= since]
            if len(recent) >= self.hourly_limit:
                raise Limited(f"{name}: {len(recent)} automatic takeovers within an hour; held for an operator")
        return state.owner

    def _new_run(self, run_id: str, reason: str, owner: Owner, state: State) -> Run:
        """A new run against that owner, not yet recorded; the oldest ones make room for it."""
        counts_since = self.ports.clock.now() - HOUR
        for old in sorted(state.history, key=lambda r: r.time)[:-KEPT_RUNS]:
            # Held runs are many; they must not push out those that the hourly limit counts.
            if old.epoch == 0 or old.time < counts_since:
                self.ports.coordinator.delete(keys.run(old.identity, old.run))
        return Run(
            run=run_id,
            identity=self.identity.name,
            invoker=self.invoker,
            reason=reason,
            state=RunState.RUNNING,
            from_host=owner.host,
            time=self.ports.clock.now(),
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[tuple[str, Lock, State]]:
        """The id of a run, the lock that is held for it, and what stands in the coordinator meanwhile."""
        run_id = self.ports.new_id()
        lock = self._acquire(run_id)
        try:
            yield run_id, lock, read_state(self.ports.coordinator, self.identity.name)
        finally:
            self._release(lock)

    def _acquire(self, run_id: str) -> Lock:
        value = {"run": run_id, "invoker": self.invoker}
        lock = self.ports.coordinator.lock(keys.lock(self.identity.name), value, self.timeouts.lock)
        if lock is None:
            raise Refused(f"{self.identity.name}: another takeover is under way")
        return lock

    def _release(self, lock: Lock) -> None:
        try:
            self.ports.coordinator.unlock(lock)
        except (Unavailable, LockLost) as why:
            self.ports.log("unlock_failed", identity=self.identity.name, error=str(why))  # its lease runs out


class Course(LockedRun):
    """A takeover from its candidate to its end."""

    def __init__(self, takeover: Takeover, lock: Lock, run: Run, revoked_for_good: bool = True) -> None:
        super().__init__(takeover.identity, takeover.ports, takeover.timeouts, lock, run, revoked_for_good)
        self.routes = takeover.routes
        self.plan = takeover.plan
        self.promote = takeover.promote

    def from_the_start(self, owner: Owner, owner_revision: int, to: str | None) -> Run:
        try:
            self._choose(owner, to)
            self._fence(owner, owner_revision)
            self._revoke(owner)
            self._own(owner, owner_revision)
        except (Held, Unavailable) as why:
            return self.hold(why)
        return self.behind_own()

    def behind_own(self) -> Run:
        """The steps after the owner changed: all of them safe to repeat."""
        try:
            self._started()
            route = self._verify()
            self._tell(route)
        except (Held, Unavailable) as why:
            return self.hold(why)
        self.write(state=RunState.DONE)
        self.ports.log(
            "takeover_done", identity=self.identity.name, run=self.run.run, host=self.run.to_host, epoch=self.run.epoch
        )
        return self.run

    # --- before anything is touched -----------------------------------------------------------------------------

    def _choose(self, owner: Owner, to: str | None) -> None:
        start = self.ports.clock.now()
        choice = read_choice(self.ports.coordinator, self.identity, owner, start, to)
        self.step("candidate", start, choice.host or "none", choice.reasons(), to_host=choice.host)
        if choice.host is None:
            raise Held(f"no candidate: {choice.reasons()}")

    # --- the point of no return ---------------------------------------------------------------------------------

    def _fence(self, owner: Owner, owner_revision: int) -> None:
        FenceRun(self, self.plan, self.routes, owner, owner_revision).until_proved()

    def _revoke(self, owner: Owner) -> None:
        if self.identity.kind == stores.KIND:
            self._outlive(owner)
            return
        start = self.ports.clock.now()
        self.write(revoke_epoch=owner.epoch)

        def withdrawn() -> str | None:
            value = self.ports.coordinator.get(keys.access(self.identity.store, self.identity.name)).value
            access = None if value is None else Access.from_json(value)
            # Of this very run: an earlier one's withdrawal may be being taken back at this moment (`give_up`).
            if (
                access is not None
                and access.run == self.run.run
                and access.epoch == owner.epoch
                and access.admitted is None
            ):
                return f"expired {', '.join(access.expired) or 'none'}"
            return None

        within = self.timeouts.revoke + self.timeouts.store
        said = self.wait(withdrawn, within)
        if said is None:
            why = f"store {self.identity.store} did not confirm within {within:.0f} s"
            self.step("revoke", start, "unknown", why)
            raise Held(why)
        self.step("revoke", start, "ok", said)

    def _outlive(self, owner: Owner) -> None:
        """Only a fence withdraws a store from its owner. While its lease is over it has not come back."""
        start = self.ports.clock.now()

        def over() -> bool | None:
            return self.ports.coordinator.get(keys.lease(owner.host)).value is None or None

        if self.wait(over, self.timeouts.revoke) is None:
            why = f"{owner.host} was fenced, but keeps its lease after {self.timeouts.revoke:.0f} s"
            self.step("revoke", start, "unknown", why)
            raise Held(why)
        self.step("revoke", start, "ok", "by the fence; the lease is over")

    def _while_in_sync(self) -> dict[str, int]:
        """Keys that must not change before a store's owner does: the in-sync set, and what tells of the old owner."""
        assert self.run.to_host is not None
        entry = self.ports.coordinator.get(keys.insync(self.identity.name))
        why = stores.outside(stores.parse(entry.value), self.identity.name, self.run.to_host)
        if why is not None:
            raise Held(f"{self.run.to_host} is {why}")
        return {keys.insync(self.identity.name): entry.revision, **self._still_off()}

    def _still_off(self) -> dict[str, int]:
        """The boot that was fenced is the last one that was heard of, and the host has no lease.

        Without a lease alone it might have come back, served, and lost that lease to a cut, while this invoker stood
        still: `host/H/watchdog` keeps the boot that took the last lease.
        """
        host = self.run.from_host
        view = HostView.of(host, self.ports.coordinator.list(keys.host(host)))
        mark = next((m for m in view.marks if (m.identity, m.run) == (self.identity.name, self.run.run)), None)
        if mark is None or mark.boot_id != view.boot_id:
            raise Held(f"{host} has been started since it was fenced")
        return {keys.lease(host): 0, keys.watchdog(host): view.watchdog_revision}

    def _own(self, owner: Owner, owner_revision: int) -> None:
        """The owner changes here, in one transaction on the lock and on the owner record as it was read."""
        assert self.run.to_host is not None and self.run.proof is not None
        now, epoch = self.ports.clock.now(), owner.epoch + 1
        new = Owner(self.run.to_host, epoch, self.run.run, now)
        step = Step("own", now, now, new.host, f"epoch {epoch}")
        key = keys.owner(self.identity.name)
        unchanged = {key: owner_revision}
        if self.identity.kind == stores.KIND:
            unchanged |= self._while_in_sync()
        if not self.write({key: new.to_json()}, unchanged, epoch=epoch, steps=(*self.run.steps, step)):
            raise Held(f"changed meanwhile: one of {', '.join(unchanged)}")
        self.say(step)

    # --- safe to repeat -----------------------------------------------------------------------------------------

    def _started(self) -> None:
        """Store, address and start are the agent's work; its own times of these steps go into the record."""
        assert self.run.to_host is not None
        start, host = self.ports.clock.now(), self.run.to_host
        seen = f"the agent on {host} says nothing of epoch {self.run.epoch}"

        def running() -> Report | None:
            nonlocal seen
            value = self.ports.coordinator.get(keys.report(host, self.identity.name)).value
            report = None if value is None else Report.from_json(value)
            if report is None or report.epoch != self.run.epoch:
                return None
            seen = f"{report.phase} {report.error}".strip()
            return report if report.phase is Phase.RUNNING else None

        within = self.timeouts.start + self.timeouts.store
        report = self.wait(running, within)
        if report is None:
            self.step("started", start, "no", seen)
            raise Held(f"{host} did not start it within {within:.0f} s: {seen}")
        known = {(s.name, s.start) for s in self.run.steps}
        new = tuple(s for s in report.steps if (s.name, s.start) not in known)
        self.run = dataclasses.replace(self.run, steps=(*self.run.steps, *new))
        self.step("started", start, "ok", seen)

    def _verify(self) -> Route:
        """A server whose store is full says 4xx to the end: it is the owner's answer all the same, and an alarm."""
        start = self.ports.clock.now()
        said: list[str] = []
        refusing: list[Route] = []

        def answers() -> Route | None:
            said.clear()
            refusing.clear()
            for route in self.routes:
                self.keep_lock()
                attempt = self.ports.prober.probe(self.identity, route)
                if attempt.result is Result.OK:
                    return route
                said.append(f"{route.name}: {attempt.result} {attempt.detail}")
                if attempt.temporary:
                    refusing.append(route)
            return None

        route = self.wait(answers, self.timeouts.verify)
        if route is not None:
            self.step("verify", start, "ok", f"over {route.name}")
            return route
        if refusing:
            self.step("verify", start, "refused", "; ".join(said))
            return refusing[0]
        self.step("verify", start, "no", "; ".join(said))
        raise Held(f"no answer over any route: {'; '.join(said)}")

    def _tell(self, route: Route) -> None:
        """Name servers and relays. No letter waits for a name server that is silent: it is told again later."""
        silent: Unavailable | None = None
        if self.identity.kind != stores.KIND:
            try:
                self._publish()
            except Unavailable as why:
                silent = why
        if self.identity.has_mailboxes:
            self._flush(route)
        if silent is not None:
            raise silent

    def _publish(self) -> None:
        assert self.run.to_host is not None
        start = self.ports.clock.now()
        try:
            primary = is_primary(self.promote, self.identity, self.run.to_host)
            said = self.ports.names.publish(self.identity, self.run.to_host, self.run.epoch, primary=primary)
        except Unavailable as why:
            self.step("dns", start, "no", str(why))
            raise
        self.step("dns", start, "ok", said)

    def _flush(self, route: Route) -> None:
        start = self.ports.clock.now()
        try:
            self.ports.queue.use_route([self.identity], route)
            self.ports.queue.flush(self.identity)
        except Unavailable as why:
            self.step("flush", start, "no", str(why))
            raise
        self.step("flush", start, "ok", f"over {route.name}")

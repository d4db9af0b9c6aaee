"""A planned change of owner between two living hosts: the owner stops and says so, nobody's power is cut.

    lock ▶ candidate ▶ prepare ▶ release ▶ revoke ▶ own ▶ (store ▶ address ▶ start) ▶ verify ▶ dns ▶ flush ▶ done

Same lock, record and epochs as a takeover; from `own` on it is one (`Takeover.finish` goes on with it). Before `own`
every step can be undone by withdrawing the orders: the owner goes on at its epoch. So what an invoker leaves behind is
undone or finished by whoever holds the lock next, and never guessed.

The proof that takes the place of a fence has two parts, both bound to this run's id and to the owner's epoch: the
agent's word that all is stopped and unmounted, then the store's word that it admits nobody. The store is told only
afterwards, since an owner whose files are taken away can't close them. A store that is handed over itself has no store
below it: there the agent's word (nothing served, nothing mounted, DRBD secondary, its address gone) is the whole proof.
"""

from __future__ import annotations

import dataclasses

from . import keys, stores
from .locked_run import Held, Timeouts
from .model import Access, Identity, Owner, Phase, Proof, Readiness, Report, Run, RunState, Step
from .placement import Choice
from .ports import Coordinator, Unavailable
from .takeover import Course, Refused, State, Takeover, read_choice, read_state

LEVEL = "handover"
# The owner goes on while it is waited for, so a lock left behind may run out sooner than one of a fence.
TIMEOUTS = Timeouts(lock=30, revoke=10.0, start=60.0, poll=0.1)


def interrupted(state: State) -> bool:
    """Did a planned run give orders, or was about to, and end before the owner changed? Only without a living lock."""
    return (
        state.run is not None
        and state.owner is not None
        and state.run.planned
        and state.run.state is RunState.RUNNING
        and state.run.run != state.owner.run
        and state.run.from_host == state.owner.host
    )


def obstacle_in(state: State) -> str | None:
    """Why a hand-over may not begin at all, whoever is to get it."""
    run, owner = state.run, state.owner
    if run is None or owner is None or run.planned or run.run == owner.run or run.from_host != owner.host:
        return None
    if run.revoke_epoch == owner.epoch or (run.state is RunState.RUNNING and run.proof is not None):
        return f"run {run.run} has fenced {owner.host} and named no new owner; end it with playbooks/takeover.yml"
    return None


class Handover(Takeover):
    """Hands one identity over for one invoker."""

    @classmethod
    def beside(cls, takeover: Takeover, timeouts: Timeouts = TIMEOUTS) -> Handover:
        """With all that a takeover was made of, but for the times; what its store needs stays."""
        timeouts = dataclasses.replace(timeouts, store=takeover.timeouts.store)
        return cls(**{**vars(takeover), "timeouts": timeouts})

    def hand_over(self, reason: str, expected_epoch: int, to: str | None = None, automatic: bool = False) -> Run:
        """Let the owner of `expected_epoch` stop and the best candidate, or `to`, go on.

        `automatic`: nobody asked for it, so it counts among those that the hourly limit allows.
        Returns the run, DONE or HELD; held before `own`, the old owner goes on. Raises Refused (nothing was changed),
        Unavailable (no quorum), LockLost; what such a run has ordered is undone by the next holder of the lock.
        """
        with self._locked() as (run_id, lock, state):
            owner = self._check(state, expected_epoch, automatic)
            if (obstacle := obstacle_in(state)) is not None:
                raise Refused(f"{self.identity.name}: {obstacle}")
            choice = read_choice(self.ports.coordinator, self.identity, owner, self.ports.clock.now(), to)
            if choice.host is None:
                raise Refused(f"{self.identity.name}: nobody to hand it over to: {choice.reasons()}")
            run = self._new_run(run_id, reason, owner, state)
            run = dataclasses.replace(run, to_host=choice.host, automatic=automatic, planned=True)
            return _Planned(self, lock, run).through(owner, state.owner_revision, choice)

    def undo(self) -> Run:
        """Withdraw what a planned run has ordered whose invoker is gone. Raises as `hand_over` does."""
        with self._locked() as (_, lock, state):
            if state.run is None or state.owner is None or not interrupted(state):
                raise Refused(f"{self.identity.name}: no planned run to undo")
            run = dataclasses.replace(state.run, invoker=self.invoker)
            why = Held(f"{state.run.invoker} did not go on with it")
            return _Planned(self, lock, run).undo(why, state.owner, state.owner_revision, wait=False)


class _Planned(Course):
    """One planned run under its lock."""

    def through(self, owner: Owner, owner_revision: int, choice: Choice) -> Run:
        try:
            now = self.ports.clock.now()
            self.step("candidate", now, choice.host or "none", choice.reasons())
            self._prepare()
            self._stop(owner, owner_revision)
            is_store = self.identity.kind == stores.KIND
            said = f"{owner.host} stopped at epoch {owner.epoch}" if is_store else self._withdraw(owner)
            # Recorded together with the new owner: before that it is no proof of anything.
            who = "agent" if is_store else "agent and store"
            proof = Proof(LEVEL, who, owner.host, self.ports.clock.now(), said)
            self.run = dataclasses.replace(self.run, proof=proof)
            self._own(owner, owner_revision)
        except (Held, Unavailable) as why:
            # One that could not bring it up is not waited for until it does.
            return self.undo(why, owner, owner_revision, wait=not self.run.automatic)
        return self.behind_own()

    def _prepare(self) -> None:
        """The host that is to get it says anew, after the run has begun, that it is ready. Nobody is disturbed yet.

        Its answer names the run; an agent from before an upgrade names none, but writes every 10 s.
        """
        assert self.run.to_host is not None
        start, host = self.ports.clock.now(), self.run.to_host
        key = keys.ready(host, self.identity.name)
        before = self.ports.coordinator.get(key).revision

        def word() -> Readiness | None:
            entry = self.ports.coordinator.get(key)
            said = None if entry.value is None else Readiness.from_json(entry.value)
            return said if said is not None and (said.run == self.run.run or entry.revision != before) else None

        said = self.wait(word, self.timeouts.release)
        if said is None or not said.ready:
            silent = f"its agent said nothing within {self.timeouts.release:.0f} s"
            why = silent if said is None else ", ".join(said.reasons) or "not ready"
            self.step("prepare", start, "no", f"{host}: {why}")
            raise Held(f"{host} is not ready: {why}")
        self.step("prepare", start, "ok", f"{host} is ready")

    def _stop(self, owner: Owner, owner_revision: int) -> None:
        """The order, and the agent's word that it is carried out: for this run, at this epoch."""
        start, host = self.ports.clock.now(), owner.host
        unchanged = {keys.owner(self.identity.name): owner_revision}
        if not self.write(unchanged=unchanged, release_epoch=owner.epoch):
            raise Held("the owner record changed meanwhile")
        seen = "its agent said nothing"

        def stopped() -> Report | None:
            nonlocal seen
            value = self.ports.coordinator.get(keys.report(host, self.identity.name)).value
            report = None if value is None else Report.from_json(value)
            if report is None or report.epoch != owner.epoch:
                return None
            seen = f"its agent says {report.phase} {report.error}".strip()
            return report if report.phase is Phase.STOPPED and report.run == self.run.run else None

        if self.wait(stopped, self.timeouts.release) is None:
            why = f"{host} did not confirm within {self.timeouts.release:.0f} s that it stopped: {seen}"
            self.step("release", start, "no", why)
            raise Held(why)
        self.step("release", start, "ok", f"{host} stopped at epoch {owner.epoch}")

    def _withdraw(self, owner: Owner) -> str:
        start = self.ports.clock.now()
        self.write(revoke_epoch=owner.epoch)

        def withdrawn() -> Access | None:
            value = self.ports.coordinator.get(keys.access(self.identity.store, self.identity.name)).value
            access = None if value is None else Access.from_json(value)
            # An earlier run's withdrawal may be on its way to be undone.
            mine = access is not None and (access.epoch, access.run) == (owner.epoch, self.run.run)
            return access if mine and access is not None and access.admitted is None else None

        within = self.timeouts.revoke + self.timeouts.store
        access = self.wait(withdrawn, within)
        if access is None:
            why = f"store {self.identity.store} did not confirm within {within:.0f} s"
            self.step("revoke", start, "no", why)
            raise Held(why)
        said = f"{self.identity.store} admits nobody at epoch {owner.epoch}"
        self.step("revoke", start, "ok", said)
        return f"{owner.host} stopped at epoch {owner.epoch}; {said}"

    def _still_off(self) -> dict[str, int]:
        """The old owner lives, so its lease says nothing; its word that it has stopped must still stand."""
        said = keys.report(self.run.from_host, self.identity.name)
        entry = self.ports.coordinator.get(said)
        report = None if entry.value is None else Report.from_json(entry.value)
        if report is None or report.phase is not Phase.STOPPED or report.run != self.run.run:
            raise Held(f"{self.run.from_host} has taken back its word that it stopped")
        return {said: entry.revision}

    # --- the way back -------------------------------------------------------------------------------------------

    def undo(self, why: Exception, owner: Owner, owner_revision: int, wait: bool = True) -> Run:
        """Withdraw the orders; the old owner goes on. Without quorum they stand, for the next holder of the lock.

        `wait`: until the old owner runs, so that the record tells whether it does.
        """
        start, ordered = self.ports.clock.now(), self.run.release_epoch == owner.epoch
        step = Step("undo", start, start, "ok", f"{owner.host} is to go on at epoch {owner.epoch}")
        steps = (*self.run.steps, step)
        unchanged = {keys.owner(self.identity.name): owner_revision}
        if not self.write(unchanged=unchanged, release_epoch=0, revoke_epoch=0, proof=None, steps=steps):
            return self._changed(why)
        self.say(step)
        if ordered and wait:
            self._goes_on(owner)
        return self.hold(why)

    def _changed(self, why: Exception) -> Run:
        """The owner is another one. If the answer to our own `own` was lost, it is ours to go on with."""
        state = read_state(self.ports.coordinator, self.identity.name)
        if state.owner is None or state.run is None or state.owner.run != self.run.run:
            return self.hold(why)
        self.run = state.run
        return self.behind_own()

    def _goes_on(self, owner: Owner) -> None:
        start = self.ports.clock.now()
        seen = "its agent says nothing"

        def running() -> Report | None:
            nonlocal seen
            value = self.ports.coordinator.get(keys.report(owner.host, self.identity.name)).value
            report = None if value is None else Report.from_json(value)
            if report is None or report.epoch != owner.epoch:
                return None
            seen = f"{report.phase} {report.error}".strip()
            return report if report.phase is Phase.RUNNING else None

        report = self.wait(running, self.timeouts.start + self.timeouts.store)
        self.step("goes_on", start, "no" if report is None else "ok", f"{owner.host}: {seen}")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a hand-over would do now. `host`: who would get it, None when it is refused for `why_not`."""

    identity: str
    owner: str
    epoch: int
    host: str | None
    why_not: str = ""

    @property
    def possible(self) -> bool:
        return self.host is not None

    @property
    def changes(self) -> bool:
        return self.host is not None and self.host != self.owner

    def before(self) -> str:
        return f"{self.identity}: {self.owner} at epoch {self.epoch}\n"

    def after(self) -> str:
        return f"{self.identity}: {self.host} at epoch {self.epoch + 1}\n"

    def __str__(self) -> str:
        if self.host is None:
            return f"{self.identity}: refused: {self.why_not}"
        if not self.changes:
            return f"{self.identity}: {self.owner} owns it already, at epoch {self.epoch}"
        return f"{self.identity}: {self.owner} stops it at epoch {self.epoch}, {self.host} owns it at {self.epoch + 1}"


def read_plan(coordinator: Coordinator, identity: Identity, now: float, to: str | None = None) -> Plan:
    """Raises Unavailable, and Refused for an identity without an owner."""
    state = read_state(coordinator, identity.name)
    if state.owner is None:
        raise Refused(f"{identity.name}: no owner is recorded; deploy it first (playbooks/site.yml)")
    owner = state.owner
    if to == owner.host:
        return Plan(identity.name, owner.host, owner.epoch, owner.host)
    choice = read_choice(coordinator, identity, owner, now, to)
    obstacle = obstacle_in(state)
    if obstacle is None and state.locked_by is not None:
        obstacle = f"a run of {state.locked_by} is under way"
    host = choice.host if obstacle is None else None
    return Plan(identity.name, owner.host, owner.epoch, host, obstacle or choice.reasons())

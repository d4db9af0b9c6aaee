"""Carries a fence plan out for a run: the levels in their order, until one is proved (core/fencing.py says by what).

The level is ordered in the coordinator before anything is done, so that others know who fences whom, and marked
afterwards: proved, or open for the operator.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import fencing, keys, stores
from .fencing import FencePlan, HostView, Level, LevelName, Mark, MarkState, NotProved, Withdrawal
from .locked_run import Held, LockedRun
from .model import Access, Json, Owner, Proof, Report, Route
from .ports import Power, Unavailable


class FenceRun:
    """Fences the host of `owner`, as that record was read at `owner_revision`, for the run `locked`."""

    def __init__(
        self, locked: LockedRun, plan: FencePlan, routes: Sequence[Route], owner: Owner, owner_revision: int
    ) -> None:
        self.locked = locked
        self.identity = locked.identity
        self.ports = locked.ports
        self.plan = plan
        self.routes = routes
        self.owner = owner
        self.owner_revision = owner_revision
        self.boot_id = ""  # of the boot of the owner's host that is to be fenced

    def until_proved(self) -> None:
        """The plan's levels in order until one is proved. An answer that is not certain proves nothing."""
        host, tried = self.owner.host, []
        levels = self.plan.levels(host)
        for level in levels:
            start = self.ports.clock.now()
            if self.identity.kind == stores.KIND and level.level not in stores.FENCED_BY:
                # Not even ordered: a run that dies here must not leave an order that nobody may carry out.
                tried.append(f"{level.level}: {stores.ONLY_FENCED_BY}")
                self.locked.step("fence", start, "unknown", tried[-1])
                continue
            self._order(level)
            try:
                proof = self._prove(level)
            except NotProved as why:
                tried.append(f"{level.level}: {why}")
                self.locked.step("fence", start, "unknown", tried[-1])
                continue
            result = "off" if level.level is LevelName.POWER else "proved"
            mark = self._mark(level, MarkState.PROVED)
            self.locked.step("fence", start, result, proof.detail, mark, proof=proof)
            return
        detail = "; ".join(tried) or f"its fence plan has no levels; give {host} one"
        self.locked.write(self._mark(levels[-1] if levels else None, MarkState.OPEN))
        raise Held(f"fence of {host} not confirmed: {detail}")

    def _prove(self, level: Level) -> Proof:
        """Carry one level out. Raises NotProved with the reason, and Held, LockLost or Unavailable as everywhere."""
        host, now = self.owner.host, self.ports.clock.now
        match level.level:
            case LevelName.POWER:
                method, words = self._power_off(level)
            case LevelName.STORE_REVOCATION:
                method, words = self._shut_out(level)
            case LevelName.WATCHDOG:
                method, words = self._outwait(level, host)
            case LevelName.OPERATOR:
                word = fencing.check_word(self._view(host), self.identity.name, self.owner)
                method, words = word.by, f"{word.by} confirmed at {word.time:.0f} that {host} is off: {word.reason}"
        return Proof(level.level, method, host, now(), words)

    def _power_off(self, level: Level) -> tuple[str, str]:
        host = self.owner.host
        tried: list[str] = []
        for switch in self.ports.switches.get(host, ()):
            if level.device not in (None, switch.method):
                continue
            if tried:
                # The one before may have taken its time.
                self._order(level)
            try:
                words = switch.off(host)
                self.locked.refresh()
                status = switch.status(host)
            except Unavailable as why:
                tried.append(f"{switch.method}: {why}")
                continue
            if status is Power.OFF:
                return switch.method, f"{words}; asked again: {status}"
            tried.append(f"{switch.method}: says {status} after off")
        device = "no fence device" if level.device is None else f"{level.device} is no fence device that"
        raise NotProved("; ".join(tried) or f"{device} knows {host}")

    def _shut_out(self, level: Level) -> tuple[str, str]:
        """Store and address both taken from the owner. The store is not touched where the address can't be proved."""
        host = self.owner.host
        if level.address_withdrawal is None:
            raise NotProved("the plan names no address_withdrawal, and a host without files could still answer")
        if level.address_withdrawal is Withdrawal.AGENT and self._view(host).lease is None:
            raise NotProved(f"{host} has no live lease, so its agent can confirm nothing")
        if level.address_withdrawal is Withdrawal.ROUTES:
            self._routes_withdrawn()
        self.locked.write(revoke_epoch=self.owner.epoch)
        said = [f"{self.identity.store} said nothing"]

        def done() -> tuple[str, str] | None:
            value = self.ports.coordinator.get(keys.access(self.identity.store, self.identity.name)).value
            try:
                words = fencing.revoked_words(
                    None if value is None else Access.from_json(value), self.owner, self.locked.run.run
                )
                if level.address_withdrawal is Withdrawal.ROUTES:
                    address = self._routes_withdrawn()
                else:
                    value = self.ports.coordinator.get(keys.report(host, self.identity.name)).value
                    report = None if value is None else Report.from_json(value)
                    address = fencing.stopped_words(self._view(host), report, self.owner)
            except NotProved as why:
                said[:] = [str(why)]
                return None
            return self.identity.store, f"{words}; {address}"

        found = self.locked.wait(done, level.timeout)
        if found is None:
            raise NotProved(f"{said[0]}, for {level.timeout:.0f} s")
        return found

    def _routes_withdrawn(self) -> str:
        if self.ports.addresses is None:
            raise NotProved("this invoker has no view of the routes")
        try:
            return self.ports.addresses.withdrawn(self.identity, self.routes)
        except Unavailable as why:
            raise NotProved(str(why)) from why

    def _outwait(self, level: Level, host: str) -> tuple[str, str]:
        """The lease is over: so long after it the watchdog has reset a host that did not stop by itself."""
        first = self._view(host)
        since = self.ports.clock.boottime()
        dog = fencing.check_watchdog(first, host)
        needed = dog.timeout + level.margin
        if needed > level.timeout:
            raise NotProved(f"the watchdog of {host} needs {needed:.0f} s, the plan gives {level.timeout:.0f} s")

        def over() -> HostView | None:
            # Asked before the clock is read: what is seen must be at least as old as the time that is counted.
            passed = self.ports.clock.boottime() - since >= needed
            view = self._view(host)
            fencing.check_watchdog(view, host)
            if view.watchdog_revision != first.watchdog_revision:
                raise NotProved(f"{host} has taken a lease meanwhile")
            return view if passed else None

        if self.locked.wait(over, needed + self.locked.timeouts.lock) is None:
            raise NotProved(f"{host}: time did not pass")
        return dog.kind, f"{host} lost its lease {needed:.0f} s ago, its {dog.kind} watchdog takes {dog.timeout:.0f} s"

    def _view(self, host: str) -> HostView:
        return HostView.of(host, self.ports.coordinator.list(keys.host(host)))

    def _order(self, level: Level) -> None:
        """Right before acting: the order, with run and epoch, in a transaction on our lock and on the owner judged.

        Given again if this host stood still meanwhile: the answer may be older than the lock's life.
        """
        while True:
            begin = self.ports.clock.boottime()
            self.locked.refresh()
            order = self._mark(level, MarkState.ORDERED)
            if not self.locked.write(order, {keys.owner(self.identity.name): self.owner_revision}):
                raise Held("the owner record changed meanwhile")
            if self.ports.clock.boottime() - begin < self.locked.timeouts.lock / 2:
                return

    def _mark(self, level: Level | None, state: MarkState) -> dict[str, Json]:
        if state is MarkState.ORDERED or not self.boot_id:
            self.boot_id = self._view(self.owner.host).boot_id
        name = "" if level is None else str(level.level)
        now = self.ports.clock.now()
        mark = Mark(self.locked.run.run, self.identity.name, self.owner.epoch, name, state, self.boot_id, now)
        return {keys.fence(self.owner.host, self.identity.name): mark.to_json()}

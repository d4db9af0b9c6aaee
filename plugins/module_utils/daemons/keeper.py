"""What keeps one identity, or one store, on this host: one piece of work at a time, and a word about its outcome.

What to do is decided in core/ownership.py, how it is done stands in instance.py and store_instance.py. The steps run in
a thread of their own, so that one of them can wait for a dead store while the agent keeps its lease.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from ..core.model import Identity, Owner, Phase, Report, Run, Step
from ..core.ownership import Action
from ..core.ports import Clock, Log, Unavailable
from .running import Cancel, Cancelled, Found, NotConfirmed

LOOK_EVERY = 10.0  # seconds between looks at the units of a running identity
BLIND = 60.0  # seconds of looks that fail, one after the other, before the report says so
STEP = 5.0  # seconds by which a wall clock is set back at once; NTP corrects less without a step
BACK_OFF = (2.0, 60.0)  # seconds before something failed is tried again: the first time, and at most


class Located(Protocol):
    """Where an identity or a store is on this host (instance.Place, store_instance.StorePlace)."""

    @property
    def identity(self) -> Identity: ...


class Works(Protocol):
    """The machinery of an identity (instance.Instance) or of a store (store_instance.StoreInstance) on this host."""

    @property
    def place(self) -> Located: ...

    def steps(self, epoch: int, cancel: Cancel) -> Sequence[tuple[str, Callable[[], str]]]: ...

    def mark(self, epoch: int) -> None: ...

    def down(self) -> None: ...

    def release(self) -> None: ...

    def lost(self) -> str | None: ...

    def dead(self) -> str | None: ...

    def lacks(self) -> str | None: ...

    def address_missing(self) -> bool: ...

    def announce(self, epoch: int) -> None: ...

    def reload(self) -> None: ...

    def found(self) -> Found: ...


Spawn = Callable[[Callable[[], None]], None]


def in_a_thread(work: Callable[[], None]) -> None:
    # A daemon thread: the end of the agent waits for nobody, what is half done is taken up by the next one.
    threading.Thread(target=work, daemon=True).start()


def then_awake(wake: threading.Event) -> Spawn:
    """In a thread; its outcome is told at once, not with the next tick: a planned run waits for it."""

    def spawn(work: Callable[[], None]) -> None:
        def whole() -> None:
            try:
                work()
            finally:
                wake.set()

        in_a_thread(whole)

    return spawn


class Keeper:
    """One identity on this host: at most one piece of work at a time, and a word about its outcome."""

    def __init__(self, host: str, works: Works, clock: Clock, log: Log, spawn: Spawn = in_a_thread) -> None:
        self.host = host
        self.name = works.place.identity.name
        self.epoch: int | None = None  # at which it runs, or is being started or stopped, here
        self.report: Report | None = None
        self.lacks = ""  # what does not run of it, though it serves, or why that is not known
        self._works = works
        self._clock = clock
        self._log = log
        self._spawn = spawn
        self._busy: Action | None = None
        self._cancel = threading.Event()
        self._traces: tuple[str, ...] = ()
        self._stop_due = False
        self._failures = 0
        self._not_before = 0.0
        self._order = ""  # the last one that was obeyed, or tried to be
        self._next_look = 0.0
        self._blind_since: float | None = None  # BOOTTIME of the first of the looks that fail
        self._address_missing = False
        self._ahead = 0.0  # of CLOCK_BOOTTIME the wall clock, seconds, at the last look
        self._set_back()
        self._reload_due = False

    @property
    def idle(self) -> bool:
        """Nothing of this identity is here."""
        return self.epoch is None and not self._traces

    def find(self) -> None:
        """Take over what an agent before this one has left. Raises Unavailable."""
        found = self._works.found()
        self.epoch, self._traces = found.epoch, found.traces
        if found.epoch is not None:
            self._log("adopted", identity=self.name, epoch=found.epoch)
        elif found.traces:
            self._log("traces", identity=self.name, traces=found.traces, level="warning")

    def act(self, action: Action, owner: Owner | None, sure: bool, run: Run | None = None) -> None:
        """`sure`: the coordinator has just been read. Returns at once."""
        if self._busy is not None:
            if self._busy is Action.START and action in (Action.STOP, Action.RELEASE):
                self._cancel.set()
            if self._busy is not Action.STOP and action is Action.STOP:
                # A standstill is told once only: neither a look nor the last step of a start must swallow it.
                self._stop_due = True
            return
        if self._stop_due:
            action = Action.STOP
        if action is Action.RELEASE and run is not None and self._released(run):
            return
        # Starts that failed put off the next one, not an order to hand it over.
        ordered = action is Action.RELEASE and run is not None and run.run != self._order
        if self._clock.boottime() < self._not_before and not ordered:
            return
        if action is Action.START and owner is not None:
            self._up(owner.epoch, "owner")
        elif action is Action.RELEASE and run is not None:
            self._order = run.run
            self._log("release", identity=self.name, epoch=run.release_epoch, run=run.run, to=run.to_host)
            self._work(Action.STOP, lambda: self._stop(order=run))
        elif action is Action.STOP or (action is Action.WAIT and sure and self._traces):
            self._work(Action.STOP, self._stop)
        elif action is Action.KEEP and self.epoch is not None:  # a stop may have ended since that was decided
            self._look(self.epoch)

    def _released(self, run: Run) -> bool:
        """Is that very order carried out? What an earlier run was told says nothing about this one."""
        return self.report is not None and (self.report.phase, self.report.run) == (Phase.STOPPED, run.run)

    def _work(self, action: Action, work: Callable[[], None]) -> None:
        self._busy = action
        self._cancel.clear()

        def whole() -> None:
            try:
                work()
                if self._stop_due:
                    # At once: the next decision may be as far away as a coordinator takes that does not answer.
                    self._stop()
            finally:
                self._busy = None

        self._spawn(whole)

    def _up(self, epoch: int, why: str) -> None:
        self._log("start", identity=self.name, epoch=epoch, why=why)
        report = Report(self.host, epoch, Phase.STARTING, self._clock.now())
        self.epoch, self.report, self.lacks = epoch, report, ""
        self._set_back()  # what begins now goes by the clock as it is
        self._reload_due = False
        self._work(Action.START, lambda: self._start(report))

    def _start(self, report: Report, mended: Report | None = None) -> None:
        """`mended`: the report so far of what runs here at this epoch already."""
        begin, epoch = self._clock.boottime(), report.epoch
        name, start = "", self._clock.now()
        try:
            for name, act in self._works.steps(epoch, self._cancel.is_set):
                start = self._clock.now()
                if self._cancel.is_set():
                    raise Cancelled
                said = act()
                step = Step(name, start, self._clock.now(), "ok", said)
                self._log(
                    "step", identity=self.name, epoch=epoch, step=name, seconds=_round(step), result="ok", detail=said
                )
                report = dataclasses.replace(report, steps=(*report.steps, step), time=self._clock.now())
                self.report = report
            self._works.mark(epoch)
        except Cancelled:
            self._log("start_cancelled", identity=self.name, epoch=epoch, step=name)
            self._stop()
            return
        except (Unavailable, OSError) as why:
            if mended is not None and isinstance(why, NotConfirmed):
                # It would be down for as long as the coordinator is away. What runs goes on; the next look mends it.
                self._log("mending_put_off", identity=self.name, epoch=epoch, detail=str(why), level="warning")
                self.report = mended
                return
            step = Step(name, start, self._clock.now(), "failed", str(why))
            self._log("start_failed", identity=self.name, epoch=epoch, step=name, detail=str(why), level="error")
            self._stop(dataclasses.replace(report, steps=(*report.steps, step), error=f"{name}: {why}"))
            return
        self._failures = 0
        self._next_look = self._clock.boottime() + LOOK_EVERY
        self.report = dataclasses.replace(report, phase=Phase.RUNNING, time=self._clock.now())
        seconds = round(self._clock.boottime() - begin, 3)
        self._log("running", identity=self.name, epoch=epoch, seconds=seconds)

    def _stop(self, failed: Report | None = None, order: Run | None = None) -> None:
        """Everything off. `failed`: what to report if this cleans up behind a start that failed.

        `order`: the planned run that asked for it; only when all is down does the report name it.
        """
        self._busy, self._stop_due = Action.STOP, False
        epoch = self.epoch or 0 if order is None else order.release_epoch
        self._log("stop", identity=self.name, epoch=epoch)
        try:
            if order is None:
                self._works.down()
            else:
                self._works.release()
        except (Unavailable, OSError) as why:
            self._log("stop_failed", identity=self.name, epoch=epoch, detail=str(why), level="error")
            self._put_off()
            report = failed or Report(self.host, epoch, Phase.FAILED, self._clock.now())
            error = f"{report.error}; stop: {why}" if report.error else f"stop: {why}"
            now = self._clock.now()
            self.report = dataclasses.replace(report, phase=Phase.FAILED, error=error, time=now, stuck=True)
            return
        self.epoch, self._traces, self.lacks, self._blind_since = None, (), "", None
        if failed is not None:
            self._put_off()
            self.report = dataclasses.replace(failed, phase=Phase.FAILED, time=self._clock.now())
        else:
            self._failures = 0
            told = "" if order is None else order.run
            self.report = Report(self.host, epoch, Phase.STOPPED, self._clock.now(), run=told)
            self._log("stopped", identity=self.name, epoch=epoch, run=told or None)

    def _put_off(self) -> None:
        first, most = BACK_OFF
        self._not_before = self._clock.boottime() + min(most, first * 2**self._failures)
        self._failures = min(self._failures + 1, 10)

    def _look(self, epoch: int) -> None:
        """Does it still run? As its owner this host mends it."""
        if (back := self._set_back()) > STEP:
            self._log("clock_set_back", identity=self.name, seconds=round(back, 1), level="alert")
            self._reload_due, self._next_look = True, self._clock.boottime()
        if (gone := self._works.lost()) is not None:
            # What runs may still hold the old mount: all of it goes down, and the next decision brings it up again.
            self._log("lost", identity=self.name, epoch=epoch, why=gone, level="alert")
            self._work(Action.STOP, self._stop)
        elif self._clock.boottime() >= self._next_look:
            self._next_look = self._clock.boottime() + LOOK_EVERY
            self._work(Action.KEEP, lambda: self._look_closely(epoch))

    def _set_back(self) -> float:
        """Seconds by which the wall clock went back since the last look."""
        before, self._ahead = self._ahead, self._clock.now() - self._clock.boottime()
        return before - self._ahead

    def _look_closely(self, epoch: int) -> None:
        """In the background, since it starts a program."""
        missing = self._works.address_missing()
        if missing != self._address_missing:
            self._address_missing = missing
            self._log("address", identity=self.name, there=not missing, level="alert" if missing else "info")
        lacks, failed, dead = self.lacks, "", None
        try:
            self._works.announce(epoch)
        except Unavailable as why:
            # What runs serves all the same, and what is dead has to be started all the more.
            self._log("announce_failed", identity=self.name, epoch=epoch, detail=str(why), level="warning")
            failed = f"routers do not learn its epoch: {why}"
        try:
            dead = self._works.dead()
            if dead is None and self._reload_due:
                self._works.reload()
                self._reload_due = False
                self._log("reloaded", identity=self.name, epoch=epoch)
            if dead is None:
                lacks = self._works.lacks() or ""
        except Unavailable as why:
            self._log("look_failed", identity=self.name, detail=str(why), level="warning")
            failed = f"whether all of it runs is not known: {why}"
        if dead is None:
            self._tell_lacks(failed if self._blind(failed) else lacks, epoch)
        elif not self._stop_due:
            self._log("start", identity=self.name, epoch=epoch, why=dead)
            self._busy = Action.START
            mended = self.report or Report(self.host, epoch, Phase.RUNNING, self._clock.now())
            self.report = Report(self.host, epoch, Phase.STARTING, self._clock.now())
            self._start(self.report, mended)

    def _blind(self, failed: str) -> bool:
        """Have looks failed for so long that somebody has to know? Nobody else sees it: the host keeps its lease."""
        now = self._clock.boottime()
        if not failed:
            self._blind_since = None
        elif self._blind_since is None:
            self._blind_since = now
        return self._blind_since is not None and now - self._blind_since >= BLIND

    def _tell_lacks(self, lacks: str, epoch: int) -> None:
        """No reason to stop or to move: it serves."""
        if lacks != self.lacks:
            self.lacks = lacks
            level = "alert" if lacks else "info"
            self._log("lacks", identity=self.name, epoch=epoch, detail=lacks or "nothing", level=level)


def _round(step: Step) -> float:
    return round((step.end or step.start) - step.start, 3)

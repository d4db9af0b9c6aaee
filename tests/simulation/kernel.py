"""Virtual time and simulated processes.

A process is a greenlet: product code runs in it as it is written, and every call of a port may let time pass
(`Kernel.sleep`). Nothing else runs meanwhile, so all that happens is a function of the seed.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

import greenlet

Act = Callable[[], None]


class Killed(BaseException):
    """Ends a process like SIGKILL: no code of the product catches it, and whatever `finally` does has no effect."""


class Group:
    """What lives, stands still and dies together: one incarnation of a daemon with its threads."""

    __slots__ = ("dead", "halted", "members", "name", "stalled")

    def __init__(self, name: str) -> None:
        self.name = name
        self.halted = False
        self.dead = False
        self.members: list[Process] = []
        self.stalled: list[tuple[Process, int]] = []


class Process:
    """One thread of control."""

    __slots__ = ("body", "context", "dead", "group", "kernel", "let", "name", "started", "token")

    def __init__(self, kernel: Kernel, group: Group, name: str, body: Act) -> None:
        self.kernel = kernel
        self.group = group
        self.name = name
        self.body = body
        self.token = 0
        self.dead = False
        self.started = False
        self.context: Any = None
        self.let = greenlet.greenlet(self._main, kernel.hub)

    def _main(self) -> None:
        try:
            self.body()
        except Killed:
            pass
        except Exception as why:  # noqa: BLE001 - a daemon that ends by an exception is a finding, whatever it is
            if not self.dead:
                self.kernel.on_failure(self, why)
        finally:
            self.dead = True


class Kernel:
    """The event queue. `now`: true seconds since the beginning, which no host knows."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.hub = greenlet.getcurrent()
        self.current: Process | None = None
        self.stopped = False
        self.on_failure: Callable[[Process, Exception], None] = lambda process, why: None
        self._queue: list[tuple[float, int, Process | None, Any]] = []
        self._serial = 0
        self._groups: list[Group] = []

    # --- what is to come ---------------------------------------------------------------------------------------

    def at(self, time: float, act: Act) -> None:
        """Do `act` at that time, outside of all processes."""
        self._serial += 1
        heapq.heappush(self._queue, (time, self._serial, None, act))

    def after(self, seconds: float, act: Act) -> None:
        self.at(self.now + seconds, act)

    def run(self, until: float) -> None:
        """Let everything happen up to that time, or until `stopped`."""
        queue, pop = self._queue, heapq.heappop
        while queue and not self.stopped:
            if queue[0][0] > until:
                break
            time, _, process, what = pop(queue)
            self.now = time
            if process is None:
                what()
            elif not process.dead and process.token == what:
                if process.group.halted:
                    process.group.stalled.append((process, what))
                else:
                    process.started = True
                    self.current = process
                    process.let.switch()
                    self.current = None
        if not self.stopped:
            self.now = max(self.now, until)

    # --- processes ---------------------------------------------------------------------------------------------

    def group(self, name: str) -> Group:
        made = Group(name)
        self._groups.append(made)
        return made

    def spawn(self, group: Group, name: str, body: Act) -> Process:
        made = Process(self, group, name, body)
        group.members = [p for p in group.members if not p.dead]
        group.members.append(made)
        self._wake(made, self.now)
        return made

    def _wake(self, process: Process, time: float) -> None:
        process.token += 1
        self._serial += 1
        heapq.heappush(self._queue, (time, self._serial, process, process.token))

    def alive(self) -> None:
        """Every port begins with it: what a killed process still calls has no effect."""
        process = self.current
        if process is not None and process.dead:
            raise Killed

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass for the process that runs; longer, if it is halted meanwhile."""
        process = self.current
        assert process is not None, "only a process can sleep"
        if process.dead:
            raise Killed
        self._wake(process, self.now + seconds)
        self.hub.switch()
        if process.dead:
            raise Killed

    def halt(self, group: Group) -> None:
        group.halted = True

    def go_on(self, group: Group) -> None:
        """What should have happened meanwhile happens now."""
        group.halted = False
        stalled, group.stalled = group.stalled, []
        for process, token in stalled:
            if not process.dead and process.token == token:
                self._serial += 1
                heapq.heappush(self._queue, (self.now, self._serial, process, token))

    def kill(self, group: Group) -> None:
        """From outside of the group."""
        group.dead = True
        before = self.current
        for process in group.members:
            if process.dead or process is before:
                continue
            process.dead = True
            if process.started:
                self.current = process
                process.let.parent = greenlet.getcurrent()
                process.let.throw(Killed)
        self.current = before
        group.members = []

    def close(self) -> None:
        """End all processes, so that nothing of them is left in memory."""
        self.stopped = True
        for group in self._groups:
            self.kill(group)
        self._queue.clear()

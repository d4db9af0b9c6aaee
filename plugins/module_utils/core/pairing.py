"""What a host does about a store or a relay that it may own itself: watch the owner while that is another host.

What a host says about itself is no evidence, and nobody fences himself. As the owner it only ends its own runs.
"""

from __future__ import annotations

from .ports import LockLost, Unavailable
from .takeover import Refused, read_state, unfinished
from .watching import CALM, Watch, next_look


class Pairing:
    """Call `tick` about once a second. `watch.settings.relay` is this host."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._host = watch.settings.relay
        self._name = watch.identity.name
        self._owner: str | None = None
        self._next_look = 0.0
        self._said = ""

    def tick(self) -> None:
        clock = self._watch.clock
        if clock.boottime() >= self._next_look:
            self._next_look = next_look(clock.boottime(), CALM)
            try:
                self._look()
                self._tell("")
            except (Unavailable, LockLost, Refused) as why:
                self._tell(str(why))
        # Without the coordinator the last known owner counts; nothing is asked for without it anyway.
        if self._owner is not None and self._owner != self._host:
            self._watch.tick()

    def _look(self) -> None:
        state = read_state(self._watch.coordinator, self._name)
        self._owner = None if state.owner is None else state.owner.host
        if self._owner != self._host:
            return
        # A run that made this host the owner may have lost its invoker, which was this host too.
        takeover = self._watch.takeover
        if takeover is not None and state.locked_by is None and unfinished(state):
            run = takeover.finish()
            self._watch.log("takeover_ended", identity=run.identity, run=run.run, state=run.state, host=run.to_host)

    def _tell(self, why: str) -> None:
        if why and why != self._said:
            self._watch.log("not_judged", identity=self._name, detail=why)
        self._said = why

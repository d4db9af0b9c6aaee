"""The invariants of a pair, judged by effect at every change, in true time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.core import keys
from holdfast.core.model import Result

from .drbd import CONSISTENT, UP
from .judge import HOUR, SLACK
from .stage import Bench

if TYPE_CHECKING:
    from .pair_world import PairWorld

STALE = 60.0  # seconds that pass at most between a look at the evidence and what is done about it


class PairJudge(Bench):
    """The first violation ends the run."""

    def __init__(self, world: PairWorld) -> None:
        super().__init__(world)
        self.world = world
        self.down_since: dict[str, float | None] = {}  # by watcher: its first probe that failed since the last good one
        self.passed: dict[str, float] = {}  # by watcher: when its outage was last beyond the threshold
        self.needed: set[int] = set()  # epochs whose end was needed
        self.lease_gone: dict[str, float] = {}
        self.missing = set(world.sides)
        self.changes: list[float] = []
        self.set_changed = 0.0

    # --- roles and disks ---------------------------------------------------------------------------------------

    def look(self) -> None:
        """After every change."""
        world = self.world
        members = world.pair.members
        for rule, hosts in (
            ("one_primary", [m.host.name for m in members if m.primary]),
            ("one_mount", [n for n, side in world.sides.items() if side.mounted]),
            ("one_answer", [n for n, side in world.sides.items() if side.answers]),
        ):
            if len(hosts) > 1:
                self.violate(rule, f"{' and '.join(hosts)} at once")
        for member in members:
            name, side = member.host.name, world.sides[member.host.name]
            whole = member.disk in (UP, CONSISTENT)
            lost = world.acknowledged - member.data
            # What is not copied yet is read from the peer.
            unread = lost if whole else world.acknowledged - member.peer.data if member.reaches() else set()
            if member.primary and side.mounted and unread:
                self.violate("acknowledged", f"{name} serves without {len(unread)} acknowledged writes")
            if name in world.insync and whole and lost:
                self.violate("in_sync", f"{name} is in the set and lacks {len(lost)} acknowledged writes")

    def promoted(self, host: str) -> None:
        if host not in self.world.insync:
            self.violate("member_only", f"{host} is promoted outside the in-sync set {self.world.insync}")
        if host != self.world.owner[0]:
            self.violate("owner_only", f"{host} is promoted, but {self.world.owner[0]} owns the store")

    # --- the coordinator's state -------------------------------------------------------------------------------

    def wrote(self, key: str, value: dict[str, Any] | None) -> None:
        parts = key.split("/")
        if parts[4] == "lease":
            # The last moment at which it was missing.
            if value is None or parts[3] in self.missing:
                self.lease_gone[parts[3]] = self.kernel.now
            (self.missing.add if value is None else self.missing.discard)(parts[3])
        elif parts[4] == "insync":
            if value is None:
                self.violate("in_sync", "the in-sync set was deleted")
            else:
                self.world.insync, self.set_changed = tuple(value["members"]), self.kernel.now
        elif parts[4] == "owner":
            self._owner_written(value)

    def _owner_written(self, value: dict[str, Any] | None) -> None:
        world = self.world
        if value is None:
            self.violate("epoch", "the owner record was deleted")
            return
        before, after = world.owner, (str(value["host"]), int(value["epoch"]))
        world.owner = after
        if not before[0]:
            return  # it is being deployed
        if after[1] != before[1] + 1:
            self.violate("epoch", f"epoch {before[1]} was followed by {after[1]}")
        if after[0] not in world.insync:
            self.violate("member_only", f"{after[0]} was made the owner outside the in-sync set {world.insync}")
        if after[0] == before[0]:
            self.violate("need", f"the store was taken from {before[0]} and given back to it")
        old = world.hosts[before[0]]
        if world.pair.of(old).primary:
            self.violate("fenced_first", f"the owner changed while {old.name} was primary")
        if world.sides[old.name].answers:
            self.violate("fenced_first", f"the owner changed while {old.name} answered")
        run = world.cluster.state.records.get(keys.takeover(world.identity.name))
        if run is None or not run.read()["planned"]:
            self._automatic(after[0], before[1])
        self.down_since.clear()
        self.passed.clear()

    def _automatic(self, invoker: str, epoch: int) -> None:
        world = self.world
        self._need(invoker, epoch)
        recent = [t for t in self.changes if self.kernel.now - t < HOUR]
        self.changes = [*recent, self.kernel.now]
        if len(recent) >= world.topology.hourly_limit and not world.clocks_stepped:
            self.violate("hourly_limit", f"the owner changed {len(recent) + 1} times within an hour")

    # --- probes and fences -------------------------------------------------------------------------------------

    def probed(self, watcher: str, result: Result) -> None:
        """By the truth of that moment: nothing of a probe is lost here but by a cut."""
        if result is Result.OK:
            self.down_since[watcher] = None
        elif self.down_since.get(watcher) is None:
            self.down_since[watcher] = self.kernel.now
        self._beyond(watcher)

    def _beyond(self, watcher: str) -> None:
        since = self.down_since.get(watcher)
        if since is not None and self.kernel.now - since >= self.world.topology.threshold - SLACK:
            self.passed[watcher] = self.kernel.now

    def _need(self, invoker: str, epoch: int) -> None:
        """Was the owner silent beyond the threshold, and its lease lost?"""
        if epoch in self.needed:
            return
        self._beyond(invoker)
        if self.kernel.now - self.passed.get(invoker, -1e9) > STALE:
            since = self.down_since.get(invoker)
            down = "is not silent" if since is None else f"is silent for {self.kernel.now - since:.1f} s"
            self.violate("need", f"{invoker} moves the store, but to it the owner {down}")
            return
        owner, lately = self.world.owner[0], self.kernel.now - STALE
        if self.world.owner[1] == epoch and owner not in self.missing and self.lease_gone.get(owner, -1e9) < lately:
            self.violate("second_evidence", f"{invoker} alone moves the store; {owner} keeps its lease")
            return
        self.needed.add(epoch)

    def fence_ordered(self, invoker: str, identity: str, host: str) -> None:
        world = self.world
        world.tell(invoker, "fence_ordered", host=host, identity=identity)
        owner, epoch = world.owner
        if owner != host:
            self.violate("fence_owner", f"{invoker} fences {host}, but the store belongs to {owner} by now")
            return
        run = world.cluster.state.records.get(keys.takeover(identity))
        to = None if run is None else run.read()["to"]
        if to is None or to == host:
            self.violate("candidate_first", f"{invoker} fences {host} before a candidate was chosen")
            return
        if to not in world.insync and self.kernel.now - self.set_changed > STALE:
            self.violate("candidate_first", f"{invoker} fences {host}, but {to} is not in the in-sync set")
            return
        self._need(invoker, epoch)

"""The invariants, judged by effect: what hosts, stores and switches really do, in true time, whatever records say.

The judge keeps its own count of every relay's attempts, by the truth: a round is down only if no route led to the
identity. No takeover may come before that count has reached the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from holdfast.core import keys
from holdfast.core.fencing import LevelName, MarkState
from holdfast.core.model import Method, Result
from holdfast.core.ownership import FORSAKEN

from .stage import Bench

if TYPE_CHECKING:
    from .kernel import Group
    from .world import World

SLACK = 1.0  # seconds: attempts are dated at their beginning
STALE = 120.0  # seconds that pass at most between a look at the coordinator and what is done about it
HOUR = 3600.0


@dataclass
class Round:
    """One round of a relay's attempts: when, what came of it, and could the identity truly not be reached at all."""

    serial: int
    start: float
    result: Result
    truly: bool
    spoke: bool


@dataclass
class Tally:
    """What one relay has truly seen of one identity under its present owner."""

    rounds: list[Round] = field(default_factory=list)
    passed_last: float = -1e9


class Judge(Bench):
    """Called where something changes. The first violation ends the run."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.world = world
        self.tallies: dict[tuple[str, str], Tally] = {}
        self.needed: set[tuple[str, int]] = set()  # identity and epoch whose end was needed
        self.changes: dict[str, list[float]] = {}
        self.lease_gone: dict[str, float] = {}  # when the lease of a host was last missing
        self.missing: set[str] = set()
        self.flagged: set[tuple[str, int]] = set()  # an operator said "treat as inoperable"
        self.woken: dict[tuple[str, str], tuple[float, Group]] = {}  # host, identity -> since when, its agent
        self.shut_out: dict[str, int] = {}  # identity -> the epoch whose access a run withdraws
        self.silent: dict[str, float] = {}  # identity -> when its address was last seen to be withdrawn, and was
        self.owned_until: dict[tuple[str, str], float] = {}  # host and identity -> end of its last ownership

    # --- who can write, who answers ----------------------------------------------------------------------------

    def look(self, identity: str) -> None:
        """I2, after every change of exports, mounts, addresses or units."""
        world = self.world
        admitted = world.admitted(identity)
        if len(admitted) > 1:
            self.violate("one_writer", f"the store admits {' and '.join(admitted)} to {identity}")
        answering = world.answering(identity)
        if len(answering) > 1:
            answering = [host for host in answering if not self._gives_up(host, identity)]
        if len(answering) > 1:
            self.violate("one_answer", f"{' and '.join(answering)} answer on the address of {identity}")
        owner = world.owner(identity)
        if owner is not None and admitted and admitted != [owner[0]]:
            self.violate("owner_only", f"the store admits {admitted[0]} to {identity}, the owner is {owner[0]}")

    def _gives_up(self, host: str, identity: str) -> bool:
        """Is it on its way to giving up by itself? A host that its store and silent gateways have proved to be out
        of it needs its time for that, and its agent: it has no files, and may have its gateways back meanwhile.
        """
        world = self.world
        owner, until = world.owners[identity][0], self.owned_until.get((host, identity))
        if until is None or host == owner or host not in world.by_routes or host in world.admitted(identity):
            return False
        agent = world.hosts[host].daemons["agent"]
        if agent.group is None or agent.group.halted:
            return True
        return self.kernel.now - max(until, agent.since) <= FORSAKEN * world.topology.lease_ttl + STALE

    # --- the coordinator's state -------------------------------------------------------------------------------

    def wrote(self, key: str, value: dict[str, Any] | None) -> None:
        """After every change of a key."""
        parts = key.split("/")
        if parts[2] == "host" and parts[4] == "lease":
            # The last moment at which it was missing.
            if value is None:
                self.missing.add(parts[3])
                self.lease_gone[parts[3]] = self.kernel.now
            elif parts[3] in self.missing or parts[3] not in self.lease_gone:
                self.missing.discard(parts[3])
                self.lease_gone[parts[3]] = self.kernel.now
        elif parts[2] == "identity" and parts[4] == "owner":
            self._owner_written(parts[3], value)
        elif parts[2] == "identity" and parts[4] == "inoperable" and value is not None:
            self.flagged.add((parts[3], int(value["epoch"])))
        elif parts[2] == "identity" and parts[4] == "takeover" and value is not None:
            self._run_written(parts[3], value)
        elif parts[2] == "host" and parts[4] == "fence" and value is not None:
            self._marked(parts[3], parts[5], value)

    def _run_written(self, identity: str, run: dict[str, Any]) -> None:
        """Who is shut out by the store is fenced no less than by a switch."""
        before, owner = self.shut_out.get(identity, 0), self.world.owners[identity]
        self.shut_out[identity] = epoch = run["revoke_epoch"]
        process = self.kernel.current
        ordered = epoch != before and epoch == owner[1] and not run["planned"] and run["proof"] is None
        if ordered and process is not None:
            self.fence_ordered(process.group.name.split("/")[0], identity, owner[0])

    def _marked(self, host: str, identity: str, mark: dict[str, Any]) -> None:
        """A proof is true when it is recorded; what a switch says is judged when the owner changes."""
        if mark["state"] != MarkState.PROVED or mark["level"] == LevelName.POWER:
            return
        if host in self.answering(identity):
            self.violate("fenced_first", f"{mark['level']} proved that {host} is out of {identity}, and it answers")
        runs = self.world.hosts[host].services[identity].units
        if mark["level"] in (LevelName.WATCHDOG, LevelName.OPERATOR) and runs:
            self.violate(
                "fenced_first", f"{mark['level']} proved that {host} can no longer act, and it runs {identity}"
            )
        if mark["level"] == LevelName.STORE_REVOCATION and host in self.world.admitted(identity):
            self.violate("fenced_first", f"{host} was proved to be shut out of {identity}, and the store admits it")

    def answering(self, identity: str) -> list[str]:
        """Whom a gateway led to when it was asked last may have its route back: a later epoch takes it away."""
        found = self.world.answering(identity)
        if found and self.kernel.now - self.silent.get(identity, -1e9) <= STALE:
            found = [name for name in found if name not in self.world.by_routes]
        return found

    def _owner_written(self, identity: str, value: dict[str, Any] | None) -> None:
        world = self.world
        before = world.owners.get(identity)
        if value is None:
            self.violate("epoch", f"the owner record of {identity} was deleted")
            return
        host, epoch = str(value["host"]), int(value["epoch"])
        world.owners[identity] = (host, epoch)
        if before is None:
            return
        if epoch != before[1] + 1:
            self.violate("epoch", f"{identity}: epoch {before[1]} was followed by {epoch}")
        self.owned_until[before[0], identity] = self.kernel.now
        if host not in world.identities[identity].candidates:
            self.violate("candidate", f"{host} is no candidate of {identity}")
        if host == before[0]:
            self.violate("need", f"{identity} was taken from {host} and given back to it")
        admitted, answering = world.admitted(identity), self.answering(identity)
        if admitted:
            self.violate("revoked_first", f"{identity} got a new owner while the store admitted {admitted[0]}")
        if answering:
            self.violate("fenced_first", f"{identity} got a new owner while {answering[0]} answered on its address")
        run = world.cluster.state.records[keys.takeover(identity)].read()
        if run["planned"]:
            self._handed_over(identity, before[0])
            if run["automatic"]:
                self._gave_up(identity, before[0])
        else:
            self._taken_over(identity, before)
        for (_, name), tally in self.tallies.items():
            if name == identity:
                tally.rounds.clear()
                tally.passed_last = -1e9

    def _taken_over(self, identity: str, before: tuple[str, int]) -> None:
        process = self.kernel.current
        if process is not None:
            self._need(process.group.name.split("/")[0], identity, *before)
        self._count(identity)

    def _count(self, identity: str) -> None:
        """One more change that nobody asked for."""
        recent = [t for t in self.changes.get(identity, []) if self.kernel.now - t < HOUR]
        self.changes[identity] = [*recent, self.kernel.now]
        if len(recent) >= self.world.hourly_limit and not self.world.clocks_stepped:
            self.violate("hourly_limit", f"{identity} changed its owner {len(recent) + 1} times within an hour")

    def _handed_over(self, identity: str, before: str) -> None:
        host = self.world.hosts[before]
        if host.up and (host.services[identity].mounted or host.services[identity].units):
            self.violate("closed_first", f"{identity} got a new owner while {before} had files of it open")

    def _gave_up(self, identity: str, before: str) -> None:
        """Nobody asked for it: was there an outage beyond the threshold, and an owner that said that it cannot?"""
        process = self.kernel.current
        relay = "" if process is None else process.group.name.split("/")[0]
        tally = self.tallies.get((relay, identity))
        short = "no round was made" if tally is None else self._short_of(tally, not self.world.hosts[before].up)
        if short is not None:
            self.violate("need", f"{relay} lets {before} hand {identity} over: {short}")
        self._count(identity)

    def withdrawn(self, identity: str, host: str) -> None:
        """By a store. An owner that gives its identity up has closed its files before, or it could not any more: what
        it has acknowledged and not yet delivered would hang on who reads a torn file.
        """
        world = self.world
        record = world.cluster.state.records.get(keys.takeover(identity))
        run = None if record is None else record.read()
        if run is None or not run["planned"] or world.owners[identity] != (host, run["revoke_epoch"]):
            return
        if world.hosts[host].acts and world.hosts[host].services[identity].mounted:
            self.violate("closed_first", f"the store took {identity} from {host}, which had files of it open")

    # --- attempts ----------------------------------------------------------------------------------------------

    def attempted(self, relay: str, identity: str, method: Method, result: Result) -> None:
        world = self.world
        down = not world.reachable(relay, identity)
        if not down and result is Result.DOWN and world.network.loss:
            down = world.lossy(relay, identity)
        tally = self.tallies.setdefault((relay, identity), Tally())
        spoke = method is not Method.TOPOLOGY
        rounds = tally.rounds
        if self._short_of(tally) is None:
            # A threshold of seconds is passed between two rounds, and a relay says so then.
            tally.passed_last = self.kernel.now
        process = self.kernel.current
        assert process is not None
        serial = process.context[1]
        if rounds and rounds[-1].serial == serial:
            if spoke or not rounds[-1].spoke:
                rounds[-1].result, rounds[-1].truly, rounds[-1].spoke = result, down, spoke
        else:
            # The rounds before are whole by now.
            last = [r.result for r in rounds if r.result is not Result.REFUSED][-world.reset_after :]
            if len(last) == world.reset_after and all(r is Result.OK for r in last):
                del rounds[: -world.reset_after]
            rounds.append(Round(serial, self.kernel.now, result, down, spoke))
        if self._short_of(tally) is None:
            tally.passed_last = self.kernel.now

    def _short_of(self, tally: Tally, off: bool = False) -> str | None:
        """Why the threshold is not passed. By results, as the relay saw them, and at least every other one of them in
        truth: a relay cannot know whether it is the route or the server that fails. `off`: its host has no power by now
        (another identity's takeover has cut it), which is truth enough.
        """
        downs = [r for r in tally.rounds if r.result is Result.DOWN]
        if not downs or tally.rounds[-1].result is not Result.DOWN:
            return "its last round was not down"
        truly = len(downs) if off else sum(r.truly for r in downs)
        attempts, seconds = self.world.threshold.attempts, self.world.threshold.seconds
        if attempts is not None and len(downs) >= attempts and 2 * truly >= attempts:
            return None
        needed = 0.0 if seconds is None else seconds / self.world.interval
        if seconds is not None and self.kernel.now - downs[0].start >= seconds - SLACK and 2 * truly >= needed:
            return None
        return f"down in {len(downs)} rounds, for {self.kernel.now - downs[0].start:.0f} s, truly in {truly}"

    # --- fencing and owning ------------------------------------------------------------------------------------

    def _need(self, relay: str, identity: str, owner: str, epoch: int) -> None:
        """Was there an outage beyond the threshold, seen from two places?"""
        if (identity, epoch) in self.needed or (identity, epoch) in self.flagged:
            return
        tally = self.tallies.get((relay, identity))
        off = not self.world.hosts[owner].up
        short = "no round was made" if tally is None else self._short_of(tally, off)
        now, record = self.kernel.now, self.world.cluster.state.records.get(keys.lease(owner))
        lost = record is None or now - self.lease_gone.get(owner, -1e9) <= STALE
        # Rounds are dated at their beginning; a threshold of seconds may be passed in the course of a slow one.
        agree = [
            other
            for (other, name), t in self.tallies.items()
            if name == identity and other != relay
            if now - t.passed_last <= 2 * self.world.interval + STALE or self._short_of(t) is None
        ]
        if short is not None:
            if not lost or self.world.topology.asking.isdisjoint(agree):
                self.violate("need", f"{relay} moves {identity}: {short}")
                return
            # Another relay asked for it, which may have been cut off itself.
            last = None if tally is None or not tally.rounds else tally.rounds[-1]
            if last is not None and last.spoke and last.result is Result.OK and now - last.start <= self.world.interval:
                self.violate("need", f"{relay} was asked to move {identity}, which it has just reached itself")
                return
        if not lost and not agree:
            self.violate("second_evidence", f"{relay} alone moves {identity}; {owner} keeps its lease")
            return
        self.needed.add((identity, epoch))

    def fence_ordered(self, relay: str, identity: str, host: str) -> None:
        world = self.world
        world.tell(relay, "fence_ordered", host=host, identity=identity)
        owner = world.owners[identity]
        if owner[0] != host:
            self.violate("fence_owner", f"{relay} fences {host}, but {identity} belongs to {owner[0]} by now")
            return
        run = world.cluster.state.records.get(keys.takeover(identity))
        to = None if run is None else run.read()["to"]
        if to is None or to == host:
            self.violate("candidate_first", f"{relay} fences {host} before a candidate for {identity} was chosen")
            return
        lease = world.cluster.state.records.get(keys.lease(to))
        if lease is None and self.kernel.now - self.lease_gone.get(to, -1e9) > STALE:
            self.violate("candidate_first", f"{relay} fences {host}, but {to} has had no lease for long")
        if to in world.drained and self.kernel.now - world.drained[to] > STALE:
            self.violate("candidate_first", f"{relay} fences {host}, but {to} is drained")
        self._need(relay, identity, *owner)

    # --- hosts -------------------------------------------------------------------------------------------------

    def starting(self, host: str, identity: str) -> None:
        owner = self.world.owners[identity]
        late = self.kernel.now - self.owned_until.get((host, identity), -1e9)
        if owner[0] != host and late > STALE and host not in self.world.stood_still:
            self.violate("asks_first", f"{host} starts {identity}, which belongs to {owner[0]}")

    def stopping(self, host: str, identity: str) -> None:
        self.woken.pop((host, identity), None)

    def goes_on(self, host: str, identity: str, agent: Group) -> None:
        """A host stood still for longer than its lease: what runs there must be stopped before anything else."""
        self.woken[host, identity] = (self.kernel.now, agent)

    def check_woken(self, within: float) -> None:
        for (name, identity), (since, agent) in list(self.woken.items()):
            if agent.dead or agent.halted:
                del self.woken[name, identity]  # another story
            elif self.kernel.now - since > within:
                self.violate("stops_first", f"{name} stood still for longer than its lease and goes on with {identity}")
                return

    def failed(self, who: str, why: Exception) -> None:
        self.violate("no_crash", f"{who} ended by {type(why).__name__}: {why}")

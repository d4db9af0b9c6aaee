"""Planted faults: each takes one safety rule out of the product's own code, and something must notice.

    python -m tests.simulation.mutants          # plant each, and print what caught it

A fault is planted by rewriting the source of a function at run time. A text that is not there (any more) is an error,
so that no mutant quietly becomes none.
"""

from __future__ import annotations
import __future__

import contextlib
import importlib
import inspect
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

from .pair_scenario import PairScenario
from .scenario import Scenario

ROOT = Path(__file__).resolve().parent.parent.parent
SEEDS = range(1, 301)
TAKEOVER, LOCKED_RUN, FENCE_RUN = "holdfast.core.takeover", "holdfast.core.locked_run", "holdfast.core.fence_run"
WATCHING, THRESHOLD = "holdfast.core.watching", "holdfast.core.threshold"
OWNERSHIP, ACCESS, PLACEMENT = "holdfast.core.ownership", "holdfast.core.access", "holdfast.core.placement"
WITHDRAW = """\
        for client in sorted(there - admitted):
            self._exports.withdraw(path, client)
"""
AGENT, STORE = "holdfast.daemons.agent", "holdfast.daemons.store"
STORES, MEMBER, FENCE_PEER = "holdfast.core.stores", "holdfast.daemons.store_instance", "holdfast.daemons.fence_peer"


@dataclass(frozen=True)
class Mutant:
    """`function` of `module` with every `old` text turned into `new`. `rule` is what it takes away.

    `test`: the unit test that catches it; without one the simulation must, within SEEDS, the `hint` first.
    """

    name: str
    rule: str
    module: str
    function: str
    changes: tuple[tuple[str, str], ...]
    test: str = ""
    hint: int | None = None
    pair: bool = False  # played by a store of two members (pair_scenario.py)


MUTANTS = (
    Mutant(
        "no_fence",
        "the old owner is fenced before anybody else owns",
        FENCE_RUN,
        "FenceRun.until_proved",
        (
            (
                "        levels = self.plan.levels(host)\n",
                '        self.locked.write(proof=Proof("none", "none", "", 0.0))\n        return\n',
            ),
        ),
    ),
    Mutant(
        "unknown_is_off",
        "a fence whose result is unknown proves nothing",
        FENCE_RUN,
        "FenceRun._power_off",
        (
            (
                '                tried.append(f"{switch.method}: {why}")\n                continue\n',
                "                return switch.method, str(why)\n",
            ),
        ),
        hint=19,
    ),
    Mutant(
        "fence_before_candidate",
        "nothing is fenced before a candidate was chosen",
        TAKEOVER,
        "Course.from_the_start",
        (
            (
                "            self._choose(owner, to)\n            self._fence(owner, owner_revision)\n",
                "            self._fence(owner, owner_revision)\n            self._choose(owner, to)\n",
            ),
        ),
    ),
    Mutant(
        "candidate_unchecked",
        "a candidate has a lease and says that it is ready",
        PLACEMENT,
        "choose",
        (
            ("elif host not in alive:", "elif False:"),
            ("elif word is None:", "elif False:"),
            ("elif not word.ready", "elif False"),
        ),
        hint=452,
    ),
    Mutant(
        "not_ordered_on_the_lock",
        "right before the fence, an order in a transaction on the lock and on the owner that was judged",
        FENCE_RUN,
        "FenceRun.until_proved",
        (("self._order(level)", "pass"),),
        test="tests/unit/core/test_takeover.py",
    ),
    Mutant(
        "revoke_skipped",
        "the store's access is withdrawn before anybody else owns",
        TAKEOVER,
        "Course._revoke",
        (("self.write(revoke_epoch=owner.epoch)", "return"),),
    ),
    Mutant(
        "old_word_of_the_store",
        "a store's word counts only for this run and the present epoch (invoker)",
        TAKEOVER,
        "Course._revoke",
        (("and access.run == self.run.run", ""), ("and access.epoch == owner.epoch", "")),
        test="tests/unit/core/test_takeover.py",
    ),
    Mutant(
        "store_withdraws_nothing",
        "the store says withdrawn only when it is",
        STORE,
        "Store._settle",
        (("self._exports.withdraw(path, client)", "pass"),),
    ),
    Mutant(
        "store_ignores_the_order",
        "the store withdraws at the epoch that is to end",
        ACCESS,
        "decide",
        (("admit = None if revoked else owner.host", "admit = owner.host"),),
    ),
    Mutant(
        "store_grants_before_it_withdraws",
        "the store withdraws before it grants",
        STORE,
        "Store._settle",
        ((WITHDRAW, ""), ("        record = Access(", f"{WITHDRAW}        record = Access(")),
        test="tests/unit/daemons/test_store.py",
    ),
    Mutant(
        "agent_ignores_the_epoch",
        "a host starts only what the store admits at the present epoch",
        OWNERSHIP,
        "decide",
        (("admitted = access is not None and access.epoch == owner.epoch and", "admitted = access is not None and"),),
        test="tests/unit/core/test_decisions.py",
    ),
    Mutant(
        "old_order_is_carried_out",
        "an invoker acts only on the epoch that it judged",
        TAKEOVER,
        "Takeover._check",
        (("if state.owner.epoch != expected_epoch:", "if False:"),),
        test="tests/unit/core/test_takeover.py",
    ),
    Mutant(
        "lock_not_checked",
        "every write of a run is a transaction on its lock",
        LOCKED_RUN,
        "LockedRun.write",
        (
            (
                "not self.ports.coordinator.write(self.lock, everything, unchanged or {})",
                "not all(self.ports.coordinator.put(k, v) is None for k, v in everything.items())",
            ),
        ),
        hint=157,
    ),
    Mutant(
        "lock_not_kept",
        "a run keeps its lock alive while it waits",
        LOCKED_RUN,
        "LockedRun.wait",
        (("self.timeouts.lock / 4", "1e9"),),
        test="tests/unit/core/test_takeover.py",
    ),
    Mutant(
        "one_relay_suffices",
        "evidence from a second place",
        WATCHING,
        "Watch._second",
        (("        return None", '        return "nobody else"'),),
    ),
    Mutant(
        "lost_lease_outweighs_a_relay_that_reaches_the_owner",
        "a lost lease proves nothing against a relay that has just reached the owner",
        WATCHING,
        "Watch._reached",
        (('value["verdict"] == Result.OK and', "False and"),),
        test="tests/unit/core/test_two_monitors.py",
    ),
    Mutant(
        "old_evidence_of_others",
        "evidence of another relay is fresh",
        WATCHING,
        "Watch._evidence_of_others",
        (("fresh = ", "fresh = True or "),),
        test="tests/unit/core/test_watching.py",
    ),
    Mutant(
        "threshold_off_by_one",
        "a threshold is a threshold",
        THRESHOLD,
        "passed",
        (("evidence.downs >= threshold.attempts", "evidence.downs + 1 >= threshold.attempts"),),
    ),
    Mutant(
        "refused_is_down",
        "only `down` counts, a server that refuses lives",
        THRESHOLD,
        "verdict",
        (("            return result", "            return Result.DOWN if result is Result.REFUSED else result"),),
        hint=150,
    ),
    Mutant(
        "dead_route_is_an_outage",
        "one dead route is no outage",
        THRESHOLD,
        "observe",
        (("if any(said is not Result.DOWN and route not in failing for", "if goods >= reset_after and any(True for"),),
        test="tests/unit/core/test_threshold.py",
    ),
    Mutant(
        "delivery_speaks_of_the_route_that_was_asked_for",
        "a delivery that took another route is a word about that one",
        THRESHOLD,
        "_by_route",
        (
            ("for route in dict.fromkeys(a.route for a in spoke)", "for route in [attempts[0].route]"),
            ("[a for a in spoke if a.route == route]", "spoke"),
        ),
        test="tests/unit/core/test_threshold.py",
    ),
    Mutant(
        "other_route_not_asked",
        "not down while the last word over another route is good",
        THRESHOLD,
        "passed",
        (("if any(", "if False and any("),),
        test="tests/unit/core/test_threshold.py",
    ),
    Mutant(
        "wall_clock",
        "times are compared by CLOCK_BOOTTIME",
        WATCHING,
        "Watch._passed",
        (
            (
                "self._down_since[0] + now - self._down_since[1])",
                "self.clock.now())",
            ),
        ),
        test="tests/unit/core/test_watching.py",
    ),
    Mutant(
        "evidence_of_the_last_owner",
        "attempts against one owner do not count against the next",
        WATCHING,
        "Watch._known",
        (("if self.evidence.epoch != epoch:", "if False:"),),
    ),
    Mutant(
        "hourly_limit_gone",
        "at most two automatic takeovers an hour",
        TAKEOVER,
        "Takeover._check",
        (("if len(recent) >= self.hourly_limit:", "if False:"),),
    ),
    Mutant(
        "no_stop_after_a_standstill",
        "a host that stood still stops first and asks afterwards",
        OWNERSHIP,
        "decide",
        (("if running and gap > lease_ttl:", "if False:"),),
    ),
    Mutant(
        "lease_margin_gone",
        "a gap longer than the lease is a standstill",
        AGENT,
        "Agent.tick",
        (("gap, self._longest = self._longest, 0.0", "gap, self._longest = self._longest - 3600.0, 0.0"),),
    ),
    Mutant(
        "starts_without_asking",
        "a host starts only what it owns",
        OWNERSHIP,
        "decide",
        (("return Action.STOP if running else Action.WAIT", "return Action.STOP if running else Action.START"),),
    ),
    Mutant(
        "fenced_owner_starts_again",
        "a fenced owner does not start while its access is about to be withdrawn",
        OWNERSHIP,
        "decide",
        (("if not running and run is not None and run.revoke_epoch == owner.epoch:", "if False:"),),
        test="tests/unit/core/test_handover.py",
    ),
    Mutant(
        "cut_off_runs_are_left",
        "what a dead invoker left behind the change of owner is finished",
        TAKEOVER,
        "unfinished",
        (("state.run is not None", "False"),),
    ),
    Mutant(
        "anybody_may_be_promoted",
        "only a member of the in-sync set owns a store",
        STORES,
        "outside",
        (("    if host not in insync.members:\n", "    if False:\n"),),
        pair=True,
    ),
    Mutant(
        "set_asked_after_the_fence_only",
        "a store's owner is fenced only for a member of the set",
        STORES,
        "only_members",
        (("is not None:", "is not None and False:"),),
        pair=True,
    ),
    Mutant(
        "own_in_spite_of_a_new_lease",
        "a fenced owner that is back before the owner changes keeps its store",
        TAKEOVER,
        "Course._still_off",
        (
            ("if mark is None or mark.boot_id != view.boot_id:", "if False:"),
            ("{keys.lease(host): 0, keys.watchdog(host): view.watchdog_revision}", "{}"),
        ),
        hint=33,
        pair=True,
    ),
    Mutant(
        "lease_that_came_and_went",
        "a fenced owner that came back, served and lost its lease again is fenced again",
        TAKEOVER,
        "Course._still_off",
        (
            ("if mark is None or mark.boot_id != view.boot_id:", "if False:"),
            (", keys.watchdog(host): view.watchdog_revision", ""),
        ),
        hint=93,
        pair=True,
    ),
    Mutant(
        "alone_without_the_set",
        "I/O goes on without the partner only when that is out of the set",
        FENCE_PEER,
        "take_out",
        (("if records.replace(keys.insync(store), new.to_json(), judged.unchanged):", "if True:"),),
        pair=True,
    ),
    Mutant(
        "alone_without_a_write",
        "a partner that is out already is taken out again, which ends a `rejoined` decided before",
        FENCE_PEER,
        "take_out",
        (("if records.replace(", "if new.members == judged.insync.members or records.replace("),),
        hint=90,
        pair=True,
    ),
    Mutant(
        "rejoined_before_the_copy",
        "a member joins the set only with both disks the same",
        MEMBER,
        "StoreInstance._review",
        (("elif not state.mirrored:", "elif False:"),),
        pair=True,
    ),
    Mutant(
        "rejoined_on_an_old_look",
        "a member joins only if the set is as it was before DRBD was looked at",
        MEMBER,
        "StoreInstance._review",
        (("judged.unchanged)", "{})"),),
        hint=90,
        pair=True,
    ),
)


class NotFound(Exception):
    """A mutant's text is not in the code: the code has changed, write the mutant anew."""


def _find(mutant: Mutant) -> tuple[Any, str, FunctionType]:
    owner: Any = importlib.import_module(mutant.module)
    *path, name = mutant.function.split(".")
    for part in path:
        owner = getattr(owner, part)
    function = getattr(owner, name)
    assert isinstance(function, FunctionType), mutant.function
    return owner, name, function


def rewrite(mutant: Mutant) -> FunctionType:
    """The function with the fault in it. Raises NotFound."""
    _, name, function = _find(mutant)
    source = inspect.getsource(function)
    for old, new in mutant.changes:
        if old not in source:
            raise NotFound(f"{mutant.name}: {mutant.module}:{mutant.function} holds no {old.strip()!r}")
        source = source.replace(old, new)
    if source.startswith(" "):
        source = f"if True:\n{source}"  # a method keeps its indentation
    found: dict[str, Any] = {}
    code = compile(source, f"<mutant {mutant.name}>", "exec", __future__.annotations.compiler_flag)
    exec(code, importlib.import_module(mutant.module).__dict__, found)  # noqa: S102 - that is what a mutant is
    made = found[name]
    assert isinstance(made, FunctionType)
    return made


@contextlib.contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """The fault is in the code, also where the function has been imported by name."""
    owner, name, function = _find(mutant)
    fault = rewrite(mutant)
    places: list[tuple[Any, str]] = [(owner, name)]
    for module in [m for key, m in sys.modules.items() if key.startswith("holdfast.") and m is not owner]:
        places += [(module, key) for key, value in vars(module).items() if value is function]
    for place, key in places:
        setattr(place, key, fault)
    try:
        yield
    finally:
        for place, key in places:
            setattr(place, key, function)


@dataclass(frozen=True)
class Caught:
    """By what, and after how many seeds or in how many seconds."""

    by: str
    seed: str | None  # as `python -m tests.simulation --seeds` takes it
    seconds: float


def catch(mutant: Mutant) -> Caught | None:
    """Plant it and see. None: nothing noticed."""
    start = time.monotonic()
    if mutant.test:
        by = _by_test(mutant)
        return None if by is None else Caught(by, None, time.monotonic() - start)
    play = PairScenario if mutant.pair else Scenario
    hint = [] if mutant.hint is None else [mutant.hint]
    with planted(mutant):
        for seed in (*hint, *(s for s in SEEDS if s not in hint)):
            violation = play(seed).run().violation
            if violation is not None:
                name = f"p{seed}" if mutant.pair else str(seed)
                return Caught(f"simulation, {violation.partition(':')[0]}", name, time.monotonic() - start)
    return None


def _by_test(mutant: Mutant) -> str | None:
    """The first unit test of the file that fails with the fault in the code."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "tests.simulation.plant",
        mutant.test,
    ]
    env = {**os.environ, "HOLDFAST_MUTANT": mutant.name}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    if done.returncode == 1 and failed:
        return failed[0].removeprefix("tests/unit/")
    if done.returncode != 0:
        raise RuntimeError(
            f"{mutant.name}: pytest ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}"
        )
    return None


def main() -> int:
    missed = 0
    print("| planted fault | takes away | caught by | seed |\n|---|---|---|---|")
    for mutant in MUTANTS:
        caught = catch(mutant)
        missed += caught is None
        by = "**nothing**" if caught is None else caught.by
        seed = "" if caught is None or caught.seed is None else caught.seed
        print(f"| `{mutant.name}` | {mutant.rule} | {by} | {seed} |", flush=True)
    print(f"{len(MUTANTS) - missed} caught, {missed} missed", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

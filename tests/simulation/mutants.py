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

from .mutant import Mutant
from .mutants_pairs import PAIR_MUTANTS
from .mutants_plans import PLAN_MUTANTS
from .mutants_stores import STORE_MUTANTS
from .pair_scenario import PairScenario
from .scenario import Scenario

ROOT = Path(__file__).resolve().parent.parent.parent
SEEDS = range(1, 301)
TAKEOVER, LOCKED_RUN, FENCE_RUN = "holdfast.core.takeover", "holdfast.core.locked_run", "holdfast.core.fence_run"
WATCHING, THRESHOLD = "holdfast.core.watching", "holdfast.core.threshold"
FENCING = "holdfast.core.fencing"
OWNERSHIP, ACCESS, PLACEMENT = "holdfast.core.ownership", "holdfast.core.access", "holdfast.core.placement"
WITHDRAW = """\
        for client in sorted(there - admitted):
            self._exports.withdraw(path, client)
"""
AGENT, STORE = "holdfast.daemons.agent", "holdfast.daemons.store"

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
        hint=49,
    ),
    Mutant(
        "missed_deploy_is_no_matter",
        "a host that missed a deploy which the owner has had is no candidate",
        PLACEMENT,
        "outdated",
        (("if others is None or", "if True or"),),
        test="tests/unit/daemons/test_missed_deploy.py::test_a_deploy_of_the_owner_is_noticed",
    ),
    Mutant(
        "starting_owner_is_blamed_as_it_serves",
        "an owner that has just started is tried before it is blamed",
        WATCHING,
        "Watch._second",
        (("min(self._observed, self._others[relay][1]) <= self._started", "False"),),
        test="tests/unit/core/test_watching.py::test_an_owner_that_has_just_started_is_tried_before_it_is_blamed",
    ),
    Mutant(
        "owner_that_missed_a_deploy_leaves_no_candidate",
        "a host with a later configuration than the owner's is a candidate",
        PLACEMENT,
        "outdated",
        ((" or its.since >= others.since", ""),),
        test="tests/unit/daemons/test_missed_deploy.py::"
        "test_an_owner_that_has_missed_it_itself_keeps_nobody_from_taking_over",
    ),
    Mutant(
        "not_ordered_on_the_lock",
        "right before the fence, an order in a transaction on the lock and on the owner that was judged",
        FENCE_RUN,
        "FenceRun.until_proved",
        (("self._order(level)", "pass"),),
        test="tests/unit/core/test_takeover.py::test_an_invoker_that_slept_through_its_lock_fences_nobody",
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
        test="tests/unit/core/test_takeover.py::test_an_old_word_of_the_store_is_no_revocation",
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
        test="tests/unit/daemons/test_store.py::TestTakeover::test_withdrawn_then_expired_then_told",
    ),
    Mutant(
        "agent_ignores_the_epoch",
        "a host starts only what the store admits at the present epoch",
        OWNERSHIP,
        "decide",
        (("admitted = access is not None and access.epoch == owner.epoch and", "admitted = access is not None and"),),
        test="tests/unit/core/test_decisions.py::test_what_an_agent_does",
    ),
    Mutant(
        "island_goes_on",
        "an owner that hears neither its coordinator nor its store gives up",
        OWNERSHIP,
        "decide",
        (("forsaken > FORSAKEN * lease_ttl", "False"),),
        hint=1795968272443,
    ),
    Mutant(
        "old_order_is_carried_out",
        "an invoker acts only on the epoch that it judged",
        TAKEOVER,
        "Takeover._check",
        (("if state.owner.epoch != expected_epoch:", "if False:"),),
        test="tests/unit/core/test_takeover.py::test_a_wrong_epoch_is_refused",
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
        "LockedRun.keep_lock",
        (("self.timeouts.lock / 4", "1e9"),),
        test="tests/unit/core/test_takeover.py::test_a_run_keeps_its_lock_while_it_waits",
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
        test="tests/unit/core/test_two_monitors.py::test_a_lost_lease_proves_nothing_while_the_other_relay_reaches_the_owner",
    ),
    Mutant(
        "old_evidence_behind_an_outage_of_all_lines",
        "an owner is tried once more when the coordinator is back",
        WATCHING,
        "Watch._passed",
        (("self._observed < self._apart + APART", "False"),),
        hint=1796300000040,
    ),
    Mutant(
        "old_evidence_of_others",
        "evidence of another relay is fresh",
        WATCHING,
        "Watch._evidence_of_others",
        (("fresh = ", "fresh = True or "),),
        test="tests/unit/core/test_watching.py::test_old_evidence_of_a_relay_whose_clock_is_ahead_is_no_second_evidence",
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
        hint=282,
    ),
    Mutant(
        "dead_route_is_an_outage",
        "one dead route is no outage",
        THRESHOLD,
        "observe",
        (("if any(said is not Result.DOWN and route not in failing for", "if goods >= reset_after and any(True for"),),
        test="tests/unit/core/test_threshold.py::test_one_dead_route_adds_up_to_nothing",
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
        test="tests/unit/core/test_threshold.py::test_a_delivery_that_took_another_route_speaks_of_that_one",
    ),
    Mutant(
        "other_route_not_asked",
        "not down while the last word over another route is good",
        THRESHOLD,
        "passed",
        (("if any(", "if False and any("),),
        test="tests/unit/core/test_threshold.py::test_not_passed_while_the_last_word_over_another_route_is_good",
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
        test="tests/unit/core/test_watching.py::test_a_stepped_wall_clock_is_no_outage",
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
        test="tests/unit/core/test_handover.py::test_never_two_and_in_the_end_one",
    ),
    Mutant(
        "cut_off_runs_are_left",
        "what a dead invoker left behind the change of owner is finished",
        TAKEOVER,
        "unfinished",
        (("state.run is not None", "False"),),
    ),
    Mutant(
        "softdog_is_a_proof",
        "a watchdog that dies with the kernel proves nothing",
        FENCING,
        "check_watchdog",
        (("if dog.kind == SOFTDOG:", "if False:"),),
        test="tests/unit/core/test_fencing.py::test_no_watchdog_that_counts",
    ),
    Mutant(
        "old_request_is_granted",
        "a relay's request holds for two rounds",
        WATCHING,
        "Watch._asked",
        (("if entry.value is None or now - self._asking[1] > fresh:", "if entry.value is None:"),),
        test="tests/unit/core/test_requests.py::test_words_are_good_for_two_rounds_from_when_they_are_heard",
    ),
    Mutant(
        "owner_that_came_back_is_fenced",
        "an owner that serves again is not fenced for a dead invoker's run",
        WATCHING,
        "Watch._judge",
        ((" and not self._came_back(lease, state)", ""),),
        test="tests/unit/core/test_watching.py::test_an_owner_that_came_back_is_not_fenced_for_a_run_whose_invoker_died",
    ),
    Mutant(
        "outage_by_the_wall_clock",
        "mail is returned by the length of the outage, which a clock that is set forward does not change",
        WATCHING,
        "Watch._return_late",
        (("self.clock.boottime() - max(since[1], self._could)", "self.clock.now() - since[0]"),),
        test="tests/unit/core/test_returning.py::test_a_clock_that_is_set_forward_makes_no_outage_longer",
    ),
    Mutant(
        "run_grows",
        "the record of a run that nobody can finish does not grow with each try",
        TAKEOVER,
        "Takeover.finish",
        (("                steps=until_own(state.run.steps),\n", ""),),
        test="tests/unit/core/test_takeover.py::test_a_run_that_cannot_be_finished_for_days_does_not_grow",
    ),
    Mutant(
        "limit_forgets",
        "held runs do not push out those that the hourly limit counts",
        TAKEOVER,
        "Takeover._new_run",
        (("if old.epoch == 0 or old.time < counts_since:", "if True:"),),
        test="tests/unit/core/test_takeover.py::test_held_runs_do_not_push_out_what_the_hourly_limit_counts",
    ),
    Mutant(
        "owner_fences_itself",
        "the owner of an identity is no invoker of its takeover",
        TAKEOVER,
        "Takeover.execute",
        (("if owner.host == self.invoker:", "if False:"),),
        test="tests/unit/core/test_relay_identities.py::test_nobody_fences_himself",
    ),
    *PLAN_MUTANTS,
    *STORE_MUTANTS,
    *PAIR_MUTANTS,
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
    print("| planted fault | the rule | caught by | seed |\n|---|---|---|---|")
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

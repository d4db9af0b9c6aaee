"""Planted faults of hand-overs, of fence levels beyond power and of relays that ask others. mutants.py takes them in.

The simulation catches them: the operators, plans and relays of scenario.py.
"""

from __future__ import annotations

from .mutant import Mutant

HANDOVER, FENCE_RUN, FENCING = "holdfast.core.handover", "holdfast.core.fence_run", "holdfast.core.fencing"
WATCHING = "holdfast.core.watching"
REPORT = "Report(self.host, run.release_epoch, Phase.STOPPED, self._clock.now(), run=run.run)"
AGENT, KEEPER = "holdfast.daemons.agent", "holdfast.daemons.keeper"

PLAN_MUTANTS = (
    # --- a planned change of owner -----------------------------------------------------------------------------
    Mutant(
        "orders_of_a_dead_operator_stand",
        "what a hand-over has ordered is undone when its invoker is gone",
        WATCHING,
        "Watch._judge",
        (("self.takeover is not None and interrupted(state)", "self.takeover is not None and False"),),
    ),
    Mutant(
        "stopped_is_said_before_it_is",
        "an agent says that it has stopped when all is down",
        KEEPER,
        "Keeper.act",
        (
            (
                "self._order = run.run\n",
                f"self._order = run.run\n            self.report = {REPORT}\n",
            ),
        ),
    ),
    Mutant(
        "handed_over_without_the_store",
        "a hand-over, too, waits until the store admits nobody",
        HANDOVER,
        "_Planned._withdraw",
        (("access = self.wait(withdrawn, within)", 'access = Access(0, "", None, 0.0)'),),
    ),
    # --- fence levels ------------------------------------------------------------------------------------------
    Mutant(
        "watchdog_not_waited_for",
        "a lost lease proves something when the watchdog's time has passed",
        FENCE_RUN,
        "FenceRun._outwait",
        (("needed = dog.timeout + level.margin", "needed = 0.0"),),
        hint=100054,
    ),
    Mutant(
        "watchdog_counts_anew",
        "a new agent does not give what runs without a lease the watchdog's time once more",
        AGENT,
        "Agent._guard",
        (("self.arm is not None and self.safe()", "self.arm is not None"),),
        test="tests/unit/daemons/test_agent_alone.py",
    ),
    Mutant(
        "routes_not_asked",
        "a host without files may still answer: its address must be withdrawn, too",
        FENCE_RUN,
        "FenceRun._routes_withdrawn",
        (("return self.ports.addresses.withdrawn(self.identity, self.routes)", 'return "not asked"'),),
        hint=144,
    ),
    Mutant(
        "word_of_another_boot",
        "an operator's word holds for the boot that it was given for, while that has no lease",
        FENCING,
        "check_word",
        (("if view.lease is not None:", "if False:"), ("if word.boot_id != view.boot_id:", "if False:")),
        hint=252,
    ),
    # --- requests ----------------------------------------------------------------------------------------------
    Mutant(
        "undone_without_the_right",
        "a relay without fence rights undoes no hand-over",
        WATCHING,
        "Watch._judge",
        (("if self.takeover is not None and interrupted(state):", "if interrupted(state):"),),
        hint=129,
    ),
    Mutant(
        "moved_although_its_executor_reaches_it",
        "who has just spoken with the owner moves it for no relay that asks",
        WATCHING,
        "Watch._asked",
        (("if now - self._spoken <= fresh:", "if False:"),),
        test="tests/unit/core/test_requests.py::test_who_speaks_with_the_owner_moves_nothing_for_a_relay_that_does_not",
    ),
    # --- an owner that cannot bring it up ----------------------------------------------------------------------
    Mutant(
        "old_word_of_failure",
        "what an owner said of an earlier epoch is no word about this one",
        WATCHING,
        "Watch._report",
        (("report.epoch != owner.epoch", "False"),),
        test="tests/unit/core/test_failing_owner.py::test_what_it_said_of_an_earlier_epoch_is_no_word_about_this_one",
    ),
    Mutant(
        "stuck_owner_is_not_fenced",
        "an owner whose stop failed is left to a fence",
        WATCHING,
        "Watch._gives_up",
        ((" or report.stuck", ""),),
        test="tests/unit/core/test_failing_owner.py::test_an_owner_whose_stop_failed_is_left_to_a_fence",
    ),
    Mutant(
        "asked_for_ever",
        "what an owner does not let go is fenced when another relay agrees",
        WATCHING,
        "Watch._gives_up",
        (("self._asked_to_go == state.owner.epoch", "False"),),
        test="tests/unit/core/test_failing_owner.py::test_what_it_does_not_let_go_is_fenced_when_another_relay_agrees",
    ),
)

"""The agent's word that an identity is about to be handed over, which keeps redirectors from sending it anybody new."""

from __future__ import annotations

import dataclasses

import pytest
from edges import MX
from holdfast.core import keys
from holdfast.core.model import Run, RunState
from holdfast.core.ownership import leaves
from one_host import Host

RUN = Run("run-7", MX.name, "relay2", "operator", RunState.RUNNING, "mail1", 1000.0, planned=True)


@pytest.mark.parametrize(
    ("run", "so"),
    [
        (RUN, True),
        (dataclasses.replace(RUN, release_epoch=1), True),
        (dataclasses.replace(RUN, planned=False), False),  # a takeover: nobody is asked
        (dataclasses.replace(RUN, state=RunState.HELD), False),  # undone: it stays
        (dataclasses.replace(RUN, state=RunState.DONE), False),
        (dataclasses.replace(RUN, from_host="mail2"), False),
        (None, False),
    ],
)
def test_only_a_planned_run_that_is_under_way(run: Run | None, so: bool) -> None:
    assert leaves("mail1", run) is so


def test_it_is_said_from_the_beginning_of_the_run_and_no_longer_when_that_is_undone() -> None:
    host, said = Host(), list[tuple[str, bool]]()
    host.begin(leaving=lambda name, so: said.append((name, so)))
    host.own()
    host.tick(2)
    assert set(said) == {(MX.name, False)}
    host.coordinator.data[keys.takeover(MX.name)] = RUN.to_json()
    host.tick()
    assert said[-1] == (MX.name, True)
    # Nobody can say that it is over.
    said.clear()
    host.coordinator.reachable = False
    host.tick()
    assert said == []
    host.coordinator.reachable = True
    host.coordinator.data[keys.takeover(MX.name)] = dataclasses.replace(RUN, state=RunState.HELD).to_json()
    host.tick()
    assert said[-1] == (MX.name, False)

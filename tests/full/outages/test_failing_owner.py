"""An owner that lives, keeps its lease and cannot bring its identity up: it hands over, and nobody is fenced."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from holdfast.core.model import Phase, RunState

from tests.story.faults import all_once, sending
from tests.story.machines import Lab, wait_for
from tests.story.outage import IDENTITY, RELAY_NAME
from tests.story.stage import Stage


@contextlib.contextmanager
def refusing(lab: Lab, host: str, unit: str) -> Iterator[None]:
    """The unit is killed and does not start again."""
    folder = f"/run/systemd/system/{unit}.d"
    broken = "[Service]\\nExecStartPre=/bin/false\\nRestart=no\\n"
    lab.shell(host, f"mkdir -p {folder} && printf '{broken}' > {folder}/broken.conf && systemctl daemon-reload")
    try:
        lab.shell(host, f"systemctl kill --kill-whom=all -s KILL {unit}")
        yield
    finally:
        lab.shell(host, f"rm -r {folder} && systemctl daemon-reload && systemctl reset-failed {unit} || true")


@pytest.mark.parametrize(("identity", "program"), [(IDENTITY, "postfix"), (RELAY_NAME, "relay")], ids=["mail", "relay"])
def test_it_hands_over_without_a_fence(stage: Stage, identity: str, program: str) -> None:
    before, since = stage.owner(identity), time.time()
    boot = stage.lab.shell(before.host, "cat /proc/sys/kernel/random/boot_id")
    with sending(stage, 20, 1.0, "failing") as written:
        with refusing(stage.lab, before.host, f"holdfast-{program}@{identity}.service"):
            run = stage.wait_run(since, RunState.DONE, 400, identity, hurry=True)
            assert run.planned and run.automatic, run
            assert f"{before.host} says: start: " in run.reason, run.reason
            assert run.proof is not None and (run.proof.level, run.proof.host) == ("handover", before.host)
        after = stage.wait_running(identity=identity)
        assert (after.host, after.epoch) == (run.to_host, before.epoch + 1) and after.host != before.host
        print(all_once(stage, written))
    assert stage.lab.shell(before.host, "cat /proc/sys/kernel/random/boot_id") == boot
    report = stage.report(before.host, identity)
    assert report is not None and report.phase is Phase.STOPPED
    wait_for(f"{before.host} is a candidate again", lambda: stage.ready(before.host, identity), 60)

"""Planned work that takes several minutes, so not in CI: a rolling upgrade, and an invoker that dies in a hand-over."""

from __future__ import annotations

import re
import subprocess
import time

from holdfast.core.model import RunState

from tests.story.faults import halted
from tests.story.machines import wait_for
from tests.story.messages import letters
from tests.story.outage import IDENTITY, RELAY_NAME
from tests.story.pair import Pair
from tests.story.stage import Stage

INVOKER = "relay1"  # the first of its group: playbooks work there while it answers


def test_mail_flows_while_host_by_host_is_upgraded(stage: Stage) -> None:
    before, standby = stage.owner(), stage.standby()
    pair = Pair(stage.lab, stage.records)
    serving = (pair.owner().host, pair.standby(), pair.owner().epoch)
    name = f"rolling{int(time.time())}"
    written, folder = letters(150, name), f"/var/tmp/story/{name}"
    stage.post.hand_over(written, folder)
    sender = stage.post.send(folder, 0.5)
    said = stage.playbook("rolling_upgrade.yml")
    assert re.search(rf"1\. {standby}: evacuate, deploy, rejoin", said), said[:3000]
    assert f"2. {before.host}: evacuate" in said and "8. relay2: evacuate, deploy, rejoin" in said
    assert f"3. {serving[1]}: evacuate" in said and f"5. {serving[0]}: evacuate" in said
    assert (pair.owner().host, pair.owner().epoch) == (serving[1], serving[2] + 1), "the store changed hands once, too"
    after = stage.owner()
    assert (after.host, after.epoch) == (standby, before.epoch + 1), "one hand-over, when it was the owner's turn"
    assert stage.ready(before.host)
    _, error = sender.communicate(timeout=600)
    assert sender.returncode == 0, error.decode()[-500:]
    boxes = stage.wait_letters(written, 600)
    assert stage.mistakes(written, boxes) == []


def test_an_invoker_that_dies_behind_the_owners_stop_is_undone(stage: Stage) -> None:
    """Its relay loses power while it waits for the store; the other relay's monitor withdraws the orders."""
    before, standby = stage.owner(), stage.standby()
    start = time.time() - 1
    server = Pair(stage.lab, stage.records).owner().host
    with halted(stage.lab, server, "holdfast-store"):
        command = stage.lab.command(
            *("run", "--", "ansible-playbook", "-i", str(stage.inventory), "playbooks/failback.yml"),
            *("-e", f"identity={IDENTITY}", "-e", f"to={standby}"),
        )
        playbook = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=stage.inventory.parent.parent
        )

        def stopped() -> bool:
            run = stage.records.run(IDENTITY)
            return run is not None and run.time >= start and run.revoke_epoch == before.epoch

        wait_for("the owner's stop", stopped, 120, every=0.5)
        stage.lab.word("kill", INVOKER)
        playbook.kill()
        playbook.communicate(timeout=60)
        assert not stage.runs_here(before.host) and not stage.runs_here(standby)
    run = stage.wait_run(start, RunState.HELD, 120)
    assert run.invoker != INVOKER
    assert "did not go on with it" in run.steps[-1].detail and stage.owner() == before
    assert stage.wait_running() == before
    stage.start_relay_host(INVOKER)  # its journal is read for the count of copies
    stage.wait_running(240, RELAY_NAME)  # that may have been its, too
    written = stage.send_to_relay(2, "undone")
    assert stage.mistakes(written, stage.wait_letters(written)) == []

"""A planned hand-over that the owner's agent does not answer."""

from __future__ import annotations

from holdfast.core.model import RunState

from tests.story.machines import wait_for
from tests.story.outage import IDENTITY
from tests.story.service import watched
from tests.story.stage import Stage


def test_an_owner_whose_agent_is_silent_goes_on(stage: Stage) -> None:
    before = stage.owner()
    # A start of a unit has an id of its own (systemd.exec(5), INVOCATION_ID).
    units = f"systemctl show -P InvocationID holdfast-postfix@{IDENTITY} holdfast-dovecot@{IDENTITY}"
    starts = stage.lab.shell(before.host, units)
    stage.lab.shell(before.host, "systemctl stop holdfast-agent")
    try:
        with watched(stage.lab) as service:
            said = stage.playbook(
                "failback.yml", "-e", f"identity={IDENTITY}", "-e", f"to={stage.standby()}", check=False
            )
        assert f"held: {before.host} did not confirm" in said
        assert stage.owner() == before
        print(service)
        assert stage.lab.shell(before.host, units) == starts, "what runs was never stopped"
        # Somebody who gives up after a second may meet a busy host now and then; a stop and a start take longer.
        assert service.longest_gap() < 4.0
        run = stage.records.run(IDENTITY)
        assert run is not None and run.state is RunState.HELD and (run.release_epoch, run.revoke_epoch) == (0, 0)
    finally:
        stage.lab.shell(before.host, "systemctl start holdfast-agent")
    stage.wait_running()
    written = stage.send_to_relay(2, "silent")
    assert stage.mistakes(written, stage.wait_letters(written)) == []
    wait_for(f"{before.host} has a lease", lambda: stage.ready(before.host), 60)
    stage.playbook("failback.yml", "-e", f"identity={IDENTITY}", "-e", f"to={stage.standby()}")
    assert stage.owner().epoch == before.epoch + 1

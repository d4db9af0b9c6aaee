"""A relay without the right to fence asks the other one, which looks for itself and acts (R1.11)."""

from __future__ import annotations

import time

from holdfast.core import keys
from holdfast.core.model import RunState

from tests.story.faults import all_once, monitor_with
from tests.story.outage import IDENTITY, RELAY, RELAYS
from tests.story.stage import Stage

NEVER = 1000  # attempts

# What roles/monitor makes of `monitor_invoker: host`.
WITHOUT_RIGHTS = {"invoker": "host", "fence_devices": {}, "fence_plan": {"default": [{"level": "operator"}]}}


def test_a_relay_without_fence_rights_asks_the_other_one(stage: Stage) -> None:
    """The other's own threshold is out of reach, so nothing but the request makes it act."""
    before, since = stage.owner(), time.time()
    other = next(relay for relay in RELAYS if relay != RELAY)
    patient = {"attempts": NEVER, "seconds": None}
    with monitor_with(stage.lab, [RELAY], **WITHOUT_RIGHTS), monitor_with(stage.lab, [other], threshold=patient):
        written = stage.send_to_relay(3, "asked-before")
        stage.lab.word("kill", before.host)
        written += stage.send_to_relay(3, "asked")
        run = stage.wait_run(since, RunState.DONE, 300, hurry=True)
        assert run.invoker == other and run.reason.startswith(f"asked by {RELAY}: "), run.reason
        asked = stage.records.get(keys.request(IDENTITY))[keys.request(IDENTITY)]
        assert (asked["relay"], asked["epoch"]) == (RELAY, before.epoch)
        assert run.proof is not None and (run.proof.level, run.proof.host) == ("power", before.host)
        after = stage.wait_running()
        assert (after.host, after.epoch) == (run.to_host, before.epoch + 1) and after.host != before.host
        print(all_once(stage, written))

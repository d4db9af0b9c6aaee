"""The coordinator's data is lost on every member: docs/runbooks/coordinator.md, "The majority is lost for good"."""

from __future__ import annotations

import json

from holdfast.core.model import RunState

from tests.story.faults import all_once, sending
from tests.story.fixtures import LIMITS
from tests.story.machines import recap
from tests.story.outage import IDENTITY
from tests.story.pair import STORE, Pair
from tests.story.service import watched
from tests.story.stage import Stage

MEMBERS = ("relay1", "relay2", "witness1")


def test_mail_goes_on_and_a_deploy_names_the_owners_anew(stage: Stage, pair: Pair) -> None:
    """The owner is not the one at home: what runs is all that is left of who owned what."""
    if stage.owner().host == "mail1":
        stage.playbook("failback.yml", "-e", f"identity={IDENTITY}", "-e", "to=mail2")
    before, stored = stage.wait_running(), pair.owner()
    with watched(stage.lab) as service, sending(stage, 20, 1.0, "lost") as written:
        for host in MEMBERS:
            stage.lab.shell(
                host, "systemctl stop etcd; rm -rf /var/lib/etcd/lost; mv /var/lib/etcd/holdfast /var/lib/etcd/lost"
            )
        print(all_once(stage, written, owner=before.host))
    print("without a coordinator:", service)
    assert service.longest_gap() < 5 and stage.runs_here(before.host) and pair.serves(stored.host)
    with watched(stage.lab) as service, sending(stage, 60, 1.0, "anew") as written:
        owners = {IDENTITY: before.host, STORE: stored.host}
        stage.playbook("site.yml", *LIMITS, "-e", json.dumps({"first_owners": owners}))
        print(all_once(stage, written))
    print("while it is made anew:", service)
    after, serving = stage.wait_running(), pair.wait_running()
    assert (after.host, serving.host) == (before.host, stored.host)
    # DNS, spools and routers refuse an epoch that is older than the one they know.
    assert after.epoch > before.epoch and serving.epoch > stored.epoch
    stage.playbook("site.yml", *LIMITS)
    hosts = recap(stage.playbook("site.yml", *LIMITS))
    assert hosts and set(hosts.values()) == {(0, 0)}, hosts
    _, fault = stage.kill_owner()
    # One that DNS refuses is held.
    stage.wait_run(fault, RunState.DONE, 240)
    assert stage.owner().epoch == after.epoch + 1

"""A member of the coordinator that has lost its disk comes back by the runbook (docs/runbooks/coordinator.md)."""

from __future__ import annotations

import json

from tests.story.faults import all_once, sending
from tests.story.fixtures import LIMITS
from tests.story.machines import recap
from tests.story.service import watched
from tests.story.stage import Stage

LOST = "relay1"


def members(stage: Stage) -> dict[str, int]:
    """Ids by name. Asks the majority, so it is there."""
    return {m["name"]: m["ID"] for m in json.loads(stage.records.etcdctl("member", "list", "-w", "json"))["members"]}


def test_a_member_that_lost_its_disk_joins_again(stage: Stage) -> None:
    before, owner, runs = members(stage), stage.owner(), stage.runs()
    with watched(stage.lab) as service, sending(stage, 60, 1.0, "member") as written:
        stage.lab.shell(LOST, "systemctl stop etcd && rm -r /var/lib/etcd/holdfast/member")
        stage.playbook("site.yml", *LIMITS, "-e", f"coordinator_rejoin={LOST}")
        print(all_once(stage, written))
    print(service)
    assert service.longest_gap() < 5  # a restart of what serves would show
    after = members(stage)
    assert {name for name in before if before[name] != after[name]} == {LOST} and set(after) == set(before)
    health = json.loads(stage.records.etcdctl("endpoint", "health", "--cluster", "-w", "json"))
    assert len(health) == len(before) and all(one["health"] for one in health)
    # Its users came with the data: it asks who somebody is, as the others do.
    stage.playbook("site.yml", *LIMITS)
    hosts = recap(stage.playbook("site.yml", *LIMITS))
    assert hosts and set(hosts.values()) == {(0, 0)}, hosts
    assert stage.wait_running() == owner and stage.runs() == runs

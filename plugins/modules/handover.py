#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: handover
short_description: Let another host run an identity or serve a store, its owner being alive
description:
  - The planned counterpart of M(holdfast.mail.takeover). The owner stops the identity cleanly and says so, the store
    withdraws its access, then the other host owns it at the next epoch. Nobody's power is cut.
  - A store's owner stops its NFS server, unmounts and gives up DRBD's primary role; clients wait some seconds.
  - Refuses, with nothing changed, while the host that is to get it is not ready. When the owner does not confirm in
    time, the order to stop is withdrawn, the owner goes on, and the module fails.
  - In check mode it tells what it would do, or why it would refuse. Runs on a relay.
options:
  identity:
    description: The identity to hand over, or the store.
    type: str
    required: true
  to:
    description: The candidate that is to own it; the first one that is ready if not given.
    type: str
  reason:
    description: Goes into the record of the run.
    type: str
    default: planned work
  config:
    description: The monitor's configuration on this host.
    type: path
    default: /etc/holdfast/monitor.yml
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: Holdfast
"""

EXAMPLES = r"""
- name: Way home
  holdfast.mail.handover:
    identity: mx.alpha.example
    to: mail1
    reason: mail1 has a new disk
"""

RETURN = r"""
plan:
  description: One line that says what is, or would be, done, or why it is refused.
  type: str
  returned: always
possible:
  description: Whether it can be done now. False only in check mode; otherwise the module fails.
  type: bool
  returned: always
run:
  description: The record of the run with its timed steps (docs/architecture.md).
  type: dict
  returned: when a run was made
steps:
  description: The steps of the run as lines for people.
  type: list
  elements: str
  returned: when a run was made
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.core import telling
from ansible_collections.holdfast.mail.plugins.module_utils.core.handover import Handover, read_plan
from ansible_collections.holdfast.mail.plugins.module_utils.core.model import RunState
from ansible_collections.holdfast.mail.plugins.module_utils.core.ports import LockLost, Unavailable
from ansible_collections.holdfast.mail.plugins.module_utils.core.takeover import Refused
from ansible_collections.holdfast.mail.plugins.module_utils.daemons.wiring import (
    ConfigError,
    load,
    movable,
    require_movable,
)


def main():
    module = AnsibleModule(
        argument_spec={
            "identity": {"type": "str", "required": True},
            "to": {"type": "str"},
            "reason": {"type": "str", "default": "planned work"},
            "config": {"type": "path", "default": "/etc/holdfast/monitor.yml"},
        },
        supports_check_mode=True,
    )
    p = module.params
    try:
        config = load(p["config"])
        require_movable(config, p["identity"], p["config"])
        takeover = movable(config, p["identity"])
        plan = read_plan(takeover.ports.coordinator, takeover.identity, time.time(), p["to"])
        result = {"plan": str(plan), "possible": plan.possible, "changed": plan.changes}
        if plan.changes:
            result["diff"] = {"before": plan.before(), "after": plan.after()}
        if module.check_mode or (plan.possible and not plan.changes):
            module.exit_json(**result)
        if not plan.possible:
            module.fail_json(msg=str(plan), **result)
        run = Handover.beside(takeover).hand_over(p["reason"], plan.epoch, p["to"])
    except (Unavailable, ConfigError, Refused, LockLost) as why:
        module.fail_json(msg=str(why))
    result.update(run=run.to_json(), steps=telling.steps(run))
    if run.state is not RunState.DONE:
        module.fail_json(msg=f"held: {run.steps[-1].detail}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()

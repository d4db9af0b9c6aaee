#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: takeover
short_description: Let another host run an identity, after the owner is proved to be fenced
description:
  - Does what the monitor does when a threshold is passed, with the same core - lock, candidate, fence, proof,
    revocation, owner, start, verification, DNS, flush. Runs on a relay that has the right to fence.
  - A fence that is not confirmed stops it; mail is held and nothing else has changed.
  - In check mode it tells who would be fenced and who would take over.
options:
  identity:
    description: The identity to move.
    type: str
    required: true
  to:
    description: The candidate that must take it; the first one that is ready if not given.
    type: str
  reason:
    description: Goes into the record of the run.
    type: str
    default: by hand
extends_documentation_fragment: holdfast.mail.monitor
attributes:
  check_mode:
    support: full
author: Holdfast
"""

EXAMPLES = r"""
- name: Take it over by hand
  holdfast.mail.takeover:
    identity: mx.alpha.example
    reason: mail1 burns
"""

RETURN = r"""
run:
  description: The record of the run with its timed steps (docs/architecture.md).
  type: dict
  returned: when a run was made
plan:
  description: One line that says what is, or would be, done.
  type: str
  returned: always
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.core.model import RunState
from ansible_collections.holdfast.mail.plugins.module_utils.core.ports import LockLost, Unavailable
from ansible_collections.holdfast.mail.plugins.module_utils.core.takeover import (
    Refused,
    read_choice,
    read_state,
    unfinished,
)
from ansible_collections.holdfast.mail.plugins.module_utils.daemons.fences import Invoker
from ansible_collections.holdfast.mail.plugins.module_utils.daemons.wiring import ConfigError, build, load, require


def main():
    module = AnsibleModule(
        argument_spec={
            "identity": {"type": "str", "required": True},
            "to": {"type": "str"},
            "reason": {"type": "str", "default": "by hand"},
            "config": {"type": "path", "default": "/etc/holdfast/monitor.yml"},
        },
        supports_check_mode=True,
    )
    p = module.params
    try:
        config = load(p["config"])
        require(config, p["identity"], p["config"])
        if config.invoker is not Invoker.SELF:
            module.fail_json(msg=f"{config.host} has no right to fence (invoker: host); run this on another relay")
        parts = build(config, p["identity"])
        state = read_state(parts.coordinator, p["identity"])
        if state.owner is None:
            module.fail_json(msg=f"{p['identity']} has no owner yet; deploy it first (playbooks/site.yml)")
        choice = read_choice(parts.coordinator, parts.identity, state.owner, time.time(), p["to"])
        plan = (
            f"fence {state.owner.host}, then {choice.host} owns {p['identity']} at epoch {state.owner.epoch + 1}"
            if choice.host
            else f"no candidate: {choice.reasons()}"
        )
        if module.check_mode:
            module.exit_json(changed=choice.host is not None, plan=plan)
        if unfinished(state):
            run = parts.takeover.finish()
            if run.state is RunState.DONE:
                plan = f"finished run {run.run}, which had been cut off; {run.to_host} owns {p['identity']}"
                module.exit_json(changed=True, plan=plan, run=run.to_json())
        run = parts.takeover.execute(p["reason"], state.owner.epoch, automatic=False, to=p["to"])
    except (Unavailable, ConfigError, Refused, LockLost) as why:
        module.fail_json(msg=str(why))
    if run.state is not RunState.DONE:
        module.fail_json(msg=f"held: {run.steps[-1].detail}; mail is kept by the relays", run=run.to_json(), plan=plan)
    module.exit_json(changed=True, plan=plan, run=run.to_json())


if __name__ == "__main__":
    main()

#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: identity
short_description: Name an identity's first owner, or flag it as inoperable
description:
  - With I(owner), writes the owner record at epoch 1 if the identity has none yet. It never changes an owner; a
    takeover does.
  - With I(inoperable), sets or clears the operator's flag "treat as inoperable" against the present owner. The monitor
    then asks for a takeover without waiting for the threshold; the fence is made all the same.
  - Runs on a relay, which has access to the coordinator.
options:
  name:
    description: The identity.
    type: str
    required: true
  owner:
    description: Host that owns it at first.
    type: str
  inoperable:
    description: Set or clear the flag.
    type: bool
  reason:
    description: Why the flag is set; goes into the record.
    type: str
    default: ""
  by:
    description: Who sets it.
    type: str
    default: operator
  password_file:
    description: The operator's password for the coordinator, on this host.
    type: path
    default: /etc/holdfast/operator.password
extends_documentation_fragment: holdfast.mail.monitor
attributes:
  check_mode:
    support: full
author: Holdfast
"""

EXAMPLES = r"""
- name: Take it away from its owner now
  holdfast.mail.identity:
    name: mx.alpha.example
    inoperable: true
    reason: disk errors on mail1
"""

RETURN = r"""
owner:
  description: The owner record, C(host), C(epoch), C(run), C(since).
  type: dict
  returned: when there is one
inoperable:
  description: Whether the flag stands against the present owner.
  type: bool
  returned: always
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.adapters.etcd import Login
from ansible_collections.holdfast.mail.plugins.module_utils.core import keys
from ansible_collections.holdfast.mail.plugins.module_utils.core.model import Owner
from ansible_collections.holdfast.mail.plugins.module_utils.core.ports import Unavailable
from ansible_collections.holdfast.mail.plugins.module_utils.core.rights import OPERATOR
from ansible_collections.holdfast.mail.plugins.module_utils.core.takeover import read_state
from ansible_collections.holdfast.mail.plugins.module_utils.daemons.wiring import ConfigError, load, require


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "owner": {"type": "str"},
            "inoperable": {"type": "bool"},
            "reason": {"type": "str", "default": ""},
            "by": {"type": "str", "default": "operator"},
            "config": {"type": "path", "default": "/etc/holdfast/monitor.yml"},
            "password_file": {"type": "path", "default": "/etc/holdfast/operator.password"},
        },
        required_one_of=[("owner", "inoperable")],
        supports_check_mode=True,
    )
    p = module.params
    try:
        config = load(p["config"])
        require(config, p["name"], p["config"])
        client = config.coordinator.as_user(Login(OPERATOR, p["password_file"]))
        changed = False
        if p["owner"] is not None:
            if p["owner"] not in config.identities[p["name"]].candidates:
                known = ", ".join(config.identities[p["name"]].candidates)
                module.fail_json(msg=f"{p['name']}: {p['owner']} is no candidate; candidates: {known}")
            first = Owner(p["owner"], 1, "deploy", time.time())
            if module.check_mode:
                changed = client.get(keys.owner(p["name"])).value is None
            else:
                changed = client.create(keys.owner(p["name"]), first.to_json())
        state = read_state(client, p["name"])
        if p["inoperable"] is not None and state.inoperable != p["inoperable"]:
            if state.owner is None:
                module.fail_json(msg=f"{p['name']} has no owner yet; deploy it first (playbooks/site.yml)")
            changed = True
            if not module.check_mode and p["inoperable"]:
                flag = {"by": p["by"], "reason": p["reason"], "time": time.time(), "epoch": state.owner.epoch}
                client.put(keys.inoperable(p["name"]), flag)
            elif not module.check_mode:
                client.delete(keys.inoperable(p["name"]))
            state = read_state(client, p["name"])
    except (Unavailable, ConfigError) as why:
        module.fail_json(msg=str(why))
    owner = None if state.owner is None else state.owner.to_json()
    module.exit_json(changed=changed, owner=owner, inoperable=state.inoperable)


if __name__ == "__main__":
    main()

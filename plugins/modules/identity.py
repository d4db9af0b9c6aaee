#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: identity
short_description: Name first owners of identities, or flag an identity as inoperable
description:
  - With I(owner), writes the owner record if the identity has none yet, at an epoch beyond all that there may have
    been. It never changes an owner; a takeover does. With I(owners), the same for many at once; none is written if one
    of them is no candidate.
  - With I(inoperable), sets or clears the operator's flag "treat as inoperable" against the present owner. The monitor
    then asks for a takeover without waiting for the threshold; the fence is made all the same.
  - Runs on a relay, which has access to the coordinator.
options:
  name:
    description: The identity; needed with I(owner) and I(inoperable).
    type: str
  owners:
    description: For each identity the host that owns it at first.
    type: dict
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

- name: First owners
  holdfast.mail.identity:
    owners:
      mx.alpha.example: mail1
      im.alpha.example: mail2
"""

RETURN = r"""
owner:
  description: The owner record, C(host), C(epoch), C(run), C(since).
  type: dict
  returned: with I(name), when there is one
inoperable:
  description: Whether the flag stands against the present owner.
  type: bool
  returned: with I(name)
created:
  description: Those of I(owners) that had no owner, in check mode, too.
  type: list
  elements: str
  returned: with I(owners)
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.adapters.etcd import Login
from ansible_collections.holdfast.mail.plugins.module_utils.core import keys
from ansible_collections.holdfast.mail.plugins.module_utils.core.model import first_owner
from ansible_collections.holdfast.mail.plugins.module_utils.core.ports import Unavailable
from ansible_collections.holdfast.mail.plugins.module_utils.core.rights import OPERATOR
from ansible_collections.holdfast.mail.plugins.module_utils.core.takeover import read_state
from ansible_collections.holdfast.mail.plugins.module_utils.daemons.wiring import ConfigError, load, require


def create(module, config, client, owners):
    """Owner records of those that have none; which. Raises Unavailable, ConfigError."""
    for name, host in owners.items():
        require(config, name, module.params["config"])
        candidates = config.identities[name].candidates
        if host not in candidates:
            module.fail_json(msg=f"{name}: {host} is no candidate; candidates: {', '.join(candidates)}")
    if module.check_mode:
        return [name for name in owners if client.get(keys.owner(name)).value is None]
    now = time.time()
    return [n for n, host in owners.items() if client.create(keys.owner(n), first_owner(host, now).to_json())]


def flag(module, client, state):
    """Sets or clears the flag, whether that is a change. Raises Unavailable."""
    p = module.params
    if p["inoperable"] is None or state.inoperable == p["inoperable"]:
        return False
    if state.owner is None:
        module.fail_json(msg=f"{p['name']} has no owner yet; deploy it first (playbooks/site.yml)")
    if not module.check_mode and p["inoperable"]:
        word = {"by": p["by"], "reason": p["reason"], "time": time.time(), "epoch": state.owner.epoch}
        client.put(keys.inoperable(p["name"]), word)
    elif not module.check_mode:
        client.delete(keys.inoperable(p["name"]))
    return True


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            "owners": {"type": "dict"},
            "owner": {"type": "str"},
            "inoperable": {"type": "bool"},
            "reason": {"type": "str", "default": ""},
            "by": {"type": "str", "default": "operator"},
            "config": {"type": "path", "default": "/etc/holdfast/monitor.yml"},
            "password_file": {"type": "path", "default": "/etc/holdfast/operator.password"},
        },
        required_one_of=[("owners", "owner", "inoperable"), ("owners", "name")],
        mutually_exclusive=[("owners", "name"), ("owners", "owner"), ("owners", "inoperable")],
        supports_check_mode=True,
    )
    p = module.params
    try:
        config = load(p["config"])
        client = config.coordinator.as_user(Login(OPERATOR, p["password_file"]))
        if p["owners"] is not None:
            created = create(module, config, client, p["owners"])
            module.exit_json(changed=bool(created), created=created)
        require(config, p["name"], p["config"])
        changed = False
        if p["owner"] is not None:
            changed = bool(create(module, config, client, {p["name"]: p["owner"]}))
        state = read_state(client, p["name"])
        if flag(module, client, state):
            changed = True
            state = read_state(client, p["name"])
    except (Unavailable, ConfigError) as why:
        module.fail_json(msg=str(why))
    owner = None if state.owner is None else state.owner.to_json()
    module.exit_json(changed=changed, owner=owner, inoperable=state.inoperable)


if __name__ == "__main__":
    main()

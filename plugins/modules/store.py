#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: store
short_description: Name a store's first owner, on a replicated disk with a file system
description:
  - For a store without an owner, makes the file system on its replicated disk, puts both members into the in-sync set
    and writes the owner record, at an epoch beyond all that there may have been. It never changes an owner; a takeover
    does.
  - Runs on the member that is to own it first, behind role agent on both members.
options:
  name:
    description: The store.
    type: str
    required: true
  timeout:
    description: Seconds within which the members must see each other.
    type: int
    default: 90
  config:
    description: The agent's configuration on this host.
    type: path
    default: /etc/holdfast/agent.yml
attributes:
  check_mode:
    support: full
author: Holdfast
"""

EXAMPLES = r"""
- name: First owner
  holdfast.mail.store:
    name: store1
"""

RETURN = r"""
owner:
  description: The owner record, C(host), C(epoch), C(run), C(since).
  type: dict
  returned: when there is one
insync:
  description: The in-sync set, C(members), C(epoch), C(serial), C(time).
  type: dict
  returned: when there is one
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.adapters.disk import make_file_system
from ansible_collections.holdfast.mail.plugins.module_utils.adapters.drbd import Drbd
from ansible_collections.holdfast.mail.plugins.module_utils.core import keys, stores
from ansible_collections.holdfast.mail.plugins.module_utils.core.model import first_owner
from ansible_collections.holdfast.mail.plugins.module_utils.core.ports import Unavailable
from ansible_collections.holdfast.mail.plugins.module_utils.daemons.agent_config import load
from ansible_collections.holdfast.mail.plugins.module_utils.daemons.config import ConfigError

LABEL = "holdfast-store"


def mirrored(drbd, timeout):
    """Wait until both disks hold the same, two new ones by saying so. Raises Unavailable."""
    deadline = time.monotonic() + timeout
    while not (state := drbd.state()).mirrored:
        new = state.disk == state.peer_disk == "Inconsistent" and state.role == state.peer_role == "Secondary"
        if new and state.connection in ("Connected", "Established"):
            drbd.skip_first_copy()
        elif time.monotonic() > deadline:
            raise Unavailable(f"the members of {drbd.resource} are not in sync within {timeout} s: {state}")
        time.sleep(0.5)


def lay_out(place, timeout):
    drbd = Drbd(place.identity.name, place.minor)
    drbd.up()
    mirrored(drbd, timeout)
    drbd.primary()
    try:
        make_file_system(place.device, LABEL)
    finally:
        drbd.secondary()


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 90},
            "config": {"type": "path", "default": "/etc/holdfast/agent.yml"},
        },
        supports_check_mode=True,
    )
    p = module.params
    name = p["name"]
    owner_key, set_key = keys.owner(name), keys.insync(name)
    try:
        settings = load(p["config"])
        places = {place.identity.name: place for place in settings.stores}
        if name not in places:
            module.fail_json(msg=f"{name} is no store of {p['config']}; known: {', '.join(places) or 'none'}")
        place, client = places[name], settings.coordinator
        found = client.read([owner_key, set_key])
        changed = found[owner_key].value is None
        if changed and not module.check_mode:
            lay_out(place, p["timeout"])
            now = time.time()
            owner = first_owner(settings.host, now)
            # The set before the owner: an owner without one starts nothing.
            if found[set_key].value is None:
                client.create(set_key, stores.InSync(place.identity.candidates, owner.epoch, 1, now).to_json())
            client.create(owner_key, owner.to_json())
        after = client.read([owner_key, set_key])
    except (Unavailable, ConfigError) as why:
        module.fail_json(msg=str(why))
    module.exit_json(changed=changed, owner=after[owner_key].value, insync=after[set_key].value)


if __name__ == "__main__":
    main()

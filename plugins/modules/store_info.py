#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: store_info
short_description: What the coordinator and DRBD know of this host's store
description:
  - Owner and epoch, in-sync set, the last run, the leases and words of the members, and what DRBD says here. Runs on a
    member.
options:
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
- name: Who serves it?
  holdfast.mail.store_info:
  register: found
"""

RETURN = r"""
stores:
  description: For each store C(owner), C(insync), C(run), C(leases), C(ready), C(drbd) and C(copied_percent).
  type: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.adapters.drbd import Drbd
from ansible_collections.holdfast.mail.plugins.module_utils.core import keys
from ansible_collections.holdfast.mail.plugins.module_utils.core.ports import Unavailable
from ansible_collections.holdfast.mail.plugins.module_utils.daemons.agent import load
from ansible_collections.holdfast.mail.plugins.module_utils.daemons.config import ConfigError


def about(client, place):
    name, hosts = place.identity.name, place.identity.candidates
    try:
        state = Drbd(name, place.minor).state()
        drbd, percent = str(state), state.percent
    except Unavailable as why:
        drbd, percent = str(why), None
    return {
        "owner": client.get(keys.owner(name)).value,
        "insync": client.get(keys.insync(name)).value,
        "run": client.get(keys.takeover(name)).value,
        "leases": {h: client.get(keys.lease(h)).value is not None for h in hosts},
        "ready": {h: client.get(keys.ready(h, name)).value for h in hosts},
        "drbd": drbd,
        "copied_percent": percent,
    }


def main():
    module = AnsibleModule(
        argument_spec={"config": {"type": "path", "default": "/etc/holdfast/agent.yml"}},
        supports_check_mode=True,
    )
    try:
        settings = load(module.params["config"])
        found = {place.identity.name: about(settings.coordinator, place) for place in settings.stores}
    except (Unavailable, ConfigError) as why:
        module.fail_json(msg=str(why))
    module.exit_json(changed=False, stores=found)


if __name__ == "__main__":
    main()

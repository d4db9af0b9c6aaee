#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: identity_info
short_description: What the coordinator knows of an identity
description:
  - Owner and epoch, the present or last run, the relays' evidence, the store's and the agents' words. Runs on a relay.
options:
  name:
    description: The identity; all of this relay's if not given.
    type: str
extends_documentation_fragment: holdfast.mail.monitor
attributes:
  check_mode:
    support: full
author: Holdfast
"""

EXAMPLES = r"""
- name: Who runs it?
  holdfast.mail.identity_info:
    name: mx.alpha.example
  register: found
"""

RETURN = r"""
identities:
  description:
    - For each identity C(owner), C(inoperable), C(run), C(evidence), C(access), C(reports), C(ready), C(leases),
      C(candidates).
  type: dict
  returned: always
stores:
  description: The same for each store, with C(insync) and C(halves); empty when C(name) is given.
  type: dict
  returned: always
unserved:
  description: A line for each of these that its owner does not run, and why.
  type: list
  elements: str
  returned: always
missed:
  description: A line for each of these whose owner serves it with an older configuration than another candidate has.
  type: list
  elements: str
  returned: always
unprotected:
  description: A line for each of these that nobody could take over from its owner, and why.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.core import store_telling, telling
from ansible_collections.holdfast.mail.plugins.module_utils.core.ports import Unavailable
from ansible_collections.holdfast.mail.plugins.module_utils.daemons.wiring import ConfigError, load, require


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            "config": {"type": "path", "default": "/etc/holdfast/monitor.yml"},
        },
        supports_check_mode=True,
    )
    p = module.params
    try:
        config = load(p["config"])
        names = [p["name"]] if p["name"] else list(config.identities)
        for name in names:
            require(config, name, p["config"])
        identities = {name: config.identities[name] for name in names}
        found, pairs = store_telling.read_all(config.coordinator, identities, {} if p["name"] else config.stores)
    except (Unavailable, ConfigError) as why:
        module.fail_json(msg=str(why))
    known = [
        telling.Known.from_json(config.identities[name], data, config.interval, {}) for name, data in found.items()
    ]
    known += [telling.Known.from_json(config.stores[name], data, config.interval, {}) for name, data in pairs.items()]
    module.exit_json(
        changed=False,
        identities=found,
        stores=pairs,
        unserved=[line for one in known for line in telling.unserved(one)],
        missed=[line for one in known for line in telling.missed(one)],
        unprotected=[line for one in known for line in telling.unprotected(one)],
    )


if __name__ == "__main__":
    main()

#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_host_info
short_description: What a mail or store host has of identities or of its store, and what it is made of
description:
  - Units, mounts and addresses of identities, versions, the drain mark. Runs on a mail host and changes nothing.
  - On a member of a store the same of that store.
  - Whether it may be a candidate again is M(holdfast.mail.rejoin_check)'s to say.
options:
  host:
    description: The host's name in the inventory.
    type: str
    required: true
  addresses:
    description: Address of each identity and store.
    type: dict
    default: {}
  store:
    description: The store of which the host is a member.
    type: str
attributes:
  check_mode:
    support: full
author: Holdfast
"""

EXAMPLES = r"""
- name: What is there?
  holdfast.mail.mail_host_info:
    host: "{{ inventory_hostname }}"
    addresses: {mx.alpha.example: 203.0.113.10}
"""

RETURN = r"""
facts:
  description: C(host), C(time), C(traces), C(versions), C(package), C(drained), C(units).
  type: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.adapters import mail_host
from ansible_collections.holdfast.mail.plugins.module_utils.adapters.clock import SystemClock
from ansible_collections.holdfast.mail.plugins.module_utils.core.ports import Unavailable


def main():
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "addresses": {"type": "dict", "default": {}},
            "store": {"type": "str"},
        },
        supports_check_mode=True,
    )
    p = module.params
    try:
        facts = mail_host.read(p["host"], p["addresses"], SystemClock(), p["store"])
    except (Unavailable, OSError) as why:
        module.fail_json(msg=f"{p['host']}: {why}")
    module.exit_json(changed=False, facts=facts.to_json())


if __name__ == "__main__":
    main()

#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: coordinator_member
short_description: Let a member of etcd that has lost its data join again
description:
  - Takes the old member at I(peer_url) out of the cluster and puts a new one in, which then starts without data and
    with C(initial-cluster-state) C(existing). Does nothing when a new one waits already, and refuses while the old one
    runs.
  - Needs the majority of the others. They take no new member within five seconds of losing one; safe to repeat.
options:
  coordinator:
    description: C(endpoints), C(ca), C(cert), C(key), as in the daemons' configuration.
    type: dict
    required: true
  name:
    description: The member.
    type: str
    required: true
  peer_url:
    description: Where the other members reach it.
    type: str
    required: true
  password:
    description: Passwords of etcd's C(root), the present one first.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    support: full
author: Holdfast
"""

EXAMPLES = r"""
- name: Join again
  holdfast.mail.coordinator_member:
    coordinator: "{{ topology_coordinator }}"
    name: relay2
    peer_url: https://10.2.3.31:2380
    password: "{{ topology_coordinator_passwords.root }}"
"""

RETURN = r"""
done:
  description: What was, or would be, changed; one line each.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.adapters.etcd import Tls
from ansible_collections.holdfast.mail.plugins.module_utils.adapters.etcd_rights import Rights
from ansible_collections.holdfast.mail.plugins.module_utils.core.ports import Unavailable


def main():
    module = AnsibleModule(
        argument_spec={
            "coordinator": {"type": "dict", "required": True},
            "name": {"type": "str", "required": True},
            "peer_url": {"type": "str", "required": True},
            "password": {"type": "list", "elements": "str", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )
    p, done = module.params, []
    given = p["coordinator"]
    try:
        tls = Tls(given.get("ca"), given.get("cert"), given.get("key"))
        etcd = Rights(given["endpoints"], tls, p["password"])
        for step in etcd.anew(p["name"], p["peer_url"]):
            if not module.check_mode:
                etcd.take(step)
            done.append(step.words)
    except (Unavailable, ValueError) as why:
        module.fail_json(msg=str(why), done=done)
    module.exit_json(changed=bool(done), done=done)


if __name__ == "__main__":
    main()

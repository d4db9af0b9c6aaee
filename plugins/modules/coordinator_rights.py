#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: coordinator_rights
short_description: Users, roles and rights in etcd
description:
  - Makes etcd's users, one role each, and the role's rights those that follow from who runs what; removes users and
    roles that nobody needs any more. Changes only what differs.
  - With I(enabled), makes etcd ask for users from then on. It is never switched off.
  - Runs on a member or on any host that reaches one, once for the whole cluster.
options:
  coordinator:
    description: C(endpoints), C(ca), C(cert), C(key), as in the daemons' configuration.
    type: dict
    required: true
  identities:
    description: The inventory's C(identities); of each C(candidates), C(relays) and C(store) count.
    type: dict
    required: true
  external_stores:
    description: The inventory's C(external_stores); of each C(manager) counts.
    type: dict
    default: {}
  stores:
    description: The inventory's C(stores); of each C(members) count.
    type: dict
    default: {}
  without_fence_rights:
    description: Relays that ask another one for a takeover (C(monitor_invoker) is C(host)).
    type: list
    elements: str
    default: []
  transfer_hosts:
    description: Hosts that carry mail between the Internet side and the isolated one.
    type: list
    elements: str
    default: []
  passwords:
    description: >-
      For each user, C(operator) and etcd's C(root) among them, a list: its password, then, while passwords are being
      changed, the one before.
    type: dict
    required: true
  enabled:
    description: Make etcd ask for users.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: Holdfast
"""

EXAMPLES = r"""
- name: Rights
  holdfast.mail.coordinator_rights:
    coordinator: "{{ topology_coordinator }}"
    identities: "{{ identities }}"
    stores: "{{ stores }}"
    passwords: "{{ topology_coordinator_passwords }}"
  run_once: true
"""

RETURN = r"""
done:
  description: What was, or would be, changed; one line each, without secrets.
  type: list
  elements: str
  returned: always
enabled:
  description: Whether etcd asks for users now.
  type: bool
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.adapters.etcd import Tls
from ansible_collections.holdfast.mail.plugins.module_utils.adapters.etcd_rights import (
    Rights,
    Step,
    permissions,
    steps,
)
from ansible_collections.holdfast.mail.plugins.module_utils.core.ports import Unavailable
from ansible_collections.holdfast.mail.plugins.module_utils.core.rights import ADMIN, rights, served


def due(etcd, wanted, passwords, enable):
    """Every call that is to be made, in order, and whether etcd asks for users already."""
    on = etcd.on()
    found = etcd.find()
    out = steps(found, wanted, passwords)
    if not on:
        out += etcd.admin_steps(passwords[ADMIN])
    users = [*sorted(found.users.keys() & wanted.keys()), *([ADMIN] if on else [])]
    for user in etcd.refused({user: passwords[user] for user in users}) if on else users:
        body = {"name": user, "password": passwords[user]}
        out.append(Step("/auth/user/changepw", body, f"password of {user}", user))
    if enable and not on:
        out.append(Step("/auth/enable", {}, "etcd asks for users"))
    return out, on


def main():
    module = AnsibleModule(
        argument_spec={
            "coordinator": {"type": "dict", "required": True},
            "identities": {"type": "dict", "required": True},
            "stores": {"type": "dict", "default": {}},
            "external_stores": {"type": "dict", "default": {}},
            "without_fence_rights": {"type": "list", "elements": "str", "default": []},
            "transfer_hosts": {"type": "list", "elements": "str", "default": []},
            "passwords": {"type": "dict", "required": True, "no_log": True},
            "enabled": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    p = module.params
    given, passwords = p["coordinator"], p["passwords"]
    everything = served(p["identities"], p["stores"], p["without_fence_rights"], p["external_stores"])
    wanted = {user: permissions(grants) for user, grants in rights(everything, p["transfer_hosts"]).items()}
    missing = sorted({*wanted, ADMIN} - {user for user, some in passwords.items() if some})
    if missing:
        module.fail_json(
            msg=f"passwords: none for {', '.join(missing)}; give each user of the coordinator one", done=[]
        )
    done = []
    try:
        tls = Tls(given.get("ca"), given.get("cert"), given.get("key"))
        etcd = Rights(given["endpoints"], tls, passwords[ADMIN])
        todo, on = due(etcd, wanted, {user: some[0] for user, some in passwords.items() if some}, p["enabled"])
        if module.check_mode:
            done += [step.words for step in todo]
        else:
            etcd.take_all(todo, on, done)
    except (Unavailable, ValueError) as why:
        module.fail_json(msg=str(why), done=done)
    lines = "".join(f"{line}\n" for line in done)
    diff = {"before_header": "etcd", "after_header": "etcd", "prepared": lines}
    module.exit_json(changed=bool(done), done=done, enabled=on or p["enabled"], diff=diff)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: coordinator_restart
short_description: Restart this host's member of etcd, unless that would cost the majority
description:
  - A member that answers is restarted only while all others of this run answer, and enough of the rest for a majority
    without it; then it is waited for. So a setting that etcd does not take costs one member, whatever Ansible goes on
    to do on the others.
  - One that does not answer, since it was never started for example, is restarted without waiting, for no member is
    healthy before a majority has started.
options:
  coordinator:
    description: C(endpoints), C(ca), C(cert), C(key), as in the daemons' configuration.
    type: dict
    required: true
  endpoint:
    description: This member's, one of C(endpoints).
    type: str
    required: true
  deployed:
    description: Those of the members that this run deploys.
    type: list
    elements: str
    required: true
  timeout:
    description: Seconds for the others of this run to answer, and for this one after its restart.
    type: int
    default: 120
attributes:
  check_mode:
    support: partial
    details: Says that it would restart, without asking the members.
author: Holdfast
"""

EXAMPLES = r"""
- name: Restart etcd
  holdfast.mail.coordinator_restart:
    coordinator: "{{ topology_coordinator }}"
    endpoint: https://10.2.3.31:2379
    deployed: "{{ topology_coordinator.endpoints }}"
  throttle: 1
"""

RETURN = r"""
postponed:
  description: Members outside of this run that do not answer, for want of which nothing was restarted.
  type: list
  elements: str
  returned: always
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.adapters.etcd import Tls
from ansible_collections.holdfast.mail.plugins.module_utils.adapters.etcd_members import health, hindering

UNIT = "etcd.service"
PATIENCE = 15  # seconds for a member without a leader, which it is for a moment when that one is restarted


def wait(condition, seconds):
    """Whether it came true."""
    deadline = time.monotonic() + seconds
    while not (true := condition()) and time.monotonic() < deadline:
        time.sleep(1)
    return true


def main():
    module = AnsibleModule(
        argument_spec={
            "coordinator": {"type": "dict", "required": True},
            "endpoint": {"type": "str", "required": True},
            "deployed": {"type": "list", "elements": "str", "required": True},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    p = module.params
    given, me, deployed = p["coordinator"], p["endpoint"], p["deployed"]
    if module.check_mode:
        module.exit_json(changed=True, postponed=[])
    tls = Tls(given.get("ca"), given.get("cert"), given.get("key"))

    def hinder():
        answering = [url for url in given["endpoints"] if url == me or health(url, tls)]
        return hindering(me, answering, given["endpoints"], deployed)

    def serving():
        return health(me, tls) is True

    wait(lambda: health(me, tls) is not False, PATIENCE)
    if served := serving():
        wait(lambda: not set(hinder()) & set(deployed), p["timeout"])
        silent = hinder()
        names = ", ".join(silent)
        if set(silent) & set(deployed):
            module.fail_json(
                msg=f"etcd was not restarted: {names} does not answer; mend it (journalctl -u {UNIT}), deploy again",
                postponed=[],
            )
        if silent:
            module.warn(f"etcd keeps its old settings: without {names} a restart costs the majority; deploy again then")
            module.exit_json(changed=False, postponed=silent)
    status, _, said = module.run_command(["systemctl", "restart", *([] if served else ["--no-block"]), UNIT])
    if status != 0 or (served and not wait(serving, p["timeout"])):
        module.fail_json(
            msg=f"{me} does not answer after its restart: {said.strip() or UNIT}; see journalctl -u {UNIT}. Others "
            "are not restarted until it does.",
            postponed=[],
        )
    module.exit_json(changed=True, postponed=[])


if __name__ == "__main__":
    main()

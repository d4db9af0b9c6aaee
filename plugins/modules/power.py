#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: power
short_description: Ask the fence devices for a host's power, and switch it on again
description:
  - For a host that was fenced. It starts no mail service by being switched on; its agent waits to be owner.
  - There is no way to switch off by this module. A host's power is cut by a takeover only, under its lock.
  - Runs on a relay, which holds the keys of the fence devices.
options:
  host:
    description: The host, by the name that its fence device knows it by.
    type: str
    required: true
  state:
    description: C(on) switches it on if it is off. C(query) changes nothing.
    type: str
    choices: ["on", "query"]
    default: query
extends_documentation_fragment: holdfast.mail.monitor
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: Holdfast
"""

EXAMPLES = r"""
- name: Back on
  holdfast.mail.power:
    host: mail1
    state: "on"
"""

RETURN = r"""
power:
  description: C(on) or C(off), as the device is certain of; in check mode the power before.
  type: str
  returned: always
device:
  description: The fence device that answered.
  type: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.core.ports import Power, SwitchesOn, Unavailable
from ansible_collections.holdfast.mail.plugins.module_utils.daemons.wiring import ConfigError, load


def main():
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["on", "query"], "default": "query"},
            "config": {"type": "path", "default": "/etc/holdfast/monitor.yml"},
        },
        supports_check_mode=True,
    )
    host, wanted = module.params["host"], module.params["state"]
    tried = []
    try:
        devices = load(module.params["config"]).switches()
    except ConfigError as why:
        module.fail_json(msg=str(why))
    if host not in devices:
        module.fail_json(msg=f"no fence device knows {host}; known: {', '.join(sorted(devices))}")
    for device in devices[host]:
        try:
            power = device.status(host)
            changed = wanted == "on" and power is Power.OFF
            if changed and not isinstance(device, SwitchesOn):
                tried.append(f"{device.method}: {host} is off, and this device cannot switch on")
                continue
            if changed and not module.check_mode:
                device.on(host)
                power = Power.ON
        except Unavailable as why:
            tried.append(str(why))
            continue
        diff = {"before": f"{host} off\n", "after": f"{host} on\n"} if changed else {}
        module.exit_json(changed=changed, power=str(power), device=device.method, diff=diff)
    module.fail_json(msg=f"power of {host}: {'; '.join(tried)}")


if __name__ == "__main__":
    main()

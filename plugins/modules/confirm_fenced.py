#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: confirm_fenced
short_description: Record an operator's word that a host can no longer act
description:
  - The last level of a fence plan. The word holds for the identities that the host owns now, at their present epochs,
    for the boot that was heard of last, and only while the host has no live lease; a takeover reads all of that again.
  - Whoever gives it must have made sure - power cut, cables pulled - since another host writes to the same mailboxes
    afterwards.
  - In check mode it says what would be recorded. That a word is about the boot that somebody has seen off, and not
    about a later one, is up to the caller; look first, then record with the I(boot_id) of that word.
  - Runs on a relay, which has access to the coordinator.
options:
  host:
    description: The host that is off.
    type: str
    required: true
  by:
    description: Who says so.
    type: str
    required: true
  reason:
    description: What was done.
    type: str
    required: true
  boot_id:
    description:
      - The boot that was seen off. A host that has been started since is refused.
      - Without it, the boot that is known now.
    type: str
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
- name: I pulled the plug
  holdfast.mail.confirm_fenced:
    host: mail1
    by: anna
    reason: pulled both plugs
"""

RETURN = r"""
said:
  description: One line that says what is, or would be, recorded.
  type: str
  returned: always
word:
  description: The record, C(by), C(reason), C(time), C(boot_id), C(epochs).
  type: dict
  returned: always
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.adapters.etcd import Login
from ansible_collections.holdfast.mail.plugins.module_utils.core import keys
from ansible_collections.holdfast.mail.plugins.module_utils.core.fencing import ConfirmedOff, HostView
from ansible_collections.holdfast.mail.plugins.module_utils.core.model import Owner
from ansible_collections.holdfast.mail.plugins.module_utils.core.ports import Unavailable
from ansible_collections.holdfast.mail.plugins.module_utils.core.rights import OPERATOR
from ansible_collections.holdfast.mail.plugins.module_utils.daemons.wiring import ConfigError, load


def main():
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "by": {"type": "str", "required": True},
            "reason": {"type": "str", "required": True},
            "boot_id": {"type": "str"},
            "config": {"type": "path", "default": "/etc/holdfast/monitor.yml"},
            "password_file": {"type": "path", "default": "/etc/holdfast/operator.password"},
        },
        supports_check_mode=True,
    )
    p = module.params
    for name in ("by", "reason"):
        if not p[name].strip():
            module.fail_json(msg=f"{name} is empty; it goes into the record of the takeover, say it")
    try:
        config = load(p["config"])
        client, host = config.coordinator.as_user(Login(OPERATOR, p["password_file"])), p["host"]
        view = HostView.of(host, client.list(keys.host(host)))
        # A store that nobody here owns (an NFS service from elsewhere) has no owner record.
        names = [*config.identities, *dict.fromkeys(i.store for i in config.identities.values())]
        owners = {name: client.get(keys.owner(name)).value for name in names}
        epochs = {n: Owner.from_json(o).epoch for n, o in owners.items() if o is not None and o["host"] == host}
        if view.lease is not None:
            module.fail_json(msg=f"{host} has a live lease, so it is not off; switch it off and wait until that ends")
        if p["boot_id"] not in (None, view.boot_id):
            module.fail_json(msg=f"{host} has been started since it was seen off; make sure again that it is off")
        if not epochs:
            module.fail_json(
                msg=f"{host} owns no identity of this relay and no store of theirs; there is nothing to confirm"
            )
        word = ConfirmedOff(p["by"], p["reason"], time.time(), view.boot_id, epochs)
        if not module.check_mode:
            client.put(keys.confirmed_off(host), word.to_json())
    except (Unavailable, ConfigError) as why:
        module.fail_json(msg=str(why))
    listed = ", ".join(f"{name} at epoch {epoch}" for name, epoch in epochs.items())
    said = f"{p['by']} confirms that {host} is off ({p['reason']}), for {listed}"
    module.exit_json(changed=True, said=said, word=word.to_json())


if __name__ == "__main__":
    main()

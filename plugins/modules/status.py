#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: status
short_description: Who owns what, who could take it over, what relays hold, and what needs an operator
description:
  - Reads the coordinator and this relay's queue and tells it as a table. Changes nothing. Runs on a relay.
  - Certificates are told by the hosts' agents; those of the coordinator's members are looked at. A member that does not
    answer is passed over.
options:
  held:
    description: What other relays have returned as C(held), by relay.
    type: dict
    default: {}
  sides:
    description:
      - What redirectors and transfer hosts say, by host. Of each the output C(out) of its command with
        C(status --json), or C(why) there is none. Those that were not asked are left out.
    type: dict
    default: {}
  redirectors:
    description: The inventory's pairs of redirectors.
    type: dict
    default: {}
  aside:
    description: Hosts in the midst of planned work; that these are away, or drained, needs no operator.
    type: list
    elements: str
    default: []
extends_documentation_fragment: holdfast.mail.monitor
attributes:
  check_mode:
    support: full
author: Holdfast
"""

EXAMPLES = r"""
- name: How is it?
  holdfast.mail.status:
  register: found
"""

RETURN = r"""
table:
  description: Lines for people; times in UTC.
  type: list
  elements: str
  returned: always
needs:
  description: What needs an operator; empty when all is well.
  type: list
  elements: str
  returned: always
held:
  description: Messages that wait on this relay, by identity.
  type: dict
  returned: always
identities:
  description: As M(holdfast.mail.identity_info) returns them.
  type: dict
  returned: always
stores:
  description: As M(holdfast.mail.identity_info) returns them.
  type: dict
  returned: always
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.adapters import certificates
from ansible_collections.holdfast.mail.plugins.module_utils.core import (
    keys,
    side_telling,
    store_telling,
    telling,
)
from ansible_collections.holdfast.mail.plugins.module_utils.core.ports import Unavailable
from ansible_collections.holdfast.mail.plugins.module_utils.daemons.wiring import ConfigError, build, load


def of_the_coordinator(coordinator, now):
    """What of etcd itself needs an operator."""
    found = []
    if not coordinator.asks_users():
        found.append(
            "coordinator: etcd asks nobody who it is, so every host may write everything: deploy all hosts in one run "
            "(playbooks/site.yml without --limit)"
        )
    shown = {url: certificates.shown_by(url, coordinator.tls) for url in coordinator.endpoints}
    return found + [line for url, one in shown.items() if one is not None and (line := one.alarm(url, now))]


def claimed(coordinator):
    """{identity: transfer host that carries from its spool}. Raises Unavailable."""
    claims = coordinator.list(keys.TRANSFER_CLAIMS).items()
    return {k.removeprefix(keys.TRANSFER_CLAIMS): e.value["host"] for k, e in claims if e.value is not None}


def main():
    module = AnsibleModule(
        argument_spec={
            "held": {"type": "dict", "default": {}},
            "sides": {"type": "dict", "default": {}},
            "redirectors": {"type": "dict", "default": {}},
            "aside": {"type": "list", "elements": "str", "default": []},
            "config": {"type": "path", "default": "/etc/holdfast/monitor.yml"},
        },
        supports_check_mode=True,
    )
    p = module.params
    try:
        config = load(p["config"])
        parts = {name: build(config, name) for name in config.identities}
        waiting = {name: one.queue.waiting(one.identity) for name, one in parts.items()}
        found, pairs = store_telling.read_all(config.coordinator, config.identities, config.stores)
        needs = of_the_coordinator(config.coordinator, time.time())
        claims = claimed(config.coordinator)
    except (Unavailable, ConfigError) as why:
        module.fail_json(msg=str(why))
    by_relay = {**p["held"], config.host: waiting}
    known = []
    for name, data in found.items():
        held = {relay: int(counts[name]) for relay, counts in by_relay.items() if name in counts}
        known.append(telling.Known.from_json(config.identities[name], data, config.interval, held))
    stores = [store_telling.KnownStore.from_json(config.stores[name], data) for name, data in pairs.items()]
    now = time.time()
    needs += telling.certificates([*known, *(one.known for one in stores)], now)
    needs += [line for one in stores for line in store_telling.needs(one, p["aside"])]
    needs += [line for one in known for line in telling.needs(one, now, p["aside"])]
    words = {host: side_telling.Word.of(answer) for host, answer in p["sides"].items()}
    in_pairs = {host for pair in p["redirectors"].values() for host in pair["hosts"]}
    in_front = {host: word for host, word in words.items() if host in in_pairs}
    between = {host: word for host, word in words.items() if host not in in_pairs}
    needs += side_telling.redirector_needs(p["redirectors"], in_front, p["aside"])
    needs += side_telling.transfer_needs(between, claims, p["aside"])
    tables = [
        telling.table(known, now),
        store_telling.table(stores),
        side_telling.redirector_table(p["redirectors"], in_front),
        side_telling.transfer_table(between, claims),
    ]
    module.exit_json(
        changed=False,
        table=[line for lines in tables if lines for line in (*lines, "")][:-1],
        needs=needs,
        held=waiting,
        identities=found,
        stores=pairs,
    )


if __name__ == "__main__":
    main()

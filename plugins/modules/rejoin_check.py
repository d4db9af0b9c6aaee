#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rejoin_check
short_description: May a mail host that was away be a candidate again?
description:
  - Compares what M(holdfast.mail.mail_host_info) has found on it with what the coordinator and its peers say. Reads and
    changes nothing; runs anywhere.
options:
  facts:
    description: C(facts) of the host.
    type: dict
    required: true
  peers:
    description: C(facts) of other mail hosts, whose versions it must have.
    type: list
    elements: dict
    default: []
  owned:
    description: Identities that the coordinator says are this host's.
    type: list
    elements: str
    default: []
  asked:
    description: The asker's clock before and after the question, Unix seconds; the host's clock must lie between.
    type: list
    elements: float
attributes:
  check_mode:
    support: full
author: Holdfast
"""

EXAMPLES = r"""
- name: Judge it
  holdfast.mail.rejoin_check:
    facts: "{{ found.facts }}"
    owned: []
"""

RETURN = r"""
obstacles:
  description: Why it may not, each with its remedy; empty when it may.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.core.rejoining import Facts, obstacles


def main():
    module = AnsibleModule(
        argument_spec={
            "facts": {"type": "dict", "required": True},
            "peers": {"type": "list", "elements": "dict", "default": []},
            "owned": {"type": "list", "elements": "str", "default": []},
            "asked": {"type": "list", "elements": "float"},
        },
        supports_check_mode=True,
    )
    p = module.params
    if p["asked"] is not None and len(p["asked"]) != 2:
        module.fail_json(msg=f"asked is {p['asked']}: give two times, before and after the question")
    try:
        facts, peers = Facts.from_json(p["facts"]), [Facts.from_json(peer) for peer in p["peers"]]
    except (KeyError, TypeError, ValueError, AttributeError) as why:
        module.fail_json(msg=f"facts are not those of mail_host_info: {why!r}")
    asked = None if p["asked"] is None else (p["asked"][0], p["asked"][1])
    module.exit_json(changed=False, obstacles=obstacles(facts, p["owned"], peers, asked))


if __name__ == "__main__":
    main()

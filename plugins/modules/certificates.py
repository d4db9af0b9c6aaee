#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: certificates
short_description: Make and renew an authority and its certificates on the controller
description:
  - Keeps an authority and one certificate for each name in a folder of the controller; run it there
    (C(delegate_to), C(run_once)). The roles carry the files to their hosts.
  - A certificate is made anew when it is missing, runs out, has other names, comes from another authority or does not
    fit its key.
  - An authority that would end before a certificate made now is renewed with its own key, so that hosts with the old
    and hosts with the new one trust each other meanwhile.
options:
  folder:
    description: Where they lie. Made with mode 0700.
    type: path
    required: true
  authority:
    description: Common name of the authority.
    type: str
    default: Holdfast
  certificates:
    description: What is wanted.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: File name; in the subject the common name or the organizational unit.
        type: str
        required: true
      names:
        description: DNS names and IP addresses it is valid for.
        type: list
        elements: str
        required: true
      common_name:
        description:
          - Whether the subject has a common name. etcd's HTTP gateway turns clients away whose certificate has one.
        type: bool
        default: true
  days:
    description: How long a certificate is valid, in days; the authority ten times as long.
    type: int
    default: 365
  renew_days:
    description:
      - A certificate with fewer days left is made anew. More than 20, since with 20 the hosts' agents begin to alarm.
    type: int
    default: 30
  new_authority:
    description: >-
      Make an authority where there is none, or one whose key is lost. Hosts that carry another one trust nothing of
      what is made then.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
author: Holdfast
"""

EXAMPLES = r"""
- name: Certificates
  holdfast.mail.certificates:
    folder: inventories/compact/pki
    certificates:
      - {name: mail1, names: [mail1, 10.1.1.11]}
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
made:
  description: Names of the certificates that were made anew.
  type: list
  elements: str
  returned: always
"""

import datetime
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.adapters.pki import Authority, Leaf
from ansible_collections.holdfast.mail.plugins.module_utils.core.certificates import ALARM_DAYS


def main():
    wanted = {
        "name": {"type": "str", "required": True},
        "names": {"type": "list", "elements": "str", "required": True},
        "common_name": {"type": "bool", "default": True},
    }
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "authority": {"type": "str", "default": "Holdfast"},
            "certificates": {"type": "list", "elements": "dict", "required": True, "options": wanted},
            "days": {"type": "int", "default": 365},
            "renew_days": {"type": "int", "default": 30},
            "new_authority": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    p = module.params
    if not p["days"] > p["renew_days"] > ALARM_DAYS:
        module.fail_json(
            msg=f"days is {p['days']}, renew_days is {p['renew_days']}: give renew_days more than {ALARM_DAYS}, "
            "and days more than renew_days",
            made=[],
        )
    now = datetime.datetime.now(datetime.UTC)
    authority = Authority(Path(p["folder"]), p["authority"], p["days"], p["renew_days"], now)
    leaves = [Leaf(c["name"], tuple(c["names"]), c["common_name"]) for c in p["certificates"]]
    try:
        if not p["new_authority"] and authority.unfounded():
            raise ValueError(
                "ca.pem and ca.key are not both there, or do not belong together; put both back from the backup "
                "(docs/runbooks/certificates.md)"
            )
        missing, due = authority.missing(), authority.due(leaves)
        if not module.check_mode:
            if missing:
                authority.make_authority()
            for leaf in due:
                authority.make(leaf)
    except (OSError, ValueError) as why:
        module.fail_json(msg=f"certificates in {p['folder']}: {why}", made=[])
    made = [*(["ca"] if missing else []), *(leaf.name for leaf in due)]
    module.exit_json(changed=bool(made), made=made)


if __name__ == "__main__":
    main()

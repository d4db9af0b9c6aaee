#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: knot_records
short_description: Bring records of a Knot server's zones to what they should be
description:
  - Compares with the server's own contents and changes what differs, zone by zone in one transaction each; records that
    nobody asks about stay as they are, so that updates by others (RFC 2136) live on beside it.
  - A zone that is configured and has no contents yet is made. C(SOA) is set then, and left to the server afterwards.
options:
  zones:
    description: Names of the zones that the server holds.
    type: list
    elements: str
    required: true
  records:
    description: What they should say. A record outside of all zones is left to others.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Owner name, absolute.
        type: str
        required: true
      type:
        description: Kind of record.
        type: str
        required: true
      data:
        description: All data of this name and type, as in a zone file, names absolute. Empty means none.
        type: list
        elements: str
        required: true
      once:
        description: Set only where the zone has none of this name and type; somebody else changes it afterwards.
        type: bool
        default: false
  ttl:
    description: Of all these records, seconds.
    type: int
    required: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: Holdfast
"""

EXAMPLES = r"""
- name: Records
  holdfast.mail.knot_records:
    zones: [alpha.example]
    ttl: 60
    records:
      - {name: alpha.example., type: MX, data: [10 mx.alpha.example.]}
      - {name: mx.alpha.example., type: A, data: [203.0.113.10]}
"""

RETURN = r"""
changed_records:
  description: Owner and type of what was changed.
  type: list
  elements: str
  returned: always
left_out:
  description: Owner and type of records that lie in none of the zones.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.adapters.command import CommandError
from ansible_collections.holdfast.mail.plugins.module_utils.adapters.knot import Knot
from ansible_collections.holdfast.mail.plugins.module_utils.core.records import RecordSet, absolute, plan, zone_of


def label(record):
    return f"{record.owner} {record.kind}"


def text(sets):
    return "".join(f"{line}\n" for record in sets for line in record.lines())


def main():
    record = {
        "name": {"type": "str", "required": True},
        "type": {"type": "str", "required": True},
        "data": {"type": "list", "elements": "str", "required": True},
        "once": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec={
            "zones": {"type": "list", "elements": "str", "required": True},
            "records": {"type": "list", "elements": "dict", "required": True, "options": record},
            "ttl": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    zones = [absolute(zone) for zone in module.params["zones"]]
    wanted = [RecordSet.of(r["name"], r["type"], module.params["ttl"], r["data"]) for r in module.params["records"]]
    once = {(r.owner, r.kind) for r, given in zip(wanted, module.params["records"], strict=True) if given["once"]}
    server, changed, diff = Knot(), [], []
    for zone in zones:
        part = [r for r in wanted if zone_of(r.owner, zones) == zone]
        try:
            there = server.read(zone)
        except CommandError as why:
            if not module.check_mode:
                module.fail_json(msg=str(why), changed_records=changed)
            # Before the first deploy there is no server that could be asked.
            there = {}
        due = plan(there, [r for r in part if (r.owner, r.kind) not in once or (r.owner, r.kind) not in there])
        if not due:
            continue
        old = [there[r.owner, r.kind] for r in due if (r.owner, r.kind) in there]
        diff.append({"before_header": zone, "after_header": zone, "before": text(old), "after": text(due)})
        if not module.check_mode:
            try:
                server.change(zone, there, due)
            except CommandError as why:
                module.fail_json(msg=f"zone {zone}: {why}", changed_records=changed)
        changed += map(label, due)
    left_out = [label(r) for r in wanted if zone_of(r.owner, zones) is None]
    module.exit_json(changed=bool(changed), changed_records=changed, left_out=left_out, diff=diff)


if __name__ == "__main__":
    main()

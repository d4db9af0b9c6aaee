#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: attempt
short_description: Try to reach an identity, as the retry monitor does
description:
  - Makes one round of attempts over one route with the monitor's own core, from a relay. Counts nothing and starts no
    takeover.
options:
  identity:
    description: The identity to reach.
    type: str
    required: true
  route:
    description: Name of the route; the first one if not given.
    type: str
  methods:
    description: What to try. C(delivery) delivers the oldest waiting message, which is a change.
    type: list
    elements: str
    choices: [delivery, topology, probe]
    default: [topology, probe]
extends_documentation_fragment: holdfast.mail.monitor
attributes:
  check_mode:
    support: partial
    details: In check mode no message is delivered.
author: Holdfast
"""

EXAMPLES = r"""
- name: Can it be reached over the isolated network?
  holdfast.mail.attempt:
    identity: mx.alpha.example
    route: isolated
"""

RETURN = r"""
attempts:
  description: Each attempt with method, route, result (C(ok), C(down), C(refused)), start, end, detail.
  type: list
  elements: dict
  returned: always
verdict:
  description: The round in one word.
  type: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.mail.plugins.module_utils.core.model import Method
from ansible_collections.holdfast.mail.plugins.module_utils.core.ports import Unavailable
from ansible_collections.holdfast.mail.plugins.module_utils.core.threshold import verdict
from ansible_collections.holdfast.mail.plugins.module_utils.core.watching import make_round
from ansible_collections.holdfast.mail.plugins.module_utils.daemons.wiring import ConfigError, build, load, require


def main():
    module = AnsibleModule(
        argument_spec={
            "identity": {"type": "str", "required": True},
            "route": {"type": "str"},
            "methods": {
                "type": "list",
                "elements": "str",
                "choices": ["delivery", "topology", "probe"],
                "default": ["topology", "probe"],
            },
            "config": {"type": "path", "default": "/etc/holdfast/monitor.yml"},
        },
        supports_check_mode=True,
    )
    p = module.params
    methods = [Method(m) for m in p["methods"] if not (module.check_mode and m == "delivery")]
    try:
        config = load(p["config"])
        require(config, p["identity"], p["config"])
        parts = build(config, p["identity"])
        routes = {r.name: r for r in parts.settings.routes}
        wanted = p["route"] or parts.settings.routes[0].name
        if wanted not in routes:
            module.fail_json(msg=f"{wanted} is no route to {p['identity']}; known: {', '.join(routes)}")
        made = make_round(parts.prober, parts.identity, routes[wanted], methods)
    except (Unavailable, ConfigError) as why:
        module.fail_json(msg=str(why))
    delivered = any(a.method is Method.DELIVERY for a in made)
    module.exit_json(changed=delivered, attempts=[a.to_json() for a in made], verdict=str(verdict(made)))


if __name__ == "__main__":
    main()

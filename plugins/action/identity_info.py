# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a relay; one that does not answer is one that failed, with the reason as its message.

Ansible's "unreachable" would end the retries of a task, and a loop over relays one of which is unreachable ends in a
copy of all that the others have said.
"""

from __future__ import annotations

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action.normal import ActionModule as Normal


class ActionModule(Normal):
    def run(self, tmp=None, task_vars=None):
        try:
            return super().run(tmp, task_vars)
        except AnsibleConnectionFailure as why:
            return {"failed": True, "msg": f"no answer: {' '.join(str(why).split())}"}

"""What variables are for each host of the inventory: {host: {name: value}}, without those that it has not.

As `hostvars[host][name]`, but a value may itself be made of other hosts' variables, which hostvars cannot resolve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):  # type: ignore[misc]
    def run(
        self, terms: Sequence[str], variables: Mapping[str, Any] | None = None, **_: Any
    ) -> list[dict[str, dict[str, Any]]]:
        """One mapping, of the variables named in `terms`."""
        known = variables or {}
        if "hostvars" not in known:
            raise AnsibleLookupError("each_host: there is no hostvars here; use it where a host's variables are known")
        hostvars, found = known["hostvars"], dict[str, dict[str, Any]]()
        for host in hostvars:
            own = hostvars.raw_get(host)
            templar = self._templar.copy_with_new_env(available_variables={**own, "hostvars": hostvars})
            found[str(host)] = {name: templar.template(own[name]) for name in terms if name in own}
        return [found]

"""Jinja filter for role stored_configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.holdfast.mail.plugins.plugin_utils import places

DOCUMENTATION = r"""
name: stored_places
short_description: On which store the configuration of which host lies
description: "The input is C({host: its site})."
positional: stores, external_stores, at
options:
  _input:
    description: "Hosts whose configuration is kept, C({host: its site})."
    type: dict
    required: true
  stores:
    description: The inventory's pairs.
    type: dict
    required: true
  external_stores:
    description: Stores from elsewhere; one keeps configuration where it says C(configuration), a folder of its manager.
    type: dict
    required: true
  at:
    description: For sites without a store the site whose store it is.
    type: dict
    required: true
"""

EXAMPLES = r"""
places: "{{ {'mail1': 'dc1'} | holdfast.mail.stored_places(stores, {}, {}) }}"
"""

RETURN = r"""
_value:
  description: For each store that keeps something C(site), C(hosts), C(reached), C(root), C(mounted).
  type: dict
"""

Stores = Mapping[str, Mapping[str, Any]]


def stored_places(sites: Mapping[str, str], stores: Stores, external: Stores, at: Mapping[str, str]) -> places.Places:
    try:
        return places.places(stores, external, sites, at)
    except places.Misplaced as why:
        raise AnsibleFilterError(str(why)) from why


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"stored_places": stored_places}

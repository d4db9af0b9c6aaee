"""Filter `network_picture`: an inventory's network as SVG (see plugins/plugin_utils/network_picture)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.holdfast.mail.plugins.plugin_utils.network_picture import model, plan, svg

DOCUMENTATION = r"""
name: network_picture
short_description: Draw the network of the inventory
description:
  - "An SVG picture: sites as frames, segments as bars, hosts as boxes with the last octets of their legs."
  - The same inventory gives the same bytes, whatever the order in which it names things.
positional: groups, title
options:
  _input:
    description: C(hostvars) of all hosts.
    type: dict
    required: true
  groups:
    description: C(groups).
    type: dict
    required: true
  title:
    description: What the picture is called.
    type: str
    required: true
author: Holdfast
"""

EXAMPLES = r"""
- name: The picture of the network
  ansible.builtin.copy:
    content: "{{ hostvars | holdfast.mail.network_picture(groups, 'inventories/full') }}"
    dest: docs/network-full.svg
    mode: "0644"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
_value:
  description: The file's text.
  type: str
"""


def network_picture(hostvars: Mapping[str, Any], groups: Mapping[str, Iterable[str]], title: str) -> str:
    """Raises AnsibleFilterError naming what of the inventory cannot be drawn."""
    try:
        return svg.write(plan.draw(model.read(hostvars, groups, str(title))))
    except ValueError as why:
        raise AnsibleFilterError(str(why)) from why


class FilterModule:
    def filters(self) -> dict[str, Callable[..., str]]:
        return {"network_picture": network_picture}

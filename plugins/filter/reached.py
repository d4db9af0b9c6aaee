"""Which addresses a host has a way to, by the inventory."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: reached
short_description: Which of some addresses a host reaches over its own legs
description:
  - Segments of one network reach each other by routers, and those of two networks do not. An address that lies in no
    segment is left in, since it is reached, if at all, by a route that the inventory does not know.
positional: legs, segments
options:
  _input:
    description: IP addresses.
    type: list
    elements: str
    required: true
  legs:
    description: The host's interfaces, {segment, address}.
    type: dict
    required: true
  segments:
    description: All segments, each with network and prefix.
    type: dict
    required: true
author: Holdfast
"""

EXAMPLES = r"""
- name: Name servers of this host
  ansible.builtin.debug:
    msg: "{{ base_resolvers | holdfast.mail.reached(legs, segments) }}"
"""

RETURN = r"""
_value:
  description: Those that are reached, in their order.
  type: list
  elements: str
"""


def reached(addresses: Iterable[str], legs: Mapping[str, str], segments: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Raises AnsibleFilterError for what is no address."""
    networks = {segments[name]["network"] for name in legs}
    found = []
    for text in addresses:
        try:
            address = ipaddress.ip_address(str(text))
        except ValueError as why:
            raise AnsibleFilterError(f"{text!r} is no IP address: give addresses, names are looked up by them") from why
        around = [s["network"] for s in segments.values() if address in ipaddress.ip_network(s["prefix"])]
        if not around or networks.intersection(around):
            found.append(str(text))
    return found


class FilterModule:
    """See DOCUMENTATION."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        return {"reached": reached}

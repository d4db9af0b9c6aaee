"""Filters that derive allowed flows, and the rules of packet filters, from the inventory's facts (roles/topology)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.holdfast.mail.plugins.plugin_utils import flows, packet_rules
from ansible_collections.holdfast.mail.plugins.plugin_utils.network_map import NetworkMap

# One inventory at a time is deployed, and each of its hosts asks for the same list.
_last: list[tuple[Any, list[flows.Flow]]] = []


def _plain(value: Any) -> Any:
    """What Ansible resolves when it is looked at, resolved."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    return value


def _allowed(facts: Mapping[str, Any]) -> tuple[NetworkMap, list[flows.Flow]]:
    plain = _plain(facts)
    try:
        plan = NetworkMap(plain)
        if not _last or _last[0][0] != plain:
            _last[:] = [(plain, flows.allowed(plan))]
    except (KeyError, ValueError) as why:
        raise AnsibleFilterError(f"allowed flows: {why} in the inventory; inventory_check tells its mistakes") from why
    return plan, _last[0][1]


def allowed_flows(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All flows of an inventory, as mappings."""
    return [_plain(asdict(flow)) for flow in _allowed(facts)[1]]


def packet_filter_rules(facts: Mapping[str, Any], host: str) -> dict[str, Any]:
    """Lines of the chains of a host's packet filter."""
    plan, known = _allowed(facts)
    found: dict[str, Any] = _plain(asdict(packet_rules.rules(plan, known, host)))
    return found


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"allowed_flows": allowed_flows, "packet_filter_rules": packet_filter_rules}

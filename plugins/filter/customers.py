"""What follows from an inventory's customers, for the inventory itself (docs/runbooks/customers.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.holdfast.mail.plugins.module_utils.core import customers


def identities_with_customers(
    servers: Mapping[str, Any], given: object, stores: Mapping[str, Any], *more: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """`more`: further stores, such as those from elsewhere."""
    every: dict[str, Any] = dict(stores)
    for some in more:
        every |= some
    return customers.served(servers, given, every)


class FilterModule:
    """Ansible's way to find filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "identities_with_customers": identities_with_customers,
            "customer_users": customers.users,
            "customer_aliases": customers.aliases,
            "customer_guarantees": customers.guarantees,
        }

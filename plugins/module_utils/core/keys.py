"""Names of the keys in the coordinator: the only place where they are spelled (docs/architecture.md)."""

from __future__ import annotations

ROOT = "/holdfast/"
IDENTITIES = f"{ROOT}identity/"
STORES = f"{ROOT}store/"
EVIDENCE = f"{ROOT}evidence/"  # apart from what daemons watch: relays write it all the time, and only they read it


def lease(host: str) -> str:
    return f"{ROOT}host/{host}/lease"


def ready(host: str, identity: str) -> str:
    return f"{ROOT}host/{host}/ready/{identity}"


def report(host: str, identity: str) -> str:
    return f"{ROOT}host/{host}/report/{identity}"


def half(host: str, store: str) -> str:
    """A member's word on its half of a store (core/stores.py)."""
    return f"{ROOT}host/{host}/half/{store}"


def identity(identity: str) -> str:
    """Prefix of who owns an identity, and of the runs that change that."""
    return f"{IDENTITIES}{identity}/"


def owner(identity: str) -> str:
    return f"{ROOT}identity/{identity}/owner"


def inoperable(identity: str) -> str:
    return f"{ROOT}identity/{identity}/inoperable"


def lock(identity: str) -> str:
    return f"{ROOT}identity/{identity}/lock"


def takeover(identity: str) -> str:
    return f"{ROOT}identity/{identity}/takeover"


def runs(identity: str) -> str:
    """Prefix of the history of runs."""
    return f"{ROOT}identity/{identity}/runs/"


def run(identity: str, run_id: str) -> str:
    return f"{runs(identity)}{run_id}"


def evidences(identity: str) -> str:
    """Prefix of what relays have seen of an identity."""
    return f"{EVIDENCE}{identity}/"


def evidence(identity: str, relay: str) -> str:
    return f"{evidences(identity)}{relay}"


def store(store: str) -> str:
    """Prefix of what a store's owner writes."""
    return f"{STORES}{store}/"


def access(store: str, identity: str) -> str:
    return f"{ROOT}store/{store}/access/{identity}"


def insync(store: str) -> str:
    """Members of the store whose disks hold all that was acknowledged (core/stores.py)."""
    return f"{ROOT}store/{store}/insync"


def manager(store: str) -> str:
    """The host that opens and closes a store from elsewhere; whoever else is asked to does nothing."""
    return f"{ROOT}store/{store}/manager"


def door(store: str) -> str:
    """That host's word, as long as it is heard: can the store be opened and closed?"""
    return f"{ROOT}store/{store}/door"


def host(host: str) -> str:
    """Prefix of all that is known of a host."""
    return f"{ROOT}host/{host}/"


def watchdog(host: str) -> str:
    return f"{ROOT}host/{host}/watchdog"


def confirmed_off(host: str) -> str:
    return f"{ROOT}host/{host}/confirmed_off"


def fences(host: str) -> str:
    """Prefix of the orders to fence a host, one an identity."""
    return f"{ROOT}host/{host}/fence/"


def fence(host: str, identity: str) -> str:
    return f"{fences(host)}{identity}"


def request(identity: str) -> str:
    return f"{ROOT}identity/{identity}/request"


TRANSFER_HOSTS = f"{ROOT}transfer/host/"


def transfer_host(host: str) -> str:
    """A transfer host's word, as long as it is heard, that it can see spools and records."""
    return f"{TRANSFER_HOSTS}{host}"


TRANSFER_CLAIMS = f"{ROOT}transfer/claim/"


def transfer_claim(identity: str) -> str:
    """Lock on an identity's spool, of the transfer host that carries what waits in it."""
    return f"{TRANSFER_CLAIMS}{identity}"

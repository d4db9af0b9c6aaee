"""What the inventory says of the whole network, as the tests need it: nothing of it is typed a second time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from holdfast.core import customers

from tests.story.machines import ROOT
from tests.story.outage import users

# The whole, or its cut (fig3): what is marked so is played on both.
INVENTORY = ROOT / "inventories" / os.environ.get("HOLDFAST_INVENTORY", "full")
INTERNET, INTRANET, RELAY = "internet", "intranet", "relay"


@dataclass(frozen=True)
class Mailer:
    """An identity with mailboxes, or that sends for their users. `kind`: internet or intranet; `site` of its home;
    `relays`: homes of those that hold mail for it, in the order of their MX."""

    name: str
    address: str
    kind: str
    domains: tuple[str, ...]
    home: str
    candidates: tuple[str, ...]
    store: str
    site: str
    relays: tuple[str, ...]


@dataclass(frozen=True)
class Redirectors:
    """A pair: each of `hosts` is at home at its own of `addresses`, in their order. `side`: internet or isolated."""

    name: str
    side: str
    site: str
    hosts: tuple[str, ...]
    addresses: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Of the identities that it stands before."""
        return INTERNET if self.side == "internet" else INTRANET


@dataclass(frozen=True)
class Network:
    """`users`: address to password; `groups`: hosts by group; `sites` and `legs` ({segment: address}) by host; `cards`:
    of the sites' switches, ports by host; `segments`: network and prefix of each."""

    users: Mapping[str, str]
    groups: Mapping[str, Sequence[str]]
    sites: Mapping[str, str]
    legs: Mapping[str, Mapping[str, str]]
    mailers: Sequence[Mailer]
    relays: Mapping[str, Mapping[str, Any]]
    pairs: Sequence[Redirectors]
    stores: Mapping[str, tuple[str, str]]
    cards: Mapping[str, Mapping[str, Sequence[str]]]
    segments: Mapping[str, Mapping[str, str]]

    @classmethod
    def load(cls, inventory: Path = INVENTORY) -> Network:
        """Raises KeyError or OSError for an inventory that lacks what is asked for."""
        children = _yaml(inventory / "hosts.yml")["all"]["children"]
        hosts = {name: value for group in children.values() for name, value in group["hosts"].items() if value}
        sites = {name: str(value["site"]) for name, value in hosts.items()}
        variables = inventory / "group_vars" / "all"
        pairs_of_stores = _yaml(variables / "stores.yml")["stores"]
        identities = customers.served(
            _yaml(variables / "identities.yml")["identity_servers"],
            _yaml(variables / "customers.yml")["customers"],
            pairs_of_stores,
        )
        mailers = [
            Mailer(
                name,
                i["address"],
                i["kind"],
                tuple(i["domains"]),
                i["home"],
                tuple(i["candidates"]),
                i["store"],
                sites[i["home"]],
                tuple(i["relays"]),
            )
            for name, i in identities.items()
            if i["kind"] != RELAY
        ]
        pairs = [
            Redirectors(name, p["side"], p["site"], tuple(p["hosts"]), tuple(p["addresses"]))
            for name, p in _yaml(variables / "redirectors.yml")["redirectors"].items()
        ]
        return cls(
            users=users(inventory),
            groups={name: tuple(group["hosts"]) for name, group in children.items()},
            sites=sites,
            legs={name: dict(value["legs"]) for name, value in hosts.items()},
            mailers=mailers,
            relays={name: i for name, i in identities.items() if i["kind"] == RELAY},
            pairs=pairs,
            stores={n: (s["members"][0], s["members"][1]) for n, s in pairs_of_stores.items()},
            cards=_yaml(variables / "switches.yml")["switch_cards"],
            segments=_yaml(variables / "network.yml")["segments"],
        )

    @property
    def identities(self) -> list[str]:
        """Mail services, then relays."""
        return [*(m.name for m in self.mailers), *self.relays]

    def mailer(self, kind: str, domain: str) -> Mailer:
        """Of that kind, the first that serves the domain. Raises LookupError."""
        for one in self.mailers:
            if one.kind == kind and domain in one.domains:
                return one
        raise LookupError(f"{domain}: no identity of kind {kind} serves it")

    def server_of(self, user: str) -> Mailer:
        """Where that user logs in."""
        return self.mailer(INTRANET, user.split("@")[1])

    def users_at(self, site: str) -> list[str]:
        """Those whose mailboxes are at home there, in the inventory's order."""
        return [user for user in self.users if self.server_of(user).site == site]

    def homes(self) -> list[str]:
        """Sites of users' mailboxes, the first user's first."""
        return list(dict.fromkeys(self.server_of(user).site for user in self.users))

    def domains(self) -> list[str]:
        """Those of users, the first user's first."""
        return list(dict.fromkeys(user.split("@")[1] for user in self.users))

    def pair(self, kind: str, site: str) -> Redirectors:
        """The redirectors before identities of that kind in that site. Raises LookupError."""
        for one in self.pairs:
            if one.kind == kind and one.site == site:
                return one
        raise LookupError(f"{site}: no redirectors before identities of kind {kind}")

    def fronts(self, mailer: Mailer, site: str) -> set[str]:
        """Addresses at which clients reach it while it is owned in that site: its own where no redirectors are."""
        found = {a for pair in self.pairs if pair.kind == mailer.kind and pair.site == site for a in pair.addresses}
        return found or {mailer.address}

    def carriers(self) -> list[str]:
        """All hosts whose programs may have a letter in hand."""
        return [*self.groups["mail"], *self.groups["relay"]]

    def relays_of(self, mailer: Mailer) -> list[str]:
        """Names of the relays that its domains' exchangers are behind itself, in their order."""
        side = next(pair.side for pair in self.pairs if pair.kind == mailer.kind)
        at = {relay["home"]: name for name, relay in self.relays.items() if relay["networks"][0] == side}
        return [at[host] for host in mailer.relays]

    def isolated_relays(self) -> list[str]:
        """Addresses of the relays of the isolated side."""
        return [relay["address"] for relay in self.relays.values() if relay["networks"][0] == "isolated"]

    def routers(self, network: str) -> list[str]:
        """Those that have a leg in that network."""
        found = [r for r in self.groups["router"] if any(self.segments[s]["network"] == network for s in self.legs[r])]
        return sorted(found)


def _yaml(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


# --- the six ways -----------------------------------------------------------------------------------------------------

OUTSIDE, CORPORATE, OTHER_PLACE = "outside1", "corp1", "corp2"
STRANGER = "reader@outside.example"  # the one user of outside1, whose mail lies in his Maildir


@dataclass(frozen=True)
class Way:
    """One of the ways that mail takes, from `host` to the mailbox of `recipient`, which is read at `reader`.

    `how`: `submission` to `server` (STARTTLS, login), `exchanger` (SMTP to the recipient's domain's exchangers but for
    the first `skip`), or `sendmail` (the sending host's own Postfix finds the exchangers).
    """

    name: str
    host: str
    how: str
    sender: str
    recipient: str
    reader: str
    server: str = ""
    skip: int = 0


def six_ways(network: Network) -> list[Way]:
    """From the first user's site, which is the near one. Raises ValueError when it has too few users."""
    near, far = network.homes()[:2]
    here = network.users_at(near)
    if len(here) < 5:
        raise ValueError(f"{near} is the home of {len(here)} users; give it 5, one for each way and one who sends")
    alice, bob, erin, grace, ivan = here[:5]
    server = network.server_of(ivan).name

    def from_user(name: str, to: str, reader: str = CORPORATE) -> Way:
        return Way(name, CORPORATE, "submission", ivan, to, reader, server)

    return [
        Way("Internet to user", OUTSIDE, "sendmail", STRANGER, alice, CORPORATE),
        from_user("user to Internet", STRANGER, OUTSIDE),
        from_user("user to user, same site", bob),
        from_user("user to user, other site", network.users_at(far)[0]),
        from_user("user to user, other place", grace, OTHER_PLACE),
        Way("through the relay", OUTSIDE, "exchanger", STRANGER, erin, CORPORATE, skip=1),
    ]


INBOUND, OUTBOUND, SAME_SITE, OTHER_SITE, ELSEWHERE, RELAYED = range(6)


def isolated_relay(network: Network) -> Way:
    """The same on the isolated side: a server there that cannot reach another one. Not one of the six."""
    near, far = network.homes()[:2]
    sender, recipient = network.users_at(near)[4], network.users_at(far)[1]
    return Way("through the isolated relay", CORPORATE, "exchanger", sender, recipient, OTHER_PLACE, skip=1)

"""What can be lost of the network, one at a time: how, when service is as it should without it, when it is back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.core import keys

from tests.story.coordinator import Records
from tests.story.machines import StoryError, wait_for

from .network import (
    ELSEWHERE,
    INBOUND,
    INTERNET,
    INTRANET,
    OTHER_SITE,
    OUTBOUND,
    OUTSIDE,
    RELAYED,
    SAME_SITE,
    Network,
    Way,
)
from .stage import NetworkStage

Done = Callable[[], None]
PATIENCE = 180.0  # seconds: longer than relays wait for a server before they ask for another one (threshold_seconds)


def nothing() -> None:
    """There is nothing more to be waited for."""


@dataclass(frozen=True)
class Loss:
    """One component. `hosts` for the table; `settled` waits for more than that letters flow; `returned` waits until it
    is in rotation again; `least`: seconds for which it is away.

    Letters flow meanwhile on all ways but these: `still`: nobody takes them; `held`: they are taken, and arrive when it
    is back; `unseen`: they are taken and arrive, and whoever wants to see it is cut off.
    """

    hosts: Sequence[str]
    cut: Done
    mend: Done
    settled: Done = nothing
    returned: Done = nothing
    still: Sequence[int] = ()
    held: Sequence[int] = ()
    unseen: Sequence[int] = ()
    least: float = 0.0


def of_host(
    stage: NetworkStage,
    host: str,
    returned: Done,
    settled: Done = nothing,
    still: Sequence[int] = (),
    held: Sequence[int] = (),
    least: float = 0.0,
) -> Loss:
    """By a power cut."""

    def cut() -> None:
        stage.lab.word("kill", host)

    return Loss((host,), cut, lambda: stage.start(host), settled, returned, still, held, least=least)


# --- routers ----------------------------------------------------------------------------------------------------------


def not_established(said: str) -> list[str]:
    """Neighbours without a session in what vtysh(1) says to `show bgp vrf all summary json`, of all VRFs and families.

    One word when it is no JSON, or names no neighbour: FRR is starting.
    """
    try:
        peers = dict(_peers(json.loads(said)))
    except ValueError:
        peers = {}
    if not peers:
        return ["FRR is silent"]
    return sorted(address for address, peer in peers.items() if peer.get("state") != "Established")


def _peers(said: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in said.items() if isinstance(said, dict) else ():
        if name == "peers" and isinstance(value, dict):
            yield from value.items()
        else:
            yield from _peers(value)


def sessions(stage: NetworkStage, router: str) -> list[str]:
    """Of that router: neighbours without a session."""
    return not_established(stage.lab.shell(router, "vtysh -c 'show bgp vrf all summary json'", check=False))


def gateways(network: Network, router: str) -> list[str]:
    """Addresses that the pair of this router shares: gateways of its segments that are no host's own."""
    own = {address for legs in network.legs.values() for address in legs.values()}
    shared = (network.segments[segment].get("gateway") for segment in network.legs[router])
    return [address for address in shared if address and address not in own]


def router(stage: NetworkStage, host: str) -> Loss:
    held = stage.holds(host, *gateways(stage.network, host))

    def returned() -> None:
        wait_for(f"BGP of {host}", lambda: not sessions(stage, host), 180, every=4)
        for address in held:
            wait_for(f"{address} at {host}", lambda address=address: stage.holds(host, address), 180, every=4)  # type: ignore[misc]

    return of_host(stage, host, returned)


def line(
    stage: NetworkStage,
    host: str,
    segment: str,
    still: Sequence[int],
    held: Sequence[int] = (),
    unseen: Sequence[int] = (),
    least: float = PATIENCE,
) -> Loss:
    """A provider's line to a site: the cable at the provider's end.

    No mail service is moved for it: each has another route.
    """
    before = {mailer.name: stage.owner(mailer.name) for mailer in stage.network.mailers}

    def returned() -> None:
        wait_for(f"BGP of {host}", lambda: not sessions(stage, host), 180, every=4)
        whole(stage)
        moved = [name for name, owner in before.items() if stage.owner(name) != owner]
        if moved:
            raise StoryError(f"{', '.join(moved)}: moved, though there was another route")

    def cable(word: str) -> Done:
        def do() -> None:
            stage.lab.word(word, host, segment)

        return do

    return Loss(
        (f"{host}: {segment}",),
        cable("unplug"),
        cable("plug"),
        returned=returned,
        still=still,
        held=held,
        unseen=unseen,
        least=least,
    )


def carrier(stage: NetworkStage, host: str, still: Sequence[int], held: Sequence[int]) -> Loss:
    """The one router behind all lines of a network, which stands for all of its providers."""

    def returned() -> None:
        wait_for(f"BGP of {host}", lambda: not sessions(stage, host), 180, every=4)
        whole(stage)

    return of_host(stage, host, returned, still=still, held=held, least=60.0)


def whole(stage: NetworkStage) -> None:
    """Waits until the coordinator, and all whose word ends with its answers, are as before."""
    for host in stage.network.groups["coordinator"]:
        member(stage, host)
    for name in stage.network.stores:
        stage.store(name).wait_running(300)
    stage.wait_all_running()
    for host in stage.network.groups["transfer"]:
        wait_for(f"{host} seeing all spools", lambda host=host: sees_all(stage, host), 240, every=3)  # type: ignore[misc]
    stage.wait_rotation()


# --- servers ----------------------------------------------------------------------------------------------------------


def redirector(stage: NetworkStage, host: str) -> Loss:
    pair = next(p for p in stage.network.pairs if host in p.hosts)
    address = pair.addresses[pair.hosts.index(host)]
    partner = next(h for h in pair.hosts if h != host)

    def settled() -> None:
        wait_for(f"{address} at {partner}", lambda: stage.holds(partner, address), 60, every=1)

    def returned() -> None:
        stage.wait_rotation(hosts=(host,))
        wait_for(f"{address} at {host}", lambda: stage.holds(host, address), 240, every=4)

    return of_host(stage, host, returned, settled)


def mail_server(stage: NetworkStage, kind: str, domain: str) -> Loss:
    """The owner of the domain's identity of that kind."""
    name = stage.network.mailer(kind, domain).name
    before = stage.owner(name)

    def settled() -> None:
        stage.wait_taken(name, before)
        stage.wait_rotation()

    def returned() -> None:
        wait_for(f"{before.host} being ready for {name}", lambda: stage.ready(before.host, name), 240, every=3)

    return of_host(stage, before.host, returned, settled)


def relay(stage: NetworkStage, name: str) -> Loss:
    """The host that runs this relay, with all relays that it runs, and its member of etcd."""
    host = stage.owner(name).host
    before = {name: owner for name in stage.network.relays if (owner := stage.owner(name)).host == host}

    def settled() -> None:
        for name, owner in before.items():
            stage.wait_taken(name, owner)

    def returned() -> None:
        for name in before:
            wait_for(f"{host} being ready for {name}", lambda name=name: stage.ready(host, name), 240, every=3)  # type: ignore[misc]
        member(stage, host)

    return of_host(stage, host, returned, settled)


def sees_all(stage: NetworkStage, host: str) -> bool:
    """Does that transfer host say so of its spools?"""
    word = stage.records.get(keys.transfer_host(host)).get(keys.transfer_host(host))
    return word is not None and set(word["sees"]) >= set(word["spools"])


def transfer(stage: NetworkStage, host: str) -> Loss:
    def returned() -> None:
        wait_for(f"{host} seeing all spools", lambda: sees_all(stage, host), 240, every=3)

    def settled() -> None:
        wait_for(f"the end of {host}'s word", lambda: not stage.records.get(keys.transfer_host(host)), 90, every=2)

    return of_host(stage, host, returned, settled)


def store(stage: NetworkStage, name: str) -> Loss:
    pair = stage.store(name)
    before = pair.wait_running()

    def settled() -> None:
        pair.wait_taken(before, 240)
        pair.wait_running(240)

    return of_host(stage, before.host, lambda: pair.wait_whole(600), settled)


def name_server(stage: NetworkStage, host: str, still: Sequence[int]) -> Loss:
    """The only one of its view here: senders wait, and nothing is lost or bounced."""
    name = stage.network.mailer(INTERNET, stage.network.domains()[0]).name

    def returned() -> None:
        wait_for(f"names from {host}", lambda: stage.reached(OUTSIDE, name), 120, every=3)

    return of_host(stage, host, returned, still=still, least=60.0)


def member(stage: NetworkStage, host: str) -> None:
    """Waits until that member of etcd answers a read of which a majority knows."""

    def look() -> bool:
        try:
            return bool(Records(stage.lab, host).get(keys.IDENTITIES))
        except StoryError:
            return False

    wait_for(f"etcd on {host}", look, 180, every=4)


def witness(stage: NetworkStage, host: str) -> Loss:
    return of_host(stage, host, lambda: member(stage, host), least=45.0)


def card(stage: NetworkStage, name: str, least: float = 60.0) -> Loss:
    """A module of a switch: all of its ports."""
    ports = [(host, segment) for host, some in stage.network.cards[name].items() for segment in some]

    def each(word: str) -> Done:
        def do() -> None:
            for host, segment in ports:
                stage.lab.word(word, host, segment)

        return do

    def returned() -> None:
        # A takeover that had begun ends first; redirectors see what comes of it.
        stage.wait_all_running()
        stage.wait_rotation()

    return Loss(
        [f"{name}: {len(ports)} ports"],
        each("unplug"),
        each("plug"),
        returned=returned,
        still=range(6),  # for as long as it takes; what redirectors do meanwhile is tested in test_redirectors.py
        least=least,
    )


# --- all of them ------------------------------------------------------------------------------------------------------

Make = Callable[[NetworkStage], Loss]


def all_losses(network: Network) -> dict[str, dict[str, Make]]:
    """The first member of each of the nine kinds of FIG. 3, and what else there is one of; by the table's words.

    In groups that share a flow of letters: to begin one, to wait for the last of it and to read all journals takes as
    long as a loss itself. Of relays the first exchanger behind the near domain's own, which has letters in hand: that
    is the other site's.
    """
    near = network.domains()[0]
    site = network.mailer(INTERNET, near).site
    first = _first(network, site)
    provider = next(r for r in network.groups["core"] if f"{site}-inet" in network.legs[r])
    isolated = next(r for r in network.groups["core"] if f"{site}-iso" in network.legs[r])
    # All of these begin where a user writes, and users are behind the isolated network's provider.
    users = (OUTBOUND, SAME_SITE, OTHER_SITE, ELSEWHERE)
    apart = next(h for h in network.groups["coordinator"] if h not in network.groups["relay"])

    return {
        "routers and redirectors": {
            "router, Internet side": lambda s: router(s, first("router", "internet")),
            "router, isolated side": lambda s: router(s, first("router", "isolated")),
            "redirector, Internet side": lambda s: redirector(s, network.pair(INTERNET, site).hosts[0]),
            "redirector, isolated side": lambda s: redirector(s, network.pair(INTRANET, site).hosts[0]),
        },
        "lines": {
            "line of the Internet provider": lambda s: line(s, provider, f"{site}-inet", (OUTBOUND,)),
            # Users are cut off from the site, and strangers' letters come into its mailboxes all the same, over
            # transfer. A crossing takes up to 30 s, and the next server sees it up to 60 s later.
            "line of the isolated network's provider": lambda s: line(
                s, isolated, f"{site}-iso", users, unseen=(INBOUND, RELAYED), least=PATIENCE + 60
            ),
            # Two of five members of the coordinator are alone with the site's stores. Whoever serves goes on without
            # it, but nobody carries between the sides there: a claim wants it.
            "line between the sites' stores": lambda s: line(
                s, isolated, f"{site}-wan", (), held=(INBOUND, OUTBOUND, RELAYED)
            ),
            # Nowhere a majority, no user who reaches anything. Strangers notice nothing.
            "provider of the isolated network and of the stores' lines": lambda s: carrier(
                s, isolated, users, held=(INBOUND, RELAYED)
            ),
        },
        "mail servers": {
            "Internet mail server": lambda s: mail_server(s, INTERNET, near),
            "intranet mail server": lambda s: mail_server(s, INTRANET, near),
            "relay server": lambda s: relay(s, network.relays_of(network.mailer(INTERNET, near))[0]),
        },
        "servers behind them": {
            "transfer server": lambda s: transfer(s, first("transfer")),
            "store server": lambda s: store(s, network.mailer(INTERNET, near).store),
            "name server of the Internet": lambda s: name_server(
                s, network.groups["dns"][0], (INBOUND, OUTBOUND, RELAYED)
            ),
            "witness": lambda s: witness(s, apart),
        },
        "switch cards": {f"switch card {name}": _card(name) for name in network.cards},
    }


def _card(name: str) -> Make:
    return lambda stage: card(stage, name)


def _first(network: Network, site: str) -> Callable[..., str]:
    def first(group: str, leg: str = "") -> str:
        """The first of that group in the site, of those with a leg in that network; LookupError when there is none."""
        for host in network.groups[group]:
            networks = {network.segments[segment]["network"] for segment in network.legs[host]}
            if network.sites[host] == site and (not leg or leg in networks):
                return host
        raise LookupError(f"no host of group {group} in {site}")

    return first


def named(ways: Sequence[Way], some: Sequence[int]) -> list[str]:
    """Names of those ways."""
    return [ways[n].name for n in some]

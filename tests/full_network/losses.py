"""What can be lost of the network, one at a time: how, when service is as it should without it, when it is back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.core import keys

from tests.story.coordinator import Records
from tests.story.machines import StoryError, wait_for

from .network import INBOUND, INTERNET, INTRANET, OUTBOUND, OUTSIDE, RELAYED, Network, Way
from .stage import NetworkStage

Done = Callable[[], None]


def nothing() -> None:
    """There is nothing more to be waited for."""


@dataclass(frozen=True)
class Loss:
    """One component. `hosts` for the table; `settled` waits for more than that letters flow; `returned` waits until it
    is in rotation again; `still`: ways on which nothing can flow meanwhile; `least`: seconds for which it is away."""

    hosts: Sequence[str]
    cut: Done
    mend: Done
    settled: Done = nothing
    returned: Done = nothing
    still: Sequence[int] = ()
    least: float = 0.0


def of_host(
    stage: NetworkStage,
    host: str,
    returned: Done,
    settled: Done = nothing,
    still: Sequence[int] = (),
    least: float = 0.0,
) -> Loss:
    """By a power cut."""

    def cut() -> None:
        stage.lab.word("kill", host)

    return Loss((host,), cut, lambda: stage.start(host), settled, returned, still, least)


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


def line(stage: NetworkStage, host: str, segment: str, still: Sequence[int]) -> Loss:
    """A provider's line to a site: the cable at the provider's end."""

    def returned() -> None:
        wait_for(f"BGP of {host}", lambda: not sessions(stage, host), 180, every=4)

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
        least=60.0,
    )


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


def transfer(stage: NetworkStage, host: str) -> Loss:
    def sees_all() -> bool:
        word = stage.records.get(keys.transfer_host(host)).get(keys.transfer_host(host))
        return word is not None and set(word["sees"]) >= set(word["spools"])

    def returned() -> None:
        wait_for(f"{host} seeing all spools", sees_all, 240, every=3)

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
        still=range(6),  # for as long as it takes; the redirectors' word is tested by itself
        least=least,
    )


# --- all of them ------------------------------------------------------------------------------------------------------

Make = Callable[[NetworkStage], Loss]


def all_losses(network: Network) -> dict[str, Make]:
    """The first member of each of the nine kinds of FIG. 3, and what else there is one of; by the table's words.

    Of relays the first exchanger behind the near domain's own, which has letters in hand: that is the other site's.
    """
    near = network.domains()[0]
    site = network.mailer(INTERNET, near).site
    first = _first(network, site)
    provider = next(r for r in network.groups["core"] if f"{site}-inet" in network.legs[r])
    apart = next(h for h in network.groups["coordinator"] if h not in network.groups["relay"])

    return {
        "router, Internet side": lambda s: router(s, first("router", "internet")),
        "router, isolated side": lambda s: router(s, first("router", "isolated")),
        "line of the Internet provider": lambda s: line(s, provider, f"{site}-inet", (OUTBOUND,)),
        "redirector, Internet side": lambda s: redirector(s, network.pair(INTERNET, site).hosts[0]),
        "redirector, isolated side": lambda s: redirector(s, network.pair(INTRANET, site).hosts[0]),
        "Internet mail server": lambda s: mail_server(s, INTERNET, near),
        "intranet mail server": lambda s: mail_server(s, INTRANET, near),
        "relay server": lambda s: relay(s, network.relays_of(network.mailer(INTERNET, near))[0]),
        "transfer server": lambda s: transfer(s, first("transfer")),
        "store server": lambda s: store(s, network.mailer(INTERNET, near).store),
        "name server of the Internet": lambda s: name_server(s, network.groups["dns"][0], (INBOUND, OUTBOUND, RELAYED)),
        "witness": lambda s: witness(s, apart),
        **{f"switch card {name}": _card(name) for name in network.cards},
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


def ways_but(ways: Sequence[Way], still: Sequence[int]) -> list[str]:
    """Names of those ways."""
    return [ways[n].name for n in still]

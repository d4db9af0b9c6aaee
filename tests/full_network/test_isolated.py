"""Mail between users of the isolated network never touches the Internet side: captured on its routers (R3.5, R2.4)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pytest

from tests.full_network.flow import flowing
from tests.full_network.network import (
    ELSEWHERE,
    INBOUND,
    INTERNET,
    INTRANET,
    OTHER_SITE,
    OUTSIDE,
    SAME_SITE,
    Network,
    Way,
)
from tests.full_network.stage import NetworkStage
from tests.story.machines import wait_for

pytestmark = pytest.mark.paths

FILE, UNIT = "/var/tmp/story-capture.pcap", "story-capture"
# Between servers it goes to the port for our own hosts (roles/topology, topology_inside_port).
MAIL = "tcp port 25 or tcp port 2525 or tcp port 587"


@contextlib.contextmanager
def captured(stage: NetworkStage, hosts: Sequence[str], octets: int, wanted: str = "") -> Iterator[None]:
    """Every packet on every interface of these hosts but the lab's own over `mgmt`, so many octets of each; where it is
    given, only what is `wanted` (pcap-filter(7))."""
    wanted = wanted or f"not net {stage.network.segments['mgmt']['prefix']}"
    for host in hosts:
        words = f"tcpdump -i any -n -U -s {octets} -Z root -w {FILE} {wanted}"
        stage.lab.shell(host, f"rm -f {FILE}; systemd-run --quiet --unit={UNIT} --collect {words}")
    try:
        for host in hosts:
            wait_for(f"a capture on {host}", lambda host=host: _begun(stage, host), 60)  # type: ignore[misc]
        yield
    finally:
        for host in hosts:
            stage.lab.shell(host, f"systemctl stop {UNIT}", check=False)


def _begun(stage: NetworkStage, host: str) -> bool:
    return bool(stage.lab.shell(host, f"test -s {FILE} && echo yes", check=False))


def seen(stage: NetworkStage, host: str, expression: str) -> list[str]:
    """Packets of the capture that the expression of pcap-filter(7) finds, a line each, the first hundred."""
    said = stage.lab.run(host, "sh", "-c", f"tcpdump -n -r {FILE} '{expression}' 2>/dev/null | head -n 100")
    return said.splitlines()


def isolated_addresses(network: Network) -> str:
    """An expression for every address of the isolated side: its segments, its identities, its redirectors."""
    prefixes = [s["prefix"] for s in network.segments.values() if s["network"] == "isolated"]
    hosts = [m.address for m in network.mailers if m.kind == INTRANET] + network.isolated_relays()
    return f"ip and ({' or '.join([*(f'net {p}' for p in prefixes), *(f'host {address}' for address in hosts)])})"


def test_no_packet_of_it_passes_a_router_of_the_internet(stage: NetworkStage, ways: list[Way]) -> None:
    network = stage.network
    between_users = [ways[SAME_SITE], ways[OTHER_SITE], ways[ELSEWHERE]]
    routers, across = network.routers("internet"), network.routers("isolated")
    outside = network.legs[OUTSIDE]["outside"]
    # Whole ones where nothing may be found; the others carry the stores' network, too, which would fill their disks.
    with captured(stage, routers, 65535), captured(stage, across, 128, MAIL):
        with flowing(stage, between_users, period=1.0, count=5) as flow:
            pass
        report = flow.report()
        # What the capture must be able to see: a letter from the Internet, on the same routers.
        with flowing(stage, [ways[INBOUND]], period=1.0, count=2) as control:
            pass
        assert control.report().mistakes == []
    assert report.mistakes == []
    wanted = isolated_addresses(network)
    found = {router: seen(stage, router, wanted) for router in routers}
    assert {router: packets[:5] for router, packets in found.items() if packets} == {}
    for router in routers:
        words = [f"grep -c -a -F -e {s.id} {FILE}" for s in flow.sent()]
        said = stage.lab.shell(router, f"({'; '.join(words)}; true)").split()
        assert set(said) == {"0"}, f"{router} has carried a letter between users in the clear"
    assert any(seen(stage, router, f"host {outside} and tcp port 25") for router in routers), "the capture saw nothing"
    smtp = f"({wanted}) and ({MAIL})"
    assert any(seen(stage, router, smtp) for router in across), "it passed no router of the isolated side"
    for router in (*routers, *across):
        stage.lab.shell(router, f"rm -f {FILE}")


def test_the_other_sides_networks_are_out_of_reach(stage: NetworkStage) -> None:
    """Behind the capture's word: nobody on the outside gets an answer of the isolated side, and the other way round."""
    network = stage.network
    mine = {kind: [m.address for m in network.mailers if m.kind == kind] for kind in (INTERNET, INTRANET)}
    shared = {
        kind: [address for pair in network.pairs if pair.kind == kind for address in pair.addresses]
        for kind in (INTERNET, INTRANET)
    }
    for asking, own, other in ((OUTSIDE, INTERNET, INTRANET), (ways_host(network), INTRANET, INTERNET)):
        # It can ask at all.
        assert stage.banner(asking, shared[own][0]), f"{asking} is not greeted at {shared[own][0]}"
        for address in mine[other] + shared[other]:
            assert not stage.banner(asking, address, 5), f"{asking} is greeted at {address}"


def ways_host(network: Network) -> str:
    """A user's."""
    return next(host for host in network.groups["client"] if host != OUTSIDE)

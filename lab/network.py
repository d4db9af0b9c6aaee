"""Bridges, taps and the network namespace they live in. No bridge of the host's is touched."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path

from lab.command import run
from lab.errors import LabError
from lab.inventory import Topology
from lab.place import Place

# A machine that forwards or filters bridged traffic for itself hands that on to new namespaces.
SYSCTL = {
    "net/ipv4/ip_forward": "0",
    # A pulled cable ends in the namespace itself, which must not answer for the management segment's address.
    "net/ipv4/conf/all/arp_ignore": "1",
    "net/ipv4/conf/all/rp_filter": "1",
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
    "net/bridge/bridge-nf-call-iptables": "0",
    "net/bridge/bridge-nf-call-ip6tables": "0",
    "net/bridge/bridge-nf-call-arptables": "0",
}


def tap_name(host: str, segment: str) -> str:
    """Return the tap's name, which doesn't change when the inventory gains other hosts."""
    return "t" + hashlib.sha256(f"{host}/{segment}".encode()).hexdigest()[:12]


def mac_address(host: str, segment: str) -> str:
    """Return an address of the locally administered range: the same after every boot, so no neighbour is confused."""
    digest = hashlib.sha256(f"mac {host}/{segment}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


class Network:
    """The cables of one lab."""

    def __init__(self, place: Place) -> None:
        """Nothing is made yet."""
        self.place = place

    def inside(self, argv: Sequence[str | Path]) -> list[str | Path]:
        """Return the command that runs `argv` in the lab's namespace."""
        return ["nsenter", f"--net={self.place.netns}", "--", *argv]

    def exists(self) -> bool:
        """Whether the namespace is there. A plain file at its place is what a crash left."""
        return self.place.netns.exists() and self.place.netns.is_mount()

    def create(self, topology: Topology) -> None:
        """Make what is missing of namespace, bridges and taps; leave alone what is there."""
        if not self.exists():
            self._create_namespace()
        present = self._links()
        commands: list[str] = ["link set dev lo up"]
        for segment in topology.segments:
            if segment not in present:
                commands += [
                    f"link add name {segment} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
                    f"link set dev {segment} up",
                ]
        controller = topology.controller_address
        length = ipaddress.ip_network(topology.segments[topology.management].prefix).prefixlen
        commands.append(f"address replace {controller}/{length} dev {topology.management}")
        for host in topology.hosts.values():
            for segment in host.legs:
                tap = tap_name(host.name, segment)
                if tap not in present:
                    commands += [
                        f"tuntap add dev {tap} mode tap",
                        f"link set dev {tap} alias {host.name}/{segment}",
                        f"link set dev {tap} master {segment} up",
                    ]
        self._ip(commands, "can't lay the cables")

    def remove(self) -> None:
        """Take the namespace away, and with it everything inside. Guests must be gone before."""
        while self.exists():
            run(["umount", self.place.netns], thing="can't remove the lab's network namespace")
        self.place.netns.unlink(missing_ok=True)

    def plug(self, host: str, segment: str, *, plugged: bool) -> None:
        """Connect or pull a cable: its end leaves the bridge.

        Setting the tap down would be simpler, but user-mode Linux takes the write error to heart and its interface
        never works again, not even when the tap is up.
        """
        tap = tap_name(host, segment)
        self._ip([f"link set dev {tap} {f'master {segment}' if plugged else 'nomaster'}"], "can't reach the cable")

    def unplugged(self, topology: Topology) -> set[tuple[str, str]]:
        """Return (host, segment) of all pulled cables."""
        present = self._links() if self.exists() else {}
        return {
            (host.name, segment)
            for host in topology.hosts.values()
            for segment in host.legs
            if present.get(tap_name(host.name, segment)) == ""
        }

    def _create_namespace(self) -> None:
        netns = self.place.netns
        netns.parent.mkdir(parents=True, exist_ok=True)
        netns.touch()
        try:
            run(
                ["unshare", f"--net={netns}", "true"],
                thing="can't make a network namespace",
                remedy="run as root, on a kernel with network namespaces",
            )
        except BaseException:
            if not self.exists():
                netns.unlink(missing_ok=True)
            raise
        lines = "".join(
            f"if [ -e /proc/sys/{key} ]; then echo {value} >/proc/sys/{key}; fi\n" for key, value in SYSCTL.items()
        )
        run(self.inside(["sh", "-e"]), thing="can't set up the network namespace", stdin=lines)

    def _links(self) -> dict[str, str]:
        """Return interface -> the bridge it is in, empty for none."""
        out = run(self.inside(["ip", "-json", "link", "show"]), thing="can't look at the lab's network")
        return {link["ifname"]: link.get("master", "") for link in json.loads(out)}

    def _ip(self, commands: Sequence[str], thing: str) -> None:
        try:
            run(self.inside(["ip", "-batch", "-"]), thing=thing, stdin="".join(f"{line}\n" for line in commands))
        except LabError as error:
            remedy = "the kernel needs bridge and tun (CONFIG_BRIDGE, CONFIG_TUN)"
            raise LabError(error.thing, error.value, remedy) from None

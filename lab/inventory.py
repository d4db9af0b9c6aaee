"""From an Ansible inventory to what the lab needs: hosts, their legs, disks and lines, and the segments."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab.command import run
from lab.errors import LabError
from lab.line import Line
from lab.place import ROOT

DEFAULT_MEMORY_MB = 224
DEFAULT_MANAGEMENT = "mgmt"
MAX_INTERFACE = 15  # IFNAMSIZ - 1: the guest's interface is called like the segment
MAX_EXTRA_DISKS = 14  # ubd1…ubd14; ubd0 is the root, ubd15 the settings
HOST_PATTERN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Segment:
    """One broadcast domain."""

    name: str
    prefix: str
    gateway: str | None = None


@dataclass(frozen=True)
class Host:
    """One guest to be."""

    name: str
    legs: Mapping[str, str]  # segment -> address, in the order of the interfaces
    memory_mb: int = DEFAULT_MEMORY_MB
    disks_mb: tuple[int, ...] = ()
    lines: Mapping[str, Line] = field(default_factory=dict)  # segment -> what always ails the line


@dataclass(frozen=True)
class Switch:
    """Where the power switch listens."""

    segment: str
    address: str


@dataclass(frozen=True)
class Topology:
    """Everything that `up` reads from the inventory. The other words work from a saved copy."""

    inventory: str
    hosts: Mapping[str, Host]
    segments: Mapping[str, Segment]
    switch: Switch | None

    @property
    def management(self) -> str:
        """The segment over which Ansible and the lab reach the guests."""
        return self.switch.segment if self.switch else DEFAULT_MANAGEMENT

    @property
    def controller_address(self) -> str:
        """The lab's own address on the management segment: the switch's, else the highest one that is free."""
        if self.switch:
            return self.switch.address
        taken = {host.legs[self.management] for host in self.hosts.values()}
        network = ipaddress.ip_network(self.segments[self.management].prefix)
        for number in range(int(network.broadcast_address) - 1, int(network.network_address), -1):
            address = str(ipaddress.ip_address(number))
            if address not in taken:
                return address
        raise LabError("segment without a free address", f"{self.management} {network}", "give it a wider prefix")

    def host(self, name: str) -> Host:
        """Raise LabError for a host that the lab does not have."""
        try:
            return self.hosts[name]
        except KeyError:
            raise LabError("unknown host", name, f"it is one of {', '.join(self.hosts)}") from None

    def leg(self, name: str, segment: str) -> str:
        """Return the address of a host in a segment; raise LabError if it has none there."""
        legs = self.host(name).legs
        try:
            return legs[segment]
        except KeyError:
            raise LabError(f"{name} has no leg in segment", segment, f"it has {', '.join(legs)}") from None

    def gateway(self, host: Host) -> str | None:
        """Return what an installer would ask for: the first leg's gateway that isn't the host itself."""
        for segment, address in host.legs.items():
            gateway = self.segments[segment].gateway
            if gateway is not None and gateway != address:
                return gateway
        return None

    def dump(self) -> str:
        """Return JSON for `load`."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def load(cls, text: str) -> Topology:
        """Read what `dump` wrote."""
        data = json.loads(text)
        hosts = {
            name: Host(
                name=name,
                legs=host["legs"],
                memory_mb=host["memory_mb"],
                disks_mb=tuple(host["disks_mb"]),
                lines={segment: Line(**line) for segment, line in host["lines"].items()},
            )
            for name, host in data["hosts"].items()
        }
        segments = {name: Segment(**segment) for name, segment in data["segments"].items()}
        switch = Switch(**data["switch"]) if data["switch"] else None
        return cls(data["inventory"], hosts, segments, switch)


def inventory_folder(word: str) -> Path:
    """Accept `compact`, `inventories/compact` or a path; raise LabError when there is none."""
    for candidate in (Path(word), ROOT / word, ROOT / "inventories" / word):
        if candidate.is_dir() and any(candidate.iterdir()):
            return candidate.resolve()
    known = sorted(path.name for path in (ROOT / "inventories").glob("*") if path.is_dir())
    raise LabError("no such inventory", word, f"name a folder, or one of {', '.join(known)}")


def read(folder: Path) -> Topology:
    """Ask Ansible itself, so that group variables mean here what they mean in a deployment."""
    env = {"PYTHONPATH": str(ROOT), "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true"}
    config = ROOT / "ansible.cfg"
    if config.exists():
        env["ANSIBLE_CONFIG"] = str(config)
    out = run(
        [sys.executable, "-m", "lab.ansible_vars", folder],
        thing=f"inventory {folder.name} can't be read",
        remedy=f"try `ansible-inventory -i {os.path.relpath(folder)} --list`",
        env=env,
        cwd=ROOT,
    )
    return topology(str(folder), json.loads(out))


def topology(inventory: str, hostvars: Mapping[str, Mapping[str, Any]]) -> Topology:
    """Turn what `lab.ansible_vars` prints into a topology. Raise LabError where it contradicts itself."""
    if not hostvars:
        raise LabError("inventory without hosts", inventory, "give its hosts `legs`")
    segments: dict[str, Segment] = {}
    switch = None
    for variables in hostvars.values():
        for name, segment in variables.get("segments", {}).items():
            segments[name] = Segment(name, str(segment["prefix"]), segment.get("gateway"))
        if variables.get("lab_switch"):
            switch = Switch(variables["lab_switch"]["segment"], variables["lab_switch"]["address"])
    hosts = {name: _host(name, hostvars[name], segments) for name in hostvars}
    result = Topology(inventory, hosts, segments, switch)
    _check(result)
    return result


def _host(name: str, variables: Mapping[str, Any], segments: Mapping[str, Segment]) -> Host:
    if not HOST_PATTERN.fullmatch(name):
        raise LabError("host name", name, "use a-z 0-9 and -, at most 63")
    legs = variables.get("legs") or {}
    if not legs:
        raise LabError("host without legs", name, "give it `legs: {segment: address}`")
    for segment, address in legs.items():
        if segment not in segments:
            raise LabError(f"leg of {name} in an undefined segment", segment, "define it under `segments`")
        if ipaddress.ip_address(address) not in ipaddress.ip_network(segments[segment].prefix):
            raise LabError(
                f"address of {name} outside of segment {segment}", address, f"take one from {segments[segment].prefix}"
            )
    lines = {
        segment: Line(float(line.get("delay_ms", 0)), float(line.get("loss_pct", 0)))
        for segment, line in (variables.get("lab_line") or {}).items()
    }
    for segment in lines:
        if segment not in legs:
            raise LabError(f"lab_line of {name} without a leg", segment, f"it has {', '.join(legs)}")
    disks = tuple(int(size) for size in variables.get("lab_disks_mb") or ())
    if len(disks) > MAX_EXTRA_DISKS:
        raise LabError(f"lab_disks_mb of {name}", f"{len(disks)} disks", f"at most {MAX_EXTRA_DISKS}")
    return Host(name, dict(legs), int(variables.get("lab_memory_mb", DEFAULT_MEMORY_MB)), disks, lines)


def _check(topology: Topology) -> None:
    for name in topology.segments:
        if len(name) > MAX_INTERFACE or name == "lo" or "/" in name:
            raise LabError(
                "segment name", name, f"it becomes an interface's name: at most {MAX_INTERFACE} letters, not lo"
            )
    if topology.management not in topology.segments:
        raise LabError("management segment is undefined", topology.management, "define it under `segments`")
    taken: dict[tuple[str, str], str] = {}
    if topology.switch:
        taken[topology.switch.segment, topology.switch.address] = "lab_switch"
    for host in topology.hosts.values():
        if topology.management not in host.legs:
            raise LabError("host without a leg in the management segment", host.name, f"add `{topology.management}`")
        for leg in host.legs.items():
            if leg in taken:
                raise LabError("address used twice", leg[1], f"{taken[leg]} and {host.name} in segment {leg[0]}")
            taken[leg] = host.name

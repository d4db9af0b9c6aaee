"""What an installer would ask about, handed to a guest as a small tar on its last disk."""

from __future__ import annotations

import io
import ipaddress
import tarfile
from pathlib import Path

from lab.inventory import Host, Topology


def links(host: Host, topology: Topology) -> str:
    """Return the `ip -batch` lines that name and address the interfaces of a host."""
    lines = []
    for number, (segment, address) in enumerate(host.legs.items()):
        length = ipaddress.ip_network(topology.segments[segment].prefix).prefixlen
        lines += [
            f"link set dev vec{number} name {segment}",
            f"address add {address}/{length} broadcast + dev {segment}",
            f"link set dev {segment} up",
        ]
    gateway = topology.gateway(host)
    if gateway:
        lines.append(f"route replace default via {gateway}")
    return "".join(f"{line}\n" for line in lines)


def lines(host: Host) -> str:
    """Return the `tc -batch` lines for the host's long lines."""
    return "".join(f"{line.tc(segment)}\n" for segment, line in host.lines.items() if not line.good)


def write(path: Path, host: Host, topology: Topology, *, user_key: Path, host_key: Path) -> None:
    """Write the tar. `user_key` and `host_key` are private keys with their `.pub` beside them."""
    public = host_key.with_suffix(".pub")
    own_hosts = f"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 {host.name}\n"
    contents = [
        ("first/etc/hostname", f"{host.name}\n", 0o644),
        ("first/etc/hosts", own_hosts, 0o644),
        ("first/etc/ssh/ssh_host_ed25519_key", host_key.read_text(), 0o600),
        ("first/etc/ssh/ssh_host_ed25519_key.pub", public.read_text(), 0o644),
        ("first/root/.ssh/authorized_keys", user_key.with_suffix(".pub").read_text(), 0o600),
        ("links", links(host, topology), 0o644),
        ("lines", lines(host), 0o644),
    ]
    folders = [
        ("first", 0o755),
        ("first/etc", 0o755),
        ("first/etc/ssh", 0o755),
        ("first/root", 0o700),
        ("first/root/.ssh", 0o700),
    ]
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, mode in folders:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        for name, text, mode in contents:
            data = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))

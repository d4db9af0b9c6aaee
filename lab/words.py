"""The words that concern one host: exec, kill, start, pause, cables, lines, console, and status."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lab.errors import LabError
from lab.fleet import Fleet
from lab.guest import State
from lab.line import Line
from lab.place import Place
from lab.switch_process import DenyList, SwitchProcess


def execute(place: Place, host: str, words: Sequence[str], *, terminal: bool) -> None:
    """Become ssh: standard input, output and the exit status are those of the command."""
    fleet = Fleet.saved(place)
    fleet.require_on(host)
    options = ["-t"] if terminal else ["-T"]
    command = fleet.ssh.command(host, words, *options)
    os.execvp(command[0], command)


def kill(place: Place, host: str) -> None:
    """Cut the power."""
    Fleet.saved(place).guest(host).kill()


def start(place: Place, host: str, *, within: float) -> None:
    """Power on and wait for ssh."""
    from lab.lifecycle import require_machine  # a third of what `exec` would import, which is called most of all

    require_machine()
    fleet = Fleet.saved(place)
    guest = fleet.guest(host)
    if not fleet.network.exists():
        raise LabError("lab is down", place.name, f"bin/lab up {Path(fleet.topology.inventory).name}")
    if guest.state() in (State.OFF, State.LOST):
        fleet.require_memory([host])
    guest.start()
    guest.switched_off.unlink(missing_ok=True)
    fleet.ssh.wait(fleet.reachable([host]), fleet.ended, within)


def pause(place: Place, host: str) -> None:
    """Let a host hang."""
    fleet = Fleet.saved(place)
    fleet.guest(host).pause()
    fleet.ssh.drop(host)


def resume(place: Place, host: str) -> None:
    """Let it go on."""
    fleet = Fleet.saved(place)
    fleet.guest(host).resume()
    fleet.ssh.drop(host)


def plug(place: Place, host: str, segment: str, *, plugged: bool) -> None:
    """Pull or connect a cable."""
    fleet = Fleet.saved(place)
    fleet.topology.leg(host, segment)
    fleet.network.plug(host, segment, plugged=plugged)
    if segment == fleet.topology.management:
        fleet.ssh.drop(host)


def impair(place: Place, host: str, segment: str, line: Line) -> Line:
    """Make a line bad, on top of what always ails it; return what the host sends through now."""
    fleet = Fleet.saved(place)
    permanent = _permanent(fleet, host, segment)
    fleet.require_on(host)
    total = permanent + line
    _shape(fleet, host, segment, total)
    _note(place, host, {**impaired(place, host), segment: line})
    return total


def heal(place: Place, host: str, segment: str) -> Line:
    """Take back `impair`; return what always ails the line."""
    fleet = Fleet.saved(place)
    permanent = _permanent(fleet, host, segment)
    fleet.require_on(host)
    noted = impaired(place, host)
    if segment in noted:
        _shape(fleet, host, segment, permanent)
        del noted[segment]
        _note(place, host, noted)
    return permanent


def impaired(place: Place, host: str) -> dict[str, Line]:
    """Return segment -> what `impair` asked for. A reboot heals, and the note goes with it."""
    path = place.guest(host) / "impaired.json"
    if not path.exists():
        return {}
    return {segment: Line(**line) for segment, line in json.loads(path.read_text()).items()}


def _note(place: Place, host: str, lines: dict[str, Line]) -> None:
    text = json.dumps({segment: asdict(line) for segment, line in lines.items()})
    (place.guest(host) / "impaired.json").write_text(text)


def _permanent(fleet: Fleet, host: str, segment: str) -> Line:
    fleet.topology.leg(host, segment)
    return fleet.topology.host(host).lines.get(segment, Line())


def _shape(fleet: Fleet, host: str, segment: str, line: Line) -> None:
    if segment == fleet.topology.management and line.loss_pct > 90:
        raise LabError(
            f"the line that carries the lab's own commands: loss {line.loss_pct:g} %",
            segment,
            "nothing could heal it any more; use bin/lab unplug",
        )
    fleet.ssh.do(host, ["tc", *line.tc(segment).split()], thing=f"can't shape {segment} of {host}")


def console(place: Place, host: str, *, lines: int, previous: bool) -> str:
    """Return the last lines of a guest's console."""
    guest = Fleet.saved(place).guest(host)
    path = guest.folder / "console.previous.log" if previous else guest.console
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def deny(place: Place, host: str, *, denied: bool) -> None:
    """Let the power switch refuse to touch a host, or obey again."""
    Fleet.saved(place).topology.host(host)
    DenyList(place).change(host, denied=denied)


def status(place: Place) -> dict[str, object]:
    """Return all there is to know, ready for JSON."""
    from lab.lifecycle import snapshots

    fleet = Fleet.saved(place)
    network = fleet.network.exists()
    pulled = fleet.network.unplugged(fleet.topology)
    switch = SwitchProcess(place)
    denied = DenyList(place).read()
    hosts = []
    lost = False
    for host in fleet.topology.hosts.values():
        state = fleet.state(host.name)
        lost |= state is State.LOST
        base = fleet.base(host.name)
        hosts.append(
            {
                "name": host.name,
                "state": state.value,
                "addresses": dict(host.legs),
                "memory_mb": host.memory_mb,
                "memory_used_mb": fleet.guest(host.name).memory_bytes() // 1024**2 if base else 0,
                "unplugged": sorted(segment for name, segment in pulled if name == host.name),
                "impaired": {segment: asdict(line) for segment, line in impaired(place, host.name).items()},
                "switched_off": (place.guest(host.name) / "off").exists(),
                "switch_denied": host.name in denied,
            }
        )
    on = any(host["state"] in ("on", "paused") for host in hosts)
    stale = lost or (on and not network) or (network and bool(fleet.topology.switch) and not switch.runs())
    return {
        "lab": place.name,
        "state": "stale" if stale else "up" if network else "down",
        "inventory": fleet.topology.inventory,
        "netns": str(place.netns) if network else None,
        "ssh_config": str(place.ssh_config),
        "switch": {"address": fleet.topology.switch.address, "runs": switch.runs()} if fleet.topology.switch else None,
        "snapshots": snapshots(place),
        "hosts": hosts,
    }


def status_text(data: dict[str, object]) -> str:
    """Return `status` for people."""
    lines = [f"lab {data['lab']}: {data['state']}, {data['inventory']}"]
    if data["state"] == "stale":
        lines[0] += " (something ended without the lab's doing; the next up or down cleans that)"
    hosts = data["hosts"]
    assert isinstance(hosts, list)
    for host in hosts:
        notes = [f"{segment} unplugged" for segment in host["unplugged"]]
        notes += [
            f"{segment} +{line['delay_ms']:g} ms {line['loss_pct']:g} %" for segment, line in host["impaired"].items()
        ]
        notes += ["off by power switch"] if host["switched_off"] else []
        notes += ["power switch refuses"] if host["switch_denied"] else []
        addresses = " ".join(f"{segment}={address}" for segment, address in host["addresses"].items())
        used = f"{host['memory_used_mb']}/{host['memory_mb']} MB"
        lines.append(f"{host['name']:<12} {host['state']:<7} {used:>11}  {addresses}  {', '.join(notes)}".rstrip())
    total = sum(host["memory_used_mb"] for host in hosts)
    switch = data["switch"]
    if isinstance(switch, dict):
        lines.append(f"power switch {switch['address']} {'runs' if switch['runs'] else 'does not run'}")
    lines.append(f"memory of all guests: {total} MB")
    return "\n".join(lines)

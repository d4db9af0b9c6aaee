"""What can be done to the hosts of a stage, each with its end: a cable, a direction, a clock, a program, a processor.

A fault that a power cut has already ended is over: its end then finds nothing to do.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import journal
from .machines import Lab, StoryError, wait_for
from .messages import Letter, letters
from .outage import IDENTITY, ON_CLIENT, RELAYS
from .stage import Stage

# By what a host does with a segment; `inventories/compact` gives each site its own.
SEGMENTS: Mapping[str, Mapping[str, str]] = {
    "mail1": {"mgmt": "mgmt", "internet": "dmz1", "isolated": "iso1", "storage": "storage1"},
    "mail2": {"mgmt": "mgmt", "internet": "dmz2", "isolated": "iso2", "storage": "storage2"},
    "relay1": {"mgmt": "mgmt", "internet": "dmz1", "isolated": "iso1", "storage": "storage1"},
    "relay2": {"mgmt": "mgmt", "internet": "dmz2", "isolated": "iso2", "storage": "storage2"},
    "store1a": {"mgmt": "mgmt", "storage": "storage1"},
    "store1b": {"mgmt": "mgmt", "storage": "storage1"},
    "store2a": {"mgmt": "mgmt", "storage": "storage2"},
    "store2b": {"mgmt": "mgmt", "storage": "storage2"},
    "witness1": {"mgmt": "mgmt", "third": "third"},
    "gw1": {"first site's storage": "storage1", "third": "third"},
}
GATEWAY = "gw1"
HOUR = 3600
MONITOR = "/etc/holdfast/monitor.yml"


def legs(lab: Lab, host: str) -> dict[str, str]:
    """Its addresses by their use."""
    hosts = {h["name"]: h["addresses"] for h in json.loads(lab.word("status", "--json"))["hosts"]}
    return {use: hosts[host][segment] for use, segment in SEGMENTS[host].items()}


@contextlib.contextmanager
def unplugged(lab: Lab, host: str, *uses: str) -> Iterator[None]:
    """The cables of `host` for these uses are pulled."""
    segments = [SEGMENTS[host][use] for use in uses]
    try:
        for segment in segments:
            lab.word("unplug", host, segment)
        yield
    finally:
        for segment in segments:
            lab.word("plug", host, segment)


@contextlib.contextmanager
def dropped(lab: Lab, host: str, *packets: tuple[str, str]) -> Iterator[None]:
    """`host` drops these packets: hook (`input`, `output`) and which, in the words of nft(8)."""
    chains = " ".join(
        f"chain {hook} {{ type filter hook {hook} priority -300; {which} drop;\n}}\n" for hook, which in packets
    )
    lab.run(host, "nft", "-f", "-", stdin=f"table inet story_dropped {{\n{chains}}}\n")
    try:
        yield
    finally:
        lab.shell(host, "nft delete table inet story_dropped", check=False)


@contextlib.contextmanager
def one_way(lab: Lab, host: str, direction: str, *uses: str) -> Iterator[None]:
    """`direction`: `output`, nobody hears `host` over these segments, which hears all; `input`: the other way round."""
    interface = {"output": "oifname", "input": "iifname"}[direction]
    names = ", ".join(f'"{SEGMENTS[host][use]}"' for use in uses)
    with dropped(lab, host, (direction, f"{interface} {{ {names} }}")):
        yield


@contextlib.contextmanager
def stepped(lab: Lab, host: str, seconds: float) -> Iterator[None]:
    """The wall clock of `host` is off by that, and set right afterwards."""

    def step(by: float) -> None:
        lab.shell(host, f"date -s @$(( $(date +%s) + {by:.0f} ))")

    step(seconds)
    try:
        yield
    finally:
        step(-seconds)


@contextlib.contextmanager
def halted(lab: Lab, host: str, unit: str) -> Iterator[None]:
    """The unit's processes stand still, and nobody starts them again: neither the agent, for which the unit is active,
    nor systemd, whose watchdogs are off meanwhile on that host."""
    lab.shell(host, f"systemctl service-watchdogs no && systemctl kill --signal=STOP {unit}")
    try:
        yield
    finally:
        lab.shell(host, f"systemctl kill --signal=CONT {unit}; systemctl service-watchdogs yes")


_CHANGE = (
    "import json, sys, yaml; from pathlib import Path; p = Path(sys.argv[1])\n"
    "kept = p.with_suffix('.story'); kept.exists() or kept.write_text(p.read_text())\n"
    "p.write_text(yaml.safe_dump({**yaml.safe_load(kept.read_text()), **json.loads(sys.argv[2])}))"
)


@contextlib.contextmanager
def configured(lab: Lab, host: str, file: str, **changes: Any) -> Iterator[None]:
    """A file of settings (YAML) on `host` has these keys instead of its own; who reads it only at its start must be
    started anew by the caller."""
    lab.run(host, "python3", "-c", _CHANGE, file, json.dumps(changes))
    try:
        yield
    finally:
        lab.shell(host, f"mv {Path(file).with_suffix('.story')} {file}")


# With a switch that refuses: who is fenced by it keeps its power.
BY_STORE = {
    "default": [
        {"level": "power", "device": "lab-switch"},
        {"level": "store_revocation", "address_withdrawal": "routes"},
    ]
}


@contextlib.contextmanager
def monitor_with(lab: Lab, relays: Iterable[str] = RELAYS, **changes: Any) -> Iterator[None]:
    """The monitors on these relays run with these keys of their configuration instead of their own."""
    restart = "systemctl restart holdfast-monitor"
    with contextlib.ExitStack() as changed:
        for relay in relays:
            changed.callback(lab.shell, relay, restart)
            changed.enter_context(configured(lab, relay, MONITOR, **changes))
            lab.shell(relay, restart)
        yield


@contextlib.contextmanager
def busy(lab: Lab, hosts: Mapping[str, int], seconds: int) -> Iterator[None]:
    """That many loops a host that do nothing but turn; they end by themselves after `seconds` at the latest."""
    unit = "story-busy"
    for host, count in hosts.items():
        loops = f"for n in $(seq {count}); do (while :; do :; done) & done; wait"
        lab.shell(host, f"systemd-run --quiet --unit={unit} --property=RuntimeMaxSec={seconds} sh -c '{loops}'")
    try:
        yield
    finally:
        for host in hosts:
            lab.shell(host, f"systemctl stop {unit}; systemctl reset-failed {unit}", check=False)


# --- letters --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def sending(stage: Stage, count: int, rate: float, name: str) -> Iterator[list[Letter]]:
    """A stranger's Postfix sends `count` letters, `rate` a second; at the end all are handed over to it."""
    run = f"{name}{int(time.time())}"
    written, folder = letters(count, run), f"/var/tmp/story/{run}"
    stage.post.hand_over(written, folder)
    with stage.post.send(folder, rate) as sender:
        try:
            yield written
            _, error = sender.communicate(timeout=count / rate + 300)
        finally:
            sender.kill()  # there is nothing left to end unless something failed
    if sender.returncode != 0:
        raise StoryError(f"the sender failed: {error.decode()[-500:]}")


def all_once(stage: Stage, written: list[Letter], seconds: float = 720, owner: str | None = None) -> str:
    """Waits for all letters; words about them for the report. Raises StoryError unless each is there exactly once.

    A sender whose server dies before the answer to his `.` waits for it (RFC 5321, 4.5.3.2.6), client1 for 200 s.
    """
    boxes = stage.wait_letters(written, seconds)
    if mistakes := stage.mistakes(written, boxes, owner):
        raise StoryError(f"{len(mistakes)} mistakes: {'; '.join(mistakes)}")
    ours = {w.id for w in written}
    copies = sum(m["id"] in ours for box in boxes.values() for m in box)
    wanted = sum(len(w.recipients) for w in written)
    return f"{len(written)} letters, {wanted} copies wanted, {copies} found"


# --- who answers, who writes ----------------------------------------------------------------------------------------


def bgp_is_up(lab: Lab, neighbour: str) -> bool:
    """Has the gateway a session with that address?"""
    said = json.loads(lab.shell(GATEWAY, "vtysh -c 'show bgp vrf all summary json'"))
    states = {a: p["state"] for vrf in said.values() for a, p in vrf.get("ipv4Unicast", {}).get("peers", {}).items()}
    if neighbour not in states:
        raise StoryError(f"{GATEWAY} knows no neighbour {neighbour}, but {states}")
    return bool(states[neighbour] == "Established")


class Routes:
    """Every change of the gateway's way to the identity, from the beginning on: the kernel tells them one by one."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.unit = lab, f"story-routes-{time.time():.0f}"
        self.begin = float(lab.shell(GATEWAY, "date +%s"))
        lab.shell(GATEWAY, f"systemd-run --quiet --unit={self.unit} stdbuf -oL ip -4 monitor route")

    def gateways(self, address: str = "203.0.113.10") -> set[str]:
        """All next hops that were chosen since then, in any table, and those of now."""
        seen = [line.text for line in journal.read(self.lab, GATEWAY, self.begin, "-u", self.unit)]
        seen += self.now(address)
        lines = [words for words in (text.split() for text in seen) if address in words and "via" in words]
        return {w[w.index("via") + 1] for w in lines if w[0] != "Deleted"}

    def now(self, address: str = "203.0.113.10") -> list[str]:
        """The gateway's routes to the identity, one a table."""
        said = self.lab.shell(GATEWAY, f"ip -4 route show table all {address}")
        return [line for line in said.splitlines() if "via" in line]

    def end(self) -> None:
        self.lab.shell(GATEWAY, f"systemctl stop {self.unit}", check=False)


SCRIBE = f"/srv/holdfast/{IDENTITY}/story-scribe"
_SCRIBE = (
    "import os, time\n"
    f"f = os.open('{SCRIBE}', os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
    "n = 0\n"
    "while True:\n"
    "    n += 1; os.write(f, b'%d\\n' % n); os.fsync(f); time.sleep(0.1)\n"
)


@contextlib.contextmanager
def scribe(lab: Lab, host: str) -> Iterator[None]:
    """Something on `host` that keeps a file of the identity open and adds a line to it, ten times a second."""
    lab.run(host, "rm", "-f", SCRIBE)
    lab.run(host, "systemd-run", "--quiet", "--unit=story-scribe", "python3", "-c", _SCRIBE)
    wait_for("the scribe", lambda: lab.shell(host, f"cat {SCRIBE}", check=False), 30)
    try:
        yield
    finally:
        lab.shell(host, "systemctl stop story-scribe; systemctl reset-failed story-scribe", check=False)


def written_by_scribe(lab: Lab, server: str) -> str:
    """The file as the store's server has it on its disk."""
    return lab.shell(server, f"cat /srv/store/{IDENTITY}/story-scribe")


def connections_taken(lab: Lab, host: str, since: float) -> list[str]:
    """Lines of its mail servers about somebody who connected or logged in since then (by the host's clock)."""
    units = [f"holdfast-postfix@{IDENTITY}", f"holdfast-dovecot@{IDENTITY}"]
    found = journal.read(lab, host, since, "-u", units[0], "-u", units[1])
    return [line.text for line in found if " connect from" in f" {line.text}" or "Login" in line.text]


# --- an invoker that dies -------------------------------------------------------------------------------------------

ON_RELAY = ON_CLIENT.parent / "on_relay"


class AtStep:
    """A signal for the monitor that has recorded a step of a run as soon as it has, on whichever of `hosts` that is."""

    def __init__(
        self, lab: Lab, step: str, signal: str, hosts: Iterable[str] = RELAYS, unit: str = "holdfast-monitor"
    ) -> None:
        self._lab, self.step = lab, step
        self._wanted = f"/run/story-step-{time.time():.0f}"
        self._processes = {host: self._begin(lab, host, signal, unit) for host in hosts}

    def _begin(self, lab: Lab, host: str, signal: str, unit: str) -> subprocess.Popen[bytes]:
        command = lab.command(
            *("exec", host, "--", "timeout", "400", "python3", "-u", "-", self.step, signal, self._wanted, unit)
        )
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write((ON_RELAY / "at_step.py").read_bytes())
        process.stdin.close()
        process.stdin = None
        if (said := process.stdout.readline()) != b"waiting\n":
            raise StoryError(f"at_step: {said!r} {process.communicate()[1].decode()[-500:]}")
        return process

    def sent(self) -> str | None:
        """The host whose monitor has got the signal."""
        return next((host for host, process in self._processes.items() if process.poll() is not None), None)

    def wait(self, seconds: float) -> str:
        """That host. Raises StoryError if the step did not come."""
        try:
            host = wait_for(f"step {self.step}", self.sent, seconds, every=0.1)
            out, error = self._processes[host].communicate()
            if self._processes[host].returncode != 0 or not out:
                raise StoryError(f"at_step on {host}: {error.decode()[-500:]}")
            return host
        finally:
            for other, process in self._processes.items():
                # What listens there goes on for a while; it must not meet a run that is none of this one's.
                self._lab.shell(other, f"rm -f {self._wanted}", check=False)
                process.kill()
                process.communicate()

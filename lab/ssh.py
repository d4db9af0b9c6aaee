"""How the guests are reached: keys, `ssh_config`, shared connections, and waiting for an answer."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.command import run
from lab.errors import LabError
from lab.inventory import Topology
from lab.place import ROOT, Place

POLL_EVERY = 0.15
CONTROL_PERSIST = 600


class NotReadyError(LabError):
    """A guest runs but does not answer: it is left running so that it can be looked at."""


class Ssh:
    """One lab's ssh. Host key and user key are the lab's own; both vanish with `down --purge`."""

    def __init__(self, place: Place) -> None:
        """Nothing is made yet."""
        self.place = place
        self.user_key = place.state / "ssh/id"
        self.host_key = place.state / "ssh/host"
        self.control = place.runtime / "ssh"

    def prepare(self, topology: Topology) -> None:
        """Write keys (once) and configuration."""
        self.user_key.parent.mkdir(parents=True, exist_ok=True)
        self.control.mkdir(parents=True, exist_ok=True)
        for key, comment in ((self.user_key, "lab"), (self.host_key, "lab guest")):
            if not key.exists():
                run(
                    ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", key],
                    thing="can't make an ssh key",
                )
        known = self.user_key.parent / "known_hosts"
        public = " ".join(self.host_key.with_suffix(".pub").read_text().split()[:2])
        known.write_text("".join(f"{name} {public}\n" for name in topology.hosts))
        self.place.ssh_config.write_text(self.configuration(topology, known))

    def configuration(self, topology: Topology, known: Path) -> str:
        """Return the text of ssh_config (ssh_config(5))."""
        dial = shlex.join(
            [
                str(Path(sys.executable).resolve()),
                "-I",
                "-S",
                str(ROOT / "lab/dial.py"),
                str(self.place.netns),
                "%h",
                "%p",
            ]
        ).replace("'%h' '%p'", "%h %p")
        hosts = "".join(
            f"Host {host.name}\n  HostName {host.legs[topology.management]}\n  HostKeyAlias {host.name}\n"
            for host in topology.hosts.values()
        )
        return f"""{hosts}Host *
  User root
  IdentityFile "{self.user_key}"
  IdentitiesOnly yes
  UserKnownHostsFile "{known}"
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  PreferredAuthentications publickey
  ConnectTimeout 60
  ServerAliveInterval 10
  ServerAliveCountMax 18
  ControlMaster auto
  ControlPersist {CONTROL_PERSIST}
  ControlPath "{self.control}/%n"
  ProxyCommand {dial}
  ProxyUseFdpass yes
  LogLevel ERROR
"""

    def command(self, host: str, words: Sequence[str], *options: str) -> list[str]:
        """Return what runs `words` on a host with every word arriving as it is."""
        return ["ssh", "-F", str(self.place.ssh_config), *options, "--", host, shlex.join(words)]

    def do(self, host: str, words: Sequence[str], *, thing: str) -> str:
        """Run on a host to the end; raise LabError unless it succeeds."""
        return run(
            self.command(host, words, "-o", "BatchMode=yes"),
            thing=thing,
            remedy=f"the lab reaches {host} over its management segment: see `bin/lab status`",
        )

    def drop(self, host: str) -> None:
        """End the shared connection to a host, which would only hang from now on."""
        sockets = [self.control / host] if host else []
        self._drop(sockets)

    def drop_all(self) -> None:
        """End all shared connections."""
        if self.control.is_dir():
            self._drop(self.control.iterdir())

    def _drop(self, sockets: Iterable[Path]) -> None:
        for path in sockets:
            if path.is_socket():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    subprocess.run(
                        ["ssh", "-O", "exit", "-o", f"ControlPath={path}", "lab"],
                        stdin=subprocess.DEVNULL,
                        capture_output=True,
                        timeout=10,
                        check=False,
                    )
                path.unlink(missing_ok=True)

    def wait(self, addresses: Mapping[str, str], ended: Callable[[str], str], within: float) -> dict[str, float]:
        """Wait until each host greets as an ssh server does; return the seconds each took.

        Raise NotReadyError for hosts that end meanwhile (`ended` tells how, or "") or are silent `within` seconds.
        """
        started = time.monotonic()
        give_up = threading.Event()

        def one(name: str) -> tuple[str, float | None, str]:
            with self.place.netns.open() as netns:
                os.setns(netns.fileno(), os.CLONE_NEWNET)  # acts on this thread alone
            checked = 0.0
            while not give_up.is_set():
                elapsed = time.monotonic() - started
                if greets(addresses[name]):
                    return name, time.monotonic() - started, ""
                if elapsed > within:
                    return name, None, f"silent for {within:.0f} s"
                if elapsed - checked > 1:
                    checked = elapsed
                    if how := ended(name):
                        return name, None, how
                give_up.wait(POLL_EVERY)
            return name, None, "given up"

        if not addresses:
            return {}
        with ThreadPoolExecutor(max_workers=len(addresses)) as pool:
            try:
                results = list(pool.map(one, addresses))
            except BaseException:
                give_up.set()
                raise
        bad = [f"{name} ({why})" for name, seconds, why in results if seconds is None]
        if bad:
            first = bad[0].split()[0]
            raise NotReadyError("guests that don't answer ssh", ", ".join(bad), f"see `bin/lab console {first}`")
        return {name: seconds for name, seconds, _ in results if seconds is not None}


def greets(address: str, port: int = 22, patience: float = 2.0) -> bool:
    """Whether an ssh server says hello."""
    try:
        with socket.create_connection((address, port), timeout=patience) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False

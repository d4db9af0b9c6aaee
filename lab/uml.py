"""Guests as user-mode Linux: one process with its helpers, all in a session of their own."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import settings
from lab.errors import LabError
from lab.guest import State
from lab.inventory import Host, Topology
from lab.network import Network, mac_address, tap_name
from lab.place import Place
from lab.process import Session
from lab.ssh import Ssh

MEMORY_FOLDER = Path("/dev/shm")
POWER_BUTTON_WITHIN = 90.0
MCONSOLE_MAGIC = 0xCAFEBABE
KERNEL_WORDS = (
    "root=/dev/ubda",
    "rw",
    "quiet",
    "audit=0",
    "con=null",
    "con0=null,fd:1",
    "ssl=null",
    "seccomp=on",
    # A host has the interfaces it has, not the samples that built-in drivers make for themselves.
    "bonding.max_bonds=0",
    "dummy.numdummies=0",
    "ifb.numifbs=0",
    "fb_tunnels=none",
)


@dataclass
class UmlGuest:
    """One guest. Implements `lab.guest.Guest`."""

    place: Place
    topology: Topology
    host: Host
    kernel: Path
    image: Path

    @property
    def name(self) -> str:
        """As in the inventory."""
        return self.host.name

    @property
    def folder(self) -> Path:
        """Disks, console, and what we know of the process."""
        return self.place.guest(self.name)

    @property
    def console(self) -> Path:
        """Output of the present or last boot."""
        return self.folder / "console.log"

    @property
    def root_disk(self) -> Path:
        """The copy-on-write file over the image."""
        return self.folder / "root.cow"

    @property
    def switched_off(self) -> Path:
        """Exists while the power switch, or `kill`, keeps the guest off; holds who did it."""
        return self.folder / "off"

    def disks(self) -> list[Path]:
        """See Guest."""
        return [self.root_disk, *(self._extra_disk(number) for number in range(1, len(self.host.disks_mb) + 1))]

    def state(self) -> State:
        """See Guest."""
        session = self._session()
        if session is None:
            return State.OFF
        leader = session.leader_state()
        if leader is None:
            return State.LOST
        return State.PAUSED if leader == "T" else State.ON

    def start(self) -> None:
        """See Guest."""
        with self._locked():
            state = self.state()
            if state in (State.ON, State.PAUSED):
                return
            if state is State.LOST:
                self._end()
            self._prepare()
            self._spawn()

    def kill(self) -> None:
        """See Guest."""
        with self._locked():
            self._end()

    def stop(self) -> None:
        """See Guest."""
        with self._locked():
            state = self.state()
            if state is State.PAUSED:
                raise LabError("guest is paused", self.name, f"bin/lab resume {self.name}")
            session = self._session()
            if state is State.ON and session is not None:
                # Ctrl-Alt-Del is the only button this machine has; the image makes it a power button.
                self._mconsole("cad")
                deadline = time.monotonic() + POWER_BUTTON_WITHIN
                while session.leader_state() is not None:
                    if time.monotonic() > deadline:
                        remedy = f"see `bin/lab console {self.name}`, or bin/lab kill {self.name}"
                        raise LabError(f"{self.name} does not power off within", f"{POWER_BUTTON_WITHIN:.0f} s", remedy)
                    time.sleep(0.1)
            self._end()

    def erase(self) -> None:
        """Cut the power and forget all disks, as if it had never been started."""
        self.kill()
        for disk in self.disks():
            disk.unlink(missing_ok=True)
        (self.folder / "base.json").unlink(missing_ok=True)

    def pause(self) -> None:
        """See Guest."""
        self._stop_or_continue(signal.SIGSTOP, State.PAUSED)

    def resume(self) -> None:
        """See Guest."""
        self._stop_or_continue(signal.SIGCONT, State.ON)

    def memory_bytes(self) -> int:
        """See Guest. The pages of the guest's memory file that were ever touched, and the kernel's own heap."""
        session = self._session()
        if session is None or session.leader_state() is None:
            return 0
        total = 0
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            process = Path("/proc") / str(session.leader)
            for line in (process / "status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    total += int(line.split()[1]) * 1024
            seen = set()
            for entry in (process / "fd").iterdir():
                if str(entry.readlink()).startswith(f"{MEMORY_FOLDER}/"):
                    facts = entry.stat()
                    if facts.st_ino not in seen:
                        seen.add(facts.st_ino)
                        total += facts.st_blocks * 512
        return total

    def _stop_or_continue(self, number: signal.Signals, wanted: State) -> None:
        with self._locked():
            session = self._session()
            if session is None or self.state() not in (State.ON, State.PAUSED):
                raise LabError("guest is not on", self.name, f"bin/lab start {self.name}")
            session.signal(number)
            deadline = time.monotonic() + 5
            while self.state() is not wanted:
                if time.monotonic() > deadline:
                    raise LabError(f"{self.name} is not {wanted.value} after", number.name, "look at it with ps")
                time.sleep(0.01)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Power switch and commands may want the same guest at the same time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _session(self) -> Session | None:
        try:
            return Session(**json.loads(self._process_file.read_text()))
        except FileNotFoundError:
            return None

    @property
    def _process_file(self) -> Path:
        return self.folder / "process.json"

    @property
    def _umid(self) -> Path:
        return self.place.runtime / "uml" / self.name

    def _extra_disk(self, number: int) -> Path:
        return self.folder / f"disk{number}.img"

    def _prepare(self) -> None:
        for number, size in enumerate(self.host.disks_mb, start=1):
            disk = self._extra_disk(number)
            if not disk.exists():
                with disk.open("wb") as file:
                    file.truncate(size * 1024 * 1024)
        keys = Ssh(self.place)
        settings.write(
            self.folder / "settings.tar", self.host, self.topology, user_key=keys.user_key, host_key=keys.host_key
        )
        for stale in ("impaired.json", "off"):
            (self.folder / stale).unlink(missing_ok=True)
        if self.console.exists():
            self.console.replace(self.folder / "console.previous.log")

    def command(self) -> list[str | Path]:
        """Return the whole command line of the guest."""
        disks = [f"ubd0={self.root_disk},{self.image}"]
        disks += [f"ubd{number}={self._extra_disk(number)}" for number in range(1, len(self.host.disks_mb) + 1)]
        disks.append(f"ubd15r={self.folder / 'settings.tar'}")
        legs = [
            f"vec{number}:transport=tap,ifname={tap_name(self.name, segment)},"
            f"mac={mac_address(self.name, segment)},depth=64,gro=1"
            for number, segment in enumerate(self.host.legs)
        ]
        machine = hashlib.sha256(f"{self.place.identity}/{self.name}".encode()).hexdigest()[:32]
        return [
            self.kernel,
            f"umid={self.name}",
            f"uml_dir={self.place.runtime / 'uml'}",
            f"mem={self.host.memory_mb}M",
            f"systemd.machine_id={machine}",
            *disks,
            *legs,
            *KERNEL_WORDS,
        ]

    def _spawn(self) -> None:
        shutil.rmtree(self._umid, ignore_errors=True)
        with self.console.open("wb") as console:
            child = subprocess.Popen(
                [str(word) for word in Network(self.place).inside(self.command())],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ.get("PATH", ""), "TMPDIR": str(MEMORY_FOLDER)},
                cwd=self.folder,
                start_new_session=True,
            )
        try:
            self._process_file.write_text(json.dumps(vars(Session.of(child.pid))))
        except BaseException:
            child.kill()
            raise

    def _end(self) -> None:
        session = self._session()
        if session is not None:
            session.kill()
        self._process_file.unlink(missing_ok=True)
        (self.folder / "impaired.json").unlink(missing_ok=True)
        shutil.rmtree(self._umid, ignore_errors=True)
        Ssh(self.place).drop(self.name)

    def _mconsole(self, request: str) -> None:
        """Say something to the kernel's management console (arch/um/include/shared/mconsole.h)."""
        path = self._umid / "mconsole"
        # The answer needs an address, and an abstract one would not lead out of the guest's network namespace.
        own = self._umid / f"answer-{os.getpid()}"
        data = request.encode()
        message = struct.pack("<III512s", MCONSOLE_MAGIC, 2, len(data), data)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
                client.bind(str(own))
                client.settimeout(10)
                client.sendto(message, str(path))
                answer = client.recv(2048)
        except OSError as error:
            raise LabError(f"{self.name} does not hear its power button", error, f"bin/lab kill {self.name}") from None
        finally:
            own.unlink(missing_ok=True)
        if struct.unpack_from("<I", answer)[0] != 0:
            raise LabError(f"{self.name} refuses its power button", answer[12:], f"bin/lab kill {self.name}")

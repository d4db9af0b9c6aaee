"""The lab's power switch: an SSH server that knows `off HOST`, `on HOST` and `status HOST`, and speaks to fence_virsh.

It answers only what is certain: `HOST off` when every process of the guest is gone, `HOST on` when it runs.
Anything else is an error line and a non-zero exit status, so that a caller never takes hope for knowledge.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)
from paramiko.pkey import PublicBlob

from lab import virsh
from lab.errors import LabError
from lab.fleet import Fleet
from lab.guest import State
from lab.place import Place
from lab.switch_process import DenyList
from lab.uml import UmlGuest

KEYS = Path(__file__).parent / "test-keys"
USER = "power"
PORT = 22
PATIENCE = 30.0


class Verb(enum.Enum):
    """What the switch can do."""

    OFF = "off"
    ON = "on"
    STATUS = "status"


class Answer(NamedTuple):
    """One line and an exit status."""

    line: str
    status: int


def parse(command: str) -> tuple[Verb, str]:
    """Return verb and host; raise LabError for anything but the three commands."""
    words = command.split()
    verbs = {verb.value: verb for verb in Verb}
    if len(words) != 2 or words[0] not in verbs:
        raise LabError("unknown command", command[:80], "it is off HOST, on HOST or status HOST")
    return verbs[words[0]], words[1]


class PowerSwitch:
    """The switch without its server."""

    def __init__(self, guest: Callable[[str], UmlGuest], denied: Callable[[], set[str]]) -> None:
        """`guest` finds a guest by name or raises LabError."""
        self.guest = guest
        self.denied = denied

    def answer(self, command: str) -> Answer:
        """Do what is asked, and say what is certain afterwards."""
        try:
            verb, name = parse(command)
            guest = self.guest(name)
            if verb is not Verb.STATUS and name in self.denied():
                return Answer(f"{name} refused", 1)
            if verb is Verb.OFF:
                # First the note, so that nothing powers it on between the cut and the note.
                guest.switched_off.write_text("power switch\n")
                guest.kill()
            elif verb is Verb.ON:
                guest.start()
                guest.switched_off.unlink(missing_ok=True)
            state = guest.state()
        except LabError as error:
            return Answer(f"error: {error}", 2)
        if state is State.LOST:
            # Its kernel ended by itself; what may be left of it is taken away before we call it off.
            guest.kill()
            state = guest.state()
        on = state is not State.OFF
        if verb is not Verb.STATUS and on != (verb is Verb.ON):
            return Answer(f"error: {name} is still {state.value}", 2)
        return Answer(f"{name} {'on' if on else 'off'}", 0)


HANG_UP = 0.5  # seconds that a caller has to end the session itself


class Gate(paramiko.ServerInterface):
    """Let one user with one key in, to execute commands and nothing else."""

    def __init__(self, switch: PowerSwitch, client: paramiko.PKey) -> None:
        """`client` is the only key that is accepted."""
        self.switch = switch
        self.client = client

    def get_allowed_auths(self, username: str) -> str:
        """Public keys only."""
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        """Compare user and key."""
        good = username == USER and key.asbytes() == self.client.asbytes()
        return AUTH_SUCCESSFUL if good else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        """Sessions only: no forwarding."""
        if kind == "session":
            return OPEN_SUCCEEDED
        return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_pty_request(self, *_: object) -> bool:
        """fence_virsh asks for a terminal; what it gets is the session without an echo."""
        return True

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        """Answer in a thread of its own: this one must go on to serve the connection."""
        text = command.decode(errors="replace")
        serve = self._virsh if virsh.asked_for(text) else self._serve
        threading.Thread(target=serve, args=(channel, text), daemon=True).start()
        return True

    def _answer(self, command: str) -> Answer:
        try:
            return self.switch.answer(command)
        except Exception as error:  # noqa: BLE001 - an unknown outcome must reach the caller as a failure, never as silence
            return Answer(f"error: {error!r}", 2)

    def _virsh(self, channel: paramiko.Channel, _: str) -> None:
        channel.settimeout(PATIENCE)
        try:
            for line, said in virsh.session(channel.recv, channel.sendall, self._answer):
                log(f"{line!r}: {said}")
            channel.close()
        except OSError as error:
            log(f"caller is gone: {error}")

    def _serve(self, channel: paramiko.Channel, command: str) -> None:
        began = time.monotonic()
        answer = self._answer(command)
        log(f"{command!r}: {answer.line} ({answer.status}) after {time.monotonic() - began:.2f} s")
        try:
            channel.sendall(f"{answer.line}\n".encode())
            channel.send_exit_status(answer.status)
            # The library says "accepted" only after `check_channel_exec_request` has returned; a quick answer overtakes
            # that; a close would then read as a refusal. So the caller may hang up first.
            channel.settimeout(HANG_UP)
            with contextlib.suppress(TimeoutError):
                channel.recv(1)
            channel.close()
        except OSError as error:
            log(f"caller is gone: {error}")


def log(line: str) -> None:
    """Write to standard error, which is the switch's log."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(f"{stamp} {line}", file=sys.stderr, flush=True)


def serve(place: Place, address: str) -> None:
    """Listen for ever; say `ready` on standard output when callers may come."""
    host_key = paramiko.Ed25519Key.from_private_key_file(str(KEYS / "switch_host_ed25519"))
    client = PublicBlob.from_file(str(KEYS / "fence_client_ed25519.pub"))
    client_key = paramiko.Ed25519Key(data=client.key_blob)
    switch = PowerSwitch(lambda name: Fleet.saved(place).guest(name), DenyList(place).read)
    with socket.create_server((address, PORT), backlog=20) as listener:
        print("ready", flush=True)
        log(f"listening on {address}")
        while True:
            connection, _ = listener.accept()
            threading.Thread(
                target=_connection, args=(connection, host_key, Gate(switch, client_key)), daemon=True
            ).start()


def _connection(connection: socket.socket, host_key: paramiko.PKey, gate: Gate) -> None:
    transport = paramiko.Transport(connection)
    transport.auth_timeout = PATIENCE
    try:
        transport.add_server_key(host_key)
        transport.start_server(server=gate)
        transport.join()
    except (paramiko.SSHException, EOFError, OSError) as error:
        log(f"connection failed: {error}")
    finally:
        transport.close()


if __name__ == "__main__":
    serve(Place(sys.argv[1]), sys.argv[2])

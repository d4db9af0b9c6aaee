"""The distribution's fence agents, by name and options.

The API that they share (Debian package fence-agents, "FenceAgentAPI.md"): options come on standard input, one
`key=value` a line; `action=off` ends with status 0 when the plug is off; `action=status` ends with 0 for on and 2 for
off. Everything else, a signal and a time-out included, proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from ..core.ports import Power, Unavailable
from . import command

AGENT = re.compile(r"fence_[a-z0-9_]+")
OPTION = re.compile(r"[a-z][a-z0-9_-]*")
# What this adapter says itself, or must not be said.
RESERVED = {"action", "plug", "port", "nodename", "verbose", "debug", "debug_file"}
STATUS = {0: Power.ON, 2: Power.OFF}


class Attempt(Protocol):
    def __call__(self, argv: list[str], *, timeout: float, stdin: str | None = None) -> command.Done: ...


class FenceAgent:
    """Implements `core.ports.PowerSwitch`.

    `options`: as the agent's manual page names them, without secrets; `secret_files`: option to the file that holds
    its value, read anew for each call; `plugs`: host to what the device calls it, for devices with several outlets;
    `timeout`: seconds for one call of the agent. Raises ValueError for names and values that no agent could take.
    """

    def __init__(
        self,
        name: str,
        agent: str,
        options: Mapping[str, str],
        secret_files: Mapping[str, str],
        plugs: Mapping[str, str],
        timeout: float = 60.0,
        attempt: Attempt | Callable[..., command.Done] = command.attempt,
    ) -> None:
        if not AGENT.fullmatch(agent):
            raise ValueError(f"agent {agent!r} is none; name a program like fence_ipmilan")
        for key in (*options, *secret_files):
            if not OPTION.fullmatch(key) or key in RESERVED:
                raise ValueError(f"option {key!r} is not for you to give; see man {agent}")
        for value in (*options.values(), *plugs.values()):
            if "\n" in value:
                raise ValueError(f"{value!r} has more than one line")
        self.method = name
        self._agent = agent
        self._options = dict(options)
        self._secret_files = dict(secret_files)
        self._plugs = dict(plugs)
        self._timeout = timeout
        self._attempt = attempt

    def off(self, host: str) -> str:
        done = self._call("off", host)
        if done.status != 0:
            raise Unavailable(f"{self.method}: off {host}: status {done.status}: {done.stderr}")
        return f"{self._agent} off {host}: status 0"

    def status(self, host: str) -> Power:
        done = self._call("status", host)
        power = STATUS.get(done.status)
        if power is None:
            raise Unavailable(f"{self.method}: status {host}: status {done.status}: {done.stderr}")
        return power

    def _call(self, action: str, host: str) -> command.Done:
        """`stderr` of the answer is what it said, in one line, without secrets."""
        secrets = {key: self._secret(file) for key, file in self._secret_files.items()}
        given = {**self._options, **secrets, "action": action}
        if host in self._plugs:
            given["plug"] = self._plugs[host]
        lines = "".join(f"{key}={value}\n" for key, value in given.items())
        try:
            done = self._attempt([self._agent], timeout=self._timeout, stdin=lines)
        except command.CommandError as why:
            raise Unavailable(f"{self.method}: {action} {host}: {why}") from why
        said = f"{done.stderr} {done.stdout}"
        for secret in filter(None, secrets.values()):
            said = said.replace(secret, "…")
        return command.Done(done.status, "", command.words(said))

    def _secret(self, file: str) -> str:
        try:
            value = Path(file).read_text().rstrip("\n")
        except OSError as why:
            raise Unavailable(f"{self.method}: {file}: {why.strerror}") from why
        if "\n" in value:
            raise Unavailable(f"{self.method}: {file} holds more than one line")
        return value

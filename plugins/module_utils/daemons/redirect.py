"""holdfast-redirect: what a redirector's HAProxy knows of its servers, and an operator's word about them.

    holdfast-redirect status            a line for each server of each protocol
    holdfast-redirect status --json     the same with this host's addresses, for playbooks/status.yml
    holdfast-redirect drain IDENTITY    nothing new is sent to it from here; what is connected goes on
    holdfast-redirect ready IDENTITY    ends the drain
    holdfast-redirect save              for the next start of HAProxy; its unit does it before a reload

Each host of a pair has its own: `ansible redirector -m command -a 'holdfast-redirect drain mx.alpha.example'`. A drain
outlives reloads and restarts. The servers' own word (core/availability.py) neither makes it nor ends it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ..adapters.haproxy import Haproxy, Server
from ..adapters.machine import local_addresses, set_aside
from ..core.model import Json
from ..core.ports import Unavailable
from ..core.side_telling import unserved

STATES = "/var/lib/holdfast/redirector/servers"
EX_FAILED, EX_USAGE = 1, 64  # sysexits.h
USAGE = "usage: holdfast-redirect status [--json] | drain IDENTITY | ready IDENTITY | save"


def main(arguments: Sequence[str], haproxy: Haproxy | None = None, states: str = STATES) -> int:
    """The exit status; one line on standard error for whatever went wrong."""
    haproxy = haproxy or Haproxy()
    try:
        match list(arguments):
            case ["status"]:
                print("\n".join(map(_line, haproxy.servers())))
            case ["status", "--json"]:
                print(json.dumps(_known(haproxy)))
            case ["save"]:
                haproxy.save(states)
            case ["drain" | "ready" as word, name]:
                return _tell(haproxy, word, name, states)
            case _:
                print(USAGE, file=sys.stderr)
                return EX_USAGE
    except (Unavailable, OSError) as why:
        print(f"holdfast-redirect: {why}", file=sys.stderr)
        return EX_FAILED
    return 0


def _known(haproxy: Haproxy) -> Json:
    """`unserved`: for what it is of no use now. Where HAProxy does not answer `error` says so, the rest is known."""
    addresses = sorted(local_addresses(Path("/proc/net/fib_trie").read_text()))
    said: Json = {"addresses": addresses, "aside": set_aside(), "error": ""}
    try:
        servers = [dataclasses.asdict(s) for s in haproxy.servers()]
        return {**said, "servers": servers, "unserved": [f"no server is left for {p}" for p in unserved(servers)]}
    except Unavailable as why:
        return {**said, "error": str(why), "servers": [], "unserved": [str(why)]}


def _tell(haproxy: Haproxy, word: str, name: str, states: str) -> int:
    servers = haproxy.servers()
    mine = [s for s in servers if s.name == name]
    if not mine:
        known = ", ".join(dict.fromkeys(s.name for s in servers)) or "none"
        print(f"holdfast-redirect: {name} is no server here; known: {known}", file=sys.stderr)
        return EX_USAGE
    for server in mine:
        (haproxy.drain if word == "drain" else haproxy.ready)(server)
    haproxy.save(states)
    print("\n".join(_line(s) for s in haproxy.servers() if s.name == name))
    return 0


def _line(server: Server) -> str:
    where = " (another site's)" if server.backup else ""
    connected = f"{server.connected} connected"
    return f"{server.protocol} {server.name}: {server.status}, share {server.share} %, {connected}{where}"

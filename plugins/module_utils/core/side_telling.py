"""Redirectors and transfer hosts as lines for people, and what of them needs an operator.

Their own words are JSON: `holdfast-redirect status --json`, `holdfast-transfer status --json`. Times are Unix seconds.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .model import Json
from .telling import clock, columns
from .transfer import Backlog

Pairs = Mapping[str, Mapping[str, Any]]  # as the inventory has `redirectors`
UP, DRAINED, NO_CHECK = "UP", ("DRAIN", "MAINT"), "no check"
ANSWERED = "L7"  # how HAProxy's words for an agent that answers begin


@dataclass(frozen=True)
class Word:
    """What a host says, or why it says nothing."""

    said: Json
    error: str = ""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Word:
        """From what its command wrote (`out`) and what went wrong (`why`)."""
        try:
            said = json.loads(answer.get("out") or "")
        except ValueError:
            said = None
        if not isinstance(said, dict):
            why = " ".join(str(answer.get("why") or "").split())
            return cls({}, f"no answer: {why or 'its command said nothing'}")
        return cls(said, str(said.get("error") or ""))


Words = Mapping[str, Word]  # by host; those that were not asked are left out


def _set_aside(words: Words, aside: Collection[str]) -> tuple[list[str], set[str]]:
    """A line for each that an operator has set aside, and of whom nothing is expected."""
    reasons = {h: word.said["aside"] for h, word in words.items() if word.said.get("aside") and h not in aside}
    return [f"{host}: set aside: {reason}" for host, reason in reasons.items()], {*aside, *reasons}


# --- redirectors ------------------------------------------------------------------------------------------------


def unserved(servers: Iterable[Json]) -> list[str]:
    """Protocols of a redirector that has no server for them."""
    some = list(servers)
    able = {s["protocol"] for s in some if _serves(s)}
    return [p for p in dict.fromkeys(s["protocol"] for s in some) if p not in able]


def _serves(server: Json) -> bool:
    status, share = str(server["status"]), int(server["share"])
    return status == NO_CHECK or (status.startswith(UP) and share > 0)


def _places(pair: Mapping[str, Any], words: Words) -> dict[str, list[str]]:
    """{address of the pair: hosts that say that they have it}"""
    return {a: [h for h in pair["hosts"] if h in words and a in words[h].said.get("addresses", ())] for a in _of(pair)}


def _of(pair: Mapping[str, Any]) -> list[str]:
    return list(map(str, pair["addresses"]))


def _grouped(words: Words, hosts: Iterable[str]) -> list[tuple[str, Json, list[str]]]:
    """Host, server and the protocols for which all else but the connections is the same; those are summed up."""
    rows: dict[tuple[object, ...], tuple[str, Json, list[str]]] = {}
    for host in hosts:
        for s in words[host].said.get("servers", ()) if host in words else ():
            key = host, s["name"], s["status"], s["share"], s["agent"]
            _, one, protocols = rows.setdefault(key, (host, {**s, "connected": 0}, []))
            one["connected"] += s["connected"]
            protocols.append(s["protocol"])
    return list(rows.values())


def redirector_table(pairs: Pairs, words: Words) -> list[str]:
    """Two tables in one list of lines: where each pair's addresses lie, and what its hosts know of servers."""
    asked = {name: pair for name, pair in pairs.items() if any(h in words for h in pair["hosts"])}
    if not asked:
        return []
    places = [["REDIRECTORS", "ADDRESS", "AT HOME ON", "LIES ON"]]
    servers = [["REDIRECTOR", "SERVER", "STATUS", "SHARE", "SAYS", "CONNECTED", "PROTOCOLS"]]
    for name, pair in asked.items():
        for (address, hosts), home in zip(_places(pair, words).items(), pair["hosts"], strict=False):
            silent = any(h not in words or words[h].error for h in pair["hosts"])
            places.append([name, address, home, ", ".join(hosts) or ("?" if silent else "none")])
        for host, s, protocols in _grouped(words, pair["hosts"]):
            row = [f"{s['share']} %", s["agent"] or "?", str(s["connected"]), " ".join(protocols)]
            servers.append([host, s["name"], s["status"], *row])
    return [*columns(places), "", *columns(servers)]


def redirector_needs(pairs: Pairs, words: Words, aside: Collection[str] = ()) -> list[str]:
    """What an operator should look at. `aside`: hosts in the midst of planned work, of which nothing is expected."""
    found, aside = _set_aside(words, aside)
    for name, pair in pairs.items():
        hosts = [h for h in pair["hosts"] if h in words]
        found += [f"{h}: {words[h].error}" for h in hosts if words[h].error and h not in aside]
        well = [h for h in hosts if not words[h].error]
        if len(well) == len(pair["hosts"]):
            found += _astray(name, pair, words, aside)
        elif well:
            # The other one has given no answer, and may have it still; this one has not.
            lost = [a for a, at in _places(pair, words).items() if not at]
            found += [f"{name}: {a} does not lie on {', '.join(well)}, which answers" for a in lost]
        found += _servers(name, words, [h for h in well if h not in aside])
    return found


def _astray(name: str, pair: Mapping[str, Any], words: Words, aside: Collection[str]) -> list[str]:
    found = []
    for (address, at), home in zip(_places(pair, words).items(), pair["hosts"], strict=False):
        if not at:
            found.append(f"{name}: {address} lies on none of its hosts: nobody is reached there")
        elif len(at) > 1:
            found.append(f"{name}: {address} lies on {' and '.join(at)}: they do not hear each other")
        elif at != [home] and home not in aside:
            found.append(f"{name}: {address} lies on {at[0]} and not at home on {home}")
    return found


def _servers(name: str, words: Words, hosts: list[str]) -> list[str]:
    """One line for what several hosts say of a server."""
    told: dict[str, list[str]] = {}
    for host in hosts:
        for gone in unserved(words[host].said.get("servers", ())):
            told.setdefault(f"{name}: no server is left for {gone} on", []).append(host)
    for host, s, protocols in _grouped(words, hosts):
        of = f"{s['name']} ({' '.join(protocols)})"
        if s["status"].startswith(DRAINED):
            told.setdefault(f"{name}: {of} is drained by an operator on", []).append(host)
        elif s["status"] != NO_CHECK and not s["status"].startswith(UP):
            told.setdefault(f"{name}: {of} is {s['status']} on", []).append(host)
        elif s["agent"] and not s["agent"].startswith(ANSWERED):
            told.setdefault(f"{name}: {of} does not say how available it is ({s['agent']}) on", []).append(host)
    return [f"{line} {', '.join(dict.fromkeys(those))}" for line, those in told.items()]


# --- transfer hosts ---------------------------------------------------------------------------------------------


def _spools(words: Words) -> dict[str, Json]:
    """{identity: what is known of its spool}, from the first host that could look into it, if any could."""
    found: dict[str, Json] = {}
    for word in words.values():
        for name, spool in word.said.get("spools", {}).items():
            if name not in found or (found[name]["error"] and not spool["error"]):
                found[name] = spool
    return found


def _waits(spool: Json, folder: str) -> Backlog:
    return Backlog(int(spool[folder]["count"]), float(spool[folder]["oldest"]))


def transfer_table(words: Words, claims: Mapping[str, str]) -> list[str]:
    """A line for each spool and direction. `claims`: {identity: host that carries from its spool}."""
    rows = [
        [
            "SPOOL",
            "DIRECTION",
            "ON",
            "CARRIED BY",
            "WAITS",
            "OLDEST",
            "CROSSED, WAITS",
            "OLDEST",
            "QUARANTINE",
            "LAST CARRIED",
        ]
    ]
    for name, spool in _spools(words).items():
        row = [name, spool["direction"], "yes" if spool["enabled"] else "no", claims.get(name, "nobody")]
        if spool["error"]:
            rows.append([*row, *"??????"])
            continue
        for folder in ("out", "in"):
            left = _waits(spool, folder)
            row += [str(left.count), f"{left.oldest:.0f} s" if left.count else "-"]
        last = "not of late" if spool["carried"] is None else clock(float(spool["carried"]))
        rows.append([*row, str(spool["quarantine"]), last])
    return columns(rows) if len(rows) > 1 else []


def transfer_needs(words: Words, claims: Mapping[str, str], aside: Collection[str] = ()) -> list[str]:
    """What an operator should look at. `aside`: hosts in the midst of planned work, of which nothing is expected."""
    found, aside = _set_aside(words, aside)
    limit = {"count": 0, "seconds": 0.0}
    for host, word in words.items():
        limit = word.said.get("limit", limit)
        if host in aside:
            continue
        if word.error:
            found.append(f"{host}: {word.error}")
        elif word.said["active"] != "active":
            found.append(f"{host}: holdfast-transfer is {word.said['active']}")
        spools = word.said.get("spools", {}).items()
        found += [f"{host}: the spool of {name} is away: {one['error']}" for name, one in spools if one["error"]]
    for name, spool in _spools(words).items():
        if spool["enabled"] and name not in claims:
            found.append(f"{name}: no transfer host carries from its spool")
        if spool["error"]:
            continue
        out, into = _waits(spool, "out"), _waits(spool, "in")
        if out.over(int(limit["count"]), float(limit["seconds"])):
            why = "" if spool["enabled"] else f"; {spool['direction']} is switched off"
            found.append(f"{name}: {_many(out)} to be carried{why}")
        if into.over(int(limit["count"]), float(limit["seconds"])):
            found.append(f"{name}: {_many(into)} for its own server to take what has crossed")
        if spool["quarantine"]:
            found.append(f"{name}: {spool['quarantine']} set aside in quarantine")
    return found


def _many(left: Backlog) -> str:
    return f"{left.count} wait, the oldest for {left.oldest:.0f} s,"

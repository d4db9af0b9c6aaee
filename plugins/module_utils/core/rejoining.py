"""May a host that was away be a candidate again? Its own words against those of the coordinator and of its peers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from .model import Json

CLOCK_WITHIN = 2.0  # seconds; words about being ready are believed by their time


@dataclass(frozen=True)
class Facts:
    """What a mail host says of itself. `traces`: identity to what of it is there; `time`: its clock, Unix seconds.

    `versions`: package to version; `package`: hash of the installed core; `drained`: the drain file's words, None
    without one; `units`: state of each unit that must run from boot on.
    """

    host: str
    time: float
    traces: Mapping[str, tuple[str, ...]]
    versions: Mapping[str, str]
    package: str
    drained: str | None
    units: Mapping[str, str]

    def to_json(self) -> Json:
        return {
            "host": self.host,
            "time": self.time,
            "traces": {name: list(found) for name, found in self.traces.items()},
            "versions": dict(self.versions),
            "package": self.package,
            "drained": self.drained,
            "units": dict(self.units),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Facts:
        return cls(
            str(data["host"]),
            float(data["time"]),
            {str(n): tuple(found) for n, found in data["traces"].items()},
            {str(n): str(v) for n, v in data["versions"].items()},
            str(data["package"]),
            data["drained"],
            {str(n): str(v) for n, v in data["units"].items()},
        )


def obstacles(
    facts: Facts, owned: Collection[str], peers: Collection[Facts] = (), asked: tuple[float, float] | None = None
) -> list[str]:
    """Why not, each with the remedy; empty when it may.

    `owned`: identities that the coordinator says are this host's: these may run. `asked`: the asker's clock before and
    after the question; the answer must lie between the two.
    """
    found = []
    for name, there in sorted(facts.traces.items()):
        if there and name not in owned:
            found.append(f"{name} is not its own, but there are {', '.join(there)}: stop them, unmount, and look why")
    for unit, state in sorted(facts.units.items()):
        if state != "active":
            found.append(f"{unit} is {state}: systemctl start {unit}, and read its journal")
    if asked is not None and not asked[0] - CLOCK_WITHIN <= facts.time <= asked[1] + CLOCK_WITHIN:
        off = facts.time - (asked[1] if facts.time > asked[1] else asked[0])
        found.append(f"its clock is {off:+.1f} s off: set it (chrony)")
    for peer in peers:
        if peer.host != facts.host:
            found += _differs(facts, peer)
    return list(dict.fromkeys(found))


def _differs(facts: Facts, peer: Facts) -> list[str]:
    found = []
    if facts.package != peer.package:
        found.append(f"its holdfast is another one than that of {peer.host}: deploy both (playbooks/site.yml)")
    for name in sorted(set(facts.versions) | set(peer.versions)):
        mine, other = facts.versions.get(name, "not installed"), peer.versions.get(name, "not installed")
        if mine != other:
            found.append(f"{name} is {mine}, on {peer.host} it is {other}: bring both to one version")
    return found

"""The keys of a relay's monitor.yml that say how hosts are fenced, and in which order candidates are asked.

fence_devices {NAME: {address, port, user, hosts, timeout, host_key, client_key_file}}          an SSH power switch
              {NAME: {agent, options, secret_files, plugs, hosts, timeout}}                     a fence agent
fence_plan {default: [LEVEL], HOST: [LEVEL]}, LEVEL {level, device, timeout, margin, address_withdrawal}
sites {HOST: SITE}, placement, promote, no_candidate {archive_after}; the last three also for one identity
invoker: self, or host on a relay without the right to fence, which asks other monitors (R1.11) and has no fence_devices
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from pathlib import Path

from ..adapters.fence_agent import FenceAgent
from ..adapters.power import SshPowerSwitch
from ..core.fencing import (
    AGENT_TIMEOUT,
    DEFAULT_LEVELS,
    SWITCH_TIMEOUT,
    FencePlan,
    Level,
    LevelName,
    Withdrawal,
)
from ..core.locked_run import Timeouts
from ..core.placement import Placement
from ..core.ports import PowerSwitch
from ..core.promotion import Promote
from .config import Section


class Invoker(enum.StrEnum):
    SELF = "self"
    HOST = "host"


Make = Callable[[], PowerSwitch]


class Devices:
    """Fence devices as they are configured; they are made when they are needed, since that takes their secrets."""

    def __init__(self, s: Section) -> None:
        self.invoker = _choice(s, "invoker", Invoker, Invoker.SELF)
        self.longest = 0.0  # seconds of one call
        self._made: list[tuple[tuple[str, ...], Make]] = []
        self.hosts: dict[str, tuple[str, ...]] = {}  # by device
        for name, d in s.sections("fence_devices"):
            hosts, agent = d.texts("hosts"), "agent" in d.names()
            timeout = d.number("timeout", AGENT_TIMEOUT if agent else SWITCH_TIMEOUT, least=1)
            make = _agent(name, d, timeout) if agent else _ssh(name, d, timeout)
            d.done()
            self.hosts[name] = hosts
            self.longest = max(self.longest, timeout)
            self._made.append((hosts, make))
        if self._made and self.invoker is Invoker.HOST:
            raise s.wrong("invoker", str(self.invoker), "this relay has no right to fence; remove its fence_devices")

    @property
    def lock(self) -> int:
        """Seconds of a run's lock: a fence device is asked twice before the lock is kept alive again."""
        return max(Timeouts.lock, int(2 * self.longest) + 20)

    def switches(self) -> dict[str, list[PowerSwitch]]:
        """Host to the devices that can fence it, in the order of the file. Raises ConfigError."""
        found: dict[str, list[PowerSwitch]] = {}
        for hosts, make in self._made:
            switch = make()
            for host in hosts:
                found.setdefault(host, []).append(switch)
        return found


def _ssh(name: str, d: Section, timeout: float) -> Make:
    file = d.path("client_key_file")
    address, port, user, host_key = d.text("address"), d.whole("port", 22), d.text("user"), d.text("host_key")

    def make() -> PowerSwitch:
        try:
            return SshPowerSwitch(name, address, port, user, host_key, Path(file).read_text(), timeout)
        except (OSError, ValueError) as why:
            raise d.wrong("client_key_file", file, f"{why}; deploy the role monitor") from None

    return make


def _agent(name: str, d: Section, timeout: float) -> Make:
    agent = d.text("agent")
    options = {key: str(value) for key, value in d.values("options", {}).items()}
    files = {key: str(value) for key, value in d.values("secret_files", {}).items()}
    plugs = {key: str(value) for key, value in d.values("plugs", {}).items()}
    try:
        made = FenceAgent(name, agent, options, files, plugs, timeout)
    except ValueError as why:
        raise d.wrong("agent", agent, str(why)) from None
    return lambda: made


def plan(s: Section, devices: Devices) -> FencePlan:
    """Without `fence_plan`: power, then an operator's word."""
    if "fence_plan" not in s.names():
        return FencePlan()
    section = s.section("fence_plan")
    found = {name: tuple(_level(one, devices) for one in section.list(name)) for name in section.names()}
    for name, levels in found.items():
        if not levels:
            raise section.wrong(name, [], f"name at least one level: {', '.join(LevelName)}")
    return FencePlan(found.pop("default", DEFAULT_LEVELS), found)


def _level(one: Section, devices: Devices) -> Level:
    level = _choice(one, "level", LevelName)
    device = one.text("device") if "device" in one.names() else None
    if device is not None and (level is not LevelName.POWER or device not in devices.hosts):
        raise one.wrong("device", device, f"goes with level power and one of {', '.join(devices.hosts) or 'none'}")
    withdrawal = _choice(one, "address_withdrawal", Withdrawal) if "address_withdrawal" in one.names() else None
    if withdrawal is not None and level is not LevelName.STORE_REVOCATION:
        raise one.wrong("address_withdrawal", str(withdrawal), "goes with level store_revocation only")
    made = Level(level, device, one.number("timeout", 120.0, least=1), one.number("margin", 5.0, least=1), withdrawal)
    one.done()
    return made


def _choice[E: enum.StrEnum](s: Section, name: str, kind: type[E], default: E | None = None) -> E:
    value = s.text(name) if default is None else s.text(name, str(default))
    try:
        return kind(value)
    except ValueError:
        raise s.wrong(name, value, f"name one of {', '.join(kind)}") from None


class Endings:
    """`placement`, `promote` and `no_candidate`: for all identities, or for one of them."""

    def __init__(self, s: Section, default: Endings | None = None) -> None:
        self.placement: Placement = _choice(
            s, "placement", Placement, default.placement if default else Placement.LOCAL_FIRST
        )
        self.promote: Promote = _choice(s, "promote", Promote, default.promote if default else Promote.PRIMARY)
        self.archive_after: float | None = _archive_after(s, default.archive_after if default else None)


def _archive_after(s: Section, default: float | None) -> float | None:
    """Seconds after which held messages are archived and returned when nobody can take over; None: never."""
    value = s.value("no_candidate", None)
    if value is None:
        return default
    if value == "keep":
        return None
    if not isinstance(value, Mapping) or set(value) != {"archive_after"}:
        raise s.wrong("no_candidate", value, "give keep, or {archive_after: SECONDS}")
    section = s.section("no_candidate")
    return section.number("archive_after", least=60)

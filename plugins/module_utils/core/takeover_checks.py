"""Mistakes in what an inventory says of fencing, placement and the end of a takeover; beside core/checks.py. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .checks import Inventory, Mistake
from .fencing import (
    AGENT_TIMEOUT,
    ASKED,
    DEFAULT_LEVELS,
    LONGEST,
    SWITCH_TIMEOUT,
    Level,
    LevelName,
    Withdrawal,
    longest,
)
from .placement import Placement
from .promotion import Promote

AGENT = re.compile(r"fence_[a-z0-9_]+")
FILE = re.compile(r"[a-z][a-z0-9_]*")
LEVEL_KEYS = ("level", "device", "timeout", "margin", "address_withdrawal")
LEAST_ARCHIVE_AFTER = 60


def check(inventory: Inventory) -> list[Mistake]:
    """Every mistake, in the order of the checks."""
    fencing = [*_agents(inventory), *_timeouts(inventory), *_plan(inventory)]
    # Of a plan that is wrong nobody knows how long it takes.
    return [*fencing, *([] if fencing else _length(inventory)), *_endings(inventory)]


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 1


def _agents(inventory: Inventory) -> Iterator[Mistake]:
    """Fence devices that are agents of the distribution."""
    file = inventory.file("fence_devices")
    for name, device in (inventory.settings.get("fence_devices") or {}).items():
        if "agent" not in device:
            continue
        key = f"fence_devices.{name}"
        if not AGENT.fullmatch(str(device["agent"])):
            yield Mistake(file, f"{key}.agent", device["agent"], "name a program of fence-agents, like fence_ipmilan")
        for part in ("options", "secrets", "plugs"):
            values = device.get(part) or {}
            if not isinstance(values, Mapping):
                yield Mistake(file, f"{key}.{part}", values, "give a mapping of names to values")
                continue
            for option, value in values.items():
                if value in (None, "") or "\n" in str(value):
                    shown = None if part == "secrets" else value
                    yield Mistake(file, f"{key}.{part}.{option}", shown, "give one line of text")
        yield from _files(file, key, device)
        hosts, plugs = device.get("hosts") or [], device.get("plugs") or {}
        if len(hosts) > 1 and isinstance(plugs, Mapping):
            for host in hosts:
                if host not in plugs:
                    remedy = "say in plugs what the device calls it, since it switches several hosts"
                    yield Mistake(file, f"{key}.hosts", host, remedy)


def _files(file: str, key: str, device: Mapping[str, Any]) -> Iterator[Mistake]:
    """Contents of files that options name by path, and which must not take the place of a secret's file."""
    values = device.get("files") or {}
    if not isinstance(values, Mapping):
        yield Mistake(file, f"{key}.files", None, "give a mapping of names to contents")
        return
    secrets = device.get("secrets") or {}
    for name, content in values.items():
        if not FILE.fullmatch(str(name)) or name in secrets:
            yield Mistake(file, f"{key}.files", name, "name it in small letters, digits and _, and as no secret")
        if content in (None, ""):
            yield Mistake(file, f"{key}.files.{name}", None, "give what the file shall hold")


def _plan(inventory: Inventory) -> Iterator[Mistake]:
    plan = inventory.settings.get("fence_plan")
    if plan is None:
        return
    file = inventory.file("fence_plan")
    if not isinstance(plan, Mapping):
        yield Mistake(file, "fence_plan", plan, "give {default: [levels]}, and a list for each host that differs")
        return
    for name, levels in plan.items():
        key = f"fence_plan.{name}"
        if name != "default" and name not in inventory.hosts:
            yield Mistake(file, key, name, "is no host of the inventory; name one, or default")
        if name in inventory.group("store"):
            yield Mistake(
                file, key, levels, "a store server is fenced by power, then an operator's word; remove this plan"
            )
            continue
        if not isinstance(levels, list) or not levels:
            remedy = f"name at least one level: {', '.join(LevelName)}"
            yield Mistake(file, key, levels, remedy)
            continue
        for n, level in enumerate(levels):
            yield from _level(inventory, file, f"{key}[{n}]", name, level)


def _timeouts(inventory: Inventory) -> Iterator[Mistake]:
    for name, device in (inventory.settings.get("fence_devices") or {}).items():
        if "timeout" in device and not _positive(device["timeout"]):
            key = f"fence_devices.{name}.timeout"
            yield Mistake(inventory.file("fence_devices"), key, device["timeout"], "give seconds, 1 or more")


def _length(inventory: Inventory) -> Iterator[Mistake]:
    """Plans that take longer than a daemon takes for a hang; of each the host against which it takes longest."""
    settings, plan = inventory.settings, inventory.settings.get("fence_plan") or {}
    members = [h for s in (settings.get("stores") or {}).values() for h in s.get("members") or []]
    candidates = [h for i in settings.get("identities", {}).values() for h in i.get("candidates") or []]
    found: dict[str, tuple[float, str]] = {}
    for host in dict.fromkeys([*members, *candidates]):
        known = host if host in plan else "default"
        planned = known in plan and host not in members
        levels = [_made(one) for one in plan[known]] if planned else DEFAULT_LEVELS
        devices = {
            name: float(d.get("timeout", AGENT_TIMEOUT if "agent" in d else SWITCH_TIMEOUT))
            for name, d in (settings.get("fence_devices") or {}).items()
            if host in (d.get("hosts") or [])
        }
        key = f"fence_plan.{known}" if planned else "fence_devices"
        found[key] = max(found.get(key, (0.0, "")), (longest(levels, devices), host))
    for key, (seconds, host) in found.items():
        if seconds > LONGEST:
            remedy = (
                f"seconds that fencing {host} may take, one level after the other; {LONGEST:.0f} at the most: shorten"
                f" time-outs (that of a fence device counts {ASKED} times), or leave out a level"
            )
            yield Mistake(inventory.file(key.partition(".")[0]), key, round(seconds), remedy)


def _made(level: Mapping[str, Any]) -> Level:
    return Level(LevelName(level["level"]), level.get("device"), float(level.get("timeout", Level.timeout)))


def _level(inventory: Inventory, file: str, key: str, host: str, level: object) -> Iterator[Mistake]:
    if not isinstance(level, Mapping) or level.get("level") not in list(LevelName):
        named = level.get("level") if isinstance(level, Mapping) else level
        yield Mistake(file, f"{key}.level", named, f"name one of: {', '.join(LevelName)}")
        return
    for unknown in [k for k in level if k not in LEVEL_KEYS]:
        yield Mistake(file, f"{key}.{unknown}", level[unknown], f"is unknown; known: {', '.join(LEVEL_KEYS)}")
    for seconds in ("timeout", "margin"):
        if seconds in level and not _positive(level[seconds]):
            yield Mistake(file, f"{key}.{seconds}", level[seconds], "give seconds, 1 or more")
    device, devices = level.get("device"), inventory.settings.get("fence_devices") or {}
    if device is not None and level["level"] != LevelName.POWER:
        yield Mistake(file, f"{key}.device", device, "goes with level power only")
    elif device is not None and device not in devices:
        yield Mistake(file, f"{key}.device", device, f"name one of fence_devices: {', '.join(devices) or 'none'}")
    elif device is not None and host != "default" and host not in (devices[device].get("hosts") or []):
        yield Mistake(file, f"{key}.device", device, f"does not switch {host}; add it to its hosts")
    withdrawal = level.get("address_withdrawal")
    if level["level"] == LevelName.STORE_REVOCATION and withdrawal not in list(Withdrawal):
        remedy = f"name one of {', '.join(Withdrawal)}: without it this level can prove nothing"
        yield Mistake(file, f"{key}.address_withdrawal", withdrawal, remedy)
    elif withdrawal is not None and level["level"] != LevelName.STORE_REVOCATION:
        yield Mistake(file, f"{key}.address_withdrawal", withdrawal, "goes with level store_revocation only")


def _endings(inventory: Inventory) -> Iterator[Mistake]:
    """`placement`, `promote` and `no_candidate`, for all and for one identity."""
    places: list[tuple[str, str, Mapping[str, Any]]] = [("", "", inventory.settings)]
    for name, identity in (inventory.settings.get("identities") or {}).items():
        places.append((inventory.file("identities"), f"identities.{name}.", identity))
    for file, prefix, values in places:
        for name, kind in (("placement", Placement), ("promote", Promote)):
            value = values.get(name)
            if value is not None and value not in list(kind):
                remedy = f"name one of: {', '.join(kind)}"
                yield Mistake(file or inventory.file(name), f"{prefix}{name}", value, remedy)
        value = values.get("no_candidate")
        after = value.get("archive_after") if isinstance(value, Mapping) and len(value) == 1 else None
        good = isinstance(after, int | float) and not isinstance(after, bool) and after >= LEAST_ARCHIVE_AFTER
        if value not in (None, "keep") and not good:
            remedy = f"give keep, or {{archive_after: SECONDS}} with {LEAST_ARCHIVE_AFTER} or more"
            yield Mistake(file or inventory.file("no_candidate"), f"{prefix}no_candidate", value, remedy)

"""Stored configurations as lines for people: what lies between two versions, and what a rebuild would do."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from .stored import BESIDE, Entry, Role, Stored
from .versions import Version

NOTHING = Role(())


def between(old: Stored, new: Stored, names: tuple[str, str]) -> list[str]:
    """A unified diff, file by file. `names`: what the two versions are called. Empty when nothing differs."""
    lines: list[str] = []
    for role in (new if len(new.roles) >= len(old.roles) else old).order():
        lines += _of_role(role, old.roles.get(role, NOTHING), new.roles.get(role, NOTHING), names)
    return lines


def _of_role(role: str, old: Role, new: Role, names: tuple[str, str]) -> Iterator[str]:
    for what in BESIDE:
        before, after = getattr(old, what), getattr(new, what)
        yield from (f"-{role}: {what}: {one}" for one in before if one not in after)
        yield from (f"+{role}: {what}: {one}" for one in after if one not in before)
    earlier, later = ({entry.dest: entry for entry in one.entries} for one in (old, new))
    for dest in dict.fromkeys([*earlier, *later]):
        yield from _of_entry(dest, earlier.get(dest), later.get(dest), names)


def _of_entry(dest: str, old: Entry | None, new: Entry | None, names: tuple[str, str]) -> Iterator[str]:
    before, after = _attributes(old), _attributes(new)
    if before != after:
        yield f"{dest}: {before} -> {after}"
    was, becomes = _text(old), _text(new)
    of_file = difflib.unified_diff(was, becomes, f"{dest} ({names[0]})", f"{dest} ({names[1]})")
    yield from (line.rstrip("\n") for line in of_file)


def _attributes(one: Entry | None) -> str:
    if one is None:
        return "not there"
    if one.state == "link":
        return f"link to {one.target}"
    return one.state if one.state == "absent" else f"{one.state} {one.owner}:{one.group} {one.mode}"


def _text(one: Entry | None) -> list[str]:
    if one is None or one.data is None:
        return []
    try:
        return one.data.decode().splitlines(keepends=True)
    except UnicodeDecodeError:
        return [f"(binary, {len(one.data)} bytes)\n"]


def plan(stored: Stored, version: Version, newest: Version) -> list[str]:
    """What a rebuild of the host would do, a line a step."""
    age = (
        "the newest"
        if version == newest
        else f"NOT the newest, which is {newest.time}: it will not be ready to take over"
    )
    lines = [f"{stored.host} as it was deployed at {version.time} ({age})"]
    accounts, masked, packages = (stored.beside(what) for what in ("accounts", "masked", "packages"))
    lines += [f"accounts: {', '.join(accounts)}"] if accounts else []
    lines += [f"masked units: {', '.join(masked)}"] if masked else []
    lines.append(f"packages: {', '.join(packages)}")
    for role in stored.order():
        count = sum(one.state == "file" and not one.anew for one in stored.roles[role].entries)
        lines.append(f"role {role}: {count} files as stored")
    if anew := stored.anew():
        lines.append(f"made anew by the vault and authority of this controller: {', '.join(anew)}")
    lines.append(f"units, enabled and started: {', '.join(stored.beside('units'))}")
    return lines

"""What is stored of a host's configuration, and how it becomes an archive and files again (R2.8, decisions/0039).

Pure. An archive is a tar file: `manifest.json`, then each role's files as ROLE/path with mode and owner, so that tar(1)
alone can put them back (`--strip-components=1 -C /`). The same configuration makes the same octets, whenever and
wherever it is packed.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

FORMAT = 1  # of the manifest
MANIFEST = "manifest.json"
LEVEL = 6  # of gzip: a site in a second or two
# In which playbooks/site.yml applies roles; base lays what all others stand on.
ORDER = (
    "base",
    "router",
    "coordinator",
    "dns",
    "store",
    "external_store",
    "mail",
    "redirector",
    "relay",
    "address",
    "agent",
    "monitor",
    "transfer",
    "packet_filter",
)
# Whose time tells hosts apart that have missed a deploy (core/placement.py).
DIGEST = re.compile(r"/etc/holdfast/identity/[^/]+/configuration")
Item = dict[str, Any]


class Unfit(ValueError):
    """An archive or an entry that cannot be used; one line: thing, value, remedy."""


@dataclass(frozen=True)
class Entry:
    """One path that a role puts on a host, or takes away.

    `data`: a file's content, with the values of secrets cut out; None where it is not stored and made anew from the
    controller's vault and authority. `hidden`: names of the secrets that were cut out.
    """

    dest: str
    state: str = "file"
    mode: str = ""
    owner: str = "root"
    group: str = "root"
    target: str = ""
    data: bytes | None = None
    hidden: tuple[str, ...] = ()
    secret: bool = False

    @property
    def anew(self) -> bool:
        return self.state == "file" and self.data is None

    def described(self) -> dict[str, Any]:
        """All but the content."""
        said = {"dest": self.dest, "state": self.state}
        if self.state in ("file", "directory"):
            said |= {"mode": self.mode, "owner": self.owner, "group": self.group}
        if self.state == "link":
            said["target"] = self.target
        more: dict[str, Any] = {"hidden": list(self.hidden), "secret": self.secret, "anew": self.anew}
        return said | {key: value for key, value in more.items() if value}


@dataclass(frozen=True)
class Role:
    """What one role puts on a host.

    `accounts`: NAME:UID:GID; `masked`: units; `prune`: a folder that holds nothing else.
    """

    entries: tuple[Entry, ...]
    packages: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    prune: Mapping[str, str] | None = None

    def described(self) -> dict[str, Any]:
        said: dict[str, Any] = {key: list(getattr(self, key)) for key in BESIDE if getattr(self, key)}
        return (
            said
            | ({"prune": dict(self.prune)} if self.prune else {})
            | {"files": [entry.described() for entry in self.entries]}
        )


BESIDE = ("packages", "units", "accounts", "masked")
Roles = Mapping[str, Role]


@dataclass(frozen=True)
class Stored:
    """A host's configuration as it was unpacked."""

    host: str
    roles: Roles = field(default_factory=dict)

    def order(self) -> list[str]:
        """Its roles as a deploy applies them; those that this release does not know come last."""
        return [*(r for r in ORDER if r in self.roles), *sorted(set(self.roles) - set(ORDER))]

    def beside(self, what: str) -> list[str]:
        """Packages, units, accounts or masked units of all roles, each once, in the order of a deploy."""
        return list(dict.fromkeys(one for role in self.order() for one in getattr(self.roles[role], what)))

    def anew(self) -> list[str]:
        """Files that are not stored."""
        return [entry.dest for role in self.order() for entry in self.roles[role].entries if entry.anew]


# --- secrets ---------------------------------------------------------------------------------------------------------


def _mark(name: str) -> bytes:
    return f"<<secret {name}>>".encode()


def hide(data: bytes, secrets: Mapping[str, str]) -> bytes:
    """`data` with each secret's name in place of its value; the longest first, since one may be part of another."""
    names = {value.encode(): _mark(name) for name, value in secrets.items() if value}
    return _replaced(data, {value: names[value] for value in sorted(names, key=len, reverse=True)})


def reveal(data: bytes, secrets: Mapping[str, str]) -> bytes:
    """The other way round, with the values of now."""
    return _replaced(data, {_mark(name): value.encode() for name, value in secrets.items()})


def _replaced(data: bytes, pairs: Mapping[bytes, bytes]) -> bytes:
    """In one go, so that nothing is replaced in what was put in."""
    pattern = b"|".join(map(re.escape, pairs))
    return re.sub(pattern, lambda found: pairs[found[0]], data) if pattern else data


# --- from a deploy to an archive --------------------------------------------------------------------------------------


def entry(item: Mapping[str, Any], *, copied: bool, hidden: Mapping[str, str]) -> Entry:
    """Of an item as module `files` gets it.

    Content that was copied from the controller, or is a secret as a whole, is not kept.
    """
    data = base64.b64decode(item["data"]) if "data" in item else None
    secret = bool(item.get("secret"))
    if copied or (secret and not hidden):
        data = None
    return Entry(
        dest=str(item["dest"]),
        state=item["state"],
        mode=str(item.get("mode", "")),
        owner=str(item.get("owner", "root")),
        group=str(item.get("group", "root")),
        target=str(item.get("target", "")),
        data=data if data is None else hide(data, hidden),
        hidden=tuple(sorted(hidden)) if data is not None else (),
        secret=secret,
    )


def pack(stored: Stored) -> bytes:
    """The archive, not compressed."""
    out = io.BytesIO()
    manifest = {
        "format": FORMAT,
        "host": stored.host,
        "roles": {r: stored.roles[r].described() for r in stored.order()},
    }
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, Entry(MANIFEST, mode="0600"), MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
        for role in stored.order():
            for one in stored.roles[role].entries:
                if one.state != "absent" and not one.anew:
                    _add(tar, one, role + one.dest, one.data or b"")
    return out.getvalue()


def _add(tar: tarfile.TarFile, one: Entry, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # time 0, ids 0: who unpacks by hand gets the owner by name
    info.uname, info.gname = one.owner, one.group
    if one.state == "link":
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, one.target, 0o777
    elif one.state == "directory":
        info.type, info.mode = tarfile.DIRTYPE, int(one.mode, 8)
    else:
        info.mode, info.size = int(one.mode, 8), len(data)
    tar.addfile(info, io.BytesIO(data) if one.state == "file" else None)


def digest(archive: bytes) -> str:
    return hashlib.sha256(archive).hexdigest()


def compressed(archive: bytes) -> bytes:
    return gzip.compress(archive, LEVEL, mtime=0)


def unpack(data: bytes, wanted: str) -> Stored:
    """What was packed and compressed. `wanted`: the digest of the archive. Raises Unfit."""
    try:
        archive = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as why:
        raise Unfit(f"the archive {wanted} is damaged ({why}); take another version") from why
    if digest(archive) != wanted:
        raise Unfit(
            f"the archive has the digest {digest(archive)} and not {wanted}: it is damaged; take another version"
        )
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            files = {m.name: f.read() for m in tar.getmembers() if m.isreg() and (f := tar.extractfile(m)) is not None}
        said = json.loads(files[MANIFEST])
        if said["format"] != FORMAT:
            raise Unfit(
                f"the archive's form is {said['format']}, this release reads {FORMAT}; use the release that stored it"
            )
        return Stored(said["host"], {role: _role(role, value, files) for role, value in said["roles"].items()})
    except (tarfile.TarError, KeyError, TypeError, json.JSONDecodeError) as why:
        raise Unfit(f"the archive is not one of ours ({type(why).__name__}: {why}); take another version") from why


def _role(name: str, said: Mapping[str, Any], data: Mapping[str, bytes]) -> Role:
    entries = []
    for value in said["files"]:
        known = {k: v for k, v in value.items() if k != "anew"} | {"hidden": tuple(value.get("hidden", ()))}
        one = Entry(**known)
        stored = one.state == "file" and not value.get("anew")
        entries.append(replace(one, data=data[name + one.dest]) if stored else one)
    return Role(tuple(entries), **{key: tuple(said.get(key, ())) for key in BESIDE}, prune=said.get("prune"))


def merged(before: Stored, now: Stored) -> Stored:
    """Of a run that applied some of a host's roles: those that it left out are as they were."""
    return Stored(now.host, {**before.roles, **now.roles})


# --- from an archive to files -----------------------------------------------------------------------------------------


def items(
    role: str, stored: Stored, present: Sequence[Item], hidden: Mapping[str, Mapping[str, str]], since: int
) -> list[Item]:
    """What module `files` gets in a rebuild: the stored paths in the stored order, and no others.

    `present`: what the role would put there today, from which come contents that are not stored and the programs that
    check a file. `hidden`: {dest: {name: value}} of now. `since`: Unix time of the version; a digest gets it, so that
    a host rebuilt from an old version does not pass for one that was deployed later. Raises Unfit where this release
    cannot make a secret file.
    """
    today = {item["dest"]: item for item in present}
    return [
        _item(role, one, today.get(one.dest), hidden.get(one.dest, {}), since) for one in stored.roles[role].entries
    ]


def _item(role: str, one: Entry, today: Item | None, hidden: Mapping[str, str], since: int) -> Item:
    item: Item = {"dest": one.dest, "state": one.state}
    if one.state == "absent":
        return item
    if one.state == "link":
        return item | {"target": one.target}
    item |= {"mode": one.mode, "owner": one.owner, "group": one.group}
    if one.state == "directory":
        return item
    if one.secret:
        item["secret"] = True
    if today is not None and "validate" in today:
        item["validate"] = today["validate"]
    remedy = f"role {role} of this release does not make it; use the release that was deployed then"
    if one.data is None:
        if today is None or "data" not in today:
            raise Unfit(f"{one.dest}: its content is not stored, and {remedy}")
        return item | {"data": today["data"]}
    missing = [name for name in one.hidden if name not in hidden]
    if missing:
        raise Unfit(f"{one.dest}: the secret {missing[0]} is not stored, and {remedy}")
    if DIGEST.fullmatch(one.dest):
        item["mtime"] = since
    return item | {"data": base64.b64encode(reveal(one.data, hidden)).decode()}

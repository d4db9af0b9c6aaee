"""What goes into the guests' image, collected from the lab's own list and from the roles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.errors import LabError
from lab.place import ROOT


def digest(recipe: object) -> str:
    """Return a short hash of anything that JSON can express."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, order=True)
class Account:
    """A user and group, or with no `uid` a group alone, whose numbers must be the same on all hosts."""

    name: str
    gid: int
    uid: int | None = None
    home: str = "/nonexistent"


@dataclass(frozen=True)
class Wishes:
    """What the roles want to find on a host."""

    packages: frozenset[str]
    accounts: tuple[Account, ...]


def wishes(root: Path = ROOT) -> Wishes:
    """Read the lists in roles/*/vars/main.yml: keys ending in `_packages` and `_accounts`."""
    packages: set[str] = set()
    accounts: list[Account] = []
    for path in sorted(root.glob("roles/*/vars/main.yml")):
        try:
            variables = yaml.safe_load(path.read_text()) or {}
        except yaml.YAMLError as error:
            raise LabError("unreadable variables", f"{path.relative_to(root)}: {error}", "mend the YAML") from None
        source = str(path.relative_to(root))
        packages |= _packages(source, variables)
        accounts += _accounts(source, variables)
    return Wishes(frozenset(packages), merge(accounts))


def _packages(source: str, variables: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    for key, value in variables.items():
        if key.endswith("_packages"):
            if not isinstance(value, list) or not all(isinstance(name, str) and "{" not in name for name in value):
                raise LabError(f"{key} in {source}", value, "the lab's image wants a list of plain package names")
            found.update(value)
    return found


def _accounts(source: str, variables: Mapping[str, Any]) -> list[Account]:
    found = []
    for key, value in variables.items():
        if key.endswith("_accounts"):
            try:
                found += [Account(**entry) for entry in value]
            except TypeError:
                raise LabError(f"{key} in {source}", value, "the lab wants a list of {name, gid, uid, home}") from None
    return found


def merge(accounts: Iterable[Account]) -> tuple[Account, ...]:
    """Drop repetitions; raise LabError where two roles want different things."""
    by_name: dict[str, Account] = {}
    for account in accounts:
        if by_name.setdefault(account.name, account) != account:
            raise LabError("account with two definitions", account.name, "make the roles agree")
    for number in ("uid", "gid"):
        owners: dict[int, str] = {}
        for account in by_name.values():
            value = getattr(account, number)
            if value is not None and owners.setdefault(value, account.name) != account.name:
                raise LabError(f"{number} given twice", f"{value}: {owners[value]}, {account.name}", "choose another")
    return tuple(sorted(by_name.values(), key=lambda account: account.name))


def add_accounts(root: Path, accounts: Iterable[Account]) -> None:
    """Append to the account files of a root before the packages are there, whose scripts then keep the numbers.

    No `useradd`: at that time the root has none yet.
    """
    for account in accounts:
        with (root / "etc/group").open("a") as file:
            file.write(f"{account.name}:x:{account.gid}:\n")
        if account.uid is not None:
            with (root / "etc/passwd").open("a") as file:
                # "*": no password. Package `passwd` moves it to /etc/shadow when it is set up.
                file.write(f"{account.name}:*:{account.uid}:{account.gid}::{account.home}:/usr/sbin/nologin\n")


def as_data(accounts: Iterable[Account]) -> list[dict[str, object]]:
    """Return what JSON can express."""
    return [asdict(account) for account in accounts]

"""Reading a daemon's YAML: every mistake is one line that names the file, the key, its value and the remedy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..adapters.etcd import EtcdCoordinator, Login
from ..core.model import Identity
from . import service


class ConfigError(Exception):
    """One line: file, key, value, remedy."""


_MISSING = object()


class Section:
    """One mapping of a file. Keys are asked for one by one; `done` complains about those that nobody asked for."""

    def __init__(self, file: str, key: str, data: Any) -> None:
        self.file = file
        self.key = key
        if not isinstance(data, dict):
            raise ConfigError(f"{file}: {key or 'the file'} is {data!r}: give a mapping of keys to values")
        self._data: dict[str, Any] = {str(k): v for k, v in data.items()}
        self._asked: set[str] = set()

    @classmethod
    def load(cls, file: str) -> Section:
        try:
            data = yaml.safe_load(Path(file).read_text())
        except OSError as why:
            raise ConfigError(f"{file}: {why.strerror}: deploy the role that writes it") from why
        except (yaml.YAMLError, UnicodeDecodeError) as why:
            raise ConfigError(f"{file}: is no YAML: {' '.join(str(why).split())}") from why
        return cls(file, "", data)

    def wrong(self, name: str, value: object, remedy: str) -> ConfigError:
        return ConfigError(f"{self.file}: {self._path(name)} is {value!r}: {remedy}")

    def _path(self, name: str) -> str:
        return f"{self.key}.{name}" if self.key else name

    def _take(self, name: str, default: object) -> Any:
        self._asked.add(name)
        value = self._data.get(name, default)
        if value is _MISSING or (value is None and default is _MISSING):
            raise ConfigError(f"{self.file}: {self._path(name)} is missing: set it")
        return value

    def text(self, name: str, default: object = _MISSING) -> str:
        value = self._take(name, default)
        if not isinstance(value, str) or not value:
            raise self.wrong(name, value, "give a text")
        return value

    def path(self, name: str, default: object = _MISSING) -> str:
        value = self.text(name, default)
        if not value.startswith("/"):
            raise self.wrong(name, value, "give a path that begins with /")
        return value

    def number(self, name: str, default: object = _MISSING, least: float = 0.0) -> float:
        value = self._take(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < least:
            raise self.wrong(name, value, f"give a number, {least:g} or more")
        return float(value)

    def whole(self, name: str, default: object = _MISSING, least: int = 0) -> int:
        value = self.number(name, default, least)
        if value != int(value):
            raise self.wrong(name, value, "give a whole number")
        return int(value)

    def texts(self, name: str, default: object = _MISSING) -> tuple[str, ...]:
        value = self._take(name, default)
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) and v for v in value):
            raise self.wrong(name, value, "give a list of texts")
        return tuple(value)

    def wholes(self, name: str, count: int, default: object = _MISSING) -> tuple[int, ...]:
        value = self._take(name, default)
        good = isinstance(value, list | tuple) and all(type(v) is int and v >= 0 for v in value)
        if not good or len(value) != count:
            raise self.wrong(name, value, f"give a list of {count} whole numbers")
        return tuple(value)

    def section(self, name: str, default: object = _MISSING) -> Section:
        return Section(self.file, self._path(name), self._take(name, default))

    def sections(self, name: str, default: object = _MISSING) -> Iterator[tuple[str, Section]]:
        """Each value of a mapping that holds mappings. The mapping may be empty."""
        whole = self.section(name, default)
        for key, value in whole._data.items():
            yield key, Section(self.file, whole._path(key), value)

    def lists(self, name: str) -> dict[str, tuple[str, ...]]:
        """A mapping that holds lists of texts."""
        whole = self.section(name)
        return {key: whole.texts(key) for key in whole._data}

    def list(self, name: str) -> Iterator[Section]:
        """Each entry of a list of mappings."""
        value = self._take(name, _MISSING)
        if not isinstance(value, list):
            raise self.wrong(name, value, "give a list of mappings")
        for n, entry in enumerate(value):
            yield Section(self.file, f"{self._path(name)}[{n}]", entry)

    def value(self, name: str, default: object = _MISSING) -> Any:
        """As it stands; the caller checks it."""
        return self._take(name, default)

    def values(self, name: str, default: object = _MISSING) -> dict[str, Any]:
        """A mapping whose values the caller checks."""
        whole = self.section(name, default)
        return {key: whole._take(key, _MISSING) for key in whole._data}

    def names(self) -> tuple[str, ...]:
        return tuple(self._data)

    def off(self, name: str) -> bool:
        """Is the key there, and null on purpose?"""
        self._asked.add(name)
        return self._data.get(name, _MISSING) is None

    def done(self) -> None:
        for name in self._data:
            if name not in self._asked:
                known = ", ".join(sorted(self._asked))
                raise ConfigError(f"{self.file}: {self._path(name)} is unknown: remove it; known here: {known}")


def identity(name: str, section: Section) -> Identity:
    """The keys that every daemon's file has for an identity. `done` is left to the caller, who may know more."""
    for of_the_relays in ("placement", "promote", "no_candidate"):
        section.value(of_the_relays, None)
    return Identity(
        name=name,
        address=section.text("address"),
        kind=section.text("kind"),
        domains=section.texts("domains"),
        home=section.text("home"),
        candidates=section.texts("candidates"),
        store=section.text("store"),
        relays=section.texts("relays", ()),
        networks=section.texts("networks", ()),
    )


def coordinator(section: Section) -> EtcdCoordinator:
    """`coordinator: {endpoints, ca, cert, key, user, password_file, timeout}`. No connection is made yet."""
    endpoints = section.texts("endpoints")
    ca, cert, key = (section.path(name) for name in ("ca", "cert", "key"))
    timeout = section.number("timeout", 3.0, least=0.1)
    # Without a user: for a cluster that asks for none.
    user, file = section.value("user", None), section.value("password_file", None)
    login = None if user is file is None else Login(section.text("user"), section.path("password_file"))
    section.done()
    try:
        return EtcdCoordinator(endpoints, ca, cert, key, timeout, login=login)
    except ValueError as why:
        raise ConfigError(f"{section.file}: {why}") from why


def main(arguments: Sequence[str], default: str, load: Callable[[str], Callable[[], None]]) -> int:
    """`[--check] [FILE]`: read FILE, and unless it is only checked call what `load` made of it.

    The exit status is EX_CONFIG for a broken file, with one line on standard error.
    """
    files = [a for a in arguments if not a.startswith("-")]
    try:
        start = load(files[0] if files else default)
        if "--check" not in arguments:
            start()
    except ConfigError as why:
        print(why, file=sys.stderr)
        return service.EX_CONFIG
    return 0

"""Versions of a host's stored configuration: what their files are called, which one is meant, which ones go (R2.8).

A file is called TIME.DIGEST.tar.gz; TIME is that of the deploy (UTC, 20261129T102500Z), DIGEST the SHA-256 of what is
inside.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FORM = "%Y%m%dT%H%M%SZ"
NAME = re.compile(r"(\d{8}T\d{6}Z)\.([0-9a-f]{64})\.tar\.gz")


class NoSuchVersion(ValueError):
    """What was asked for is not there; one line with what is."""


@dataclass(frozen=True, order=True)
class Version:
    """`time`: as in the file's name, so that the order of names is that of time."""

    time: str
    digest: str

    @property
    def name(self) -> str:
        return f"{self.time}.{self.digest}.tar.gz"

    @property
    def seconds(self) -> int:
        """Unix time."""
        return seconds_of(self.time)


def seconds_of(text: str) -> int:
    """Unix time of a TIME. Raises ValueError for anything else."""
    return calendar.timegm(time.strptime(text, FORM))


def read(names: Iterable[str]) -> list[Version]:
    """The versions among the names of files, oldest first; what is called otherwise is none."""
    return sorted(Version(*match.groups()) for name in names if (match := NAME.fullmatch(name)))


def following(now: str, known: Sequence[Version]) -> str:
    """The TIME of a new version: now, or a second behind the newest where the controller's clock was set back."""
    if not known or now > known[-1].time:
        return now
    return time.strftime(FORM, time.gmtime(known[-1].seconds + 1))


def chosen(known: Sequence[Version], wanted: str | None) -> Version:
    """The newest version, or what was in force at the TIME `wanted`.

    A deploy that changed nothing of a host stored nothing of it. Raises NoSuchVersion.
    """
    if not known:
        raise NoSuchVersion("nothing is stored of it; deploy it once by playbooks/site.yml")
    if not wanted:
        return known[-1]
    try:
        seconds_of(wanted)
    except ValueError:
        raise NoSuchVersion(f"version {wanted}: give a time like {known[-1].time}") from None
    before = [v for v in known if v.time <= wanted]
    if not before:
        raise NoSuchVersion(f"version {wanted}: the oldest that is stored is {known[0].time}")
    return before[-1]

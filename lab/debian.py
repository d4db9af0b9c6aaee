"""Debian as a source: the machine's own mirror, roots made from it, packages of other suites."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from lab.command import contained, run
from lab.errors import LabError

DEFAULT_MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def mirror() -> str:
    """Return HOLDFAST_MIRROR, else the Debian mirror this machine is configured with, else Debian's own."""
    if chosen := os.environ.get("HOLDFAST_MIRROR"):
        return chosen
    try:
        out = run(
            ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"],
            thing="can't ask apt for its mirror",
        )
    except (LabError, FileNotFoundError):
        return DEFAULT_MIRROR
    return mirror_of(out)


def mirror_of(index_targets: str) -> str:
    """Return the first Debian mirror in apt's answer that is not the security archive."""
    for line in index_targets.splitlines():
        origin, label, uri = (*line.split("|"), "", "")[:3]
        if (origin, label) == ("Debian", "Debian") and uri:
            return uri.rstrip("/")
    return DEFAULT_MIRROR


def make_root(
    folder: Path, suite: str, packages: Sequence[str], log: Path, *, thing: str, hooks: Sequence[str] = ()
) -> None:
    """Install a minimal system with `packages` into an empty folder. Mounts nothing that outlives the call."""
    run(
        contained(
            [
                "mmdebstrap",
                "--variant=minbase",
                "--components=main",
                f"--include={','.join(packages)}",
                *hooks,
                suite,
                folder,
                mirror(),
            ]
        ),
        thing=thing,
        log=log,
    )


class ForeignSuite:
    """A suite this machine doesn't use, read with an apt state of our own: the machine's sources stay as they are."""

    def __init__(self, folder: Path, suite: str) -> None:
        """`folder` receives lists and packages."""
        self.folder = folder
        self.suite = suite
        for part in ("state/lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        signed = f"signed-by={KEYRING} " if KEYRING.exists() else ""
        (folder / "sources.list").write_text(f"deb [{signed}arch=amd64] {mirror()} {suite} main\n")

    def update(self) -> None:
        """Fetch and verify the list of packages."""
        self._apt("apt-get", "update")

    def names(self, pattern: str) -> list[str]:
        """Return all package names that match a regular expression in full."""
        out = self._apt("apt-cache", "pkgnames")
        return [name for name in out.split() if re.fullmatch(pattern, name)]

    def download(self, package: str) -> Path:
        """Fetch and verify a package; return its file."""
        self._apt("apt-get", "download", package)
        return next(self.folder.glob(f"{package}_*.deb"))

    def _apt(self, *words: str) -> str:
        options = {
            "Dir::State": self.folder / "state",
            "Dir::State::status": self.folder / "status",
            "Dir::Cache": self.folder / "cache",
            "Dir::Etc::SourceList": self.folder / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
        }
        argv = [words[0], "-q", *(f"-o{key}={value}" for key, value in options.items()), *words[1:]]
        return run(argv, thing=f"can't {words[1]} from suite {self.suite}", cwd=self.folder)

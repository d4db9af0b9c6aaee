"""What is dear to build, kept by the hash of its recipe."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lab.errors import LabError
from lab.lock import locked
from lab.place import Place, cache_folder

KEEP_UNUSED = 2
VANISH_WITHIN = 10.0
SETTLING_SECONDS = 900


def entry(kind: str, recipe: str) -> Path:
    """Return the folder of a product. It exists only when the product is complete."""
    return cache_folder() / f"{kind}-{recipe}"


def obtain(kind: str, recipe: str, build: Callable[[Path], None], *, free_mb: int) -> tuple[Path, bool]:
    """Return the product's folder and whether it had to be built.

    `build` fills an empty folder, which becomes the product when it returns and vanishes when it raises.
    """
    target = entry(kind, recipe)
    if target.exists():
        return target, False
    with locked(cache_folder() / f"{kind}.lock", f"another lab builds the {kind}; waiting for it"):
        if target.exists():
            return target, False
        available = shutil.disk_usage(cache_folder()).free // 1024**2
        if available < free_mb:
            raise LabError(
                f"no room to build the {kind}",
                f"{available} MB free in {cache_folder()}, {free_mb} MB needed",
                "free some, or set XDG_CACHE_HOME",
            )
        with _workshop(kind) as folder:
            build(folder)
            folder.rename(target)
        return target, True


@contextlib.contextmanager
def _workshop(kind: str) -> Iterator[Path]:
    folder = cache_folder() / f"{kind}.building"
    # We hold the kind's lock, so whatever is here was left by a builder that was killed.
    _remove(folder)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Delete, though the last process of a killed build may take a moment to be gone with its mounts."""
    deadline = time.monotonic() + VANISH_WITHIN
    while folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def use(product: Path, place: Place) -> None:
    """Note that a lab's disks lie over this product, so that `prune` leaves it alone."""
    users = product / "users"
    users.mkdir(exist_ok=True)
    (users / place.identity).write_text(f"{place.state}\n")


def prune(kind: str, keep: Path) -> list[Path]:
    """Remove products that no lab uses, but the newest few; return what was removed."""
    candidates = [
        path for path in cache_folder().glob(f"{kind}-*") if path.is_dir() and path != keep and not _used(path)
    ]
    candidates.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in candidates[KEEP_UNUSED:]:
        shutil.rmtree(path, ignore_errors=True)
    return candidates[KEEP_UNUSED:]


def _used(product: Path) -> bool:
    """Whether a lab has disks over it, or has just begun to make some."""
    users = product / "users"
    if not users.is_dir():
        return False
    for user in users.iterdir():
        state = Path(user.read_text().strip())
        if state.exists() and time.time() - user.stat().st_mtime < SETTLING_SECONDS:
            return True
        if any(str(product) in base.read_text() for base in state.glob("**/base.json")):
            return True
    return False

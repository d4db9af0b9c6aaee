"""The disk all guests start from."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

from lab import cache, kernel, recipe
from lab.command import contained, require, run
from lab.debian import make_root
from lab.place import ROOT

FOLDER = Path(__file__).parent / "image"
SUITE = "trixie"
DISK_MB = 3072
FREE_MB = 4000


def base_packages() -> list[str]:
    """Return the lab's own list."""
    lines = (line.strip() for line in (FOLDER / "packages.txt").read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def packages(wanted: recipe.Wishes) -> list[str]:
    """Return all names, once each: a role that lists what is in the image anyway does not change the image."""
    return sorted({*base_packages(), *wanted.packages})


def recipe_hash(wanted: recipe.Wishes, modules: str) -> str:
    """Change whenever the image should be another."""
    return recipe.digest(
        {
            "suite": SUITE,
            "disk": DISK_MB,
            "packages": packages(wanted),
            "accounts": recipe.as_data(wanted.accounts),
            "files": _tree(FOLDER),
            "kernel": modules,
        }
    )


def _tree(folder: Path) -> list[list[str | int]]:
    # Git keeps the x bit and nothing else of a mode. The list of packages counts by its names alone.
    return [
        [str(path.relative_to(folder)), path.stat().st_mode & 0o100, path.read_text()]
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "packages.txt"
    ]


def obtain(kernel_folder: Path) -> tuple[Path, bool]:
    """Return the folder with the image and whether it was built now (about a minute)."""
    wanted = recipe.wishes()

    def build(folder: Path) -> None:
        _build(folder, wanted, kernel_folder)

    product, built = cache.obtain(
        "image", recipe_hash(wanted, kernel.module_lists(kernel_folder)), build, free_mb=FREE_MB
    )
    if built:
        cache.prune("image", keep=product)
    return product, built


def disk(product: Path) -> Path:
    """Return the file that guests' disks lie over."""
    return product / "root.ext4"


def _build(folder: Path, wanted: recipe.Wishes, kernel_folder: Path) -> None:
    require("mmdebstrap", "mkfs.ext4", "unshare")
    log = folder.with_suffix(".log")
    log.unlink(missing_ok=True)
    root = folder / "root"
    accounts = json.dumps(recipe.as_data(wanted.accounts))
    account_hook = f'{shlex.quote(sys.executable)} -m lab.image "$1" {shlex.quote(accounts)}'
    files = " ".join(shlex.quote(str(part)) for part in (FOLDER / "files", kernel_folder))
    hooks = [
        f"--essential-hook=cd {shlex.quote(str(ROOT))} && {account_hook}",
        f'--customize-hook=sh {shlex.quote(str(FOLDER / "customize.sh"))} "$1" {files}',
    ]
    make_root(root, SUITE, packages(wanted), log, thing="can't make the guests' image", hooks=hooks)
    target = disk(folder)
    with target.open("wb") as file:
        file.truncate(DISK_MB * 1024**2)
    run(contained(["mkfs.ext4", "-q", "-F", "-L", "root", "-d", root, target]), thing="can't make the image's disk")
    target.chmod(0o444)
    (folder / "packages").write_text("".join(f"{name}\n" for name in packages(wanted)))
    shutil.rmtree(root)


if __name__ == "__main__":
    # mmdebstrap's hook, when only the essential packages are there.
    recipe.add_accounts(Path(sys.argv[1]), [recipe.Account(**entry) for entry in json.loads(sys.argv[2])])

"""The guests' kernel: Debian's newest source, our configuration, built in an older Debian.

Built where the C library is old, the program runs on that Debian and on every newer one. The packaged
kernels don't do: those before 7.x panic on processors with a large extended state, and none has the packet filter.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

from lab import cache
from lab.command import contained, require, run
from lab.debian import ForeignSuite, make_root
from lab.errors import LabError
from lab.recipe import digest

FOLDER = Path(__file__).parent
CONFIG = FOLDER / "kernel.config"
BUILD = FOLDER / "kernel-build.sh"
PATCH = FOLDER / "kernel.patch"
BUILDER_SUITE = "bookworm"
BUILDER_PACKAGES = (
    "gcc",
    "make",
    "flex",
    "bison",
    "bc",
    "libc6-dev",
    "linux-libc-dev",
    "kmod",
    "patch",
    "perl-base",
    "python3",
)
SOURCE_SUITES = ("forky", "sid")
PREFERRED_SOURCE = "linux-source-7.2"
FREE_MB = 5000
BOOT_WITHIN = 60
PROOF = "lab kernel boots"
# What the image and the guests take from the build.
PRODUCTS = ("linux", "release", ".config", "modules.builtin", "modules.builtin.modinfo")


def recipe() -> str:
    """Change whenever the result should."""
    return digest(
        {
            "config": CONFIG.read_text(),
            "build": BUILD.read_text(),
            "patch": PATCH.read_text(),
            "builder": [BUILDER_SUITE, *BUILDER_PACKAGES],
            "source": [PREFERRED_SOURCE, *SOURCE_SUITES],
        }
    )


def obtain() -> tuple[Path, bool]:
    """Return the folder with the kernel and whether it was built now (some six minutes on two cores)."""
    if platform.machine() != "x86_64":
        raise LabError("this machine's architecture", platform.machine(), "the lab's guests need x86_64")
    product, built = cache.obtain("kernel", recipe(), _build, free_mb=FREE_MB)
    if built:
        cache.prune("kernel", keep=product)
    return product, built


def module_lists(kernel: Path) -> str:
    """Return all of the kernel that goes into the image."""
    return (kernel / "release").read_text() + (kernel / "modules.builtin").read_text()


def release(kernel: Path) -> str:
    """Return what `uname -r` says in a guest."""
    return (kernel / "release").read_text().strip()


def _build(folder: Path) -> None:
    require("mmdebstrap", "apt-get", "dpkg-deb", "tar", "unshare", "mkfs.ext4")
    # The log survives a failed build beside the folder that doesn't.
    log = folder.with_suffix(".log")
    log.unlink(missing_ok=True)
    root = folder / "root"
    make_root(root, BUILDER_SUITE, BUILDER_PACKAGES, log, thing="can't make the kernel's build root")
    source = root / "build/source"
    source.mkdir(parents=True)
    package = _fetch(folder / "apt")
    _unpack(package, folder / "package", source)
    for part in (CONFIG, BUILD, PATCH):
        shutil.copy(part, root / "build" / part.name)
    _inside(root, "configure", log)
    missing = unmet(CONFIG.read_text(), (source / ".config").read_text())
    if missing:
        raise LabError(
            f"kernel options that {package.name} does not take", ", ".join(missing), f"change them in {CONFIG.name}"
        )
    _inside(root, "compile", log)
    for name in PRODUCTS:
        shutil.copy(source / name, folder / name)
    (folder / "modules.order").touch()
    prove(folder / "linux", root / "build/init", folder / "proof", package.name)
    for leftover in ("root", "apt", "package", "proof"):
        shutil.rmtree(folder / leftover)


def _fetch(folder: Path) -> Path:
    """Return the source package: the preferred one from the first suite that has it, else the newest 7.x."""
    newest: tuple[int, str, ForeignSuite] | None = None
    for name in SOURCE_SUITES:
        suite = ForeignSuite(folder / name, name)
        suite.update()
        names = suite.names(r"linux-source-7\.\d+")
        if PREFERRED_SOURCE in names:
            return suite.download(PREFERRED_SOURCE)
        for found in names:
            minor = int(found.rsplit(".", 1)[1])
            if newest is None or minor > newest[0]:
                newest = (minor, found, suite)
    if newest is None:
        raise LabError(
            "no kernel source", f"linux-source-7.x in {' or '.join(SOURCE_SUITES)}", "name another in lab/kernel.py"
        )
    return newest[2].download(newest[1])


def _unpack(package: Path, folder: Path, source: Path) -> None:
    run(["dpkg-deb", "-x", package, folder], thing="can't unpack the kernel source")
    archive = next((folder / "usr/src").glob("linux-source-*.tar.xz"))
    run(["tar", "-C", source, "--strip-components=1", "-xf", archive], thing="can't unpack the kernel source")


def _inside(root: Path, phase: str, log: Path) -> None:
    script = (
        'mount --bind /dev "$1/dev" && mount -t proc proc "$1/proc" && '
        'exec chroot "$1" sh -c "cd /build/source && exec sh /build/kernel-build.sh $2"'
    )
    run(contained(["sh", "-c", script, "sh", root, phase]), thing=f"can't {phase} the kernel", log=log)


def unmet(wanted: str, got: str) -> list[str]:
    """Return the options of a fragment that a .config doesn't have as wished.

    Options that no longer exist are dropped in silence by the kernel's configuration: this is where they are seen.
    """
    have = dict(re.findall(r"^(CONFIG_\w+)=(.*)$", got, re.MULTILINE))
    return [
        f"{option}={value}"
        for option, value in re.findall(r"^(CONFIG_\w+)=(.*)$", wanted, re.MULTILINE)
        if have.get(option, "n") != value
    ]


def prove(kernel: Path, init: Path, folder: Path, source: str) -> None:
    """Boot the kernel into a disk with nothing but `init`; raise LabError if it doesn't get there."""
    (folder / "root/sbin").mkdir(parents=True)
    for mount_point in ("dev", "proc", "sys"):
        (folder / "root" / mount_point).mkdir()
    shutil.copy(init, folder / "root/sbin/init")
    disk = folder / "disk"
    with disk.open("wb") as file:
        file.truncate(32 * 1024**2)
    run(["mkfs.ext4", "-q", "-F", "-d", folder / "root", disk], thing="can't make the test disk")
    words = ["mem=64M", f"ubd0={disk}", "root=/dev/ubda", "rw", "con=null", "con0=null,fd:1", "seccomp=on", "noreboot"]
    words += [f"uml_dir={folder}", "umid=proof", "init=/sbin/init"]
    console = folder / "console"
    said = ""
    try:
        with console.open("wb") as output:
            subprocess.run(
                contained([kernel, *words]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=BOOT_WITHIN,
                env={"TMPDIR": "/dev/shm"},
                check=False,
            )
    except subprocess.TimeoutExpired:
        said = f"silent for {BOOT_WITHIN} s"
    text = console.read_text(errors="replace")
    if PROOF in text:
        return
    panic = re.search(r"Kernel panic - .*", text)
    last = panic[0] if panic else said or " ".join(text.splitlines()[-1:])
    raise LabError(f"the kernel from {source} does not boot here", last, "try another in lab/kernel.py")

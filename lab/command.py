"""Running other programs: their failure becomes one line, an interruption leaves none of them behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.errors import LabError

PACKAGES = {
    "ip": "iproute2",
    "umount": "mount",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "mmdebstrap": "mmdebstrap",
    "mkfs.ext4": "e2fsprogs",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "tar": "tar",
    "cp": "coreutils",
}


def require(*tools: str) -> None:
    """Raise LabError naming all tools that are missing and their Debian packages."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        packages = sorted({PACKAGES.get(tool, tool) for tool in missing})
        raise LabError("missing program", ", ".join(missing), f"apt-get install {' '.join(packages)}")


def run(
    argv: Sequence[str | Path],
    *,
    thing: str,
    remedy: str = "",
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
) -> str:
    """Run to the end and return standard output; with `log`, both outputs go to that file instead.

    The child gets a process group of its own. If we are interrupted the whole group is killed and waited for
    before the interruption goes on its way.
    """
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(log.open("ab")) if log else subprocess.PIPE
        child = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT if log else subprocess.PIPE,
            env={**os.environ, **env} if env else None,
            cwd=cwd,
            process_group=0,
        )
        try:
            out, err = child.communicate(stdin.encode() if stdin is not None else None)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
    if child.returncode != 0:
        said = log.read_bytes() if log else (err or b"") or (out or b"")
        lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
        last = lines[-1] if lines else f"exit status {child.returncode}"
        raise LabError(thing, last, remedy or (f"see {log}" if log else ""))
    return (out or b"").decode(errors="replace")


def contained(argv: Sequence[str | Path]) -> list[str | Path]:
    """Let a command run with mounts and processes of its own.

    When it ends, or is killed, its mounts are gone and so is everything that it started.
    """
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", *argv]

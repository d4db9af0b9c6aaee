"""ansible-playbook as tests run it: in a folder of their own, which keeps its traces, with the project's settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(sys.executable).absolute().with_name("ansible-playbook")


def playbook(
    folder: Path, *words: str | Path, timeout: float, collections: Path = ROOT / "build/collections", **environment: str
) -> subprocess.CompletedProcess[str]:
    """To its end, whatever that is. `timeout`: seconds. Raises subprocess.TimeoutExpired."""
    own = {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_LOCAL_TEMP": str(folder / "local"),
        "ANSIBLE_REMOTE_TEMP": str(folder / "remote"),
    }
    return subprocess.run(
        [PROGRAM, *words],
        cwd=folder,
        env={**os.environ, **own, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )

"""Taking a mount away while its server is gone: what counts is what the kernel's table says afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from holdfast.adapters import command
from holdfast.adapters.mount import NfsMount

LINE = "36 25 0:31 / {target} rw,noatime shared:1 - nfs4 10.1.3.21:/srv/store/mx rw,vers=4.2\n"


class Kernel:
    """`lingers`: how many umounts end with an error; `late`: the first of them works all the same."""

    def __init__(self, folder: Path, lingers: int, late: bool) -> None:
        self.table = folder / "mountinfo"
        self.target = str(folder / "target")
        self.table.write_text(LINE.format(target=self.target))
        self.lingers, self.late = lingers, late
        self.did: list[Sequence[str]] = []

    def run(self, argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        self.did.append(argv)
        fails = len(self.did) <= self.lingers
        if not fails or self.late:
            self.table.write_text("")
        if fails:
            raise command.CommandError(f"umount: {self.target}: not mounted.")
        return ""


@pytest.mark.parametrize(("lingers", "late", "calls"), [(0, False, 1), (1, False, 2), (1, True, 2), (2, True, 2)])
def test_gone_is_gone(tmp_path: Path, lingers: int, late: bool, calls: int) -> None:
    kernel = Kernel(tmp_path, lingers, late)
    NfsMount("10.1.3.21:/srv/store/mx", kernel.target, kernel.table, kernel.run).unmount()
    assert len(kernel.did) == calls


def test_what_stays_is_told(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, 9, False)
    with pytest.raises(command.CommandError, match="not mounted"):
        NfsMount("10.1.3.21:/srv/store/mx", kernel.target, kernel.table, kernel.run).unmount()

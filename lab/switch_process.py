"""The one helper of a lab that stays: starting and stopping its power switch."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from lab.errors import LabError
from lab.inventory import Switch
from lab.network import Network
from lab.place import ROOT, Place
from lab.process import Session


class DenyList:
    """Hosts whose power the switch refuses to change, for tests of fencing that fails."""

    def __init__(self, place: Place) -> None:
        """Read nothing yet."""
        self.path = place.state / "switch-denied"

    def read(self) -> set[str]:
        """Return the hosts."""
        return set(self.path.read_text().split()) if self.path.exists() else set()

    def change(self, host: str, *, denied: bool) -> None:
        """Add or remove a host."""
        hosts = self.read() | {host} if denied else self.read() - {host}
        self.path.write_text("".join(f"{name}\n" for name in sorted(hosts)))


class SwitchProcess:
    """The process that serves `lab.switch` in the lab's namespace."""

    def __init__(self, place: Place) -> None:
        """Look nothing up yet."""
        self.place = place
        self._file = place.state / "switch.json"
        self.log = place.state / "switch.log"

    def runs(self) -> bool:
        """Whether it lives."""
        session = self._session()
        return session is not None and session.leader_state() is not None

    def start(self, switch: Switch) -> None:
        """Return when it listens."""
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                [
                    str(word)
                    for word in Network(self.place).inside(
                        [sys.executable, "-m", "lab.switch", self.place.name, switch.address]
                    )
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )
        assert child.stdout is not None
        try:
            self._file.write_text(json.dumps(vars(Session.of(child.pid))))
            with child.stdout:
                ready = child.stdout.readline()
        except BaseException:
            child.kill()
            raise
        if not ready:
            self.stop()
            lines = self.log.read_text(errors="replace").splitlines()
            raise LabError("power switch does not start", lines[-1] if lines else "", f"see {self.log}")

    def stop(self) -> None:
        """Return when it is gone."""
        session = self._session()
        if session is not None:
            session.kill()
        self._file.unlink(missing_ok=True)

    def _session(self) -> Session | None:
        try:
            return Session(**json.loads(self._file.read_text()))
        except FileNotFoundError:
            return None

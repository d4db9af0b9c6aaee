"""systemd units, by systemctl(1)."""

from __future__ import annotations

from collections.abc import Sequence

from . import command


class Units:
    """Starts, stops and asks. `timeout`: seconds that systemctl may take, more than the units' own limits."""

    def __init__(self, timeout: float = 45.0, run: command.Run = command.run) -> None:
        self._timeout = timeout
        self._run = run

    def start(self, units: Sequence[str]) -> None:
        """Returns when all of them are up. Raises CommandError with systemd's words.

        The units have no start limit of their own (StartLimitIntervalSec=0): who calls this backs off.
        """
        self._run(["systemctl", "start", *units], timeout=self._timeout)

    def started(self, units: Sequence[str], within: float) -> bool:
        """Order their start; False when it has not ended after so many seconds and goes on. Raises CommandError.

        systemctl waits for systemd's word: asking again and again would cost a small host as much as the start itself.
        Where a call of it takes longer than that even if there is nothing to start, their states tell.
        """
        try:
            self._run(["systemctl", "start", *units], timeout=within)
        except command.Late:
            return set(self.states(units).values()) == {"active"}
        return True

    def begin(self, units: Sequence[str]) -> None:
        """Order their start and do not wait for it. Raises CommandError."""
        self._run(["systemctl", "start", "--no-block", *units], timeout=self._timeout)

    def stop(self, units: Sequence[str]) -> None:
        """Returns when none of them has a process left. Raises CommandError."""
        self._run(["systemctl", "stop", *units], timeout=self._timeout)

    def reload(self, units: Sequence[str]) -> None:
        """In the order of their dependencies. Raises CommandError."""
        self._run(["systemctl", "reload", *units], timeout=self._timeout)

    def states(self, units: Sequence[str]) -> dict[str, str]:
        """`active`, `inactive`, `failed`, … of each. Raises CommandError."""
        argv = ["systemctl", "show", "--property=ActiveState", "--value", *units]
        lines = self._run(argv, timeout=self._timeout).split()
        if len(lines) != len(units):
            raise command.CommandError(f"{' '.join(argv)}: {len(lines)} answers for {len(units)} units")
        return dict(zip(units, lines, strict=True))

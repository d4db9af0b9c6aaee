"""How a start is waited for: systemctl(1) itself, in pieces, so that whoever waits can look up in between."""

from collections.abc import Sequence

import pytest
from holdfast.adapters import command
from holdfast.adapters.units import Units


def units(argv: Sequence[str]) -> Units:
    """A real program in systemctl's place, with systemctl's arguments behind its own."""

    def run(given: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        if given[1] == "show":
            return "activating\n\nactive\n"
        assert list(given) == ["systemctl", "start", "a.service", "b.service"]
        return command.run([*argv, *given], timeout=timeout)

    return Units(run=run)


def test_a_start_ends_goes_on_or_fails() -> None:
    wanted = ("a.service", "b.service")
    assert units(["true"]).started(wanted, 10)
    assert not units(["sh", "-c", "sleep 20"]).started(wanted, 0.2)
    with pytest.raises(command.CommandError, match="status 3: job for b failed"):
        units(["sh", "-c", "echo job for b failed >&2; exit 3"]).started(wanted, 10)


@pytest.mark.parametrize(("states", "up"), [("active\\n\\nactive", True), ("active\\n\\nactivating", False)])
def test_on_a_host_too_slow_for_a_word_of_systemctl_what_is_up_has_started(states: str, up: bool) -> None:
    """A start that was never seen to end was tried for ever beside services that ran."""
    slow = f'[ "$2" = show ] && printf "{states}" || exec sleep 20'

    def run(given: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        return command.run(["sh", "-c", slow, "sh", *given], timeout=timeout)

    assert Units(run=run).started(("a.service", "b.service"), 0.2) is up


def test_an_order_to_start_is_not_waited_for() -> None:
    said = []
    Units(run=lambda given, *, timeout, stdin=None: said.append(list(given)) or "").begin(("a.service",))
    assert said == [["systemctl", "start", "--no-block", "a.service"]]

"""The order of knotc's commands, against a server of our own that has knotc's transactions."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from holdfast.adapters.command import CommandError
from holdfast.adapters.knot import Knot
from holdfast.core.records import RecordSet, plan

ZONE = "alpha.example."


class Server:
    """Answers like knotc of Knot 3.4 on one zone."""

    def __init__(self, *lines: str, refused: str = "never") -> None:
        self.lines = list(lines)
        self.refused = refused
        self.begun: list[str] | None = None

    def __call__(self, argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        program, word, zone, *rest = argv
        assert (program, zone) == ("knotc", ZONE)
        if self.refused in argv:
            raise CommandError(f"knotc {word}: status 1: error: ({self.refused})")
        if word == "zone-read":
            return "".join(f"[{ZONE}] {line}\n" for line in self.lines)
        if word == "zone-begin":
            assert self.begun is None
            self.begun = list(self.lines)
            return "OK\n"
        assert self.begun is not None
        if word == "zone-unset":
            owner, kind = rest
            left = [x for x in self.begun if (x.split()[0], x.split()[2]) != (owner, kind)]
            assert left != self.begun, "knotc refuses to remove what is not there"
            self.begun = left
        elif word == "zone-set":
            self.begun.append(" ".join(rest))
        elif word == "zone-commit":
            self.lines, self.begun = self.begun, None
        elif word == "zone-abort":
            self.begun = None
        return "OK\n"


WANTED = [
    RecordSet.of(ZONE, "SOA", 60, ["ns.alpha.example. postmaster.alpha.example. 1 300 60 1209600 60"]),
    RecordSet.of(ZONE, "MX", 60, ["10 mx.alpha.example.", "20 relay2.alpha.example."]),
    RecordSet.of("mx.alpha.example", "A", 60, ["203.0.113.10"]),
]


def bring(server: Server) -> None:
    knot = Knot(server)
    there = knot.read(ZONE)
    knot.change(ZONE, there, plan(there, WANTED))


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["alpha.example. 60 MX 5 evil.example.", "alpha.example. 60 MX 20 relay2.alpha.example."],
        ["mx.alpha.example. 60 A 203.0.113.10"],
    ],
)
def test_the_zone_is_brought_to_what_is_wanted(lines: list[str]) -> None:
    server = Server('note.alpha.example. 60 TXT "not ours"', *lines)
    bring(server)
    assert plan(Knot(server).read(ZONE), WANTED) == []
    assert 'note.alpha.example. 60 TXT "not ours"' in server.lines


@pytest.mark.parametrize("refused", ["zone-set", "zone-commit"])
def test_a_refused_change_leaves_no_transaction_open(refused: str) -> None:
    server = Server("alpha.example. 60 MX 5 evil.example.", refused=refused)
    with pytest.raises(CommandError, match=refused):
        bring(server)
    assert server.begun is None
    assert server.lines == ["alpha.example. 60 MX 5 evil.example."]


def test_a_transaction_of_somebody_else_is_not_ended() -> None:
    server = Server(refused="zone-begin")
    server.begun = []
    with pytest.raises(CommandError):
        bring(server)
    assert server.begun == []

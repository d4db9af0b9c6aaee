"""What a started identity's first dialogue and login say of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from edges import MX, Clock
from holdfast.adapters import imap, smtp
from holdfast.adapters.smtp import Outcome
from holdfast.core.model import Result
from holdfast.core.ports import Unavailable
from holdfast.daemons.instance import Instance
from holdfast.daemons.running import VERIFY_WITHIN
from one_host import place

OK = Outcome(Result.OK, "takes mail for postmaster@alpha.example")
FULL = Outcome(Result.REFUSED, "MAIL FROM:<>: 452 4.3.1 Insufficient system storage", temporary=True)
NOT_MINE = Outcome(Result.REFUSED, "RCPT TO:<postmaster@alpha.example>: 550 5.1.1 unknown")
DOWN = Outcome(Result.DOWN, "connection refused")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def instance(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Instance, "_login", lambda self, mailboxes: object())
    monkeypatch.setattr(imap, "login", lambda login: "probe logged in")
    monkeypatch.setattr(smtp, "unheard", lambda address: "")
    nothing: Any = None
    return Instance(place(MX), nothing, nothing, nothing, nothing, clock, Path())


def says(monkeypatch: pytest.MonkeyPatch, *outcomes: Outcome) -> None:
    """One after the other, the last one for ever."""
    left = list(outcomes)
    monkeypatch.setattr(smtp, "talk", lambda dialogue: left.pop(0) if len(left) > 1 else left[0])


def test_it_takes_mail(instance: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, DOWN, FULL, OK)
    assert instance._verify(lambda: False) == f"SMTP {OK.detail}; IMAP probe logged in"
    assert clock.time < 1000.0 + 1


def test_a_full_store_is_no_reason_not_to_serve(instance: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who would make room in a mailbox must be able to log in."""
    says(monkeypatch, DOWN, FULL)
    said = instance._verify(lambda: False)
    assert "refuses for now" in said and "452" in said and "probe logged in" in said
    assert clock.time >= 1000.0 + VERIFY_WITHIN, "it may be a word of its beginning"


@pytest.mark.parametrize("last", [DOWN, NOT_MINE])
def test_what_would_lose_or_return_mail_does_not_serve(
    instance: Any, monkeypatch: pytest.MonkeyPatch, last: Outcome
) -> None:
    says(monkeypatch, FULL, last)
    with pytest.raises(Unavailable, match=last.detail.split()[0]):
        instance._verify(lambda: False)


def test_nor_does_one_that_nobody_can_log_in_to(instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, FULL)

    def fails(login: object) -> str:
        raise Unavailable("IMAP: connection refused")

    monkeypatch.setattr(imap, "login", fails)
    with pytest.raises(Unavailable, match="IMAP"):
        instance._verify(lambda: False)


def test_it_is_asked_where_strangers_are_not(instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[smtp.Dialogue] = []

    def talk(dialogue: smtp.Dialogue) -> Outcome:
        asked.append(dialogue)
        return OK

    monkeypatch.setattr(smtp, "talk", talk)
    instance.place = replace(instance.place, smtp_port=2525)
    instance._verify(lambda: False)
    assert [d.ports for d in asked] == [(2525,)]


def test_one_that_the_world_cannot_reach_does_not_serve(instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a refusal of its beginning, from before that was known, a reason to go on."""
    says(monkeypatch, OK)
    heard = ["port 25: Connection refused", ""]
    monkeypatch.setattr(smtp, "unheard", lambda address: heard.pop(0))
    assert "takes mail" in instance._verify(lambda: False)
    says(monkeypatch, FULL)
    heard = ["", *["port 25: Connection refused"] * 10_000]
    with pytest.raises(Unavailable, match="SMTP: port 25: Connection refused"):
        instance._verify(lambda: False)

"""What a monitor takes for the word of a server, when Postfix asked two of its ports and told of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from clocks import Clock
from holdfast.adapters import smtp
from holdfast.adapters.prober import RelayProber
from holdfast.core.model import Attempt, Identity, Method, Result, Route

MX = Identity("mx", "203.0.113.10", "internet", ("alpha.example",), "a", ("a", "b"), "s")
ROUTES = {name: Route(name, address) for name, address in (("internet", "10.1.1.31"), ("isolated", "10.1.2.31"))}
DEFERRED = "a@alpha.example: deferred 4.4.2"
TIMED_OUT = f"{DEFERRED} conversation with mx[203.0.113.10] timed out while receiving the initial server greeting"
LOST = f"{DEFERRED} lost connection with mx[203.0.113.10] while sending message body"


class Queue:
    """A relay's Postfix, of which a delivery's word is known."""

    def __init__(self, result: Result, detail: str, route: str = "internet") -> None:
        self.made = Attempt(Method.DELIVERY, route, result, 100.0, 130.0, detail, "A1")

    def deliver(self, identity: Identity, route: Route) -> Attempt:
        return self.made

    def route(self, name: str) -> Route:
        return ROUTES[name]


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What probes find, and over which routes they were made."""
    known: dict[str, Any] = {"outcome": smtp.Outcome(Result.DOWN, "nobody"), "over": []}

    def talk(what: smtp.Dialogue) -> smtp.Outcome:
        known["over"].append((what.bind, what.port))
        outcome: smtp.Outcome = known["outcome"]
        return outcome

    monkeypatch.setattr(smtp, "talk", talk)
    return known


def delivered(queue: Any, port: int = 2525) -> Attempt | None:
    nothing: Any = None
    prober = RelayProber(queue, nothing, {"mx": "a@alpha.example"}, Clock(140.0), port=port)
    return prober.deliver(MX, ROUTES["internet"])


@pytest.mark.parametrize("result", [Result.OK, Result.REFUSED])
def test_a_public_port_that_strangers_keep_busy_is_no_outage(probes: dict[str, Any], result: Result) -> None:
    """At the port for our own hosts it has refused for now, its store is full; at the public one nobody answers."""
    probes["outcome"] = smtp.Outcome(result, "452 4.3.1 full", temporary=result is Result.REFUSED)
    made = delivered(Queue(Result.DOWN, TIMED_OUT, "isolated"))
    assert made is not None and (made.result, made.temporary) == (result, result is Result.REFUSED)
    assert (made.method, made.route, made.message) == (Method.DELIVERY, "isolated", "A1")
    assert "timed out" in made.detail and "452 4.3.1 full" in made.detail and made.end == 140.0
    assert probes["over"] == [("10.1.2.31", 2525)]


def test_one_that_does_not_answer_itself_either_is_down(probes: dict[str, Any]) -> None:
    queue = Queue(Result.DOWN, TIMED_OUT)
    assert delivered(queue) == queue.made and len(probes["over"]) == 1


@pytest.mark.parametrize(
    "queue", [Queue(Result.DOWN, LOST), Queue(Result.OK, "sent"), Queue(Result.REFUSED, "552 too large")]
)
def test_what_was_said_in_a_dialogue_counts(probes: dict[str, Any], queue: Queue) -> None:
    probes["outcome"] = smtp.Outcome(Result.OK, "takes mail")
    assert delivered(queue) == queue.made and not probes["over"]


def test_nobody_is_asked_twice_at_one_port(probes: dict[str, Any]) -> None:
    queue = Queue(Result.DOWN, TIMED_OUT)
    assert delivered(queue, port=25) == replace(queue.made) and not probes["over"]

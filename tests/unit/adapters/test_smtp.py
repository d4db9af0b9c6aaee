"""The SMTP dialogue against a server that says the wrong things; its right ones are Postfix's, in the lab."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import free_port
from holdfast.adapters.clock import SystemClock
from holdfast.adapters.smtp import Dialogue, Timeouts, probe, talk, unheard
from holdfast.core.model import Identity, Result, Route
from line_server import DRIBBLE, DROP, HANG, Talk, serve
from tls_files import self_signed

QUICK = Timeouts(connect=1.0, reply=1.0)


def postfix(line: str, ehlo: str = "250-mx\r\n250 PIPELINING") -> str:
    """What a Postfix says to a dialogue that it likes."""
    word = line.split(maxsplit=1)[0].upper()
    return {"EHLO": ehlo, "QUIT": "221 2.0.0 Bye"}.get(word, "250 2.1.0 Ok")


def ask(port: int, **changes: object) -> Dialogue:
    values = {"address": "127.0.0.1", "name": "mx.alpha.example", "recipient": "a@alpha.example", "timeouts": QUICK}
    return Dialogue(port=port, **{**values, **changes})  # type: ignore[arg-type]


def test_whole_dialogue() -> None:
    server = Talk("220 mx ESMTP", postfix)
    with serve(server) as port:
        outcome = talk(ask(port))
    assert outcome.result is Result.OK
    assert [line.split()[0].upper() for line in server.heard] == ["EHLO", "MAIL", "RCPT", "RSET", "QUIT"]
    assert "MAIL FROM:<>" in server.heard
    assert "RCPT TO:<a@alpha.example>" in server.heard


def test_bound_to_the_routes_own_address() -> None:
    server = Talk("220 mx ESMTP", postfix)
    identity = Identity("mx", "127.0.0.1", "internet", ("alpha.example",), "a", ("a", "b"), "s")
    with serve(server) as port:
        made = probe(identity, Route("isolated", "127.0.0.7"), "a@alpha.example", SystemClock(), port=port)
    assert server.peers == ["127.0.0.7"]
    assert server.heard[0].upper() == "EHLO [127.0.0.7]"
    assert (made.result, made.route, made.method) == (Result.OK, "isolated", "probe")
    assert made.end >= made.start


@pytest.mark.parametrize(
    ("greeting", "result", "said"),
    [
        ("421 4.3.2 all server ports are busy", Result.DOWN, "421"),
        ("554 5.7.1 no access", Result.REFUSED, "554"),
        ("450 4.7.1 later", Result.REFUSED, "450"),
        (DROP, Result.DOWN, "connection lost at greeting"),
        (HANG, Result.DOWN, "time-out at greeting"),
        ("SSH-2.0-OpenSSH", Result.REFUSED, "greeting"),
    ],
)
def test_greetings(greeting: str, result: Result, said: str) -> None:
    with serve(Talk(greeting, postfix)) as port:
        outcome = talk(ask(port))
    assert outcome.result is result
    assert said in outcome.detail


@pytest.mark.parametrize("stage", ["EHLO", "MAIL", "RCPT", "RSET"])
@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ("550 5.1.1 User unknown", Result.REFUSED),
        ("451 4.3.0 try later", Result.REFUSED),
        ("421 4.3.2 shutting down", None),
        (DROP, Result.DOWN),
        (HANG, Result.DOWN),
    ],
)
def test_later_replies(stage: str, answer: str, result: Result | None) -> None:
    server = Talk("220 mx ESMTP", lambda line: answer if line.upper().startswith(stage) else postfix(line))
    with serve(server) as port:
        outcome = talk(ask(port))
    if result is None:  # 421: a server that closes before it has said who it is, is down
        result = Result.DOWN if stage == "EHLO" else Result.REFUSED
    assert outcome.result is result
    assert stage in outcome.detail
    assert outcome.temporary is (result is Result.REFUSED and answer.startswith("4"))


BRIEF = Timeouts(connect=1.0, reply=5.0, whole=1.0)


@pytest.mark.parametrize("stage", ["greeting", "EHLO", "MAIL", "RCPT", "RSET"])
def test_a_server_that_dribbles_ends_with_the_time_for_all_of_it(stage: str) -> None:
    """Each of its octets comes within the time for a reply; a dialogue must not outlast the attempts' interval."""
    greeting = DRIBBLE if stage == "greeting" else "220 mx ESMTP"
    server = Talk(greeting, lambda line: DRIBBLE if line.upper().startswith(stage) else postfix(line))
    begin = time.monotonic()
    with serve(server) as port:
        outcome = talk(ask(port, timeouts=BRIEF))
    assert 1.0 <= time.monotonic() - begin < 2.0
    assert outcome.result is Result.DOWN and not outcome.temporary
    assert outcome.detail.startswith("time-out: no end within 1 s; ") and stage in outcome.detail


def test_one_that_dribbles_its_farewell_has_taken_the_mail() -> None:
    server = Talk("220 mx ESMTP", lambda line: DRIBBLE if line.upper() == "QUIT" else postfix(line))
    begin = time.monotonic()
    with serve(server) as port:
        assert talk(ask(port, timeouts=BRIEF)).result is Result.OK
    assert time.monotonic() - begin < 2.0


@pytest.mark.parametrize("answer", [DROP, HANG, "500 what"])
def test_a_bad_farewell_changes_nothing(answer: str) -> None:
    server = Talk("220 mx ESMTP", lambda line: answer if line == "QUIT" else postfix(line))
    with serve(server) as port:
        assert talk(ask(port)).result is Result.OK


def test_nobody_listens() -> None:
    outcome = talk(ask(free_port()))
    assert outcome.result is Result.DOWN
    assert "refused" in outcome.detail


def test_no_answer_at_all() -> None:
    # TEST-NET-1: nobody answers, or the kernel knows no way there; either way the server can't be reached.
    assert talk(ask(25, address="192.0.2.1")).result is Result.DOWN


def test_own_fault_does_not_count_against_the_server() -> None:
    with serve(Talk("220 mx ESMTP", postfix)) as port:
        outcome = talk(ask(port, bind="192.0.2.77"))
    assert outcome.result is Result.REFUSED
    assert "own fault" in outcome.detail


@pytest.fixture
def full() -> Iterator[int]:
    """A port whose listener takes nobody: connections wait, and when enough do the kernel answers no more."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = listener.getsockname()[1]
    waiting = [socket.socket() for _ in range(3)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
    yield port
    for one in (*waiting, listener):
        one.close()


class TestTwoPorts:
    """The one for our own hosts first, the public one where no connection to that comes to be."""

    def test_the_first_one_is_asked_alone_while_it_is_there(self) -> None:
        """The public one may be busy with strangers: whoever hangs there says nothing of the server."""
        inside, public = Talk("220 mx ESMTP", postfix), Talk(HANG, postfix)
        with serve(inside) as port, serve(public) as otherwise:
            outcome = talk(ask(port, otherwise=otherwise))
        assert outcome.result is Result.OK and "port" not in outcome.detail
        assert inside.heard and not public.peers

    def test_refused(self) -> None:
        """By a server that was deployed before there was such a port."""
        public, gone = Talk("220 mx ESMTP", postfix), free_port()
        with serve(public) as otherwise:
            outcome = talk(ask(gone, otherwise=otherwise))
        assert outcome.result is Result.OK
        assert f"not at port {gone}: Connection refused" in outcome.detail

    def test_dropped(self, full: int) -> None:
        """By a packet filter that was loaded before there was such a port."""
        with serve(Talk("220 mx ESMTP", postfix)) as otherwise:
            outcome = talk(ask(full, otherwise=otherwise))
        assert outcome.result is Result.OK and f"not at port {full}: timed out" in outcome.detail

    def test_a_server_that_is_gone_is_known_in_the_time_of_one_port(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[tuple[int, float]] = []

        def nobody(address: tuple[str, int], timeout: float, source: object) -> socket.socket:
            asked.append((address[1], round(timeout, 1)))
            raise TimeoutError("timed out")

        monkeypatch.setattr(socket, "create_connection", nobody)
        monkeypatch.setattr(time, "monotonic", lambda: 100.0 + sum(within for _, within in asked))
        outcome = talk(ask(2525, otherwise=25, timeouts=Timeouts(connect=10.0)))
        assert (outcome.result, outcome.detail) == (
            Result.DOWN,
            "time-out at connection to 127.0.0.1 port 2525, then 25",
        )
        assert asked == [(2525, 5.0), (25, 5.0)]

    def test_neither(self) -> None:
        outcome = talk(ask(free_port(), otherwise=free_port()))
        assert outcome.result is Result.DOWN and "then" in outcome.detail and "refused" in outcome.detail

    @pytest.mark.parametrize("greeting", [HANG, DROP, "421 4.3.2 busy"])
    def test_one_that_is_reached_and_does_not_serve_is_down(self, greeting: str) -> None:
        public = Talk("220 mx ESMTP", postfix)
        with serve(Talk(greeting, postfix)) as port, serve(public) as otherwise:
            assert talk(ask(port, otherwise=otherwise)).result is Result.DOWN
        assert not public.peers

    def test_an_own_fault_is_one_at_any_port(self) -> None:
        public = Talk("220 mx ESMTP", postfix)
        with serve(public) as otherwise:
            outcome = talk(ask(free_port(), otherwise=otherwise, bind="192.0.2.77"))
        assert outcome.result is Result.REFUSED and not public.peers

    def test_probes_ask_the_public_one_as_well(self, monkeypatch: pytest.MonkeyPatch) -> None:
        identity = Identity("mx", "127.0.0.1", "internet", ("alpha.example",), "a", ("a", "b"), "s")
        with serve(Talk("220 mx ESMTP", postfix)) as otherwise:
            monkeypatch.setattr("holdfast.adapters.smtp.PORT", otherwise)
            made = probe(identity, Route("isolated", "127.0.0.7"), "a@alpha.example", SystemClock(), port=free_port())
        assert made.result is Result.OK


def test_whether_anybody_listens(full: int) -> None:
    """One that has all it can take is there; strangers may see to that from the first second on."""
    with serve(Talk(HANG, postfix)) as port:
        assert unheard("127.0.0.1", port) == ""
    assert unheard("127.0.0.1", full, 0.3) == ""
    gone = free_port()
    assert unheard("127.0.0.1", gone) == f"port {gone}: Connection refused"


class TestStarttls:
    @staticmethod
    def server(folder: Path, name: str) -> tuple[Talk, str]:
        pair = self_signed(folder, name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.cert, pair.key)
        return Talk("220 mx ESMTP", lambda line: postfix(line, "250-mx\r\n250 STARTTLS"), context), pair.cert

    def test_verified(self, tmp_path: Path) -> None:
        server, ca = self.server(tmp_path, "mx.alpha.example")
        with serve(server) as port:
            outcome = talk(ask(port, ca=ca))
        assert outcome.result is Result.OK
        assert "TLSv1.3 verified" in outcome.detail
        assert sum(line.upper().startswith("EHLO") for line in server.heard) == 2

    def test_wrong_name_is_told_and_does_not_fail(self, tmp_path: Path) -> None:
        server, ca = self.server(tmp_path, "other.example")
        with serve(server) as port:
            outcome = talk(ask(port, ca=ca))
        assert outcome.result is Result.OK
        assert "not verified" in outcome.detail
        assert "certificate of mx.alpha.example" in outcome.detail

    def test_offered_and_refused(self) -> None:
        refusing = Talk(
            "220 mx ESMTP",
            lambda line: (
                "454 4.7.0 TLS not available" if line == "STARTTLS" else postfix(line, "250-mx\r\n250 STARTTLS")
            ),
        )
        with serve(refusing) as port:
            outcome = talk(ask(port))
        assert outcome.result is Result.REFUSED
        assert "454" in outcome.detail

    def test_both_dialogues_share_the_time(self, tmp_path: Path) -> None:
        """The first one ends with a certificate of another name, the second is held without verification."""
        server, ca = self.server(tmp_path, "other.example")
        dribbling = Talk(server.greeting, lambda line: DRIBBLE if line[:4] == "RCPT" else server.answer(line))
        dribbling.context = server.context
        begin = time.monotonic()
        with serve(dribbling) as port:
            outcome = talk(ask(port, ca=ca, timeouts=BRIEF))
        assert time.monotonic() - begin < 2.0
        assert outcome.result is Result.DOWN and "RCPT" in outcome.detail and "other" not in outcome.detail

    def test_a_handshake_that_does_not_end(self) -> None:
        def answer(line: str) -> str:
            known = {"EHLO": "250-mx\r\n250 STARTTLS", "STARTTLS": "220 go"}
            return next((reply for word, reply in known.items() if line.upper().startswith(word)), HANG)

        begin = time.monotonic()
        with serve(Talk("220 mx ESMTP", answer)) as port:
            outcome = talk(ask(port, timeouts=BRIEF))
        assert time.monotonic() - begin < 2.0
        assert outcome.result is Result.DOWN and "STARTTLS" in outcome.detail

    def test_no_tls_behind_starttls(self) -> None:
        def answer(line: str) -> str:
            return "220 go\r\nthis is no TLS" if line == "STARTTLS" else postfix(line, "250-mx\r\n250 STARTTLS")

        with serve(Talk("220 mx ESMTP", answer)) as port:
            outcome = talk(ask(port))
        assert outcome.result in (Result.REFUSED, Result.DOWN)

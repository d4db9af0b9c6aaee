"""What Postfix says and what it means. Texts and log entries are Postfix 3.10.13's own."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from clocks import Clock
from holdfast.adapters import postfix
from holdfast.adapters.command import CommandError
from holdfast.adapters.postfix import (
    Instance,
    PostfixQueue,
    classify,
    oldest,
    parse_journal,
    parse_queue,
    parse_table,
    render_table,
    ungreeted,
)
from holdfast.core.model import Identity, Result, Route
from holdfast.core.ports import Unavailable
from hypothesis import given
from hypothesis import strategies as st

ALPHA = Identity(
    "mx.alpha.example", "203.0.113.10", "internet", ("alpha.example",), "mail1", ("mail1", "mail2"), "store1"
)
BETA = Identity(
    "mx.beta.example", "203.0.113.11", "internet", ("beta.example", "b.example"), "mail2", ("mail1", "mail2"), "store1"
)
INTERNET, ISOLATED = Route("internet", "10.2.1.31", ("10.2.1.1",)), Route("isolated", "10.2.2.31", ("10.2.2.1",))
HOST = "203.0.113.10[203.0.113.10]"

DOWN = [
    ("4.4.1", f"connect to {HOST}:25: Connection refused"),
    ("4.4.1", f"connect to {HOST}:25: Connection timed out"),
    ("4.4.1", f"connect to {HOST}:25: No route to host"),
    ("4.4.1", f"connect to {HOST}:25: Network is unreachable"),
    ("4.4.2", f"lost connection with {HOST} while receiving the initial server greeting"),
    ("4.4.2", f"conversation with {HOST} timed out while receiving the initial server greeting"),
    ("4.4.2", f"lost connection with {HOST} while performing the EHLO handshake"),
    ("4.4.2", f"lost connection with {HOST} while sending MAIL FROM"),
    ("4.4.2", f"lost connection with {HOST} while sending RCPT TO"),
    ("4.4.2", f"lost connection with {HOST} while sending DATA command"),
    ("4.4.2", f"lost connection with {HOST} while sending end of data -- message may be sent more than once"),
    ("4.4.2", f"conversation with {HOST} timed out while sending message body"),
    ("4.3.2", f"host {HOST} refused to talk to me: 421 4.3.2 too busy"),
    ("4.0.0", f"host {HOST} refused to talk to me: 421 bye"),
    ("4.0.0", f"host {HOST} refused to talk to me: 421-first line 421 bye"),
    ("4.4.1", f"delivery temporarily suspended: connect to {HOST}:25: Connection timed out"),
    ("4.4.2", f"delivery temporarily suspended: lost connection with {HOST} while sending RCPT TO"),
    ("4.4.2", "a text that a later Postfix may have"),
]
REFUSED = [
    ("4.7.1", f"host {HOST} refused to talk to me: 554 5.7.1 go away"),
    ("4.7.1", f"host {HOST} refused to talk to me: 450 4.7.1 later"),
    ("4.3.0", f"host {HOST} said: 451 4.3.0 try (in reply to MAIL FROM command)"),
    ("4.2.1", f"host {HOST} said: 450 4.2.1 mailbox busy (in reply to RCPT TO command)"),
    ("4.3.2", f"host {HOST} said: 421 4.3.2 shutting down (in reply to RCPT TO command)"),
    ("4.4.2", f"host {HOST} said: 421 4.4.2 mx Error: timeout exceeded (in reply to DATA command)"),
    ("4.0.0", f"host {HOST} said: 451 no (in reply to DATA command)"),
    ("4.3.0", f"host {HOST} said: 451 4.3.0 queue file write error (in reply to end of DATA command)"),
    ("4.3.1", f"host {HOST} said: 452 4.3.1 Insufficient system storage (in reply to end of DATA command)"),
    (
        "5.1.1",
        f"host {HOST} said: 550 5.1.1 <a@alpha.example>: Recipient address rejected (in reply to RCPT TO command)",
    ),
    ("4.7.4", f"TLS is required, but was not offered by host {HOST}"),
    ("4.7.5", "Server certificate not trusted"),
    ("4.7.5", "Cannot start TLS: handshake failure"),
    ("4.4.1", f"connect to {HOST}:25: Permission denied"),
    ("4.3.0", "mail transport unavailable"),
    ("4.4.3", "Host or domain name not found. Name service error for name=x type=A: Host not found, try again"),
    ("4.3.0", "unknown mail transport error"),
    ("4.4.1", f"delivery temporarily suspended: host {HOST} refused to talk to me: 554 5.7.1 go away"),
]


@pytest.mark.parametrize(("dsn", "text"), DOWN)
def test_down(dsn: str, text: str) -> None:
    assert classify("deferred", dsn, text) is Result.DOWN


@pytest.mark.parametrize(("dsn", "text"), REFUSED)
@pytest.mark.parametrize("status", ["deferred", "bounced"])
def test_refused(status: str, dsn: str, text: str) -> None:
    assert classify(status, dsn, text) is Result.REFUSED


def test_sent() -> None:
    assert classify("sent", "2.0.0", "250 2.0.0 Ok: queued as 4jYfzX4kxjz5B3") is Result.OK


@given(st.from_regex(r"[45]\d\d[ -][^\n]{0,40}", fullmatch=True))
def test_a_reply_of_a_live_server_is_never_down(reply: str) -> None:
    assert classify("deferred", "4.4.2", f"host {HOST} said: {reply} (in reply to RCPT TO command)") is Result.REFUSED


def entry(message: str, transport: str = "route-internet") -> str:
    return json.dumps({"MESSAGE": message, "SYSLOG_IDENTIFIER": f"holdfast/relay.dc2/{transport}/smtp", "_PID": "637"})


REAL = (
    "4jYfzX4kxjz5B3: to=<alice@alpha.example>, relay=none, delay=31, delays=31/0/0.04/0, dsn=4.4.1, "
    f"status=deferred (connect to {HOST}:25: Connection refused)"
)


class TestJournal:
    def test_delivery(self) -> None:
        found = parse_journal(entry(REAL))
        assert found is not None
        assert (found.queue_id, found.recipient, found.dsn, found.status, found.transport) == (
            "4jYfzX4kxjz5B3",
            "alice@alpha.example",
            "4.4.1",
            "deferred",
            "route-internet",
        )
        assert found.text == f"connect to {HOST}:25: Connection refused"

    def test_rewritten_recipient_and_brackets(self) -> None:
        line = (
            "4jYfzX4kxjz5B3: to=<a@alpha.example>, orig_to=<x@alpha.example>, relay=h[1.2.3.4]:25, conn_use=2, "
            "delay=1, delays=0/0/0/1, dsn=4.3.0, status=deferred (host h said: 451 (a) (in reply to DATA command))"
        )
        found = parse_journal(entry(line))
        assert found is not None
        assert found.recipient == "a@alpha.example"
        assert found.text == "host h said: 451 (a) (in reply to DATA command)"

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "no json",
            entry(f"connect to {HOST}:25: Connection refused"),
            entry("4jYfzX4kxjz5B3: from=<a@x>, size=232, nrcpt=1 (queue active)"),
            entry("4jYfzX4kxjz5B3: removed"),
            json.dumps({"MESSAGE": [1, 2, 3]}),
            json.dumps({}),
        ],
    )
    def test_other_lines(self, line: str) -> None:
        assert parse_journal(line) is None

    def test_line_of_no_transport_of_ours(self) -> None:
        found = parse_journal(json.dumps({"MESSAGE": REAL, "SYSLOG_IDENTIFIER": "holdfast/relay.dc2/error"}))
        assert found is not None
        assert found.transport == ""


def queued(queue_id: str, recipient: str, arrival: int, queue: str = "deferred") -> str:
    recipients = [{"address": recipient, "delay_reason": f"connect to {HOST}:25: Connection refused"}]
    return json.dumps(
        {
            "queue_name": queue,
            "queue_id": queue_id,
            "arrival_time": arrival,
            "message_size": 232,
            "forced_expire": False,
            "sender": "sender@out.example",
            "recipients": recipients,
        }
    )


QUEUE = "\n".join(
    [
        queued("A2", "alice@alpha.example", 200),
        queued("A1", "Bob@Alpha.Example", 100),
        queued("H0", "alice@alpha.example", 10, "hold"),
        queued("B1", "x@beta.example", 50),
        queued("S1", "x@sub.alpha.example", 20),
        queued("A0", "alice@alpha.example", 5, "active"),
    ]
)


class TestQueue:
    def test_oldest_of_the_deferred_ones(self) -> None:
        found = oldest(parse_queue(QUEUE), ALPHA.domains)
        assert found is not None
        assert found.queue_id == "A1"

    def test_one_that_is_being_delivered_if_there_is_no_other(self) -> None:
        messages = [m for m in parse_queue(QUEUE) if m.queue != "deferred"]
        found = oldest(messages, ALPHA.domains)
        assert found is not None
        assert found.queue_id == "A0"

    def test_none(self) -> None:
        assert oldest(parse_queue(""), ALPHA.domains) is None
        assert oldest(parse_queue(queued("H0", "a@alpha.example", 1, "hold")), ALPHA.domains) is None

    @given(st.permutations(QUEUE.splitlines()))
    def test_order_of_the_listing_does_not_matter(self, lines: list[str]) -> None:
        found = oldest(parse_queue("\n".join(lines)), ALPHA.domains)
        assert found is not None
        assert found.queue_id == "A1"


def test_table() -> None:
    text = render_table([ALPHA, BETA], {ALPHA.name: "internet", BETA.name: "isolated"})
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        "alpha.example\troute-internet:[203.0.113.10]:25",
        "beta.example\troute-isolated:[203.0.113.11]:25",
        "b.example\troute-isolated:[203.0.113.11]:25",
    ]


def test_table_with_a_port_for_our_own_hosts() -> None:
    """A server that was deployed before there was one is still reached."""
    text = render_table([ALPHA], {ALPHA.name: "internet"}, 2525)
    assert text.splitlines()[1:] == ["alpha.example\troute-internet:[203.0.113.10]:2525, [203.0.113.10]:25"]
    assert parse_table(text) == {"alpha.example": "internet"}


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (f"connect to {HOST}:25: Connection refused", True),
        (f"connect to {HOST}:25: Connection timed out", True),
        (f"delivery temporarily suspended: connect to {HOST}:25: No route to host", True),
        (f"conversation with {HOST} timed out while receiving the initial server greeting", True),
        (f"lost connection with {HOST} while receiving the initial server greeting", True),
        (f"host {HOST} refused to talk to me: 421 4.7.0 Error: too many connections", True),
        (f"lost connection with {HOST} while sending message body", False),
        (f"conversation with {HOST} timed out while sending RCPT TO", False),
        (f"host {HOST} said: 452 4.3.1 Insufficient system storage (in reply to MAIL FROM command)", False),
    ],
)
def test_what_a_public_port_without_a_free_server_looks_like(text: str, asked: bool) -> None:
    assert ungreeted(f"alice@alpha.example: deferred 4.4.1 {text}") is asked


class Relay:
    """Programs of a relay: a queue listing, postmap, and a journal that a test writes."""

    def __init__(self, folder: Path, queue: str = QUEUE) -> None:
        self.queue = queue
        self.journal: Callable[[], list[str]] = list
        self.ran: list[list[str]] = []
        self.followed: list[str] = []
        self.events: list[tuple[str, dict[str, object]]] = []
        self.clock = Clock(1000.0)
        self.table = folder / "transport"
        self.fail: str | None = None
        self.queues: dict[str, str] = {}  # of one instance, where it is not that of all
        self.instances = [self.instance("relay.dc2")]
        self.instances[0].running.touch()

    def instance(self, name: str) -> Instance:
        return Instance(f"/etc/{name}", f"holdfast/{name}", self.table.with_name(name))

    def run(self, argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        self.ran.append(list(argv))
        if self.fail is not None and self.fail in argv:
            raise CommandError(f"{argv[0]}: status 69: mail system is down")
        if argv[0] == "postmap":
            self.table.with_name("transport.lmdb").write_text(self.table.read_text())
        return self.queues.get(argv[2], self.queue) if "-j" in argv else ""

    @contextlib.contextmanager
    def follow(self, argv: Sequence[str], *, timeout: float) -> Iterator[Iterator[str]]:
        self.followed = list(argv)
        yield iter(self.journal())

    def log(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    def made(self) -> PostfixQueue:
        return PostfixQueue(
            [ALPHA, BETA],
            [INTERNET, ISOLATED],
            self.clock,
            self.log,
            instances=self.instances,
            table=str(self.table),
            run=self.run,
            begin=self.run,
            follow=self.follow,
        )

    def programs(self) -> list[str]:
        return [argv[0] for argv in self.ran]


@pytest.fixture
def relay(tmp_path: Path) -> Relay:
    return Relay(tmp_path)


class TestUseRoute:
    def test_written_only_when_something_changes(self, relay: Relay) -> None:
        queue = relay.made()
        queue.use_route([ALPHA], ISOLATED)
        queue.use_route([ALPHA], ISOLATED)
        relay.made().use_route([ALPHA], ISOLATED)
        assert relay.programs() == ["postmap"]
        queue.use_route([BETA], ISOLATED)
        assert relay.programs() == ["postmap"] * 2
        assert relay.table.read_text().count("route-isolated") == 3

    def test_a_map_that_was_not_built_is_built_the_next_time(self, relay: Relay) -> None:
        relay.fail = "postmap"
        queue = relay.made()
        with pytest.raises(Unavailable):
            queue.use_route([ALPHA], ISOLATED)
        relay.fail = None
        queue.use_route([ALPHA], ISOLATED)
        assert relay.programs() == ["postmap"] * 2

    def test_the_table_remembers_what_others_chose(self, relay: Relay) -> None:
        relay.made().use_route([ALPHA], ISOLATED)
        relay.made().use_route([BETA], ISOLATED)
        assert parse_table(relay.table.read_text()) == dict.fromkeys(
            ("alpha.example", "beta.example", "b.example"), "isolated"
        )

    @pytest.mark.parametrize("text", ["", "alpha.example\tsmtp:[x]\n", "alpha.example\troute-gone:[203.0.113.10]:25\n"])
    def test_the_first_route_where_the_table_names_none(self, relay: Relay, text: str) -> None:
        relay.table.write_text(text)
        relay.made().use_route([], INTERNET)
        assert set(parse_table(relay.table.read_text()).values()) == {"internet"}

    def test_no_folder(self, relay: Relay) -> None:
        relay.table = relay.table.parent / "nowhere" / "transport"
        with pytest.raises(Unavailable, match="nowhere"):
            relay.made().use_route([ALPHA], ISOLATED)


class TestDeliver:
    def line(self, queue_id: str = "A1", to: str = "Bob@Alpha.Example") -> str:
        return REAL.replace("4jYfzX4kxjz5B3", queue_id).replace("alice@alpha.example", to)

    def test_the_messages_own_line_counts(self, relay: Relay) -> None:
        relay.journal = lambda: [
            entry(self.line("B1", "x@beta.example")),
            entry(self.line("A1", "else@where.example")),
            entry(self.line(), "route-isolated"),
            entry(self.line().replace("deferred", "sent")),
        ]
        made = relay.made().deliver(ALPHA, ISOLATED)
        assert made is not None
        assert (made.method, made.route, made.result, made.message) == ("delivery", "isolated", Result.DOWN, "A1")
        assert "Connection refused" in made.detail
        assert ["postqueue", "-c", "/etc/relay.dc2", "-i", "A1"] in relay.ran

    def test_own_retries_take_the_next_route_after_a_failure(self, relay: Relay) -> None:
        relay.journal = lambda: [entry(self.line(), "route-isolated")]
        relay.made().deliver(ALPHA, ISOLATED)
        assert parse_table(relay.table.read_text())["alpha.example"] == "internet"

    def test_and_stay_with_one_that_worked(self, relay: Relay) -> None:
        sent = self.line().replace("deferred", "sent")
        relay.journal = lambda: [entry(sent, "route-isolated")]
        made = relay.made().deliver(ALPHA, ISOLATED)
        assert made is not None
        assert made.result is Result.OK
        assert parse_table(relay.table.read_text())["alpha.example"] == "isolated"

    def test_asks_the_journal_from_the_listing_on(self, relay: Relay) -> None:
        """A message may leave the queue between its listing and the attempt: nothing would be said of it later."""
        relay.journal = lambda: [entry(self.line(), "route-isolated")]
        queue = relay.made()
        queue.deliver(ALPHA, ISOLATED)
        queue.deliver(ALPHA, INTERNET)
        assert relay.clock.slept == [postfix.PATIENCE]
        assert "--since=@1000.000000" in relay.followed
        assert "--identifier=holdfast/relay.dc2/route-isolated/smtp" in relay.followed

    def test_the_route_of_the_log_is_the_one_that_is_told(self, relay: Relay) -> None:
        relay.journal = lambda: [entry(self.line(), "route-internet")]
        made = relay.made().deliver(ALPHA, ISOLATED)
        assert made is not None
        assert made.route == "internet"
        assert [e for e, _ in relay.events] == ["route_differs"]

    def test_nothing_waits(self, relay: Relay) -> None:
        relay.queue = queued("B1", "x@beta.example", 50)
        assert relay.made().deliver(ALPHA, INTERNET) is None
        assert relay.events == []
        assert relay.programs() == ["postqueue"]

    @pytest.mark.parametrize("fail", ["-j", "-i", "postmap"])
    def test_a_broken_postfix_of_our_own_is_no_word_about_the_server(self, relay: Relay, fail: str) -> None:
        relay.fail = fail
        assert relay.made().deliver(ALPHA, INTERNET) is None
        assert [(e, f["level"]) for e, f in relay.events] == [("relay_queue_failed", "alert")]

    def test_silence_is_no_word_about_the_server(self, relay: Relay) -> None:
        assert relay.made().deliver(ALPHA, INTERNET) is None
        assert [e for e, _ in relay.events] == ["relay_queue_failed"]

    def test_a_listing_that_can_not_be_read(self, relay: Relay) -> None:
        relay.queue = "Mail queue is empty"
        assert relay.made().deliver(ALPHA, INTERNET) is None
        with pytest.raises(Unavailable):
            relay.made().waiting(ALPHA)

    def test_another_route_waits_for_the_resolver_to_forget(self, relay: Relay) -> None:
        taken = ["internet"]
        relay.journal = lambda: [entry(self.line(), f"route-{taken[0]}")]
        queue = relay.made()
        queue.deliver(ALPHA, INTERNET)
        queue.deliver(ALPHA, INTERNET)
        assert relay.clock.slept == []
        relay.clock.time += 30.0
        taken[0] = "isolated"
        queue.deliver(ALPHA, ISOLATED)
        assert relay.clock.slept == [1.0]
        # The resolver keeps to `isolated`: from then on, not from this attempt on.
        queue.deliver(ALPHA, INTERNET)
        assert relay.clock.slept == [1.0, postfix.PATIENCE]
        relay.clock.time += 27.0
        taken[0] = "internet"
        queue.deliver(ALPHA, INTERNET)
        assert relay.clock.slept == [1.0, postfix.PATIENCE, 2.0]
        relay.clock.time += 60.0
        taken[0] = "isolated"
        queue.deliver(ALPHA, ISOLATED)
        assert relay.clock.slept[3:] == [0.0]

    def test_what_failed_is_left_whatever_was_asked_for(self, relay: Relay) -> None:
        relay.journal = lambda: [entry(self.line())]
        assert relay.made().deliver(ALPHA, ISOLATED) is not None
        assert parse_table(relay.table.read_text())["alpha.example"] == "isolated", "internet is what failed"


def test_waiting_and_flush(relay: Relay) -> None:
    queue = relay.made()
    assert queue.waiting(ALPHA) == 4
    assert queue.waiting(BETA) == 1
    queue.flush(ALPHA)
    assert relay.ran[-1] == ["postqueue", "-c", "/etc/relay.dc2", "-f"]


class TestSeveralRelays:
    """A host that took over the other site's relay works both queues, in one order; one without a relay works none."""

    @pytest.fixture
    def two(self, relay: Relay) -> Relay:
        relay.instances.append(relay.instance("relay.dc1"))
        relay.instances[1].running.touch()
        relay.queues = {
            "/etc/relay.dc2": queued("A1", "x@alpha.example", 50),
            "/etc/relay.dc1": queued("A0", "y@alpha.example", 40),
        }
        return relay

    def test_the_oldest_of_all_is_tried_where_it_lies(self, two: Relay) -> None:
        line = REAL.replace("4jYfzX4kxjz5B3", "A0").replace("alice@alpha.example", "y@alpha.example")
        two.journal = lambda: [entry(line, "route-isolated")]
        made = two.made().deliver(ALPHA, ISOLATED)
        assert made is not None and (made.message, made.route) == ("A0", "isolated")
        assert ["postqueue", "-c", "/etc/relay.dc1", "-i", "A0"] in two.ran
        assert "--identifier=holdfast/relay.dc1/route-isolated/smtp" in two.followed

    def test_all_are_counted_and_flushed(self, two: Relay) -> None:
        queue = two.made()
        assert queue.waiting(ALPHA) == 2
        queue.flush(ALPHA)
        assert [argv[2] for argv in two.ran if argv[-1] == "-f"] == ["/etc/relay.dc2", "/etc/relay.dc1"]

    def test_what_another_host_runs_is_not_asked(self, two: Relay) -> None:
        two.instances[0].running.unlink()
        queue = two.made()
        assert queue.waiting(ALPHA) == 1
        two.instances[1].running.unlink()
        two.ran.clear()
        queue.flush(ALPHA)
        assert (queue.waiting(ALPHA), queue.deliver(ALPHA, INTERNET)) == (0, None)
        assert two.ran == [] and two.events == []


def test_every_log_line_pattern_is_anchored() -> None:
    """A sender chooses parts of a text: they must not be taken for a queue id or a status."""
    line = "A1: message-id=<x: to=<a@alpha.example>, dsn=4.4.1, status=deferred (connect to h:25: Connection refused)>"
    assert re.match(postfix.DELIVERY, line) is None

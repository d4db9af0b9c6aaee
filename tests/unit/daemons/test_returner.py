"""Archive and return (R1.10): durable before it goes back, once each, whatever the moment of a crash."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml
from edges import MX, Clock, Lines
from holdfast.adapters import command, held_mail
from holdfast.adapters.held_mail import STANDS, Archive, HeldMail, OrderFiles, copy_to, parse_queue
from holdfast.core.ports import Unavailable
from holdfast.daemons import config, returner
from holdfast.daemons.returner import Returner

BODY = b"Subject: hello\n\n8 bit: \xe4\xf6\xfc\nlast line without end"


class Crash(BaseException):
    pass


class Postfix:
    """A queue, and the programs that speak of it. `expired` messages are returned with the next flush."""

    def __init__(self) -> None:
        self.queue: dict[str, float] = {"4A1": 100.0, "4B2": 200.0, "4C3": 9_000_000.0}
        self.expired: set[str] = set()
        self.returned: list[str] = []
        self.archived_then: dict[str, bool] = {}
        self.before: Callable[[str], None] = lambda what: None
        self.archive: Path | None = None

    def run(self, argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        self.before(argv[0] + argv[3])
        if argv[:4] == ["postqueue", "-c", "/etc/relay", "-j"]:
            return "".join(json.dumps(self.entry(i)) + "\n" for i in self.queue)
        if argv == ["postsuper", "-c", "/etc/relay", "-e", "-"]:
            assert stdin is not None and self.archive is not None
            for queue_id in stdin.split():
                self.expired.add(queue_id)
                self.archived_then[queue_id] = (self.archive / MX.name / f"{queue_id}.json").exists()
            return ""
        assert argv == ["postqueue", "-c", "/etc/relay", "-f"]
        for queue_id in sorted(self.expired & set(self.queue)):
            self.returned.append(queue_id)
            del self.queue[queue_id]
        return ""

    def entry(self, queue_id: str) -> dict[str, object]:
        return {
            "queue_name": "deferred",
            "queue_id": queue_id,
            "arrival_time": self.queue[queue_id],
            "sender": "MAILER-DAEMON" if queue_id == "4B2" else "s@out.example",
            "recipients": [{"address": "a@alpha.example", "delay_reason": "connect"}],
        }

    def copy(self, argv: Sequence[str], path: Path) -> None:
        self.before("postcat")
        assert argv[:-1] == ["postcat", "-c", "/etc/relay", "-h", "-b", "-q"]
        with path.open("xb") as file:
            file.write(BODY)


class Relay:
    def __init__(self, folder: Path, after: float = 3600.0) -> None:
        self.folder = folder
        (folder / "orders").mkdir()
        self.postfix, self.log, self.clock = Postfix(), Lines(), Clock()
        self.postfix.archive = folder / "archive"
        self.clock.time = 1_000_000.0
        self.boot = "boot-1"
        self.orders = OrderFiles(folder / "orders", self.clock, lambda: self.boot)
        self.settings = returner.Config(
            folder / "orders",
            folder / "archive",
            (returner.Relay("/etc/relay", folder / "running", {"alpha.example": MX.name}),),
            {MX.name: after},
        )
        self.archive = Archive(self.settings.archive, self.clock)

    def run(self) -> int:
        mail = HeldMail("/etc/relay", self.postfix.run, self.postfix.copy, self.postfix.run)
        queues = [(mail, self.settings.relays[0].domains)]
        return Returner(self.settings, self.orders, queues, self.archive, self.clock, self.log).run()


@pytest.fixture
def relay(tmp_path: Path) -> Relay:
    return Relay(tmp_path)


def test_the_old_ones_are_archived_and_then_returned(relay: Relay) -> None:
    relay.orders.order(MX, "no candidate")
    assert relay.run() == 2
    assert relay.postfix.returned == ["4A1", "4B2"] and list(relay.postfix.queue) == ["4C3"]
    assert relay.postfix.archived_then == {"4A1": True, "4B2": True}
    assert (relay.settings.archive / MX.name / "4A1.eml").read_bytes() == BODY
    first, second = relay.archive.listed()
    assert (first["sender"], first["recipients"], first["reason"]) == (
        "s@out.example",
        ["a@alpha.example"],
        "no candidate",
    )
    assert second["sender"] == "" and first["returned"] == relay.clock.time
    assert [e["message"] for e in relay.log.said("archived_and_returned")] == ["4A1", "4B2"]
    assert relay.orders.waiting() == {}


def test_without_an_order_nothing_happens(relay: Relay) -> None:
    assert relay.run() == 0 and relay.postfix.returned == []


def test_how_old_is_not_for_the_order_to_say(relay: Relay) -> None:
    order = json.dumps({"reason": "x", "archive_after": 0, "boot_id": relay.boot, "boottime": relay.clock.time})
    (relay.settings.orders / "mx.beta.example.json").write_text(order)
    (relay.settings.orders / f"{MX.name}.json").write_text(order)
    assert relay.run() == 2 and "4C3" in relay.postfix.queue
    assert relay.log.said("order_refused")[0]["identity"] == "mx.beta.example"
    assert relay.orders.waiting() == {}


def late(relay: Relay) -> None:
    relay.clock.sleep(STANDS + 1)


def rebooted(relay: Relay) -> None:
    relay.boot = "boot-2"


@pytest.mark.parametrize("then", [late, rebooted])
def test_an_order_that_nobody_renews_returns_nothing(relay: Relay, then: Callable[[Relay], None]) -> None:
    """The host was off, or the returner failed: what it would return may be deliverable by now."""
    relay.orders.order(MX, "no candidate")
    then(relay)
    assert relay.run() == 0 and relay.postfix.expired == set() and relay.orders.waiting() == {}
    assert "earlier boot or outage" in str(relay.log.said("order_refused")[0]["why"])
    relay.orders.order(MX, "no candidate")
    assert relay.run() == 2


def test_a_long_pass_ends_with_the_outage(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(returner, "AT_ONCE", 1)
    relay.orders.order(MX, "no candidate")
    relay.postfix.before = lambda what: relay.clock.sleep(STANDS + 1) if what == "postcat" else None
    assert relay.run() == 1 and relay.postfix.returned == ["4A1"], "nobody has ordered it any more since"

    def renewed(what: str) -> None:
        relay.clock.sleep(STANDS + 1)
        relay.orders.order(MX, "no candidate")

    relay.postfix.queue["4A2"] = 300.0
    relay.postfix.before = renewed
    relay.orders.order(MX, "no candidate")
    assert relay.run() == 2


def test_an_order_that_is_being_written_is_left_alone(relay: Relay) -> None:
    half = relay.settings.orders / f".{MX.name}.json"
    half.write_text('{"rea')
    assert relay.run() == 0 and half.exists() and not relay.log.said("order_refused")


@pytest.mark.parametrize("text", ["", "[]", "7", '{"why": 1}', '{"reason": "x"}', "\xff"])
def test_what_is_no_order_is_removed(relay: Relay, text: str) -> None:
    (relay.settings.orders / f"{MX.name}.json").write_text(text)
    assert relay.run() == 0 and not list(relay.settings.orders.iterdir())


CALLS = ["postqueue-j", "postcat", "postcat", "postsuper-e", "postqueue-f"]


@pytest.mark.parametrize("call", range(1, len(CALLS) + 1))
@pytest.mark.parametrize("kind", [Crash, Unavailable])
def test_an_end_at_any_call_is_made_good_by_the_next_pass(relay: Relay, call: int, kind: type[BaseException]) -> None:
    count = itertools.count(1)

    def before(what: str) -> None:
        if next(count) == call:
            raise kind(f"at {what}")

    relay.postfix.before = before
    relay.orders.order(MX, "no candidate")
    if kind is Crash:
        with pytest.raises(Crash):
            relay.run()
    else:
        # A message that cannot be copied holds back no other.
        assert relay.run() == (1 if CALLS[call - 1] == "postcat" else 0) and relay.log.said("return_failed")
    relay.postfix.before = lambda what: None
    relay.orders.order(MX, "no candidate")
    relay.run()
    assert sorted(relay.postfix.returned) == ["4A1", "4B2"], "each once"
    assert all(relay.postfix.archived_then.values())
    assert [e["queue_id"] for e in relay.archive.listed()] == ["4A1", "4B2"]
    assert all("returned" in e for e in relay.archive.listed())
    assert {p.name for p in (relay.settings.archive / MX.name).iterdir() if not p.name.startswith(".")} == {
        "4A1.eml",
        "4A1.json",
        "4B2.eml",
        "4B2.json",
    }


def test_half_a_copy_is_made_anew(relay: Relay) -> None:
    folder = relay.settings.archive / MX.name
    folder.mkdir(parents=True)
    (folder / ".4A1.eml").write_bytes(b"Subj")
    relay.orders.order(MX, "no candidate")
    relay.run()
    assert (folder / "4A1.eml").read_bytes() == BODY


def test_a_full_disk_returns_nothing(relay: Relay) -> None:
    relay.settings.archive.write_text("in the way")
    relay.orders.order(MX, "no candidate")
    assert relay.run() == 0 and relay.postfix.expired == set()
    assert relay.log.said("return_failed")


def test_copies_are_exact_and_failures_are_told(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    program = f"import sys; sys.stdout.buffer.write({BODY!r})"
    copy_to([sys.executable, "-c", program], path)
    assert path.read_bytes() == BODY
    with pytest.raises(Unavailable, match="exists"):
        copy_to(["true"], path)
    with pytest.raises(Unavailable, match=r"status 3: .*gone"):
        copy_to(["sh", "-c", "echo gone >&2; exit 3"], tmp_path / "other")
    with pytest.raises(Unavailable, match="No such file"):
        copy_to([str(tmp_path / "nowhere")], tmp_path / "third")


def test_a_queue_that_cannot_be_read() -> None:
    def broken(argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        return shlex.join(argv)

    with pytest.raises(Unavailable, match="postqueue -j"):
        HeldMail("/etc/relay", beginning=broken).waiting()
    assert list(parse_queue("\n")) == []
    with pytest.raises(command.CommandError):
        HeldMail(config_dir="/nowhere", beginning=lambda *a, **k: command.run(["false"], timeout=5)).waiting()


def test_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "return.yml"
    data = {
        "archive": str(tmp_path / "a"),
        "relays": {"relay.dc2": {"config_dir": "/etc/relay", "running": "/run/relay"}},
        "identities": {MX.name: {"domains": ["alpha.example"], "archive_after": 60}},
    }
    file.write_text(yaml.safe_dump(data))
    assert config.main(["--check", str(file)], "/x", returner.prepare) == 0
    made = returner.load(str(file))
    assert made.archive_after == {MX.name: 60.0}
    assert made.relays == (returner.Relay("/etc/relay", Path("/run/relay"), {"alpha.example": MX.name}),)
    folder = tmp_path / "a" / MX.name
    folder.mkdir(parents=True)
    entry = {"identity": MX.name, "queue_id": "4A1", "sender": "s@x", "recipients": ["a@y"], "archived": 1.0}
    (folder / "4A1.json").write_text(json.dumps(entry))
    assert config.main(["--list", str(file)], "/x", returner.show) == 0
    assert capsys.readouterr().out == f"{MX.name}\t4A1\tarchived\t<s@x>\ta@y\n"
    data["identities"][MX.name]["archive_after"] = 5  # type: ignore[index]
    file.write_text(yaml.safe_dump(data))
    assert config.main(["--check", str(file)], "/x", returner.prepare) == 78
    assert "archive_after is 5: give a number, 60 or more" in capsys.readouterr().err


IM = "im.alpha.example"


def two_of_one_domain(*relays: dict[str, object]) -> dict[str, object]:
    """A domain has an Internet identity and an intranet one; each side has relays of its own."""
    one = {"domains": ["alpha.example"]}
    return {
        "relays": {f"relay{n}": {"config_dir": f"/etc/{n}", "running": f"/run/{n}", **r} for n, r in enumerate(relays)},
        "identities": {MX.name: {**one, "archive_after": 60}, IM: {**one, "archive_after": 86400}},
    }


def test_of_two_identities_of_one_domain_each_relay_returns_for_its_own(relay: Relay, tmp_path: Path) -> None:
    file = tmp_path / "return.yml"
    file.write_text(yaml.safe_dump(two_of_one_domain({"identities": [MX.name]}, {"identities": [IM]})))
    relay.settings = returner.load(str(file))
    assert [r.domains for r in relay.settings.relays] == [{"alpha.example": MX.name}, {"alpha.example": IM}]
    relay.settings = dataclasses.replace(relay.settings, orders=relay.folder / "orders")
    # Nobody can take the intranet identity over; what waits in the first relay is for the other one.
    relay.orders.order(dataclasses.replace(MX, name=IM), "no candidate")
    assert relay.run() == 0
    relay.orders.order(MX, "no candidate")
    assert relay.run() == 2


def test_a_relay_that_holds_for_another_one_returns_nothing(tmp_path: Path) -> None:
    file = tmp_path / "return.yml"
    file.write_text(yaml.safe_dump(two_of_one_domain({"identities": []})))
    assert [r.domains for r in returner.load(str(file)).relays] == [{}]


@pytest.mark.parametrize(
    ("one", "said"),
    [
        ({}, "both have alpha.example: name the one whose mail this relay holds"),
        ({"identities": ["mx.beta.example"]}, f"is 'mx.beta.example': name some of identities: {IM}, {MX.name}"),
    ],
)
def test_a_relay_that_could_mean_either_is_refused(tmp_path: Path, one: dict[str, object], said: str) -> None:
    file = tmp_path / "return.yml"
    file.write_text(yaml.safe_dump(two_of_one_domain(one)))
    with pytest.raises(config.ConfigError, match=said):
        returner.load(str(file))


def test_an_order_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        OrderFiles(tmp_path / "none", Clock()).order(MX, "x")
    assert not list(tmp_path.iterdir())


def test_one_that_cannot_be_copied_keeps_no_other_back(relay: Relay) -> None:
    """And stays in the queue; whoever looks at the log reads which one it is."""

    def copy(argv: Sequence[str], path: Path) -> None:
        if argv[-1] == "4A1":
            raise Unavailable("postcat: no end after 30 s")
        Postfix.copy(relay.postfix, argv, path)

    relay.postfix.copy = copy  # type: ignore[method-assign]
    relay.orders.order(MX, "no candidate")
    assert relay.run() == 1
    assert relay.postfix.returned == ["4B2"] and set(relay.postfix.queue) == {"4A1", "4C3"}
    assert [e["message"] for e in relay.log.said("return_failed")] == ["4A1"] and relay.orders.waiting() == {}


def test_of_a_long_queue_the_beginning_is_a_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program is still listing when its time is over: what it has said so far is returned, half a line is not."""
    monkeypatch.setattr(held_mail, "LIST_WITHIN", 1.0)
    entry = json.dumps(Postfix().entry("4A1"))
    (tmp_path / "postqueue").write_text(f"#!/bin/sh\necho '{entry}'\nprintf '%s' '{entry[:20]}'\nsleep 60\n")
    (tmp_path / "postqueue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert [m.queue_id for m in HeldMail("/etc/relay").waiting()] == ["4A1"]

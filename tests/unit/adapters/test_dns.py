"""DNS updates against a real Knot; skipped where no `knotd` is on PATH (the lab's guests have one)."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import dns.name
import dns.query
import pytest
from cluster import free_port
from holdfast.adapters.dns import DnsUpdate, EveryServer, Type, records
from holdfast.core.model import Identity
from holdfast.core.ports import Unavailable

KNOTD = shutil.which("knotd")
SECRET = "aG9sZGZhc3QtdGVzdC1zZWNyZXQtMDEyMzQ1Njc="
DOMAINS = ("alpha.example", "beta.example", "elsewhere.example")
IDENTITY = Identity(
    "mx.alpha.example", "203.0.113.10", "internet", DOMAINS, "mail1", ("mail1", "mail2"), "store1", ("relay2", "relay9")
)
NAMES = {"relay2": "relay2.alpha.example"}
CONF = """
server:
  listen: 127.0.0.1@{port}
  rundir: {folder}
key:
  - id: holdfast
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: may
    key: holdfast
    action: update
database:
  storage: {folder}/db
template:
  - id: default
    storage: {folder}
    file: "%s.zone"
    acl: may
zone:
  - domain: alpha.example
  - domain: beta.example
"""


def test_behind_redirectors_it_is_reached_at_those_of_its_owners_site() -> None:
    found = records(IDENTITY, "mail2", 4, NAMES, at=("10.2.1.7", "10.2.1.8"))
    name = dns.name.from_text(IDENTITY.name)
    assert {r.to_text() for r in found[name, Type.A]} == {"10.2.1.7", "10.2.1.8"}
    assert {k: v for k, v in found.items() if k != (name, Type.A)} == {
        k: v for k, v in records(IDENTITY, "mail2", 4, NAMES).items() if k != (name, Type.A)
    }


def test_records() -> None:
    found = {
        (name.to_text(True), kind.name): sorted(r.to_text() for r in values)
        for (name, kind), values in records(IDENTITY, "mail2", 4, NAMES).items()
    }
    exchanges = ["10 mx.alpha.example.", "20 relay2.alpha.example."]
    assert found == {
        ("mx.alpha.example", "A"): ["203.0.113.10"],
        ("_holdfast.mx.alpha.example", "TXT"): ['"owner=mail2 epoch=4"'],
        **{(domain, "MX"): exchanges for domain in DOMAINS},
    }


def test_relays_are_asked_in_their_order() -> None:
    two = dataclasses.replace(IDENTITY, relays=("relay2", "relay1"))
    named = {"relay1": "relay1.alpha.example", "relay2": "relay2.alpha.example."}
    found = records(two, "mail2", 4, named)
    said = {r.to_text() for (_, kind), values in found.items() if kind.name == "MX" for r in values}
    assert said == {"10 mx.alpha.example.", "20 relay2.alpha.example.", "30 relay1.alpha.example."}


def test_records_while_the_relays_carry_the_mail() -> None:
    def exchanges(names: dict[str, str]) -> list[str]:
        found = records(IDENTITY, "mail2", 4, names, primary=False)
        return sorted(r.to_text() for (_, kind), values in found.items() if kind.name == "MX" for r in values)

    assert exchanges(NAMES) == ["20 relay2.alpha.example."] * len(DOMAINS)
    assert exchanges({}) == ["10 mx.alpha.example."] * len(DOMAINS), "mail must go somewhere"
    assert len(records(IDENTITY, "mail2", 4, NAMES, primary=False)) == len(records(IDENTITY, "mail2", 4, NAMES))


@pytest.mark.parametrize(("secret", "algorithm"), [("no base64!", "hmac-sha256"), (SECRET, "rot13")])
def test_a_key_that_is_none(secret: str, algorithm: str) -> None:
    with pytest.raises(ValueError, match="dns"):
        DnsUpdate("127.0.0.1", ["alpha.example"], "holdfast", secret, {}, algorithm)


@pytest.fixture(scope="module")
def knot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a primary for alpha.example and beta.example."""
    if KNOTD is None:
        pytest.skip("no knotd on PATH")
    folder, port = tmp_path_factory.mktemp("knot"), free_port()
    (folder / "db").mkdir()
    (folder / "knot.conf").write_text(CONF.format(port=port, folder=folder, secret=SECRET))
    for zone in ("alpha", "beta"):
        text = f"$ORIGIN {zone}.example.\n$TTL 60\n@ SOA ns h 1 60 60 600 60\n@ NS ns\n@ MX 5 old\nns A 10.3.3.41\n"
        (folder / f"{zone}.example.zone").write_text(text)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([KNOTD, "-c", str(folder / "knot.conf")], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        server.wait()


def updater(port: int, zones: tuple[str, ...] = ("alpha.example", "beta.example"), **changes: str) -> DnsUpdate:
    values = {"key_name": "holdfast", "secret": SECRET, **changes}
    return DnsUpdate("127.0.0.1", zones, relay_names=NAMES, port=port, timeout=5, **values)


def ask(port: int, name: str, kind: str) -> list[str]:
    answer = dns.query.tcp(dns.message.make_query(name, kind), "127.0.0.1", 5, port)
    return sorted(r.to_text() for rrset in answer.answer for r in rrset)


def test_published_and_published_again(knot: int) -> None:
    for owner, epoch in (("mail1", 1), ("mail2", 2), ("mail2", 2)):
        said = updater(knot).publish(IDENTITY, owner, epoch)
    assert "beta.example MX" in said
    assert "elsewhere" not in said
    assert ask(knot, "mx.alpha.example", "A") == ["203.0.113.10"]
    assert ask(knot, "_holdfast.mx.alpha.example", "TXT") == ['"owner=mail2 epoch=2"']
    for domain in ("alpha.example", "beta.example"):
        assert ask(knot, domain, "MX") == ["10 mx.alpha.example.", "20 relay2.alpha.example."]


def test_an_older_epoch_is_refused(knot: int) -> None:
    updater(knot).publish(IDENTITY, "mail2", 7)
    with pytest.raises(Unavailable, match="epoch 7"):
        updater(knot).publish(IDENTITY, "mail1", 6)
    assert ask(knot, "_holdfast.mx.alpha.example", "TXT") == ['"owner=mail2 epoch=7"']


@pytest.mark.parametrize("changes", [{"secret": "AAAA"}, {"key_name": "other"}])
def test_a_wrong_key_changes_nothing(knot: int, changes: dict[str, str]) -> None:
    before = ask(knot, "_holdfast.mx.alpha.example", "TXT")
    with pytest.raises(Unavailable, match=f"port {knot}"):
        updater(knot, **changes).publish(IDENTITY, "mail1", 99)
    assert ask(knot, "_holdfast.mx.alpha.example", "TXT") == before


def test_a_zone_that_the_server_does_not_have(knot: int) -> None:
    with pytest.raises(Unavailable):
        updater(knot, ("elsewhere.example",)).publish(IDENTITY, "mail1", 1)


def test_no_zone_of_ours() -> None:
    assert "no zone" in updater(free_port(), ("other.example",)).publish(IDENTITY, "mail1", 1)


def test_no_server() -> None:
    with pytest.raises(Unavailable, match="refused"):
        updater(free_port()).publish(IDENTITY, "mail1", 1)


def test_all_name_servers_are_told_though_one_is_silent(knot: int) -> None:
    nobody = updater(free_port())
    with pytest.raises(Unavailable, match="DNS server"):
        EveryServer([nobody, updater(knot)]).publish(IDENTITY, "mail2", 8)
    assert ask(knot, "_holdfast.mx.alpha.example", "TXT") == ['"owner=mail2 epoch=8"']

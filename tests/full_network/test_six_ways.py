"""Mail along all six ways: exactly one copy each, read by IMAP and by POP3, and how long each way takes."""

from __future__ import annotations

import time

import pytest

from tests.full_network.flow import flowing
from tests.full_network.letters import ways_table
from tests.full_network.network import (
    CORPORATE,
    OTHER_PLACE,
    OUTSIDE,
    Network,
    Way,
    isolated_relay,
)
from tests.full_network.stage import ON_CLIENT, NetworkStage
from tests.story.machines import ROOT, wait_for
from tests.story.outage import CA_ON_CLIENT

COUNT = 10  # letters on each way
# To NFS root is nobody; find(1) wants to come back to where it began.
AS_CARRIER = "cd / && runuser -u holdfast-transfer -- sh -c"
KEPT = ROOT / "build" / "network-ways.md"


@pytest.fixture
def all_ways(ways: list[Way], network: Network) -> list[Way]:
    return [*ways, isolated_relay(network)]


@pytest.mark.fig3
def test_letters_arrive_once_on_every_way(stage: NetworkStage, all_ways: list[Way]) -> None:
    """And are seen by who is logged in: latency is from the sender's outbox to that moment."""
    stage.boxes(all_ways, "ids", expunge=True)  # those of the seventh way, too
    over = f"/run/arrivals-{time.time():.0f}"
    seeing = {}
    users = {way.recipient: way.reader for way in all_ways if way.recipient in stage.network.users}
    try:
        for user, place in users.items():
            server = stage.network.server_of(user).name
            words = (CA_ON_CLIENT, server, user, stage.network.users[user], over)
            seeing[user] = stage.begin_on(place, ON_CLIENT / "arrivals.py", *words)
        # A stock sender, several user agents and a server that walks through exchangers.
        with flowing(stage, all_ways, period=3.0, count=COUNT) as flow:
            pass
        report = flow.report()
    finally:
        # Or they would stay logged in for good, and be counted by other tests.
        for place in set(users.values()):
            stage.lab.shell(place, f"touch {over}")
    seen: dict[str, float] = {}
    for user, process in seeing.items():
        seen |= stage.end_of(process, f"who is logged in as {user}", 90)
    sent = flow.sent()
    for way in all_ways:
        if way.recipient in users:
            report.delays[way.name] = [seen[s.id] - s.begun for s in sent if s.way == way.name and s.id in seen]
    table = ways_table(report)
    print(f"\n{table}")
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(table)
    assert report.mistakes == []
    assert report.verdict.twice == {}, "nothing failed, so there is no excuse for a second copy"
    assert {way: len(delays) for way, delays in report.delays.items()} == {way.name: COUNT for way in all_ways}


def test_pop3_shows_what_imap_shows(stage: NetworkStage, ways: list[Way]) -> None:
    with flowing(stage, ways, period=2.0, count=3) as flow:
        pass
    assert flow.report().mistakes == []
    found = {protocol: stage.boxes(ways, protocol) for protocol in ("imap", "pop3")}
    for user in found["imap"]:
        seen = {p: sorted((m["id"] or "", m["hash"]) for m in boxes[user]) for p, boxes in found.items()}
        assert seen["imap"] == seen["pop3"], user
    assert sum(len(box) for box in found["pop3"].values()) >= 3 * len(ways)


@pytest.mark.fig3
def test_names_lead_to_redirectors_and_exchangers_to_relays_behind_them(stage: NetworkStage, ways: list[Way]) -> None:
    """Of each view: what a sender is told, and never a host's own address."""
    for mailer in stage.network.mailers:
        asking = OUTSIDE if mailer.kind == "internet" else CORPORATE
        site = stage.network.sites[stage.owner(mailer.name).host]
        assert stage.reached(asking, mailer.name) == stage.network.fronts(mailer, site)
        for domain in mailer.domains:
            said = [line.split() for line in stage.lab.run(asking, "dig", "+short", "MX", domain).splitlines()]
            names = [name.rstrip(".") for _, name in sorted(said, key=lambda record: int(record[0]))]
            assert names[0] == mailer.name and len(names) > 1, names
            assert set(names[1:]) <= set(stage.network.relays), names
    assert stage.reached(OTHER_PLACE, stage.network.mailers[-1].name), "both places ask the same name server"


@pytest.mark.fig3
def test_mail_that_crosses_is_logged_and_marked(stage: NetworkStage, ways: list[Way]) -> None:
    """R3.2, R3.3 by what operators look at: an entry a letter in the log on the store, nothing left in `out`."""
    crossing = [way for way in ways if way.how == "sendmail" or way.recipient not in stage.network.users]
    with flowing(stage, crossing, period=1.0, count=3) as flow:
        pass
    assert flow.report().mistakes == []
    hosts = stage.network.groups["transfer"]
    ids = [s.id for s in flow.sent()]

    def logged() -> bool:
        read = f"{AS_CARRIER} 'cat /srv/holdfast-transfer/log/*.jsonl' 2>/dev/null; true"  # a site may have none yet
        said = "".join(stage.lab.shell(host, read) for host in hosts)
        return all(ident in said for ident in ids)

    def empty(host: str) -> bool:
        return not stage.lab.shell(host, f"{AS_CARRIER} 'find /srv/holdfast-spools/*/out -type f'")

    wait_for("an entry for each letter", logged, 60, every=3)
    for host in hosts:
        wait_for(f"nothing left in out by {host}'s eyes", lambda host=host: empty(host), 30, every=2)  # type: ignore[misc]

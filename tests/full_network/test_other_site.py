"""What a site cannot do any more the other one does: both mail servers of a kind, and all with the full load."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Self

from tests.full_network.flow import PERIOD, flowing
from tests.full_network.letters import ways_table
from tests.full_network.network import CORPORATE, INTERNET, INTRANET, OTHER_SITE, OUTSIDE, Mailer, Way
from tests.full_network.stage import NetworkStage
from tests.story.machines import StoryError

LOAD_COUNT = 40  # letters on each way
# Seconds between two of them: two letters a second in all. Two cores carry all guests here, and most letters begin with
# a login over TLS; with more of them senders would wait for the machine and not for a site.
LOAD_PERIOD = float(os.environ.get("HOLDFAST_LOAD_PERIOD") or 3)


def servers_here(stage: NetworkStage, kind: str) -> tuple[Mailer, list[str]]:
    """The first domain's identity of that kind, and the candidates of its own site."""
    mailer = stage.network.mailer(kind, stage.network.domains()[0])
    return mailer, [host for host in mailer.candidates if stage.network.sites[host] == mailer.site]


def at(stage: NetworkStage, kind: str) -> tuple[str, str]:
    """Who asks, and at which address of that site's redirectors."""
    site = stage.network.mailer(kind, stage.network.domains()[0]).site
    return OUTSIDE if kind == INTERNET else CORPORATE, stage.network.pair(kind, site).addresses[0]


@contextlib.contextmanager
def without(stage: NetworkStage, *hosts: str) -> Iterator[float]:
    """They have no power; the time of the last cut. At the end they are started again."""
    try:
        for host in hosts:
            stage.lab.word("kill", host)
        yield time.time()
    finally:
        for host in hosts:
            stage.start(host)


class Greeters:
    """Who greets at an address, asked again and again: [(Unix seconds, name or "")]."""

    def __init__(self, stage: NetworkStage, asking: str, address: str) -> None:
        self.seen: list[tuple[float, str]] = []
        self._stage, self._asking, self._address = stage, asking, address
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(StoryError):
                self.seen.append((time.time(), self._stage.banner(self._asking, self._address, 10)))
            self._over.wait(2)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def changes(self) -> list[tuple[float, str]]:
        """The first of each row of equal ones."""
        return [one for n, one in enumerate(self.seen) if n == 0 or one[1] != self.seen[n - 1][1]]


def test_without_a_sites_mail_servers_the_other_site_serves_and_carries_the_load_of_both(
    stage: NetworkStage, ways: list[Way]
) -> None:
    """R2.3. Redirectors first, within their checks; then the identities themselves, their names leading to the other
    site's pairs; then the same flow as with both sites."""
    with flowing(stage, ways, period=LOAD_PERIOD, count=LOAD_COUNT) as both:
        pass
    with_both = both.report()
    assert with_both.mistakes == []
    cut = {kind: servers_here(stage, kind) for kind in (INTERNET, INTRANET)}
    assert all(len(hosts) >= 2 for _, hosts in cut.values())
    owners = {mailer.name: stage.owner(mailer.name) for mailer, _ in cut.values()}
    with contextlib.ExitStack() as away:
        with flowing(stage, ways) as flow, contextlib.ExitStack() as looking:
            flow.wait_flowing(flow.begun)
            greeters = {kind: looking.enter_context(Greeters(stage, *at(stage, kind))) for kind in cut}
            fault = away.enter_context(without(stage, *(host for _, hosts in cut.values() for host in hosts)))
            for mailer, _ in cut.values():
                stage.wait_taken(mailer.name, owners[mailer.name])
            # And those of the other hosts, which were to stand by for these.
            stage.wait_all_running()
            for kind, (mailer, _) in cut.items():
                site = stage.network.sites[stage.owner(mailer.name).host]
                assert site != mailer.site
                assert stage.reached(at(stage, kind)[0], mailer.name) == set(stage.network.pair(kind, site).addresses)
            flow.wait_flowing(fault)
        flow.arrive()
        with flowing(stage, ways, period=LOAD_PERIOD, count=LOAD_COUNT) as one:
            pass
        one.arrive()
    # Of all who carried it; those that were off tell nothing before they are on.
    with_one, meanwhile = one.report(), flow.report(begin=fault - PERIOD)
    for kind, some in greeters.items():
        for moment, name in some.changes():
            print(f"{moment - fault:+7.1f} s  {name or 'nobody'} greets at {at(stage, kind)[1]}")
    print(f"longest time without a letter taken: {meanwhile.longest_gap}, longest delay: {meanwhile.longest_delay}")
    print(f"\nboth sites:\n{ways_table(with_both)}\none site:\n{ways_table(with_one)}")
    for kind, (mailer, _) in cut.items():
        others = {m.name for m in stage.network.mailers if m.kind == kind and m.site != mailer.site}
        assert {name for _, name in greeters[kind].seen} & others, "redirectors went to the other site meanwhile"
    assert meanwhile.mistakes == []
    assert with_one.mistakes == []
    for kind, (mailer, _) in cut.items():
        stage.home(mailer)
        pair = stage.network.pair(kind, mailer.site)
        assert stage.reached(at(stage, kind)[0], mailer.name) == set(pair.addresses)


def test_a_server_hands_what_another_one_cannot_take_to_a_relay_of_its_side(
    stage: NetworkStage, ways: list[Way]
) -> None:
    """R1.2 between users: their server does it, at once and before anybody has taken over, and the letter says so."""
    way = ways[OTHER_SITE]
    mailer = stage.network.server_of(way.recipient)
    assert mailer.site != stage.network.server_of(way.sender).site
    before = stage.owner(mailer.name)
    with flowing(stage, [way]) as flow:
        flow.wait_flowing(flow.begun)
        with without(stage, before.host) as fault:
            flow.wait_accepted(fault, [way.name])
            stage.wait_taken(mailer.name, before)
            stage.wait_all_running()
            flow.wait_flowing(time.time())
    assert flow.report(begin=fault - PERIOD).mistakes == []
    relays = {name for name, relay in stage.network.relays.items() if relay["networks"][0] == "isolated"}
    later = {s.id for s in flow.sent() if s.begun >= fault}
    passed = {m["id"]: m["by"] for m in stage.boxes([way])[way.recipient] if m["id"] in later}
    held = {ident: by for ident, by in passed.items() if relays & set(by)}
    print(f"{len(held)} of {len(passed)} letters that were begun without {before.host} have passed a relay")
    assert held, f"none of {len(passed)} has passed one of {', '.join(sorted(relays))}: {list(passed.values())[:3]}"
    stage.home(mailer)

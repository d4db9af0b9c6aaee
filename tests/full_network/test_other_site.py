"""What a site cannot do any more the other one does: both mail servers of a kind, and all with the full load."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Self

import pytest

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


@pytest.mark.parametrize("kind", [INTERNET, INTRANET])
def test_without_both_servers_of_a_kind_the_other_site_serves(stage: NetworkStage, ways: list[Way], kind: str) -> None:
    """Redirectors first, within their checks; then the identity itself, its name leading to the other site's pair."""
    mailer, here = servers_here(stage, kind)
    assert len(here) >= 2
    pair = stage.network.pair(kind, mailer.site)
    asking = OUTSIDE if kind == INTERNET else CORPORATE
    before = stage.owner(mailer.name)
    others = {m.name for m in stage.network.mailers if m.kind == kind and m.site != mailer.site}
    with flowing(stage, ways) as flow:
        flow.wait_flowing(flow.begun)
        with Greeters(stage, asking, pair.addresses[0]) as greeters, without(stage, *here) as fault:
            run = stage.wait_taken(mailer.name, before)
            # And those of the other host, which was to stand by for it.
            stage.wait_all_running()
            assert run.to_host is not None and stage.network.sites[run.to_host] != mailer.site
            elsewhere = stage.network.pair(kind, stage.network.sites[run.to_host])
            assert stage.reached(asking, mailer.name) == set(elsewhere.addresses)
            flow.wait_flowing(fault)
        stage.retry_of_senders()
        flow.wait_flowing(time.time())
    for at, name in greeters.changes():
        print(f"{at - fault:+7.1f} s  {name or 'nobody'} greets at {pair.addresses[0]}")
    report = flow.report(begin=fault - PERIOD)
    print(f"longest time without a letter taken: {report.longest_gap}, longest delay: {report.longest_delay}")
    assert {name for _, name in greeters.seen} & others, "redirectors went to the other site meanwhile"
    assert report.mistakes == []
    stage.home(mailer)
    assert stage.reached(asking, mailer.name) == set(pair.addresses)


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


def test_one_site_carries_the_load_of_both(stage: NetworkStage, ways: list[Way]) -> None:
    """R2.3: the same flow with all mail servers of both sites, and with those of one."""
    with flowing(stage, ways, period=LOAD_PERIOD, count=LOAD_COUNT) as both:
        pass
    with_both = both.report()
    assert with_both.mistakes == []
    cut = [servers_here(stage, kind) for kind in (INTERNET, INTRANET)]
    owners = {mailer.name: stage.owner(mailer.name) for mailer, _ in cut}
    with without(stage, *(host for _, hosts in cut for host in hosts)):
        for mailer, _ in cut:
            stage.wait_taken(mailer.name, owners[mailer.name])
        stage.wait_all_running()
        assert all(stage.network.sites[stage.owner(m.name).host] != m.site for m, _ in cut)
        with flowing(stage, ways, period=LOAD_PERIOD, count=LOAD_COUNT) as one:
            pass
        one.arrive()
    # Of all who carried it; those that were off tell nothing before they are on.
    with_one = one.report()
    print(f"\nboth sites:\n{ways_table(with_both)}\none site:\n{ways_table(with_one)}")
    assert with_one.mistakes == []
    for mailer, _ in cut:
        stage.home(mailer)

"""What a site cannot do any more the other one does: both mail servers of a kind, and all with the full load."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tests.full_network.flow import PERIOD, flowing
from tests.full_network.letters import ways_table
from tests.full_network.network import CORPORATE, INTERNET, INTRANET, OTHER_SITE, OUTSIDE, Mailer, Redirectors, Way
from tests.full_network.stage import NetworkStage, Phases
from tests.story.machines import StoryError

LOAD_COUNT = 40  # letters on each way
# Seconds between two of them: two letters a second in all. Two cores carry all guests here, and most letters begin with
# a login over TLS; with more of them senders would wait for the machine and not for a site.
LOAD_PERIOD = float(os.environ.get("HOLDFAST_LOAD_PERIOD") or 3)


@dataclass(frozen=True)
class Servers:
    """The first domain's identity of a kind, and the candidates of its own site. `asking`: who comes, to `pair`."""

    mailer: Mailer
    hosts: list[str]
    asking: str
    pair: Redirectors

    @classmethod
    def of(cls, stage: NetworkStage, kind: str) -> Self:
        network = stage.network
        mailer = network.mailer(kind, network.domains()[0])
        hosts = [host for host in mailer.candidates if network.sites[host] == mailer.site]
        asking = OUTSIDE if kind == INTERNET else CORPORATE
        return cls(mailer, hosts, asking, network.pair(kind, mailer.site))


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
    phases = Phases()
    with flowing(stage, ways, period=LOAD_PERIOD, count=LOAD_COUNT) as both:
        pass
    with_both = both.report()
    phases.ended("the load with both sites")
    assert with_both.mistakes == []
    cut = [Servers.of(stage, kind) for kind in (INTERNET, INTRANET)]
    assert all(len(some.hosts) >= 2 for some in cut)
    owners = {some.mailer.name: stage.owner(some.mailer.name) for some in cut}
    with contextlib.ExitStack() as away:
        with flowing(stage, ways) as flow, contextlib.ExitStack() as looking:
            flow.wait_flowing(flow.begun)
            greeters = [looking.enter_context(Greeters(stage, s.asking, s.pair.addresses[0])) for s in cut]
            fault = away.enter_context(without(stage, *(host for some in cut for host in some.hosts)))
            runs = {name: stage.wait_taken(name, before) for name, before in owners.items()}
            # And those of the other hosts, which were to stand by for these.
            stage.wait_all_running()
            for some in cut:
                to = runs[some.mailer.name].to_host
                assert to is not None and stage.network.sites[to] != some.mailer.site
                elsewhere = stage.network.pair(some.mailer.kind, stage.network.sites[to])
                assert stage.reached(some.asking, some.mailer.name) == set(elsewhere.addresses)
            phases.ended("the other site has taken over")
            flow.wait_flowing(fault)
        flow.arrive()
        phases.ended("all letters meanwhile have arrived")
        with flowing(stage, ways, period=LOAD_PERIOD, count=LOAD_COUNT) as one:
            pass
        one.arrive()
        phases.ended("the load with one site")
        with flowing(stage, ways) as back:
            away.close()
            stage.retry_of_senders()
            back.wait_flowing(time.time())
        phases.ended("servers are back, letters flow")
    # Of all who carried it; those that were off tell nothing before they are on.
    boxes = back.whole()
    phases.ended("mailboxes are read")
    meanwhile = flow.report(fault - PERIOD, boxes)
    with_one, behind = one.report(boxes=boxes), back.report(boxes=boxes)
    phases.ended("judged")
    for some, seen in zip(cut, greeters, strict=True):
        for moment, name in seen.changes():
            print(f"{moment - fault:+7.1f} s  {name or 'nobody'} greets at {some.pair.addresses[0]}")
    print(f"longest time without a letter taken: {meanwhile.longest_gap}, longest delay: {meanwhile.longest_delay}")
    print(f"\nboth sites:\n{ways_table(with_both)}\none site:\n{ways_table(with_one)}")
    for some, seen in zip(cut, greeters, strict=True):
        mailer = some.mailer
        others = {m.name for m in stage.network.mailers if m.kind == mailer.kind and m.site != mailer.site}
        assert {name for _, name in seen.seen} & others, "redirectors went to the other site meanwhile"
    for report in (meanwhile, with_one, behind):
        assert report.mistakes == []
    for some in cut:
        stage.home(some.mailer)
        assert stage.reached(some.asking, some.mailer.name) == set(some.pair.addresses)


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

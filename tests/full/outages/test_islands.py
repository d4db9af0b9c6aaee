"""An owner that is cut off from everything and keeps its power: without its store it gives up by itself."""

from __future__ import annotations

import contextlib
import time

from holdfast.core.model import RunState
from holdfast.core.ownership import FORSAKEN

from tests.story import journal
from tests.story.faults import (
    BY_STORE,
    Routes,
    all_once,
    bgp_is_up,
    connections_taken,
    legs,
    monitor_with,
    unplugged,
)
from tests.story.machines import wait_for
from tests.story.stage import Stage

LEASE = 15.0  # seconds, lease_ttl of the inventory
MAIL = ("internet", "isolated")
STOPS_WITHIN = 45.0  # seconds, from giving up to having stopped; its files are away, which programs wait for


def test_an_island_that_has_its_mail_routes_back_answers_nobody(stage: Stage) -> None:
    """Even while those of the new owner are cut, and the gateways would hear of no other way."""
    before, since = stage.owner(), time.time()
    host = before.host
    old = legs(stage.lab, host)
    stage.lab.word("switch", "deny", host)
    try:
        with monitor_with(stage.lab, fence_plan=BY_STORE), contextlib.ExitStack() as cut:
            mail = cut.enter_context(contextlib.ExitStack())
            cut.enter_context(unplugged(stage.lab, host, "storage", "mgmt"))
            mail.enter_context(unplugged(stage.lab, host, *MAIL))
            alone = time.monotonic()
            written = stage.send_to_relay(3, "island")
            run = stage.wait_run(since, RunState.DONE, 300, hurry=True)
            assert run.proof is not None and (run.proof.level, run.proof.host) == ("store_revocation", host)
            print(all_once(stage, written))
            least = FORSAKEN * LEASE + STOPS_WITHIN
            wait_for("it has been alone for long", lambda: time.monotonic() - alone > least, least + 10)
            routes = Routes(stage.lab)
            new = legs(stage.lab, run.to_host or "")
            with unplugged(stage.lab, run.to_host or "", *MAIL):
                for use in MAIL:
                    wait_for("no way to the new owner", lambda use=use: not bgp_is_up(stage.lab, new[use]), 60)  # type: ignore[misc]
                mail.close()
                for use in MAIL:
                    wait_for("the island's routes", lambda use=use: bgp_is_up(stage.lab, old[use]), 120)  # type: ignore[misc]
                held = stage.send_to_relay(3, "island-held")
                stage.wait_rounds(2)
                assert not set(old.values()) & routes.gateways(), f"the gateway has sent people to {host}"
            print(all_once(stage, held))
            routes.end()
            back = time.time()
        wait_for(f"{host} is heard again", lambda: not stage.runs_here(host), 60, 2)
        said = journal.read(stage.lab, host, since, "-u", "holdfast-agent")
        assert any("forsaken" in line.text and line.time < back for line in said), [line.text for line in said][-20:]
        assert connections_taken(stage.lab, host, since + FORSAKEN * LEASE + STOPS_WITHIN) == []
        assert stage.owner().host == run.to_host
    finally:
        # Fenced by its store, it is shut out until it has been started anew.
        stage.lab.word("switch", "allow", host)
        stage.lab.word("kill", host)
        stage.lab.word("start", host)

"""Other endings that an inventory may ask for (R1.9)."""

from __future__ import annotations

import time

from holdfast.core.model import RunState

from tests.story.faults import all_once, monitor_with, sending
from tests.story.machines import wait_for
from tests.story.outage import IDENTITY, RELAY, RELAYS
from tests.story.stage import Stage

HOME = "mail1"


def exchangers(stage: Stage) -> list[str]:
    """Whom the domain's MX records name, best first."""
    ask = "import dns.resolver as r; print(*sorted(m.to_text() for m in r.resolve('alpha.example', 'MX')), sep='\\n')"
    said = stage.lab.run(RELAY, "python3", "-c", ask)
    return [line.split()[1].rstrip(".") for line in sorted(said.splitlines(), key=lambda line: int(line.split()[0]))]


def test_promote_relay_keeps_the_relay_between_until_the_identity_is_home(stage: Stage) -> None:
    if stage.owner().host != HOME:
        stage.playbook("failback.yml", "-e", f"identity={IDENTITY}")
    before, since = stage.wait_running(), time.time()
    named = exchangers(stage)
    assert named == [IDENTITY, *RELAYS.values()]
    with monitor_with(stage.lab, promote="relay"):
        with sending(stage, 20, 1.0, "promote") as written:
            stage.lab.word("kill", before.host)
            stage.wait_run(since, RunState.DONE, 240, hurry=True)
        assert stage.owner().host != HOME
        assert exchangers(stage) == named[1:]
        print(all_once(stage, written))
        with sending(stage, 10, 1.0, "between") as more:
            pass
        print(all_once(stage, more))
        stage.lab.word("start", before.host)
        wait_for(f"{HOME} being ready", lambda: stage.ready(HOME), 120, 2)
        stage.playbook("failback.yml", "-e", f"identity={IDENTITY}")
        assert stage.owner().host == HOME and exchangers(stage) == named

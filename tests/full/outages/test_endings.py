"""Other endings that an inventory may ask for (R1.9, R1.10)."""

from __future__ import annotations

import contextlib
import time

from holdfast.core.model import RunState

from tests.story.faults import all_once, configured, monitor_with, sending
from tests.story.machines import wait_for
from tests.story.outage import CLIENT, IDENTITY, RELAY, RELAYS
from tests.story.stage import Stage

HOME = "mail1"
RETURN = "/etc/holdfast/return.yml"
AFTER = 60  # seconds that mail is held before it goes back: the least that may be set


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


def archived(stage: Stage, relay: str) -> str:
    """What that host's archive holds: a line a message, with its subject."""
    show = "PYTHONPATH=/usr/lib/holdfast python3 -m holdfast.daemons.returner --list"
    return stage.lab.shell(relay, f"{show}; grep -rhs '^Subject: ' /var/lib/holdfast/archive; true")


def test_when_nobody_can_take_over_old_mail_is_archived_and_returned_and_new_mail_is_kept(stage: Stage) -> None:
    """Each relay holds some of it, and only one of them runs the takeover."""
    before, standby, run = stage.owner(), stage.standby(), f"old{int(time.time())}"
    returns = {IDENTITY: {"domains": ["alpha.example"], "archive_after": AFTER}}
    with contextlib.ExitStack() as undone:
        for relay in RELAYS:
            undone.enter_context(configured(stage.lab, relay, RETURN, identities=returns))
        undone.enter_context(monitor_with(stage.lab, no_candidate={"archive_after": AFTER}))
        undo = ("-e", f"host={standby}", "-e", "undo=true")
        undone.callback(stage.playbook, "evacuate_host.yml", *undo)
        stage.playbook("evacuate_host.yml", "-e", f"host={standby}", "-e", "reason=trial")
        _, since = stage.kill_owner()
        for relay, name in RELAYS.items():
            words = ("--from", "reader@outside.example", "--to", "alice@alpha.example", "--silent", "2")
            stage.lab.run(CLIENT, "swaks", "--server", name, *words, "--header", f"Subject: {run}-{relay}")
        held = stage.wait_run(since, RunState.HELD, 300, hurry=True)
        step = held.step("candidate")
        assert step is not None and step.result == "none" and f"{standby}: drained" in step.detail, held
        assert stage.owner() == before and held.proof is None, "nobody is fenced for whom nobody stands in"

        def returned() -> bool:
            stage.hurried()

            def look(relay: str) -> str:
                return (
                    f"grep -ls '^Auto-Submitted: auto-replied' $(grep -ls '{run}-{relay}' /home/reader/Maildir/new/*)"
                )

            return all(stage.lab.shell(CLIENT, look(relay), check=False).strip() for relay in RELAYS)

        wait_for("the return", returned, AFTER + 240, every=5)
        for relay in RELAYS:
            listed = archived(stage, relay)
            assert f"Subject: {run}-{relay}" in listed and "\treturned\t<reader@outside.example>" in listed, listed
        young = [w for name in RELAYS.values() for w in stage.send_to_relay(2, f"young-{name.split('.')[1]}", name)]
    stage.wait_run(since, RunState.DONE, 300, hurry=True)
    assert (stage.owner().host, stage.owner().epoch) == (standby, before.epoch + 1)
    print(all_once(stage, young))
    boxes = stage.post.boxes()
    assert not [m for box in boxes.values() for m in box if run in str(m)], "it went back, and came after all"

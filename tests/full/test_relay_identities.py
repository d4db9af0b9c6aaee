"""A relay is an identity: its host dies with all that it held, and the other relay host goes on.

Each takes several minutes, so not in CI.
"""

from __future__ import annotations

import time

from holdfast.core.model import RunState

from tests.story import journal
from tests.story.machines import wait_for
from tests.story.messages import letters
from tests.story.outage import CLIENT, IDENTITY, ON_CLIENT, RELAY, RELAY_NAME, RELAYS, arrived, judge
from tests.story.stage import Stage

COUNT = 1000


def home(stage: Stage, identity: str, host: str) -> None:
    if stage.owner(identity).host != host:
        wait_for(f"{host} being ready", lambda: stage.ready(host, identity), 120)
        stage.playbook("failback.yml", "-e", f"identity={identity}")
    assert stage.wait_running(identity=identity).host == host


def holds(stage: Stage, count: int) -> None:
    """A message that is being tried while the queues are listed may be missed: so until it is seen."""
    wait_for(f"{count} letters in the relay", lambda: stage.held_by(RELAY_NAME) == count, 60, every=2)


def test_a_relay_host_dies_with_a_thousand_letters_and_the_other_one_delivers_them_once(stage: Stage) -> None:
    home(stage, RELAY_NAME, RELAY)
    home(stage, IDENTITY, "mail1")  # beside its store: over the line of 30 ms a mailbox takes a letter in seconds
    mail, before = stage.owner(), stage.owner(RELAY_NAME)
    other = next(host for host in RELAYS if host != RELAY)
    # Nobody takes the mail identity over: the letters stay where they are.
    stage.lab.word("switch", "deny", mail.host)
    stage.kill_owner()
    name = f"thousand{int(time.time())}"
    written = [w for w in letters(COUNT + 20, name) if w.kind == "plain"][:COUNT]
    folder = f"/var/tmp/story/{name}"
    stage.post.hand_over(written, folder)
    begun = time.monotonic()
    accepted = stage.lab.python(CLIENT, ON_CLIENT / "send_to.py", folder, RELAY_NAME, timeout=900)
    assert len(accepted) == COUNT
    print(f"{COUNT} letters accepted in {time.monotonic() - begun:.0f} s")
    holds(stage, COUNT)

    stage.lab.word("kill", RELAY)
    fault = time.time()
    run = stage.wait_run(fault, RunState.DONE, 400, RELAY_NAME)
    for step in run.steps:
        print(f"{step.name:10} {step.end - step.start:6.2f} s  {step.result} {step.detail}" if step.end else step.name)
    print(f"taken over {(run.steps[-1].end or 0) - fault:.0f} s behind the cut")
    after = stage.wait_running(identity=RELAY_NAME)
    assert (after.host, after.epoch, run.invoker) == (other, before.epoch + 1, other)
    assert run.proof is not None and run.proof.host == RELAY
    holds(stage, COUNT)
    assert stage.owner() == mail, "nothing else has moved"
    # It goes on: accepts, under the same name and address.
    more = stage.send_to_relay(3, "more")
    holds(stage, COUNT + len(more))

    stage.lab.word("start", mail.host)
    stage.lab.word("switch", "allow", mail.host)
    stage.lab.word("start", RELAY)
    everything = [*written, *more]
    # Mailboxes are read once it is empty: reading a thousand letters time and again keeps their server busy.
    begun = time.monotonic()
    wait_for("an empty relay", lambda: stage.held_by(RELAY_NAME) == 0, 900, every=3)
    print(f"empty after {time.monotonic() - begun:.0f} s")
    boxes = stage.wait_letters(everything, 120)
    lines = [line for host in (*RELAYS, stage.owner().host) for line in journal.read(stage.lab, host, stage.begun)]
    verdict = judge(everything, boxes, lines)
    assert (verdict.mistakes, verdict.twice, verdict.copies_found) == ([], {}, len(everything))

    # The host that comes back runs nothing of it, and gets it back by a planned hand-over, while letters come in.
    unit = f"systemctl is-active holdfast-relay@{RELAY_NAME}; true"
    assert stage.lab.shell(RELAY, unit).strip() != "active"
    home(stage, RELAY_NAME, RELAY)
    assert stage.lab.shell(other, unit).strip() != "active"
    last = stage.send_to_relay(2, "home")
    boxes = stage.wait_letters(last)
    assert arrived(last, boxes) == (2, 2) and stage.mistakes(last, boxes) == []


def test_a_mail_host_and_the_relay_host_beside_it_die_together(stage: Stage) -> None:
    """The survivor takes over both at once: neither run waits for the other."""
    home(stage, IDENTITY, "mail1")
    beside, relay = "relay1", RELAYS["relay1"]
    home(stage, relay, beside)
    survivor = next(host for host in RELAYS if host != beside)
    fault = time.time()
    for host in ("mail1", beside):
        stage.lab.word("kill", host)
    written = stage.send_to_relay(5, "site")
    runs = [stage.wait_run(fault, RunState.DONE, 400, identity) for identity in (IDENTITY, relay)]
    for run in runs:
        ended = run.steps[-1].end or 0
        print(f"{run.identity}: asked {run.time - fault:.0f} s, ended {ended - fault:.0f} s behind the cut")
        assert run.invoker == survivor and stage.wait_running(identity=run.identity).host == run.to_host
    # Asked for within one interval of each other: the second was not made to wait for the first one's end.
    assert abs(runs[0].time - runs[1].time) < 45
    for host in ("mail1", beside):
        stage.lab.word("start", host)
    assert stage.mistakes(written, stage.wait_letters(written, 240)) == []
    home(stage, relay, beside)

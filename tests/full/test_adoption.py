"""A dead owner has left something of every kind in queue and mailboxes; the next one makes exactly one copy of each."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from holdfast.core.model import RunState

from tests.story import journal
from tests.story.machines import StoryError, wait_for
from tests.story.messages import ALICE, BOB, SENDER, Letter, letters
from tests.story.outage import ADDRESS, CLIENT, IDENTITY
from tests.story.pair import MOUNTED, SERVED, Pair
from tests.story.stage import Stage

ON_STORE = Path(__file__).parent.parent / "story" / "on_store"
CONFIG = f"/etc/holdfast/identity/{IDENTITY}/postfix"


class Left:
    """Letters that the owner has acknowledged and that are in its queue, by the name of their part in the test."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.host = stage, stage.owner().host
        self.letters: dict[str, Letter] = {}
        self.ids: dict[str, str] = {}

    def shell(self, script: str) -> str:
        return self.stage.lab.shell(self.host, f"cd {MOUNTED}; {script}")

    def deliver(self, yes: bool) -> None:
        """Whether what comes in goes on into the mailboxes."""
        change = "-X defer_transports" if yes else "-e defer_transports=lmtp"
        self.shell(f"postconf -c {CONFIG} {change} && postfix -c {CONFIG} reload")

    def accept(self, letters_: dict[str, Letter]) -> None:
        self.letters.update(letters_)
        for letter in letters_.values():
            self.stage.lab.run(
                CLIENT,
                *("swaks", "--server", ADDRESS, "--helo", "client1.outside.example", "--silent", "2"),
                *("--from", SENDER, "--to", ",".join(letter.recipients), "--data", "-"),
                stdin=letter.data,
            )
        names = {
            v: k for k, v in journal.message_ids(journal.read(self.stage.lab, self.host, self.stage.begun)).items()
        }
        self.ids.update({name: names[letter.id] for name, letter in letters_.items()})

    def hold(self) -> None:
        def there() -> bool:
            return set(self.ids.values()) <= set(self.shell("ls queue/deferred").split())

        wait_for("letters that are deferred", there, 60)
        self.shell(f"printf '%s\\n' {' '.join(self.ids.values())} | postsuper -c {CONFIG} -h -")

    def deliver_and_keep(self, names: Sequence[str]) -> None:
        """Into the mailboxes, and what the queue held before is kept beside it."""
        self.shell("rm -rf kept; mkdir kept")
        for name in names:
            self.shell(f"cp queue/hold/{self.ids[name]} kept/; sync")
        self.deliver(True)
        for name in names:
            self.shell(f"postsuper -c {CONFIG} -H {self.ids[name]}")
        self.shell(f"postqueue -c {CONFIG} -f")  # the others are on hold
        self.stage.wait_letters([self.letters[n] for n in names])

    def discarded(self, since: float, ids: Mapping[str, str]) -> set[tuple[str, str]]:
        """What a Sieve script has dropped of these, {Message-ID: queue id}: queue ids and users."""
        said = self.shell(f"journalctl -q --no-pager -o cat -t dovecot --since @{since:.0f}")
        found = re.findall(r"lmtp\((\w+)@.*msgid=<([^@]+)@[^>]*>: discard action", said)
        return {(ids[message], user) for user, message in found if message in ids}

    def submitted(self, letter: Letter) -> str:
        """A file of maildrop, as sendmail(1) leaves it where no Postfix runs."""
        self.letters["maildrop"] = letter
        # Makes the folders, since that one has never run; what was removed right before a power cut may be back.
        self.shell("postfix -c /etc/postfix check; rm -f /var/spool/postfix/maildrop/*")
        self.stage.lab.run(
            self.host, "sendmail", "-C", "/etc/postfix", "-i", "-f", SENDER, *letter.recipients, stdin=letter.data
        )
        data = self.shell("cd /var/spool/postfix/maildrop; base64 -w0 *; rm -f *")
        assert base64.b64decode(data)
        return data


def test_of_whatever_a_dead_owner_has_left_each_letter_ends_in_one_copy(stage: Stage) -> None:
    left = Left(stage)
    made = letters(80, f"left{int(time.time())}")
    plain = [w for w in made if w.kind == "plain"]
    [both, *_] = [w for w in made if w.kind == "two_recipients"]
    parts = dict(zip(("delivered", "active", "incoming", "deferred", "held"), plain[::2], strict=False))  # to one user
    left.deliver(False)
    try:
        left.accept({**parts, "both": both})
        left.hold()
        left.deliver_and_keep(("delivered", "both"))
    finally:
        left.deliver(True)
    maildrop = left.submitted(plain[1])
    host, fault = stage.kill_owner()
    server = Pair(stage.lab, stage.records).owner().host
    planted = stage.lab.python(server, ON_STORE / "plant.py", str(SERVED), IDENTITY, json.dumps(left.ids), maildrop)

    run = stage.wait_run(fault, RunState.DONE, 300)
    assert run.from_host == host and run.to_host is not None
    begun = time.monotonic()
    stage.post.read(ALICE)
    # Dovecot finds out that a torn log of an index is torn when a mailbox is opened, says NO once, and makes it anew.
    with contextlib.suppress(StoryError):
        stage.post.read(BOB)
    stage.post.read(BOB)
    assert time.monotonic() - begun < 30, "a login waits for the lock of a dead owner"

    held = left.letters["held"]
    others = [letter for letter in left.letters.values() if letter is not held]
    stage.wait_letters(others)
    left.host = run.to_host

    def waits() -> list[dict[str, str]]:
        return [json.loads(line) for line in left.shell(f"postqueue -c {CONFIG} -j").splitlines()]

    # What is in a queue yet could become a second copy.
    wait_for("a queue with what is held", lambda: [w["queue_name"] for w in waits()] == ["hold"], 180, every=3)
    assert stage.mistakes(others, stage.post.boxes()) == []
    assert {m["id"] for box in stage.post.boxes().values() for m in box} == {w.id for w in others}
    said = left.shell(f"journalctl -q --no-pager -o cat -t holdfast/{IDENTITY}/once --since @{fault:.0f}")
    dropped = sorted(re.findall(r"^already_delivered .*message=(\w+) recipient=(\w+)@", said, re.MULTILINE))
    single = parts["delivered"].recipients[0].split("@")[0]
    want = [(left.ids["delivered"], single), (left.ids["both"], "alice"), (left.ids["both"], "bob")]
    # Of bob's record of deliveries one half is left (plant.py): what stands in it is dropped by that, and not by us.
    by_record = left.discarded(fault, {left.letters[name].id: left.ids[name] for name in ("delivered", "both")})
    assert sorted({*dropped, *by_record}) == sorted(want), said
    assert (left.ids["both"], "alice") in dropped and len(set(dropped)) == len(dropped), said
    assert left.shell(f"test -e {planted['corrupt']} && echo there").strip() == "there"

    # An operator's hold outlives its host.
    left.shell(f"postsuper -c {CONFIG} -H ALL && postqueue -c {CONFIG} -f")
    everything = [*others, held]
    assert stage.mistakes(everything, stage.wait_letters(everything)) == []

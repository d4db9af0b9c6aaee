"""The story: letters arrive at a steady rate, the owner of the mail service loses power, and nobody notices.

`Outage` does it and gathers what happened; `Verdict` says whether it was as it must be.
"""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.core import customers
from holdfast.core.model import Owner, Run, RunState

from . import journal
from .coordinator import Records
from .machines import Lab, StoryError, wait_for
from .messages import Letter, letters
from .timeline import Event

IDENTITY = "mx.alpha.example"
CLIENT = "client1"
# Where relays are at home, in the order of their MX records, and what they are called.
RELAYS = {"relay2": "relay.dc2.alpha.example", "relay1": "relay.dc1.alpha.example"}
RELAY, RELAY_NAME = next(iter(RELAYS.items()))  # takes what is sent while the identity is down
ADDRESS = "203.0.113.10"
CA_ON_CLIENT = "/etc/holdfast-ca.pem"
ON_CLIENT = Path(__file__).parent / "on_client"


def users(inventory: Path) -> dict[str, str]:
    """Address to password, from the inventory's users.yml or its customers."""
    import yaml

    if (file := inventory / "users.yml").exists():
        listed = yaml.safe_load(file.read_text())
    else:
        given = yaml.safe_load((inventory / "group_vars" / "all" / "customers.yml").read_text())["customers"]
        listed = customers.users(given)
    return {u["address"]: u["password"] for u in listed}


@dataclass
class Post:
    """A sender and reader on the outside."""

    lab: Lab
    passwords: dict[str, str]

    def hand_over(self, written: Sequence[Letter], folder: str) -> None:
        """Lay the letters down on the client, ready to be sent."""
        buffer = io.BytesIO()
        index = [
            {"id": w.id, "file": f"{w.id}.eml", "sender": w.sender, "recipients": list(w.recipients)} for w in written
        ]
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, data in [("index.json", json.dumps(index).encode()), *((f"{w.id}.eml", w.data) for w in written)]:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        self.lab.run(CLIENT, "mkdir", "-p", folder)
        self.lab.run(CLIENT, "tar", "-xf", "-", "-C", folder, stdin=buffer.getvalue())

    def send(self, folder: str, rate: float) -> subprocess.Popen[bytes]:
        """Begin to send what lies in `folder`, `rate` letters a second, from the client's own Postfix."""
        command = self.lab.command("exec", CLIENT, "--", "python3", "-", folder, str(rate))
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write((ON_CLIENT / "send.py").read_bytes())
        process.stdin.close()
        process.stdin = None
        return process

    def read(self, address: str, *words: str) -> list[dict[str, Any]]:
        """Log in as that user and read the whole INBOX."""
        found: list[dict[str, Any]] = self.lab.python(
            CLIENT, ON_CLIENT / "read.py", IDENTITY, CA_ON_CLIENT, address, self.passwords[address], *words
        )
        return found

    def boxes(self) -> dict[str, list[dict[str, Any]]]:
        return {address: self.read(address) for address in self.passwords}


def arrived(written: Sequence[Letter], boxes: dict[str, list[dict[str, Any]]]) -> tuple[int, int]:
    """How many (letter, recipient) pairs are in their mailbox, and how many there should be."""
    have = {(address, m["id"]) for address, box in boxes.items() for m in box}
    want = {(to, w.id) for w in written for to in w.recipients}
    return len(want & have), len(want)


@dataclass
class Verdict:
    """What became of the letters. `mistakes` is empty when all was as it must be.

    `twice`: ids of letters with the number of copies in one mailbox; `twice_allowed`: those for which a 250 was cut off
    (RFC 1047); `twice_from_one`: those of which one queue entry was delivered twice, for which there is no excuse.
    """

    sent: int
    copies_wanted: int
    copies_found: int
    lost: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    bounced: list[str] = field(default_factory=list)
    twice: dict[str, int] = field(default_factory=dict)
    twice_allowed: list[str] = field(default_factory=list)
    twice_from_one: list[str] = field(default_factory=list)

    @property
    def twice_excused(self) -> list[str]:
        return [x for x in self.twice if x in self.twice_allowed and x not in self.twice_from_one]

    @property
    def mistakes(self) -> list[str]:
        found = [f"lost: {x}" for x in self.lost]
        found += [f"changed: {x}" for x in self.changed]
        found += [f"bounced: {x}" for x in self.bounced]
        for x, n in self.twice.items():
            if x not in self.twice_excused:
                why = "of one queue entry" if x in self.twice_from_one else "and no 250 was cut off"
                found.append(f"{n} copies of {x}, {why}")
        return found


def judge(
    written: Sequence[Letter],
    boxes: dict[str, list[dict[str, Any]]],
    client_log: Sequence[journal.Line],
    other_logs: Sequence[journal.Line] = (),
) -> Verdict:
    """Compare mailboxes with what was sent, and logs with both."""
    hashes = {w.id: w.body_hash for w in written}
    copies = Counter((address, m["id"]) for address, box in boxes.items() for m in box if m["id"] in hashes)
    wanted = {(to, w.id) for w in written for to in w.recipients}
    verdict = Verdict(len(written), len(wanted), sum(copies.values()))
    verdict.lost = sorted(f"{i} for {a}" for a, i in wanted - set(copies))
    verdict.changed = sorted(
        f"{m['id']} for {a}"
        for a, box in boxes.items()
        for m in box
        if m["id"] in hashes and m["hash"] != hashes[m["id"]]
    )
    lines = [*client_log, *other_logs]
    verdict.bounced = sorted(
        {f"{d.to}: {d.text}" for d in journal.deliveries(lines) if d.status in ("bounced", "expired")}
    )
    verdict.bounced += [f"notice in {a}" for a, box in boxes.items() for m in box if m["bounce"]]
    names = journal.message_ids(lines)
    verdict.twice_allowed = sorted({names.get(q, q) for q in journal.maybe_twice(lines)})
    verdict.twice = {i: n for (_, i), n in copies.items() if n > 1}
    entries = Counter((a, m["id"], m["queue"]) for a, box in boxes.items() for m in box if m["id"] in hashes)
    verdict.twice_from_one = sorted({i for (_, i, queue), n in entries.items() if n > 1 and queue})
    return verdict


@dataclass
class Result:
    """All that the story knows when it is over."""

    owner_before: Owner
    owner_after: Owner
    run: Run
    fault: float
    verdict: Verdict
    events: list[Event]
    threshold_to_delivery: float | None
    threshold: float | None  # when the takeover was asked for
    accepted: float | None  # when the new owner took the first letter, from whomever

    def report(self) -> dict[str, Any]:
        return {
            "identity": IDENTITY,
            "owner_before": self.owner_before.to_json(),
            "owner_after": self.owner_after.to_json(),
            "run": self.run.to_json(),
            "fault": self.fault,
            "seconds_threshold_to_first_delivery": self.threshold_to_delivery,
            "threshold": self.threshold,
            "accepted": self.accepted,
            "verdict": {**self.verdict.__dict__, "mistakes": self.verdict.mistakes},
        }


class Outage:
    """Sends `count` letters at `rate` a second and cuts the owner's power meanwhile.

    `cut_at`: seconds after the first letter; without it in the middle of them. `records`: where the coordinator is
    asked, if not on the witness of `compact`.
    """

    def __init__(
        self,
        lab: Lab,
        inventory: Path,
        count: int = 100,
        rate: float = 2.0,
        say: Callable[[str], None] = print,
        cut_at: float | None = None,
        records: Records | None = None,
    ):
        self.lab = lab
        self.records = records or Records(lab)
        self.post = Post(lab, users(inventory))
        self.count, self.rate, self.say = count, rate, say
        self.cut_at = count / rate / 2 if cut_at is None else cut_at

    def play(self) -> Result:
        before = self.records.owner(IDENTITY)
        if before is None:
            raise StoryError(f"{IDENTITY} has no owner; deploy first")
        self.post.boxes()  # the login that must work before and after
        start = time.time() - 1
        name = f"s{int(start)}"
        written = letters(self.count, name)
        folder = f"/var/tmp/story/{name}"
        self.post.hand_over(written, folder)
        self.say(f"sending {self.count} letters, {self.rate:g} a second; {before.host} owns {IDENTITY}")
        began = time.monotonic()
        sender = self.post.send(folder, self.rate)
        time.sleep(max(0.0, self.cut_at - (time.monotonic() - began)))  # the moment is a time here, no condition
        fault = time.time()
        self.lab.word("kill", before.host)
        self.say(f"power cut at {before.host}")
        out, err = sender.communicate(timeout=self.count / self.rate + 300)
        if sender.returncode != 0:
            raise StoryError(f"the sender failed: {err.decode()[-500:]}")
        handed = json.loads(out)
        self.say("all letters are handed over to the sender's Postfix; waiting for the takeover")

        def done() -> Run | None:
            run = self.records.run(IDENTITY)
            finished = run is not None and run.time > fault and run.state is RunState.DONE
            return run if finished else None

        run = wait_for("the takeover", done, 420, every=2)
        self.say(f"{run.to_host} owns it at epoch {run.epoch}; waiting for the letters")
        boxes: dict[str, list[dict[str, Any]]] = {}

        def complete() -> bool:
            boxes.update(self.post.boxes())
            have, want = arrived(written, boxes)
            self.say(f"  {have} of {want} copies are in their mailboxes")
            return have == want

        try:
            # The sender's own Postfix tries again after five minutes at the latest (its stock back-off).
            wait_for("all letters", complete, 700, every=5)
        except StoryError as why:
            self.say(str(why))
        after = self.records.owner(IDENTITY)
        assert after is not None
        client = journal.read(
            self.lab, CLIENT, start, "-t", "postfix/smtp", "-t", "postfix/cleanup", "-t", "postfix/bounce"
        )
        relays = {name: journal.read(self.lab, name, start) for name in RELAYS}
        mail = journal.read(self.lab, after.host, start)
        carried = [*itertools.chain(*relays.values())]
        verdict = judge(written, boxes, client, [*carried, *mail])
        events, waited, asked = self._events(before, run, fault, handed, relays)
        owned = next((s.start for s in run.steps if s.name == "own"), fault)
        taken = [
            d.time
            for d in journal.deliveries([*carried, *client])
            if d.status == "sent" and f"[{ADDRESS}]" in d.relay and d.time > owned
        ]
        return Result(before, after, run, fault, verdict, events, waited, asked, min(taken, default=None))

    def _events(
        self,
        before: Owner,
        run: Run,
        fault: float,
        handed: list[dict[str, Any]],
        relays: Mapping[str, Sequence[journal.Line]],
    ) -> tuple[list[Event], float | None, float | None]:
        events = [
            Event(handed[0]["time"], "mail", "first letter handed to the sender's Postfix"),
            Event(handed[-1]["time"], "mail", f"last of {len(handed)} letters handed over"),
            Event(fault, "fault", f"power cut at {before.host}, owner at epoch {before.epoch}"),
        ]
        asked: list[float] = []
        for name, lines in relays.items():
            held = [x for x in lines if x.time >= fault and x.tag.endswith("/qmgr") and "queue active" in x.text]
            if held:
                events.append(Event(held[0].time, "mail", f"relay {name} holds its first letter"))
            for line in lines:
                if line.time < fault or not line.text.startswith(("attempt ", "takeover_asked ")):
                    continue
                f = journal.fields(line.text)
                if f["event"] == "takeover_asked":
                    asked.append(line.time)
                    events.append(Event(line.time, "takeover", f"threshold at {name}: {f.get('reason', '')}"))
                elif line.time <= run.time + 60 and f.get("method") != "topology":
                    text = f"attempt over {f.get('route')} by {f.get('method')} from {name}: {f.get('result')}"
                    events.append(Event(line.time, "attempt", text))
        for step in run.steps:
            kind = "service" if step.name in ("store", "address", "start", "started", "verify", "flush") else "takeover"
            took = f" ({step.end - step.start:.1f} s)" if step.end is not None else ""
            events.append(Event(step.end or step.start, kind, f"{step.name}: {step.result} {step.detail[:60]}{took}"))
        carried = sorted(itertools.chain(*relays.values()), key=lambda line: line.time)
        sent = [d for d in journal.deliveries(carried) if d.status == "sent" and d.time >= run.time]
        if sent:
            events.append(Event(sent[0].time, "mail", f"first delivery to {run.to_host}"))
            events.append(Event(sent[-1].time, "mail", f"last held letter delivered ({len(sent)} copies)"))
        first_asked = min(asked, default=None)
        waited = sent[0].time - first_asked if sent and first_asked is not None else None
        return events, waited, first_asked

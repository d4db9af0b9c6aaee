"""What the outages have in common: hosts up, an owner that runs, letters sent, and questions about all of it."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.core import keys
from holdfast.core.model import Owner, Phase, Report, Run, RunState

from . import journal
from .coordinator import Records
from .machines import Lab, StoryError, wait_for
from .messages import SENDER, Letter, letters
from .outage import ADDRESS, CLIENT, IDENTITY, RELAY, RELAY_NAME, RELAYS, Post, arrived, judge
from .pair import PAIRS

MAIL_HOSTS = ("mail1", "mail2")
STORE_OF = {"relay.dc1.alpha.example": "store1", "relay.dc2.alpha.example": "store2"}
QUEUES = ("maildrop", "incoming", "active", "deferred", "hold")
ADDRESSES = {
    IDENTITY: ADDRESS,
    "relay.dc1.alpha.example": "203.0.113.21",
    "relay.dc2.alpha.example": "203.0.113.22",
}


def _drained(value: dict[str, Any]) -> bool:
    """Is it a host's word about an identity that it does not take over for that reason?"""
    return any(reason.startswith("drained:") for reason in value.get("reasons", ()))


@dataclass
class Stage:
    """One lab on which outages are played one after the other."""

    lab: Lab
    records: Records
    post: Post
    inventory: Path
    begun: float = field(default_factory=time.time)

    # --- before and after -------------------------------------------------------------------------------------------

    def set_up(self) -> None:
        self.tidy()
        for name in ADDRESSES:
            self.wait_running(identity=name)
        for host in MAIL_HOSTS:
            wait_for(f"{host} being ready", lambda host=host: self.ready(host), 90)  # type: ignore[misc]
        wait_for("empty relays", lambda: self.held() == 0, 600, every=3)
        # An outage is over for the monitor after two good attempts; the next one begins with nothing counted.
        wait_for("the monitors counting nothing", lambda: self.quiet() or not self.hurried(), 120, every=3)
        # What a sender keeps of an outage before, he would try again in the midst of this one.
        self.lab.shell(CLIENT, "postsuper -d ALL 2>/dev/null; postqueue -f")
        for address in self.post.passwords:
            self.post.read(address, "expunge")
        self.begun = time.time() - 1

    def tidy(self) -> None:
        """Undo what an outage has left: fences are allowed again, hosts are on, cables plugged, nothing is drained."""
        for host in self.status():
            if host["state"] == "paused":
                self.lab.word("resume", host["name"])
            elif host["state"] in ("off", "lost") and host["name"] in RELAYS:
                self._power_on(host["name"])
            elif host["state"] in ("off", "lost"):
                self.lab.word("start", host["name"])
            for segment in host["unplugged"]:
                self.lab.word("plug", host["name"], segment)
        for name in MAIL_HOSTS:
            self.lab.word("switch", "allow", name)
        for name in self.drained():
            self.playbook("evacuate_host.yml", "-e", f"host={name}", "-e", "undo=true")

    def start_relay_host(self, host: str) -> None:
        """Power on, until its agent speaks and nobody takes over what it may have run: a takeover of that has a fence.

        Every other host is started by the lab's word: there a fence would be a fault of the product.
        """
        self._power_on(host)

        def is_back() -> bool:
            if self.state(host) == "off":
                self._power_on(host)
            runs = [self.records.run(name) for name in RELAYS.values()]
            moving = [run for run in runs if run is not None and run.state is RunState.RUNNING]
            return bool(self.records.get(keys.lease(host))) and not moving

        wait_for(f"{host} back", is_back, 240)

    def _power_on(self, host: str) -> None:
        """Again when the other relay host fences it meanwhile, once for each relay that it may have run before."""
        for _ in range(1 + len(RELAYS)):
            try:
                self.lab.word("start", host)
            except StoryError:
                if self.state(host) != "off":
                    raise
            else:
                return
        raise StoryError(f"{host} is switched off whenever it is started")

    # --- questions --------------------------------------------------------------------------------------------------

    def status(self) -> list[dict[str, Any]]:
        """What the lab says of each host."""
        hosts: list[dict[str, Any]] = json.loads(self.lab.word("status", "--json"))["hosts"]
        return hosts

    def state(self, host: str) -> str:
        """`on`, `off`, `paused` or, ended by itself, `lost`."""
        return {h["name"]: str(h["state"]) for h in self.status()}[host]

    def owner(self, identity: str = IDENTITY) -> Owner:
        found = self.records.owner(identity)
        if found is None:
            raise StoryError(f"{identity} has no owner")
        return found

    def runs(self) -> dict[str, str]:
        """The last run of every identity and store, "" for none: whatever clocks say, one that is begun changes it."""
        found = {name: self.records.run(name) for name in (*ADDRESSES, *PAIRS)}
        return {name: "" if run is None else run.run for name, run in found.items()}

    def standby(self) -> str:
        owner = self.owner().host
        return next(h for h in MAIL_HOSTS if h != owner)

    def report(self, host: str, identity: str = IDENTITY) -> Report | None:
        value = self.records.get(keys.report(host, identity)).get(keys.report(host, identity))
        return None if value is None else Report.from_json(value)

    def ready(self, host: str, identity: str = IDENTITY) -> bool:
        """By its own word, which ends with its lease: however old it is, it holds."""
        value = self.records.get(keys.ready(host, identity)).get(keys.ready(host, identity))
        return bool(value and value["ready"])

    def drained(self) -> list[str]:
        """By their own words."""
        said = self.records.get(f"{keys.ROOT}host/")
        found = (key.removeprefix(f"{keys.ROOT}host/").split("/") for key, value in said.items() if _drained(value))
        return sorted({host for host, *_ in found})

    def evidence(self, relay: str, identity: str = IDENTITY) -> dict[str, Any]:
        key = keys.evidence(identity, relay)
        value: dict[str, Any] = self.records.get(key).get(key, {})
        return value

    def quiet(self) -> bool:
        """Does no relay's monitor count anything, by its own fresh word? Against its own identity it never does."""
        found = self.records.get(keys.IDENTITIES) | self.records.get(keys.EVIDENCE)
        for name, relay in itertools.product(ADDRESSES, RELAYS):
            said = found.get(keys.evidence(name, relay), {})
            fresh = time.time() - said.get("time", 0) < 60
            if found[keys.owner(name)]["host"] != relay and not (fresh and said["downs"] == 0):
                return False
        return True

    def held(self) -> int:
        """Messages in the relays' queues."""
        return sum(self.held_by(name) for name in RELAYS.values())

    def held_by(self, relay: str) -> int:
        """By the files on its store, wherever that is served: the coordinator, and the relay's host, may be away."""
        hosts = {h["name"] for h in self.status() if h["state"] == "on"}
        # What moves from queue to queue meanwhile is in one of them; to be missed it would have to move thrice.
        queues = " ".join(f"/srv/store/{relay}/queue/{one}" for one in QUEUES + QUEUES)
        find = f"find {queues} -type f -printf '%f\\n' 2>/dev/null; true"
        said = [self.lab.shell(host, find) for host in PAIRS[STORE_OF[relay]] if host in hosts]
        return len({name for some in said for name in some.split()})

    def runs_here(self, host: str) -> bool:
        """Does anything of the identity run on that host, by the host's own word?"""
        said = self.lab.shell(
            host,
            f"systemctl is-active holdfast-postfix@{IDENTITY} holdfast-dovecot@{IDENTITY}; ip -4 -o addr show dev svc0;"
            f" grep -c ' /srv/holdfast/{IDENTITY} ' /proc/self/mountinfo; true",
        )
        return "\nactive" in f"\n{said}" or ADDRESSES[IDENTITY] in said or "\n1" in said

    # --- waiting ----------------------------------------------------------------------------------------------------

    def wait_running(self, seconds: float = 120, identity: str = IDENTITY) -> Owner:
        """Until the recorded owner says that it runs at its epoch, and answers."""

        def look() -> Owner | None:
            owner = self.owner(identity)
            report = self.report(owner.host, identity)
            if report is None or report.epoch != owner.epoch or report.phase is not Phase.RUNNING:
                return None
            said = self.lab.shell(CLIENT, f"nc -N -w 5 {ADDRESSES[identity]} 25 </dev/null || true", check=False)
            return owner if said.startswith("220") else None

        return wait_for(f"{identity} running", look, seconds, every=2)

    def wait_run(
        self, since: float, state: RunState, seconds: float, identity: str = IDENTITY, hurry: bool = False
    ) -> Run:
        """`hurry`: attempts are made by hand as fast as they go, not every 30 s."""

        def look() -> Run | None:
            if hurry:
                self.hurried()
            run = self.records.run(identity)
            return run if run is not None and run.time >= since and run.state is state else None

        return wait_for(f"a run that is {state}", look, seconds, every=2)

    def wait_downs(self, count: int, seconds: float = 150, relays: Iterable[str] = RELAYS) -> None:
        """Until one of the relays has counted so many."""

        def look() -> bool:
            return any(self.evidence(relay).get("downs", 0) >= count for relay in relays)

        wait_for(f"{count} attempts down", look, seconds, every=2)

    def wait_letters(self, written: Sequence[Letter], seconds: float = 120) -> dict[str, list[dict[str, Any]]]:
        """Until all are in their mailboxes. A route may be on its way back: who cannot log in yet tries again."""
        boxes: dict[str, list[dict[str, Any]]] = {}
        unread = ""

        def look() -> bool:
            nonlocal unread
            try:
                boxes.update(self.post.boxes())
            except StoryError as why:
                unread = f"; the last login failed: {why}"
                return False
            unread = ""
            have, want = arrived(written, boxes)
            return have == want

        try:
            wait_for(f"{len(written)} letters", look, seconds, every=3)
        except StoryError as why:
            raise StoryError(f"{why}{unread}") from why
        return boxes

    def wait_rounds(self, count: int, seconds: float = 300) -> None:
        """Until the relay has made that many rounds of attempts at the identity from now on, by hand."""
        begin = self.lab.shell(RELAY, "date +%s").strip()  # its own clock may be off

        def look() -> bool:
            self.hurried()
            said = self.lab.shell(RELAY, f"journalctl -q --no-pager -o cat -u holdfast-monitor --since @{begin}")
            ours = [x for x in said.splitlines() if f"identity={IDENTITY} " in x and "method=topology" in x]
            # One that was under way may have begun before: it does not count.
            return len(ours) > count

        wait_for(f"{count} rounds of attempts", look, seconds, every=3)

    # --- doing ------------------------------------------------------------------------------------------------------

    def hurried(self) -> bool:
        """The relays try now (R1.3, by hand); always true."""
        for relay in RELAYS:
            self.lab.shell(relay, "systemctl kill --kill-whom=main --signal=USR1 holdfast-monitor", check=False)
        return True

    def sender_tries_again(self) -> None:
        """When names are known again: else his mail waits for minutes after a name server that was away."""
        wait_for("names", lambda: self.lab.shell(CLIENT, f"getent ahostsv4 {IDENTITY}", check=False), 60)
        self.lab.shell(CLIENT, "postqueue -f")

    def kill_owner(self) -> tuple[str, float]:
        host = self.owner().host
        self.lab.word("kill", host)
        return host, time.time()

    def send_to_relay(self, count: int, name: str, server: str = RELAY_NAME) -> list[Letter]:
        """Letters straight to the second mail exchanger, as a sender does that cannot reach the first."""
        written = [w for w in letters(count, f"{name}{int(time.time())}") if w.kind == "plain"]
        for letter in written:
            self.lab.run(
                CLIENT,
                *("swaks", "--server", server, "--helo", "client1.outside.example", "--silent", "2"),
                *("--from", SENDER, "--to", letter.recipients[0], "--data", "-"),
                stdin=letter.data,
            )
        return written

    def playbook(self, name: str, *words: str, check: bool = True) -> str:
        command = self.lab.command(
            "run", "--", "ansible-playbook", "-i", str(self.inventory), f"playbooks/{name}", *words
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.inventory.parent.parent)
        if check and done.returncode != 0:
            raise StoryError(f"{name}: exit {done.returncode}: {done.stdout[-3000:]}{done.stderr[-1000:]}")
        return done.stdout

    def mistakes(
        self, written: Sequence[Letter], boxes: dict[str, list[dict[str, Any]]], owner: str | None = None
    ) -> list[str]:
        """What is wrong with the letters, by mailboxes and the logs of all who carried them since the outage began.

        `owner`: who carries them now, where the coordinator cannot tell.
        """
        lines: list[journal.Line] = []
        for host in (*RELAYS, CLIENT, owner or self.owner().host):
            lines += journal.read(self.lab, host, self.begun)
        return judge(written, boxes, lines).mistakes

"""The whole network as a stage: what it says of itself, its mailboxes, what can be done to it, and the way back."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.core import keys
from holdfast.core.model import Owner, Phase, Report, Run, RunState

from tests.story import journal
from tests.story.coordinator import Records
from tests.story.machines import Lab, StoryError, of_each, wait_for
from tests.story.outage import CA_ON_CLIENT
from tests.story.pair import Pair

from .network import INVENTORY, OUTSIDE, STRANGER, Mailer, Network, Redirectors, Way

HERE = Path(__file__).parent
ON_CLIENT, ON_REDIRECTOR = HERE / "on_client", HERE / "on_redirector"
MAILDIR = "/home/reader/Maildir"
OFF = ("off", "lost")  # states of a host that `start` ends
LOOK = 900  # seconds for a look at the mailboxes of all who are at one place: 250 whole letters took more than 100 s
# Of a Postfix's lines those that judge() reads.
TOLD = "message-id=<|status=(bounced|expired)|may be sent more than once|while sending end of data|maybe_second_copy"


class StorePair(Pair):
    """Of this inventory."""

    members_here: tuple[str, str] = ("", "")

    @property
    def members(self) -> tuple[str, str]:
        return self.members_here


class Phases:
    """Where a play's time goes."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def ended(self, what: str) -> None:
        now = time.monotonic()
        print(f"{now - self._at:6.0f} s  {what}", flush=True)
        self._at = now


@dataclass
class NetworkStage:
    """One lab on which everything is played, one after the other."""

    lab: Lab
    records: Records
    network: Network
    begun: float = field(default_factory=time.time)

    # --- before and after ---------------------------------------------------------------------------------------------

    def set_up(self, ways: Iterable[Way]) -> None:
        """Everything on and in its rotation, identities at home, empty mailboxes."""
        self.tidy()
        for store in self.network.stores:
            pair = self.store(store)
            pair.wait_running(300)
            pair.wait_whole(600)
        self.wait_all_running()
        self.all_at_home()
        self.wait_rotation()
        self.wait_addresses()
        # What a sender keeps of an outage before, he would try again in the midst of this one.
        self.lab.shell(OUTSIDE, "postsuper -d ALL 2>/dev/null; true")
        self.boxes(ways, "ids", expunge=True)
        self.begun = time.time() - 1

    def tidy(self) -> None:
        """Undo what a test has left: hosts are on, cables plugged, nothing is drained."""
        for host in self.status():
            if host["state"] == "paused":
                self.lab.word("resume", host["name"])
            elif host["state"] in OFF:
                self.start(host["name"])
            for segment in host["unplugged"]:
                self.lab.word("plug", host["name"], segment)
        for pair, drained in zip(self.network.pairs, of_each(self.network.pairs, self.drained), strict=True):
            for name in drained:
                self.redirect(pair, "ready", name)

    def start(self, host: str) -> None:
        """Power on. A relay host may be fenced meanwhile for a relay that it had run before: then once more for each.

        Every other host is started by the lab's word: there a fence would be a fault of the product.
        """
        times = 1 + (len(self.network.relays) if host in self.network.groups["relay"] else 0)
        for n in range(times):
            try:
                self.lab.word("start", host)
            except StoryError:
                if self.state(host) != "off" or n == times - 1:
                    raise
            else:
                return

    def all_at_home(self) -> None:
        """Every identity with mailboxes, by a planned hand-over where it is elsewhere."""
        for mailer in self.network.mailers:
            self.home(mailer)

    def home(self, mailer: Mailer) -> None:
        if self.owner(mailer.name).host != mailer.home:
            what = f"{mailer.home} being ready for {mailer.name}"
            wait_for(what, lambda: self.ready(mailer.home, mailer.name), 300, every=3)
            self.playbook("failback.yml", "-e", f"identity={mailer.name}", "-e", "reason=test")

    # --- questions ----------------------------------------------------------------------------------------------------

    def status(self) -> list[dict[str, Any]]:
        """What the lab says of each host."""
        hosts: list[dict[str, Any]] = json.loads(self.lab.word("status", "--json"))["hosts"]
        return hosts

    def state(self, host: str) -> str:
        return {h["name"]: str(h["state"]) for h in self.status()}[host]

    def owner(self, identity: str) -> Owner:
        found = self.records.owner(identity)
        if found is None:
            raise StoryError(f"{identity} has no owner; deploy first")
        return found

    def ready(self, host: str, identity: str) -> bool:
        """By its own word, which ends with its lease."""
        value = self.records.get(keys.ready(host, identity)).get(keys.ready(host, identity))
        return bool(value and value["ready"])

    def store(self, name: str) -> StorePair:
        pair = StorePair(self.lab, self.records, name)
        pair.members_here = self.network.stores[name]
        return pair

    def unserved(self) -> list[str]:
        """Identities whose owner does not say that it runs them at its epoch. Two questions for all of them."""
        owners, hosts = self.records.get(keys.IDENTITIES), self.records.get(f"{keys.ROOT}host/")
        found = []
        for name in self.network.identities:
            owner = Owner.from_json(owners[keys.owner(name)]) if keys.owner(name) in owners else None
            if owner is None:
                found.append(f"{name} (no owner)")
                continue
            value = hosts.get(keys.report(owner.host, name))
            report = None if value is None else Report.from_json(value)
            runs = report is not None and report.epoch == owner.epoch and report.phase is Phase.RUNNING
            if not runs or keys.lease(owner.host) not in hosts:
                found.append(name)
        return found

    def servers(self, host: str) -> list[dict[str, Any]]:
        """What a redirector's HAProxy knows: {protocol, name, status, share, connected, backup, taken}."""
        found: list[dict[str, Any]] = self.lab.python(host, ON_REDIRECTOR / "servers.py")
        return found

    def taken(self, host: str) -> dict[str, int]:
        """Connections that a redirector has taken from clients since its start, by protocol."""
        return {s["protocol"]: s["taken"] for s in self.servers(host)}

    def drained(self, pair: Redirectors) -> set[str]:
        """What an operator has said so of, on one of its hosts."""
        found: set[str] = set()
        for host in pair.hosts:
            with contextlib.suppress(StoryError):  # it may be starting; both of a pair are told the same
                found |= {s["name"] for s in self.servers(host) if "DRAIN" in s["status"]}
        return found

    def holds(self, host: str, *addresses: str) -> list[str]:
        """Those of these addresses that are on the host."""
        said = self.lab.shell(host, "ip -4 -o addr show", check=False)
        return [address for address in addresses if f" {address}/" in said]

    def astray(self, pair: Redirectors) -> list[str]:
        """Addresses of a pair that are not on the host where they are at home, and there alone."""
        held = {host: self.holds(host, *pair.addresses) for host in pair.hosts}
        at_home = zip(pair.hosts, pair.addresses, strict=True)
        return [a for home, a in at_home if [host for host, some in held.items() if a in some] != [home]]

    def reached(self, host: str, name: str) -> set[str]:
        """The addresses that its name server tells `host`."""
        said = self.lab.run(host, "dig", "+short", "A", name, check=False)
        return {line for line in said.splitlines() if line and line[0].isdigit()}

    def banner(self, host: str, address: str, patience: int = 20) -> str:
        """Who greets there by SMTP: a name, empty when nobody does within so many seconds."""
        return str(self.lab.python(host, ON_CLIENT / "banner.py", address, str(patience)))

    # --- waiting ------------------------------------------------------------------------------------------------------

    def wait_all_running(self, seconds: float = 600) -> None:
        left: list[str] = []

        def look() -> bool:
            left[:] = self.unserved()
            return not left

        try:
            wait_for("all identities running", look, seconds, every=3)
        except StoryError as why:
            raise StoryError(f"{why}: {', '.join(left)}") from why

    def wait_rotation(self, seconds: float = 240, hosts: Sequence[str] = ()) -> None:
        """Until redirectors (these, or all) send all protocols to all identities of their side."""

        def wait(place: tuple[Redirectors, str]) -> None:
            pair, host = place
            names = {m.name for m in self.network.mailers if m.kind == pair.kind}
            what = f"{host} sending to {', '.join(sorted(names))}"
            wait_for(what, lambda: not self.down(host, names), seconds, every=5)

        places = [(pair, host) for pair in self.network.pairs for host in pair.hosts]
        of_each([(pair, host) for pair, host in places if not hosts or host in hosts], wait)

    def wait_addresses(self, seconds: float = 240) -> None:
        """Until each redirector has its own address: one that comes back lets its partner have it for a while."""

        def wait(pair: Redirectors) -> None:
            wait_for(f"the addresses of {pair.name} at home", lambda: not self.astray(pair), seconds, every=5)

        of_each(self.network.pairs, wait)

    def down(self, host: str, names: Iterable[str]) -> list[str]:
        """Protocols and identities of these that the redirector does not send to; a share of 0 % is a drain, too."""
        wanted = set(names)
        try:
            found = [s for s in self.servers(host) if s["name"] in wanted]
        except StoryError:
            return [f"HAProxy on {host} does not answer"]
        if missing := sorted(wanted - {s["name"] for s in found}):
            return [f"HAProxy on {host} knows no {name}" for name in missing]
        return [f"{s['protocol']} {s['name']}" for s in found if not s["status"].startswith("UP") or not s["share"]]

    def wait_taken(self, identity: str, before: Owner, seconds: float = 420) -> Run:
        """Until another host owns it and its run is done."""

        def look() -> Run | None:
            run = self.records.run(identity)
            return run if run is not None and run.epoch > before.epoch and run.state is RunState.DONE else None

        return wait_for(f"the takeover of {identity}", look, seconds, every=3)

    # --- doing --------------------------------------------------------------------------------------------------------

    def retry_of_senders(self) -> None:
        """What a stock sender has in its queue it would try again up to five minutes later."""
        self.lab.shell(OUTSIDE, "postqueue -f")

    def redirect(self, pair: Redirectors, word: str, identity: str) -> None:
        """The operator's word on both hosts of the pair."""
        for host in pair.hosts:
            self.lab.run(host, "holdfast-redirect", word, identity)

    def playbook(self, name: str, *words: str) -> str:
        command = self.lab.command("run", "--", "ansible-playbook", "-i", str(INVENTORY), f"playbooks/{name}", *words)
        where = INVENTORY.parent.parent
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=where, timeout=1800)
        if done.returncode != 0:
            raise StoryError(f"{name}: exit {done.returncode}: {done.stdout[-3000:]}{done.stderr[-1000:]}")
        return done.stdout

    def begin_on(self, host: str, source: Path, *words: str) -> subprocess.Popen[bytes]:
        """One of our scripts on a client; `end_of` gives what it prints."""
        process = subprocess.Popen(
            self.lab.command("exec", host, "--", "python3", "-", *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(source.read_bytes())
        process.stdin.close()
        process.stdin = None
        return process

    def end_of(self, process: subprocess.Popen[bytes], what: str, seconds: float) -> Any:
        """Its JSON. Raises StoryError with its last words when it failed."""
        try:
            out, error = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as why:
            process.kill()
            raise StoryError(f"{what}: no end within {seconds:.0f} s") from why
        if process.returncode != 0:
            raise StoryError(f"{what}: exit {process.returncode}: {error.decode(errors='replace').strip()[-800:]}")
        return json.loads(out)

    @contextlib.contextmanager
    def greeted(self, host: str, address: str) -> Iterator[dict[str, Any]]:
        """Somebody on `host` connects every second to port 25; at the end `answered` has the times of greetings."""
        over = f"/run/greeted-{address}-{time.time():.0f}"
        seen: dict[str, Any] = {"answered": [], "failed": {}}
        process = self.begin_on(host, ON_CLIENT / "greetings.py", address, over)
        try:
            yield seen
        finally:
            self.lab.shell(host, f"touch {over}")
            seen.update(self.end_of(process, f"greetings at {address}", 60))
            self.lab.shell(host, f"rm -f {over}")

    # --- mailboxes and journals ---------------------------------------------------------------------------------------

    def boxes(
        self, ways: Iterable[Way], protocol: str = "imap", expunge: bool = False
    ) -> dict[str, list[dict[str, Any]]]:
        """Those of all senders and recipients, each read where its user is, through the redirectors."""
        wanted: dict[str, list[str]] = {}
        for way in ways:
            for user, place in ((way.recipient, way.reader), (way.sender, way.host)):
                known = any(user in some for some in wanted.values())
                if not known and user in self.network.users:
                    wanted.setdefault(place, []).append(user)
        asked: dict[str, list[dict[str, Any]]] = {
            place: [
                {
                    "user": user,
                    "password": self.network.users[user],
                    "server": self.network.server_of(user).name,
                    "protocol": protocol,
                    "expunge": expunge,
                }
                for user in users
            ]
            for place, users in wanted.items()
        }
        here = {"user": STRANGER, "protocol": "maildir", "folder": MAILDIR, "expunge": expunge}
        asked.setdefault(OUTSIDE, []).append(here)

        def look(place: str) -> dict[str, list[dict[str, Any]]]:
            words = (CA_ON_CLIENT, json.dumps(asked[place]))
            found: dict[str, list[dict[str, Any]]] = self.lab.python(place, ON_CLIENT / "read.py", *words, timeout=LOOK)
            return found

        return {user: letters for found in of_each(asked, look) for user, letters in found.items()}

    def lines(self, host: str, since: float, wanted: str, *match: str) -> list[journal.Line]:
        """Of a host's journal those that the extended regular expression finds; the rest stays there."""
        return journal.read(self.lab, host, since, *match, only=wanted)

    def told(self, since: float) -> list[journal.Line]:
        """By all who may have carried a letter. One that is off was fenced meanwhile; it is started, and tells, too."""
        hosts = (*self.network.carriers(), OUTSIDE)
        for host in self.status():
            if host["name"] in hosts and host["state"] in OFF:
                self.start(host["name"])
        return [line for told in of_each(hosts, lambda host: self.lines(host, since, TOLD)) for line in told]

"""What one transfer host carries a second, beside what a plain Postfix forwards between two hosts of that site.

    python -m tests.full_network.throughput --lab NAME

On a lab that runs inventory full and has nothing else to do. Carried are letters from the Internet to a user, which
wait in the spool of an Internet mail server until one transfer host alone of the site begins. Forwarded are as many of
the same size by two more Postfix instances, one on the owner of that identity and one on the other Internet mail server
of the site: in the queue of the first one until it is told to deliver them, then written to the queue of the second
one, which throws them away. Both queues are folders of the identities' own on the site's store, as spools are. Counted
is from the first one that is across to the last one. Prints a table, also in build/transfer-throughput.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.story import journal
from tests.story.coordinator import Records
from tests.story.machines import ROOT, Lab, StoryError, wait_for

from .filters import accepting
from .network import INTERNET, OUTSIDE, STRANGER, Mailer, Network
from .stage import NetworkStage

SIZES = ((2_000, 300), (1_000_000, 30))  # octets of a letter, letters
PORT = 2600  # of the plain instances
TRANSFER = "holdfast-transfer.service"
ON_TRANSFER_HOST = "/srv/holdfast-spools"
MAIN = """
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
syslog_name = {name}
myhostname = {name}.example
mynetworks = 0.0.0.0/0
inet_protocols = ipv4
mydestination =
alias_maps =
default_transport = {transport}
local_transport = {transport}
relayhost = [{relay}]:{port}
message_size_limit = 52428800
"""
MASTER = """
{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""


class Plain:
    """A Postfix instance of its own on the owner of an identity, with its queue beside that identity's on the store."""

    def __init__(self, lab: Lab, host: str, identity: str, transport: str, relay: str) -> None:
        self._lab, self.host = lab, host
        self.name = f"throughput-{host}"
        self._folder = f"/run/{self.name}"
        self._queue = f"/srv/holdfast/{identity}/throughput"
        words = {"queue": self._queue, "data": f"/var/lib/{self.name}", "name": self.name, "port": PORT}
        main = MAIN.format(**words, transport=transport, relay=relay)
        self._files = {"main.cf": main, "master.cf": MASTER.format(**words)}

    @contextmanager
    def running(self) -> Iterator[None]:
        self._end()  # what an interrupted run has left
        try:
            folders = f"mkdir -p {self._folder} {self._queue}; install -d -o postfix /var/lib/{self.name}"
            self._lab.shell(self.host, folders)
            for name, text in self._files.items():
                self._lab.run(self.host, "tee", f"{self._folder}/{name}", stdin=text)
            self.do("postfix", "start")
            yield
        finally:
            self._end()

    def _end(self) -> None:
        stop = f"test ! -d {self._folder} || postfix -c {self._folder} stop || true"
        self._lab.shell(self.host, f"{stop}; rm -rf {self._folder} {self._queue} /var/lib/{self.name}")

    def do(self, program: str, *words: str) -> str:
        return self._lab.run(self.host, program, "-c", self._folder, *words)

    def waiting(self) -> int:
        return int(self._lab.shell(self.host, f"find {self._queue}/deferred -type f | wc -l"))


def rate(times: list[float], count: int) -> float:
    """A second, from the first to the last. Raises StoryError when not all are there."""
    if len(times) != count or count < 2:
        raise StoryError(f"{len(times)} of {count} letters are across")
    return (count - 1) / (max(times) - min(times))


def load(lab: Lab, host: str, to: str, port: int, recipient: str, size: int, count: int) -> None:
    words = f"-s 4 -m {count} -l {size} -f {STRANGER} -t {recipient} -M {host}.outside.example {to}:{port}"
    lab.shell(host, f"smtp-source {words}", timeout=600)


def waits(what: str, count: int, now: Callable[[], int]) -> None:
    wait_for(f"{count} letters {what}", lambda: now() == count, 600, every=2)


def carried(stage: NetworkStage, source: Mailer, recipient: str, size: int, count: int) -> float:
    """Letters a second of one transfer host."""
    lab, network = stage.lab, stage.network
    hosts = [host for host in network.groups["transfer"] if network.sites[host] == source.site]
    out = f"{ON_TRANSFER_HOST}/{source.name}/out"

    def there() -> int:
        return int(lab.shell(hosts[0], f"runuser -u holdfast-transfer -- ls {out} | wc -l"))

    for host in hosts:
        lab.run(host, "systemctl", "stop", TRANSFER)
    try:
        waits("behind the one before", 0, there)
        load(lab, OUTSIDE, network.pair(INTERNET, source.site).addresses[0], 25, recipient, size, count)
        waits("in the spool", count, there)
        begun = time.time()
        lab.run(hosts[0], "systemctl", "start", TRANSFER)
        waits("left in the spool", 0, there)
    finally:
        for host in hosts:
            lab.run(host, "systemctl", "start", TRANSFER)
    log = f"/srv/holdfast-transfer/log/*.{hosts[0]}.jsonl"
    said = lab.shell(hosts[0], f"runuser -u holdfast-transfer -- sh -c 'tail -q -n {2 * count} {log}'")
    entries = [json.loads(line) for line in said.splitlines()]
    ours = [e for e in entries if e["event"] == "transfer" and e["from"] == source.name and e["time"] >= begun]
    return rate([float(e["time"]) for e in ours], count)


def forwarded(lab: Lab, first: Plain, second: Plain, size: int, count: int) -> float:
    """Letters a second."""
    begun = time.time()
    first.do("postconf", "defer_transports=smtp")
    first.do("postfix", "reload")
    load(lab, first.host, "127.0.0.1", PORT, "user@throughput.example", size, count)
    waits("in the first queue", count, first.waiting)
    first.do("postconf", "defer_transports=")
    first.do("postfix", "reload")
    first.do("postqueue", "-f")

    def across() -> list[float]:
        told = journal.read(lab, second.host, begun, "-t", f"{second.name}/discard", only="status=sent")
        return [line.time for line in told]

    waits("across", count, lambda: len(across()))
    return rate(across(), count)


def main() -> int:
    parser = argparse.ArgumentParser(prog="throughput", description=__doc__)
    parser.add_argument("--lab", required=True)
    lab = Lab(parser.parse_args().lab)
    network = Network.load()
    stage = NetworkStage(lab, Records(lab), network)
    source = network.mailer(INTERNET, network.domains()[0])
    other = next(m for m in network.mailers if m.kind == INTERNET and m.site == source.site and m.home != source.home)
    owners = [stage.owner(m.name).host for m in (source, other)]
    segment = next(s for s in network.legs[owners[1]] if network.segments[s]["network"] == INTERNET)
    second = Plain(lab, owners[1], other.name, "discard", "")
    first = Plain(lab, owners[0], source.name, "smtp", network.legs[owners[1]][segment])
    rows = ["| octets | letters | one transfer host | plain Postfix | ratio |", "|---|---|---|---|---|"]
    port_open = accepting(lab, second.host, "input", f"tcp dport {PORT} accept")
    with port_open, second.running(), first.running():
        for size, count in SIZES:
            forth = forwarded(lab, first, second, size, count)
            over = carried(stage, source, network.users_at(source.site)[0], size, count)
            told = (f"{r:.1f}/s, {r * size / 1e6:.2f} MB/s" for r in (over, forth))
            rows.append(f"| {size} | {count} | {' | '.join(told)} | {over / forth:.2f} |")
            print(rows[-1], flush=True)
    (ROOT / "build" / "transfer-throughput.md").write_text("\n".join(rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

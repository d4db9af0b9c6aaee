"""Programs that people use, from the distribution: swaks submits, mbsync and fetchmail read, by redirectors."""

from __future__ import annotations

import re
import time

import pytest

from tests.full_network.network import CORPORATE, INTRANET, SAME_SITE, Mailer, Network, Way
from tests.full_network.stage import NetworkStage
from tests.story.machines import StoryError, wait_for
from tests.story.outage import CA_ON_CLIENT

pytestmark = pytest.mark.paths

HOME = "/var/tmp/story-peers"


@pytest.fixture
def way(ways: list[Way]) -> Way:
    return ways[SAME_SITE]


@pytest.fixture
def server(network: Network, way: Way) -> Mailer:
    return network.server_of(way.recipient)


@pytest.fixture(autouse=True)
def home(stage: NetworkStage) -> None:
    for program in ("swaks", "mbsync", "fetchmail"):
        assert stage.lab.shell(CORPORATE, f"command -v {program} || true").strip(), f"{CORPORATE} has no {program}"
    stage.lab.shell(CORPORATE, f"rm -rf {HOME}; mkdir -m 0700 {HOME}")


def submit(stage: NetworkStage, way: Way, server: Mailer, count: int, port: str = "587") -> list[str]:
    """With swaks; the letters' ids, which are their Message-IDs. `port` 465: TLS from the beginning."""
    idents = [f"peer{time.time():.0f}-{n}" for n in range(count)]
    for ident in idents:
        said = stage.lab.run(
            CORPORATE,
            *("swaks", "--server", server.name, "--port", port, "--tls-on-connect" if port == "465" else "--tls"),
            *("--tls-verify", "--tls-ca-path", CA_ON_CLIENT, "--helo", "corp1.outside.example", "--timeout", "60"),
            *("--auth", "PLAIN", "--auth-user", way.sender, "--auth-password", stage.network.users[way.sender]),
            *("--from", way.sender, "--to", way.recipient),
            *("--header", f"Message-ID: <{ident}@outside.example>", "--header", f"X-Story-Id: {ident}"),
        )
        assert re.search(r"<~ +250 2\.0\.0 Ok: queued", said), said
    return idents


def arrive(stage: NetworkStage, way: Way, idents: list[str]) -> None:
    def there() -> bool:
        return {m["id"] for m in stage.boxes([way], "ids")[way.recipient]} >= set(idents)

    wait_for("what swaks has submitted", there, 240, every=3)


def write(stage: NetworkStage, file: str, text: str) -> None:
    stage.lab.run(CORPORATE, "install", "-m", "0600", "/dev/stdin", file, stdin=text)


def mbsync(stage: NetworkStage, way: Way, server: Mailer) -> dict[str, int]:
    """One run; id to copies in the local Maildir afterwards."""
    write(
        stage,
        f"{HOME}/mbsyncrc",
        f"IMAPAccount there\nHost {server.name}\nPort 993\nUser {way.recipient}\n"
        f'Pass "{stage.network.users[way.recipient]}"\nTLSType IMAPS\nCertificateFile {CA_ON_CLIENT}\n'
        "SystemCertificates no\n\n"
        "IMAPStore far\nAccount there\n\n"
        f"MaildirStore near\nPath {HOME}/maildir/\nInbox {HOME}/maildir/INBOX\nSubFolders Verbatim\n\n"
        "Channel inbox\nFar :far:INBOX\nNear :near:INBOX\nCreate Near\nSync Pull New\nSyncState *\n",
    )
    stage.lab.shell(CORPORATE, f"mkdir -p {HOME}/maildir && mbsync -V -c {HOME}/mbsyncrc inbox 2>&1")
    return copies(stage, f"{HOME}/maildir/INBOX")


def copies(stage: NetworkStage, where: str) -> dict[str, int]:
    said = stage.lab.shell(CORPORATE, f"grep -rhi '^X-Story-Id:' {where} || true").split()
    idents = [word for word in said if not word.lower().startswith("x-story-id")]
    return {ident: idents.count(ident) for ident in idents}


@pytest.mark.parametrize("port", ["587", "465"])
def test_swaks_submits_and_mbsync_fetches_each_once(stage: NetworkStage, way: Way, server: Mailer, port: str) -> None:
    idents = submit(stage, way, server, 5, port)
    arrive(stage, way, idents)
    assert mbsync(stage, way, server) == dict.fromkeys(idents, 1)
    more = submit(stage, way, server, 2, port)
    arrive(stage, way, more)
    assert mbsync(stage, way, server) == dict.fromkeys(idents + more, 1), "the second run brings what is new"


def test_fetchmail_takes_everything_by_pop3(stage: NetworkStage, way: Way, server: Mailer) -> None:
    """And deletes it there, as it does unless told not to."""
    idents = submit(stage, way, server, 5)
    arrive(stage, way, idents)
    write(
        stage,
        f"{HOME}/fetchmailrc",
        f"set no syslog\npoll {server.name} protocol POP3 service 995\n"
        f'  user "{way.recipient}" password "{stage.network.users[way.recipient]}"\n'
        f"  ssl sslcertck sslcertfile {CA_ON_CLIENT}\n"
        f'  mda "/usr/bin/tee -a {HOME}/mbox"\n',
    )
    stage.lab.shell(CORPORATE, f"fetchmail -f {HOME}/fetchmailrc --idfile {HOME}/ids --pidfile {HOME}/pid 2>&1")
    assert copies(stage, f"{HOME}/mbox") == dict.fromkeys(idents, 1)
    assert stage.boxes([way])[way.recipient] == []


def test_mbsync_goes_on_behind_a_redirectors_power_cut(stage: NetworkStage, way: Way, server: Mailer) -> None:
    """A program that begins while one of the two addresses is on its way: it may fail once, and the next run works."""
    idents = submit(stage, way, server, 3)
    arrive(stage, way, idents)
    lost = stage.network.pair(INTRANET, server.site).hosts[0]
    try:
        stage.lab.word("kill", lost)
        fault = time.time()

        def works() -> bool:
            try:
                return mbsync(stage, way, server) == dict.fromkeys(idents, 1)
            except StoryError:
                return False

        # One that has gone to the dead address waits for 20 s before it tries the other one.
        wait_for("mbsync", works, 180)
        print(f"mbsync has all {time.time() - fault:.1f} s behind the power cut")
    finally:
        stage.start(lost)

"""What the deployed hosts do, seen from outside and from inside: mail arrives, ports refuse, files survive."""

from __future__ import annotations

import re
import time

import pytest
from conftest import Hosts

from tests.story.coordinator import Records
from tests.story.machines import Lab, wait_for
from tests.story.messages import ALICE, Letter, letters
from tests.story.outage import CA_ON_CLIENT, IDENTITY, RELAYS, Post, arrived, judge
from tests.story.pair import ADDRESSES, Pair

MX, RELAY_MX = "mx.alpha.example", "relay.dc2.alpha.example"
Journal = list[tuple[str, str]]


def swaks(lab: Lab, *args: str) -> str:
    """A dialogue from outside; its whole transcript, whatever its end."""
    quoted = " ".join(f"'{a}'" for a in args)
    return lab.shell("client1", f"swaks --timeout 30 --helo client1.outside.example {quoted} 2>&1 || true")


def test_the_domain_names_both_mail_exchangers(hosts: Hosts) -> None:
    answer = hosts["client1"].check_output("dig +short MX alpha.example").split("\n")
    assert sorted(answer) == [f"10 {MX}.", f"20 {RELAY_MX}.", "30 relay.dc1.alpha.example."]
    assert hosts["client1"].check_output(f"dig +short A {MX}") == "203.0.113.10"


def test_one_host_owns_the_identity_and_only_there_is_its_address(hosts: Hosts, records: Records) -> None:
    owner = records.owner(IDENTITY)
    assert owner is not None
    for name in ("mail1", "mail2"):
        addresses = hosts[name].check_output("ip -4 -o addr show dev svc0")
        assert ("203.0.113.10/32" in addresses) == (name == owner.host)


@pytest.mark.parametrize("name", ["mail1", "mail2", "relay1", "relay2"])
def test_the_distributions_own_services_are_masked(hosts: Hosts, name: str) -> None:
    units = ["postfix.service"] + (["dovecot.service"] if name.startswith("mail") else [])
    for unit in units:
        assert hosts[name].run(f"systemctl is-enabled {unit}").stdout.strip() == "masked"


@pytest.mark.parametrize(
    ("name", "uid"), [("postfix", 2001), ("dovecot", 2003), ("dovenull", 2004), ("vmail", 2005), ("holdfast", 2006)]
)
def test_accounts_have_the_same_ids_everywhere(hosts: Hosts, name: str, uid: int) -> None:
    for host in ("mail1", "mail2", "store1a", "store1b", "store2a", "store2b", "relay1", "relay2"):
        assert hosts[host].user(name).uid == uid


def test_every_kind_of_letter_arrives_unchanged_in_the_right_mailbox(lab: Lab, post: Post, journal: Journal) -> None:
    journal += [("mail1", f"holdfast-postfix@{IDENTITY}"), ("mail1", f"holdfast-dovecot@{IDENTITY}")]
    written = letters(100, "kinds")
    kinds = {w.kind: w for w in reversed(written)}
    chosen = list(kinds.values())
    assert set(kinds) == {"plain", "attachment", "utf8", "long_lines", "dots", "empty_sender", "two_recipients"}
    post.hand_over(chosen, "/var/tmp/story/kinds")
    process = post.send("/var/tmp/story/kinds", 5)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    wait_for("all kinds of letters", lambda: len(set(arrived(chosen, post.boxes()))) == 1, 120, every=2)
    verdict = judge(chosen, post.boxes(), [])
    assert verdict.mistakes == [] and verdict.copies_found == len(chosen) + 1


@pytest.mark.parametrize("server", [MX, RELAY_MX])
def test_lines_longer_than_any_limit_pass_both_unbroken(lab: Lab, post: Post, server: str) -> None:
    """Sent without a Postfix of the sender's own, which would break them."""
    ident = f"long-{server.split('.', maxsplit=1)[0]}"
    head = f"X-Story-Id: {ident}\nMessage-ID: <{ident}@outside.example>\nFrom: x@outside.example\nTo: {ALICE}\n"
    data = f"{head}Subject: long\n\n".encode() + b"x" * 60_000 + b"\n" + b"y" * 2_000 + b"\n"
    letter = Letter(ident, "long_lines", "x@outside.example", (ALICE,), data)
    script = (
        "import smtplib, sys; s = smtplib.SMTP(sys.argv[1], 25, timeout=60)\n"
        "print(s.sendmail('x@outside.example', [sys.argv[2]], sys.stdin.buffer.read()))"
    )
    lab.run("client1", "python3", "-c", script, server, ALICE, stdin=data)
    wait_for("the letter", lambda: arrived([letter], post.boxes()) == (1, 1), 90, every=2)
    assert judge([letter], post.boxes(), []).mistakes == []


@pytest.mark.parametrize("server", [MX, RELAY_MX])
def test_an_unknown_user_is_refused_at_once_by_both(lab: Lab, server: str) -> None:
    said = swaks(lab, "--server", server, "--from", "x@outside.example", "--to", "nobody@alpha.example")
    assert re.search(r"<\*\* +550 5\.1\.1", said), said


@pytest.mark.parametrize("server", [MX, RELAY_MX])
def test_a_too_large_message_is_refused_by_both(lab: Lab, server: str) -> None:
    script = (
        "import smtplib, sys; s = smtplib.SMTP(sys.argv[1], 25, timeout=30); s.ehlo('client1.outside.example')\n"
        "print(s.docmd('MAIL', 'FROM:<x@outside.example> SIZE=52428801'))"
    )
    assert "552" in lab.run("client1", "python3", "-c", script, server)


@pytest.mark.parametrize("server", [MX, RELAY_MX])
def test_neither_is_an_open_relay(lab: Lab, server: str) -> None:
    said = swaks(lab, "--server", server, "--from", "alice@alpha.example", "--to", "x@elsewhere.example")
    assert re.search(r"<\*\* +[45]54 ", said), said


def test_submission_takes_mail_to_anywhere_after_a_login_and_only_then(lab: Lab, post: Post) -> None:
    common = ("--server", MX, "--port", "587", "--tls", "--from", "alice@alpha.example", "--to", "bob@alpha.example")
    assert "530 5.7.0" in swaks(
        lab, "--server", MX, "--port", "587", "--from", "a@alpha.example", "--to", "b@x.example"
    )
    refused = swaks(lab, *common)
    assert re.search(r"<[~*]\* +[45]5[04] ", refused), refused
    login = ("--auth", "PLAIN", "--auth-user", "alice@alpha.example", "--auth-password")
    assert "535 5.7.8" in swaks(lab, *common, *login, "wrong")
    said = swaks(lab, *common, *login, post.passwords["alice@alpha.example"], "--quit-after", "RCPT")
    assert re.search(r"<~ +250 2\.1\.5", said), said


def test_a_user_writes_to_somebody_outside(lab: Lab, post: Post, journal: Journal) -> None:
    journal.append(("mail1", f"holdfast-postfix@{IDENTITY}"))
    ident = f"out-{int(time.time())}"
    said = swaks(
        lab,
        *("--server", MX, "--port", "587", "--tls", "--from", "alice@alpha.example", "--to", "reader@outside.example"),
        *("--auth", "PLAIN", "--auth-user", "alice@alpha.example"),
        *("--auth-password", post.passwords["alice@alpha.example"], "--header", f"Subject: {ident}"),
    )
    assert re.search(r"<~ +250 2\.0\.0 Ok: queued", said), said
    look = f"grep -lr 'Subject: {ident}' /home/reader/Maildir/new || true"
    wait_for("the letter to outside", lambda: lab.shell("client1", look).strip(), 60, every=2)
    found = lab.shell("client1", f"cat $({look})")
    assert f"from {MX}" in found, "the world sees the identity's name and no host's"
    assert "mail1" not in found and "mail2" not in found, found


def test_the_same_certificate_authority_vouches_for_smtp_and_imap(hosts: Hosts) -> None:
    for port, start in (("25", "-starttls smtp"), ("993", ""), ("143", "-starttls imap")):
        command = (
            f"openssl s_client -connect {MX}:{port} {start} -verify_hostname {MX} -CAfile {CA_ON_CLIENT} </dev/null"
        )
        assert "Verify return code: 0 (ok)" in hosts["client1"].run(command).stdout


def test_a_plain_text_login_is_refused(lab: Lab) -> None:
    script = (
        "import imaplib, sys\n"
        "box = imaplib.IMAP4(sys.argv[1], 143, timeout=30)\n"
        "try: print(box.login('alice@alpha.example', 'x'))\n"
        "except imaplib.IMAP4.error as why: print('REFUSED', why)"
    )
    said = lab.run("client1", "python3", "-c", script, MX)
    assert "REFUSED" in said and ("PRIVACYREQUIRED" in said or "disallowed" in said.lower()), said


def test_a_missing_track_file_reads_as_failed(lab: Lab, hosts: Hosts, records: Records, journal: Journal) -> None:
    """On the host that does not own it, where nothing else touches the file."""
    owner = records.owner(IDENTITY)
    assert owner is not None
    standby = "mail2" if owner.host == "mail1" else "mail1"
    journal.append((standby, "keepalived"))
    assert hosts[standby].service("keepalived").is_running
    lab.shell(standby, f"rm -f /run/holdfast/track/{IDENTITY} && systemctl restart keepalived")
    wait_for("keepalived", lambda: hosts[standby].service("keepalived").is_running, 20)
    assert "203.0.113.10" not in hosts[standby].check_output("ip -4 -o addr show dev svc0")


def test_only_the_owner_may_mount_the_identity(lab: Lab, hosts: Hosts, records: Records) -> None:
    owner = records.owner(IDENTITY)
    assert owner is not None
    standby = "mail2" if owner.host == "mail1" else "mail1"
    tried = hosts[standby].run(
        f"mkdir -p /mnt/t && timeout 20 mount -t nfs4 -o retry=0 10.255.3.1:/srv/store/{IDENTITY} /mnt/t"
    )
    assert tried.rc != 0, "the store let a host in that does not own the identity"
    assert hosts[owner.host].mount_point(f"/srv/holdfast/{IDENTITY}").filesystem == "nfs4"


@pytest.mark.parametrize("identity", [IDENTITY, *RELAYS.values()])
def test_no_server_waits_for_a_lock_on_the_store(hosts: Hosts, records: Records, identity: str) -> None:
    """Over NFS it would be asked for again after up to 30 s, and nobody served meanwhile."""
    owner = records.owner(identity)
    assert owner is not None
    locks = hosts[owner.host].check_output(
        f"stat --dereference --file-system --format=%T /srv/holdfast/{identity}/queue/pid"
    )
    assert locks == "tmpfs"


@pytest.mark.parametrize("store", list(ADDRESSES))
def test_every_pair_is_whole_and_answers_all_who_may_mount_it(
    lab: Lab, hosts: Hosts, records: Records, store: str
) -> None:
    """Directly within the site, over the gateway from the other one: a site's mail needs no gateway for its store."""
    pair = Pair(lab, records, store)
    owner = pair.wait_running().host
    pair.wait_whole()
    site = store[-1]
    for host in ("mail1", "mail2", "relay1", "relay2"):
        probe = f"from holdfast.adapters.nfs_probe import null; print(null('{ADDRESSES[store]}'))"
        assert hosts[host].check_output(f'PYTHONPATH=/usr/lib/holdfast python3 -c "{probe}"') == "None"
        route = hosts[host].check_output(f"ip -4 route get {ADDRESSES[store]}")
        nexthop = hosts[owner].addr(owner).ipv4_addresses[0] if host[-1] == site else f"10.{host[-1]}.3.1"
        assert f" via {nexthop} dev storage{host[-1]} " in route


def test_a_restarted_agent_stops_nothing(lab: Lab, hosts: Hosts, records: Records, journal: Journal) -> None:
    owner = records.owner(IDENTITY)
    assert owner is not None
    journal.append((owner.host, "holdfast-agent"))
    show = f"systemctl show -p MainPID --value holdfast-postfix@{IDENTITY} holdfast-dovecot@{IDENTITY}"
    before = hosts[owner.host].check_output(show)
    lab.shell(owner.host, "systemctl restart holdfast-agent")
    assert hosts[owner.host].service("holdfast-agent").is_running
    assert hosts[owner.host].check_output(show) == before
    assert "0" not in before.split()


@pytest.mark.parametrize("name", ["owner", "relay1", "witness1"])
def test_reload_after_reload_keeps_what_runs(hosts: Hosts, records: Records, journal: Journal, name: str) -> None:
    """Each deploy that adds a user reloads; that the first one goes well says nothing of the next ones."""
    owner = records.owner(IDENTITY)
    assert owner is not None
    host = owner.host if name == "owner" else name
    ask = hosts[host].check_output
    running = "systemctl list-units --type=service --state=running --plain --no-legend"
    found = ask(f"{running} 'holdfast-*' frr.service keepalived.service knot.service").splitlines()
    units = [line.split()[0] for line in found]
    units = [unit for unit in units if ask(f"systemctl show --property=CanReload --value {unit}") == "yes"]
    assert len(units) >= {"owner": 4, "relay1": 3, "witness1": 1}[name], units
    journal += [(host, unit) for unit in units]
    # FRR's own main process watches the others, and is begun anew by a reload.
    others = " ".join(unit for unit in units if unit != "frr.service")
    pids = f"systemctl show --property=MainPID {others}; cat /run/frr/*d.pid 2>/dev/null"
    asked = f"{pids}; systemctl is-active {' '.join(units)}"
    before = ask(asked)
    for _ in range(3):
        ask(f"systemctl reload {' '.join(units)}")
    assert ask(asked) == before


def test_routes_to_the_identity_are_two(hosts: Hosts) -> None:
    legs = {"relay1": ("10.1.1.31", "10.1.2.31"), "relay2": ("10.2.1.31", "10.2.2.31")}
    for relay, sources in legs.items():
        for source in sources:
            assert hosts[relay].run_test("ping -c 2 -W 2 -I %s 203.0.113.10", source).rc == 0, (relay, source)


def test_sites_are_thirty_milliseconds_apart(hosts: Hosts) -> None:
    said = hosts["mail2"].check_output("ping -c 5 -i 0.3 -q 10.1.3.21")
    least = float(re.search(r"= ([\d.]+)/", said)[1])  # type: ignore[index]
    assert least >= 29.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("interval: 5", "interval"),
        ("threshold: {attempts: null, seconds: null}", "threshold"),
        ("methods: [pigeon]", "methods"),
    ],
)
def test_a_monitor_with_a_broken_configuration_says_why(lab: Lab, hosts: Hosts, change: str, words: str) -> None:
    key = change.split(":")[0]
    script = (
        "import sys, yaml\n"
        "c = yaml.safe_load(open('/etc/holdfast/monitor.yml'))\n"
        "c[sys.argv[1]] = yaml.safe_load(sys.argv[2])[sys.argv[1]]\n"
        "yaml.safe_dump(c, open('/run/broken.yml', 'w'))"
    )
    lab.run("relay2", "python3", "-c", script, key, change)
    done = hosts["relay2"].run("PYTHONPATH=/usr/lib/holdfast python3 -m holdfast.daemons.monitor /run/broken.yml")
    assert done.rc == 78
    assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1


# Each key with what became of putting it, by the daemon's own configuration and credentials on that host.
PUT = """
import sys
from holdfast.core.ports import Unavailable
from holdfast.daemons.agent_config import load
etcd = load("/etc/holdfast/agent.yml").coordinator
for key in sys.argv[1:]:
    before = etcd.get(key)
    try:
        etcd.replace(key, before.value or {}, {key: before.revision})
        print("written", key)
    except Unavailable as why:
        print("refused", key, why)
"""


def test_a_mail_hosts_credentials_write_its_own_keys_and_no_others(hosts: Hosts, lab: Lab) -> None:
    """Nor another host's lease, nor an owner. What is written is what stands there already."""
    own = ["/holdfast/host/mail1/watchdog"]
    others = [
        "/holdfast/host/mail2/lease",
        f"/holdfast/host/mail2/report/{IDENTITY}",
        "/holdfast/host/mail2/confirmed_off",
        f"/holdfast/identity/{IDENTITY}/owner",
        f"/holdfast/identity/{IDENTITY}/lock",
        "/holdfast/identity/store1/owner",
        "/holdfast/store/store1/insync",
    ]
    environment = ("env", "PYTHONPATH=/usr/lib/holdfast")
    said = lab.run("mail1", *environment, "python3", "-c", PUT, *own, *others).splitlines()
    assert [line for line in said if line.startswith("written")] == [f"written {key}" for key in own]
    for key, line in zip(others, said[len(own) :], strict=True):
        assert line.startswith(f"refused {key} coordinator: mail1 has no right to "), line


def test_a_certificate_alone_gives_no_rights_and_the_members_port_takes_none_of_mail_hosts(lab: Lab) -> None:
    tls = "--cacert /etc/holdfast/tls/ca.pem --cert /etc/holdfast/tls/mail1.pem --key /etc/holdfast/tls/mail1.key"
    ask = f"curl -s --http1.1 -m 20 {tls} -d '{{}}' -o /dev/null -w '%{{http_code}}'"
    assert lab.shell("mail1", f"{ask} https://10.1.3.31:2379/v3/kv/range || true") == "400"
    assert lab.shell("mail1", f"{ask} -H Accept: https://10.1.3.31:2379/v3/kv/range || true") in ("400", "403")
    assert lab.shell("mail1", f"{ask} https://10.1.3.31:2380/members || true") == "000"
    member = tls.replace("/etc/holdfast/tls/mail1", "/etc/etcd/member")
    said = lab.shell("relay1", f"curl -s --http1.1 -m 20 {member} https://10.1.3.31:2380/members")
    assert "relay2" in said, "a member is let in"

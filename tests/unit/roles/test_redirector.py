"""What a pair of redirectors is given (R2.5), as text and as the programs themselves read it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from bench import readable_here, self_signed
from holdfast.daemons import availability
from rendering import Host, Values, inventory, with_redirectors

NETWORK = "ip link add {0} type veth peer name far; ip link set {0} up; ip address add {1}/24 dev {0}; "
CFG, KEEPALIVED = "/etc/haproxy/haproxy.cfg", "/etc/keepalived/keepalived.conf"
USERS = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "sieve")


@pytest.fixture(scope="module")
def values() -> Values:
    return with_redirectors()


def files(values: Values, host: str, **changes: object) -> dict[str, str]:
    return Host("redirector", host, values, **changes).files("__redirector_files")


def sections(cfg: str) -> dict[str, list[str]]:
    """{protocol: its lines}."""
    found: dict[str, list[str]] = {}
    for line in cfg.splitlines():
        if line[:1].isalpha():
            words = line.split()
            mine = found.setdefault(words[1] if words[0] == "listen" else words[0], [])
        elif line.strip() and not line.strip().startswith("#"):
            mine.append(line.strip())
    return found


def with_word(lines: list[str], word: str) -> list[str]:
    return [line.removeprefix(f"{word} ") for line in lines if line.startswith(f"{word} ")]


def test_a_side_offers_what_the_inventory_says_and_strangers_only_hand_in_mail(values: Values) -> None:
    assert set(sections(files(values, "internet1a")[CFG])) == {"global", "defaults", "smtp"}
    assert set(sections(files(values, "isolated1a")[CFG])) == {"global", "defaults", *USERS}
    pairs = {"internet1": {**values["redirectors"]["internet1"], "protocols": {"imaps": {"balance": "source"}}}}
    found = sections(files(values, "internet1a", redirectors=pairs)[CFG])
    assert set(found) == {"global", "defaults", "imaps"} and "balance source" in found["imaps"]


def test_servers_are_identities_of_the_side_and_the_other_sites_are_backups(values: Values) -> None:
    for host, order in (
        ("internet1a", ["mx.alpha.example 203.0.113.10:10025", "mx2.alpha.example 203.0.113.11:10025 backup"]),
        ("internet2b", ["mx2.alpha.example 203.0.113.11:10025", "mx.alpha.example 203.0.113.10:10025 backup"]),
        ("isolated1b", ["im1.alpha.example 203.0.113.12:10025", "im2.alpha.example 203.0.113.13:10025 backup"]),
    ):
        assert with_word(sections(files(values, host)[CFG])["smtp"], "server") == order
    assert "option allbackups" in sections(files(values, "internet1a")[CFG])["defaults"]


def test_a_takeover_changes_nothing_here(values: Values) -> None:
    """Owners, candidates and hosts of identities stand nowhere."""
    cfg = files(values, "isolated1a")[CFG]
    assert not re.search(r"\b(mail[12]|10\.1\.1\.11|10\.1\.2\.11)\b", cfg)


def test_both_hosts_listen_on_both_addresses(values: Values) -> None:
    for host in ("isolated1a", "isolated1b"):
        found = sections(files(values, host)[CFG])
        assert with_word(found["imaps"], "bind") == ["10.1.2.91:993 tcp-ut 300s", "10.1.2.92:993 tcp-ut 300s"]
    assert files(values, "isolated1a")["/etc/sysctl.d/62-holdfast-redirector.conf"].endswith("ip_nonlocal_bind = 1\n")


def test_tls_is_looked_at_where_a_protocol_begins_with_it_and_ended_nowhere(values: Values) -> None:
    found = sections(files(values, "isolated1a")[CFG])
    for protocol in USERS:
        implicit = protocol in ("submissions", "imaps", "pop3s")
        for server in with_word(found[protocol], "server"):
            name = server.split()[0]
            looked = f" check-ssl check-sni {name} verify required verifyhost {name} ca-file /etc/holdfast/tls/ca.pem"
            assert (looked in server) is implicit
            assert not re.search(r" ssl\b| crt ", server)
    assert not any(" ssl" in line or "crt" in line for line in with_word(found["imaps"], "bind"))


def test_nobody_waits_for_a_lost_server_and_nobody_is_cut_off_by_a_time_out_of_his_protocol(values: Values) -> None:
    found = sections(files(values, "isolated1a")[CFG])
    (default,) = with_word(found["defaults"], "default-server")
    for words in (
        "on-marked-down shutdown-sessions",
        "check-send-proxy",
        "send-proxy-v2",
        "agent-check agent-port 10100",
    ):
        assert f" {words} " in f"{default} "
    # RFC 5321, 4.5.3.2.6: 10 minutes; RFC 2177 and RFC 9051, 5.4: 30; RFC 1939, 3: 10.
    for protocol, least in (("smtp", 600), ("submissions", 600), ("imap", 1800), ("pop3s", 600), ("sieve", 1800)):
        for side in ("client", "server"):
            (seconds,) = with_word(found[protocol], f"timeout {side}")
            assert int(seconds.removesuffix("s")) > least


def test_a_reader_may_pause_for_minutes_and_a_new_owner_is_asked_at_once(values: Values) -> None:
    """tcp(7), TCP_USER_TIMEOUT: it ends a connection whose peer acknowledges and does not read, too (zero window)."""
    found = sections(files(values, "isolated1a")[CFG])
    (default,) = with_word(found["defaults"], "default-server")
    assert default.endswith(" tcp-ut 150s")
    for protocol in USERS:
        assert all(bind.endswith(" tcp-ut 300s") for bind in with_word(found[protocol], "bind"))
    # Its reset ends what its predecessor had; behind that Linux goes by tcp-ut and not by a count of keepalives.
    assert {"option srvtcpka", "srvtcpka-idle 15s", "srvtcpka-intvl 5s"} <= set(found["defaults"])
    assert not any("tcpka-cnt" in line for line in found["defaults"])


def test_redirectors_together_never_use_up_the_processes_of_a_postfix(values: Values) -> None:
    """Two of each site, since another site's come, too; each has a dialogue beside its connections."""
    for limit, share in ((20, 4), (100, 24), (8, 1), (3, 1)):
        of_side = Host("redirector", "internet1a", values, mail_process_limit=limit).value("topology_smtp_connections")
        assert of_side == {"internet": share, "isolated": share}
        assert 4 * (share + 1) <= max(limit, 8)
    for host, protocols in (("internet1a", ["smtp"]), ("isolated2b", ["smtp", "submission", "submissions"])):
        found = sections(files(values, host, mail_process_limit=40)[CFG])
        limited = {p: n for p, lines in found.items() for n in with_word(lines, "default-server maxconn")}
        assert limited == dict.fromkeys(protocols, "9")
        # So that whoever is too many waits, at any server that becomes free.
        assert {"option redispatch 1", "timeout queue 30s"} <= set(found["defaults"])


def test_senders_leave_half_of_all_connections_to_those_who_read(values: Values) -> None:
    def most(host: str, **changes: object) -> dict[str, int]:
        found = sections(files(values, host, redirector_maxconn=1000, **changes)[CFG])
        return {p: int(n) for p, lines in found.items() if p != "global" for n in with_word(lines, "maxconn")}

    assert most("isolated1a") == {"smtp": 166, "submission": 166, "submissions": 166}
    assert most("internet1a") == {}, "nobody reads there"
    pairs = {"internet1": {**values["redirectors"]["internet1"], "protocols": {"smtp": {}, "imaps": {}}}}
    assert most("internet1a", redirectors=pairs) == {"smtp": 500}


def test_old_connections_have_a_day_and_old_processes_an_end(values: Values) -> None:
    found = sections(files(values, "isolated1a")[CFG])["global"]
    assert {"hard-stop-after 28800s", "mworker-max-reloads 4"} <= set(found)


def test_haproxy_is_told_by_its_socket_only(values: Values) -> None:
    for host in ("internet1a", "isolated2b"):
        cfg = files(values, host, redirector_admin_group="postmasters")[CFG]
        assert re.findall(r"^ *stats .*", cfg, re.MULTILINE) == [
            "    stats socket /run/haproxy/admin.sock user root group postmasters mode 660 level admin",
            "    stats timeout 30s",
        ]


def instances(conf: str) -> dict[str, tuple[str, int, int, str, str]]:
    """{address: (device, number, priority, own address, peer)}."""
    found = {}
    for name, text in re.findall(r"^vrrp_instance (\S+) \{\n(.*?)^\}", conf, re.MULTILINE | re.DOTALL):
        words = dict(re.findall(r"^ +(\w+) ([^{\n]+)$", text, re.MULTILINE))
        (peer,) = re.findall(r"unicast_peer \{\s+(\S+)", text)
        (held,) = re.findall(r"virtual_ipaddress \{\s+(\S+)/32 dev (\S+)", text)
        assert held == (name, words["interface"])
        numbers = int(words["virtual_router_id"]), int(words["priority"])
        found[name] = (words["interface"], *numbers, words["unicast_src_ip"], peer)
    return found


def test_each_host_of_a_pair_comes_first_at_one_address(values: Values) -> None:
    a, b = (instances(files(values, f"internet1{letter}")[KEEPALIVED]) for letter in "ab")
    assert set(a) == set(b) == {"10.1.1.71", "10.1.1.72"}
    assert a["10.1.1.71"][2] > b["10.1.1.71"][2] and a["10.1.1.72"][2] < b["10.1.1.72"][2]
    for address in a:
        assert a[address][0] == b[address][0] == "dmz1"
        assert a[address][1] == b[address][1], "a number is one of both hosts"
        assert a[address][3:] == tuple(reversed(b[address][3:])) == ("10.1.1.61", "10.1.1.62")
    assert len({held[1] for held in a.values()}) == 2


def test_whatever_the_looks_at_haproxy_say_each_address_is_with_one_host(values: Values) -> None:
    """As keepalived elects: a script with a weight moves the priority, which stays in 1 to 254; without one it would be
    FAULT, and two bad looks would leave the address with nobody."""
    hosts = values["redirectors"]["internet1"]["hosts"]
    weights, priorities = {}, {}
    for host in hosts:
        conf = files(values, host)[KEEPALIVED]
        (script,) = re.findall(r"^vrrp_script haproxy \{\n(.*?)^\}", conf, re.MULTILINE | re.DOTALL)
        (weights[host],) = map(int, re.findall(r"^ +weight (-\d+)$", script, re.MULTILINE))
        assert len(re.findall(r"track_script \{\s+haproxy\s+\}", conf)) == 2
        priorities[host] = {address: one[2] for address, one in instances(conf).items()}

    def held(*bad: str) -> list[str]:
        """Who has the first address and who the second."""
        found = []
        for address in ("10.1.1.71", "10.1.1.72"):
            now = {h: min(254, max(1, priorities[h][address] + (weights[h] if h in bad else 0))) for h in hosts}
            assert len(set(now.values())) == 2, "equal ones are decided by the hosts' addresses"
            found.append(max(hosts, key=lambda host: now[host]))
        return found

    a, b = hosts
    assert held() == [a, b]
    assert held(a) == [b, b] and held(b) == [a, a]
    assert held(a, b) == [a, b]


def test_whoever_comes_back_waits_for_looks_at_servers_and_whoever_stands_in_does_not(values: Values) -> None:
    for seconds, least in ((5, 15), (30, 90)):
        conf = files(values, "internet1a", redirector_check_interval=seconds)[KEEPALIVED]
        (interval,), (rise,) = (re.findall(rf"^ +{word} (\d+)$", conf, re.MULTILINE) for word in ("interval", "rise"))
        assert least <= int(interval) * int(rise) < least + int(interval)
        assert "    init_fail\n" in conf, "it counts as bad from keepalived's start on"
        # By preempt_delay a partner would let a master go on whose HAProxy is dead (keepalived.conf(5)).
        assert not re.search(r"^ +preempt_delay ", conf, re.MULTILINE)


def test_numbers_of_a_pair_differ_whatever_its_addresses(values: Values) -> None:
    wide = {**values["segments"], "dmz1": {**values["segments"]["dmz1"], "prefix": "10.1.0.0/16"}}
    pairs = {"internet1": {**values["redirectors"]["internet1"], "addresses": ["10.1.7.71", "10.1.8.71"]}}
    found = instances(files(values, "internet1a", segments=wide, redirectors=pairs)[KEEPALIVED])
    assert sorted(held[1] for held in found.values()) == [72, 73]


def test_a_device_may_be_called_otherwise_and_the_way_to_identities_is_watched_too(values: Values) -> None:
    legs = {"mgmt": "10.10.0.161", "dmz1": "10.1.1.61", "iso1": "10.1.2.61"}
    conf = files(values, "internet1a", legs=legs, devices={"dmz1": "ens3", "iso1": "ens4"})[KEEPALIVED]
    assert {held[0] for held in instances(conf).values()} == {"ens3"}
    # keepalived refuses an instance that watches its own device, which it does anyway.
    assert re.findall(r"track_interface \{\s+([^}]*?)\s+\}", conf) == ["ens4", "ens4"]
    assert "track_interface" not in files(values, "internet1a")[KEEPALIVED]


def test_mail_hosts_answer_for_what_is_redirected(values: Values, tmp_path: Path) -> None:
    def told(host: str, known: Values) -> dict[str, str]:
        return Host("agent", host, known).files("__agent_availability")

    assert told("mail1", inventory("compact")) == told("relay1", values) == told("store1a", values) == {}
    file = tmp_path / "availability.yml"
    file.write_text(told("mail1", values)["/etc/holdfast/availability.yml"])
    made = availability.load(str(file))
    names = {"mx.alpha.example", "mx2.alpha.example", "im1.alpha.example", "im2.alpha.example"}
    assert set(made.identities) == names
    assert made.identities["im1.alpha.example"].address == "203.0.113.12"
    assert f"agent-port {made.port} " in files(values, "isolated1a")[CFG]


@pytest.mark.parametrize("host", ["internet1a", "isolated2b"])
def test_haproxy_takes_it(values: Values, host: str, tmp_path: Path) -> None:
    if shutil.which("haproxy") is None:
        pytest.skip("no haproxy here (package haproxy)")
    self_signed(tmp_path, "authority")
    (tmp_path / "servers").write_text("1\n")  # HAProxy 2.6 warns while there is none
    file = tmp_path / "haproxy.cfg"
    file.write_text(readable_here(files(values, host)[CFG], tmp_path))
    # -dW: a warning is a failure, too.
    done = subprocess.run(["haproxy", "-c", "-dW", "-f", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_keepalived_takes_it(values: Values, tmp_path: Path) -> None:
    """In a network of its own, since it looks for the device."""
    if shutil.which("keepalived") is None:
        pytest.skip("no keepalived here (package keepalived)")
    bench = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c"]
    device = NETWORK.format("dmz1", "10.1.1.61")
    if subprocess.run([*bench, device], capture_output=True, check=False).returncode != 0:
        pytest.skip("no network namespace with veth here")
    file = tmp_path / "keepalived.conf"
    file.write_text(files(values, "internet1a")[KEEPALIVED])
    test = f"{device} keepalived --config-test --use-file {file}"
    done = subprocess.run([*bench, test], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

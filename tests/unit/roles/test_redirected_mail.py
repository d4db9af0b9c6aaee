"""Further listeners of mail hosts where there are redirectors, and not one octet more where there are none."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from rendering import ROLES, Host, Values, inventory, with_redirectors

LISTS = {
    "mail": ("__mail_host_files", "__mail_identity_files"),
    "relay": ("__relay_host_files", "__relay_files_of_all"),
}
ETC = "/etc/holdfast/identity"
MX, IM = "mx.alpha.example", "im1.alpha.example"
# A block that begins and ends at the beginning of a line.
BLOCK = re.compile(r"^\{% if [^\n]*\bredirected\b[^\n]*%\}\n.*?^\{% endif %\}\n", re.MULTILINE | re.DOTALL)
PROXY_PORTS = {"10025", "10587", "10465"}


def without_blocks(role: str, folder: Path) -> Path:
    """The role's templates with everything cut out that depends on redirectors."""
    copied = folder / role
    shutil.copytree(ROLES / role / "templates", copied)
    for path in copied.rglob("*.j2"):
        path.write_text(BLOCK.sub("", path.read_text()))
        assert "redirected" not in path.read_text()
    return copied


@pytest.mark.parametrize("role", ["mail", "relay"])
def test_without_redirectors_nothing_is_written_otherwise(role: str, tmp_path: Path) -> None:
    values, before = inventory("compact"), without_blocks(role, tmp_path)
    for host in values["groups"][role]:
        told = [Host(role, host, values, **given).files(*LISTS[role]) for given in ({}, {"redirectors": {}})]
        assert told[0] == told[1] == Host(role, host, values).files(*LISTS[role], templates=before)
        assert "haproxy" not in "".join(told[0].values())


@pytest.fixture(scope="module")
def values() -> Values:
    return with_redirectors()


def test_relays_are_what_they_are_beside_redirectors(values: Values) -> None:
    plain = Host("relay", "relay1", values, redirectors={}).files(*LISTS["relay"])
    assert Host("relay", "relay1", values).files(*LISTS["relay"]) == plain


@pytest.fixture(scope="module")
def mail1(values: Values) -> dict[str, str]:
    return Host("mail", "mail1", values).files(*LISTS["mail"])


def services(master: str) -> dict[str, dict[str, str]]:
    """{port or name: its options} of what listens on the network."""
    found: dict[str, dict[str, str]] = {}
    for line in master.splitlines():
        if re.match(r"\S+ +inet ", line):
            mine = found.setdefault(line.split()[0], {})
        elif option := re.match(r"  -o \{? ?([a-z_]+) ?= ?(.*?)( \})?$", line):
            mine[option[1]] = option[2]
        elif not line.startswith(" "):
            mine = {}
    return found


def test_postfix_hears_the_clients_address_on_ports_of_its_own(mail1: dict[str, str]) -> None:
    found = services(mail1[f"{ETC}/{IM}/postfix/master.cf"])
    assert set(found) > PROXY_PORTS
    for usual, behind in (("smtp", "10025"), ("submission", "10587"), ("submissions", "10465")):
        # Only the port and the protocol in front differ: whoever may do something may do it there, too.
        assert found[behind] == {**found[usual], "smtpd_upstream_proxy_protocol": "haproxy"}
        assert "smtpd_upstream_proxy_protocol" not in found[usual], "relays come to the usual ports without it"


def test_each_side_has_what_its_redirectors_offer_and_no_more(mail1: dict[str, str]) -> None:
    assert PROXY_PORTS & set(services(mail1[f"{ETC}/{MX}/postfix/master.cf"])) == {"10025"}
    dovecot = mail1[f"{ETC}/{MX}/dovecot/dovecot.conf"]
    assert "inet_listener" not in dovecot and "sieve = yes\n}" not in dovecot.split("ssl =")[0]
    listeners = re.findall(
        r"inet_listener (\S+) \{\n +port = (\d+)\n +haproxy = yes\n( +ssl = yes\n)?",
        mail1[f"{ETC}/{IM}/dovecot/dovecot.conf"],
    )
    assert [(name, port, bool(tls)) for name, port, tls in listeners] == [
        ("imap-proxy", "10143", False),
        ("imaps-proxy", "10993", True),
        ("pop3-proxy", "10110", False),
        ("pop3s-proxy", "10995", True),
        ("sieve-proxy", "14190", False),
    ]


def test_dovecot_believes_redirectors_of_its_side_only(mail1: dict[str, str]) -> None:
    (trusted,) = re.findall(
        r"^haproxy_trusted_networks = (.*)$", mail1[f"{ETC}/{IM}/dovecot/dovecot.conf"], re.MULTILINE
    )
    assert trusted.split() == ["10.1.2.81", "10.1.2.82", "10.2.2.81", "10.2.2.82"]


def test_managesieve_is_installed_only_where_it_is_offered(values: Values) -> None:
    assert "dovecot-managesieved" in Host("mail", "mail1", values).value("__mail_wanted")
    assert "dovecot-managesieved" not in Host("mail", "mail1", inventory("compact")).value("__mail_wanted")
    for pair in ("isolated1", "isolated2"):
        values["redirectors"][pair]["protocols"] = {"imap": {}}
    assert "dovecot-managesieved" not in Host("mail", "mail1", values).value("__mail_wanted")
    for pair in ("isolated1", "isolated2"):
        del values["redirectors"][pair]["protocols"]


def written(files: dict[str, str], kind: str, folder: Path) -> Path:
    """The configuration of IM for `kind` (postfix, dovecot), in a folder."""
    for path, text in files.items():
        if path.startswith(f"{ETC}/{IM}/{kind}/"):
            (folder / Path(path).name).write_text(text)
    return folder


def test_a_login_process_serves_many(mail1: dict[str, str]) -> None:
    """One for each session with TLS would end at the hundredth (default_process_limit)."""
    text = mail1[f"{ETC}/{IM}/dovecot/dovecot.conf"]
    for service in ("imap", "pop3", "managesieve"):
        assert f"service {service}-login {{\n  restart_request_count = unlimited\n" in text


def test_postfix_knows_every_word(mail1: dict[str, str], tmp_path: Path) -> None:
    if shutil.which("postconf") is None:
        pytest.skip("no postconf here (package postfix)")
    folder = written(mail1, "postfix", tmp_path)
    for what in ("-n", "-M", "-P"):
        done = subprocess.run(["postconf", "-c", str(folder), what], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_dovecot_knows_every_word(mail1: dict[str, str], tmp_path: Path) -> None:
    if shutil.which("doveconf") is None:
        pytest.skip("no doveconf here (package dovecot-core)")
    conf = written(mail1, "dovecot", tmp_path) / "dovecot.conf"
    done = subprocess.run(["doveconf", "-n", "-c", str(conf)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "haproxy = yes" in done.stdout

"""What scripts of users send (Sieve redirect, vacation) goes to their identity's own Postfix, wherever it runs."""

from __future__ import annotations

import re

import pytest
from rendering import Host, Values, inventory, with_redirectors
from test_redirected_mail import ETC, IM, LISTS, MX, services

Rendered = dict[str, dict[str, str]]  # by host


@pytest.fixture(scope="module")
def values() -> Values:
    return with_redirectors()


@pytest.fixture(scope="module")
def rendered(values: Values) -> Rendered:
    return {host: Host("mail", host, values).files(*LISTS["mail"]) for host in ("mail1", "mail2")}


def files(told: dict[str, str], identity: str) -> tuple[str, dict[str, dict[str, str]]]:
    """Its dovecot.conf, and what its Postfix offers on the network."""
    return told[f"{ETC}/{identity}/dovecot/dovecot.conf"], services(told[f"{ETC}/{identity}/postfix/master.cf"])


def submission(dovecot: str) -> tuple[str, str]:
    """Address and port."""
    ((address, port),) = re.findall(r"^submission_host = (\S+):(\d+)$", dovecot, re.MULTILINE)
    return address, port


@pytest.mark.parametrize("identity", [MX, IM])
@pytest.mark.parametrize("host", ["mail1", "mail2"])
def test_dovecot_hands_over_to_its_own_identity(values: Values, rendered: Rendered, host: str, identity: str) -> None:
    """By its address: several identities run on one host, each with its own Postfix."""
    dovecot, offered = files(rendered[host], identity)
    address, port = submission(dovecot)
    assert address == values["identities"][identity]["address"]
    assert port in offered


@pytest.mark.parametrize("identity", [MX, IM])
def test_only_the_identity_itself_may_use_it(rendered: Rendered, identity: str) -> None:
    dovecot, offered = files(rendered["mail1"], identity)
    address, port = submission(dovecot)
    options = offered[port]
    assert options["mynetworks"] == address
    # Whoever is not the identity itself is refused whatever the recipient; nobody logs in, so nobody's log-in counts.
    assert options["smtpd_client_restrictions"] == options["smtpd_relay_restrictions"] == "permit_mynetworks, reject"
    assert "smtpd_sasl_auth_enable" not in options and "smtpd_sender_restrictions" not in options


def test_its_port_is_nobody_elses(values: Values, rendered: Rendered) -> None:
    dovecot, _ = files(rendered["mail1"], IM)
    _, port = submission(dovecot)
    agents = Host("mail", "mail1", values).value("topology_availability_port")
    assert port not in {str(agents), *re.findall(r"port = (\d+)", dovecot)}
    master = rendered["mail1"][f"{ETC}/{IM}/postfix/master.cf"]
    assert len(re.findall(rf"^{port} ", master, re.MULTILINE)) == 1


def test_scripts_count_however_they_were_stored(rendered: Rendered) -> None:
    """Not only while redirectors offer ManageSieve: else a deploy without would file their mail otherwise."""
    plain = Host("mail", "mail1", inventory("compact")).files(*LISTS["mail"])
    for told in (plain, rendered["mail1"]):
        dovecot, _ = files(told, MX)
        assert re.search(r"sieve_script personal \{\n  type = personal\n", dovecot)

"""A third customer is one entry of the inventory, and all layers have it; any server of a side takes its mail."""

from __future__ import annotations

import re

import pytest
from rendering import Host, Values, follow_customers, inventory

ETC = "/etc/holdfast/identity"
MAIL = "__mail_identity_files"
GAMMA = {
    "home": "rly",
    "guarantee": "best_effort",
    "domains": {"gamma.example": ["mx2.beta.example", "mail2.beta.example"]},
    "postmaster": "mallory@gamma.example",
    "users": [{"address": f"{name}@gamma.example", "password": f"lab-{name}"} for name in ("mallory", "nora")],
}
MX, MX2 = "mx.alpha.example", "mx2.beta.example"
IM, IM2, HOME = "mail.alpha.example", "mail2.alpha.example", "mail2.beta.example"
HOME_ADDRESS = "203.0.113.17"
# The relays of each side, in the order of the home's `relays`.
INTERNET_RELAYS = ["203.0.113.21", "203.0.113.22", "203.0.113.23", "203.0.113.24"]
ISOLATED_RELAYS = ["203.0.113.31", "203.0.113.32", "203.0.113.33", "203.0.113.34"]


@pytest.fixture(scope="module")
def values() -> Values:
    found = inventory("full")
    found["customers"]["gamma"] = GAMMA
    return follow_customers(found)


@pytest.fixture(scope="module")
def mis2(values: Values) -> dict[str, str]:
    """sjc-mis2 may own identities of both sites, none of them gamma's home in its own site."""
    return Host("mail", "sjc-mis2", values).files(MAIL)


@pytest.fixture(scope="module")
def rly_min2(values: Values) -> dict[str, str]:
    return Host("mail", "rly-min2", values).files(MAIL)


def parameters(text: str) -> dict[str, str]:
    """Of a main.cf, continued lines put together."""
    joined = re.sub(r"\n[ \t]+", " ", text)
    return {k: v for k, _, v in (line.partition(" = ") for line in joined.splitlines() if line[:1].isalpha())}


def main_cf(files: dict[str, str], name: str) -> dict[str, str]:
    return parameters(files[f"{ETC}/{name}/postfix/main.cf"])


def nexthop(given: dict[str, str], domain: str) -> list[str]:
    """Each first at its port for our own hosts."""
    (found,) = re.findall(r"\{ " + re.escape(domain) + r" = home:([^}]*) \}", given["transport_maps"])
    hops = found.split(", ")
    addresses = [re.fullmatch(r"\[(.*)\]:25", hop)[1] for hop in hops[1::2]]  # type: ignore[index]
    assert hops[::2] == [f"[{address}]:2525" for address in addresses]
    return addresses


def test_names(values: Values) -> None:
    """The zone and its MX on both sides; each leads to the identity of that side, then to the relays of that side."""
    for server, home, relays in (("ns-inet", MX2, "sjc.alpha"), ("ns-iso", HOME, "sjc.iso.alpha")):
        host = Host("dns", server, values, dns_hostmaster="postmaster")
        assert "gamma.example" in host.value("__dns_zones")
        (exchangers,) = [
            r["data"] for r in host.value("__dns_records") if (r["name"], r["type"]) == ("gamma.example", "MX")
        ]
        assert exchangers[0] == f"10 {home}." and f"20 relay1.{relays}.example." in exchangers
        assert "gamma.example." in host.value("__dns_updated")


def test_relays_hold_its_mail_and_know_its_users(values: Values) -> None:
    host = Host("relay", "sjc-relay1", values)
    files = host.files("__relay_tables", "__relay_files_of_all")
    for side, relay, address in (
        ("internet", "relay1.sjc.alpha.example", "203.0.113.15"),
        ("isolated", "relay1.sjc.iso.alpha.example", HOME_ADDRESS),
    ):
        hops = f"[{address}]:2525, [{address}]:25"
        assert f"gamma.example route-{side}:{hops}\n" in files[f"/etc/postfix/transport.first-{side}"]
        assert "gamma.example" in parameters(files[f"{ETC}/{relay}/postfix/main.cf"])["relay_domains"]
        known = files[f"{ETC}/{relay}/postfix/recipients"]
        assert "nora@gamma.example OK\n" in known and "postmaster@gamma.example OK\n" in known
    watched = Host("monitor", "sjc-relay1", values).value("__monitor_identities")
    assert "gamma.example" in watched[HOME]["domains"]


def test_its_mail_from_the_internet_is_taken_by_every_server_and_crosses_at_home(
    values: Values, rly_min2: dict[str, str]
) -> None:
    at_home = main_cf(rly_min2, MX2)
    assert "gamma.example" in at_home["relay_domains"] and "{ gamma.example" not in at_home["transport_maps"]
    assert at_home["relay_transport"] == f"spool:unix:/run/holdfast-spool-{MX2}/lmtp"
    table = Host("transfer", "rly-transfer1", values).value("topology_transfer")["rly"]
    assert table["domains"]["gamma.example"] == HOME and table["outlets"][HOME] == MX2
    elsewhere = main_cf(Host("mail", "sjc-min1", values).files(MAIL), MX)
    assert "gamma.example" in elsewhere["relay_domains"]
    assert nexthop(elsewhere, "gamma.example") == ["203.0.113.15", *INTERNET_RELAYS]


def test_its_mail_of_the_isolated_side_stays_there(mis2: dict[str, str]) -> None:
    """Straight to its home, or to the relays of that side; with the other customers' it is the same."""
    for name in (IM2, IM):
        given = main_cf(mis2, name)
        assert nexthop(given, "gamma.example") == [HOME_ADDRESS, *ISOLATED_RELAYS]
        assert "gamma.example" in given["relay_domains"] and "gamma.example" not in given["virtual_mailbox_domains"]
        assert given["default_transport"].startswith("spool:")
    assert nexthop(main_cf(mis2, IM2), "alpha.example")[0] == "203.0.113.12"
    # Who accepts it knows whom it is for, and who may send as whom.
    for file, line in (
        ("mailboxes", "nora@gamma.example nora@gamma.example\n"),
        ("aliases", "postmaster@gamma.example mallory"),
    ):
        assert line in mis2[f"{ETC}/{IM2}/postfix/{file}"]


def users(files: dict[str, str], name: str, file: str) -> dict[str, str]:
    """{user: the rest of his line}"""
    lines = [line.partition(":") for line in files[f"{ETC}/{name}/dovecot/{file}"].splitlines() if line[:1] != "#"]
    return {user: rest for user, _, rest in lines}


def test_everybody_logs_in_everywhere_and_is_led_home(values: Values, mis2: dict[str, str]) -> None:
    files = {**mis2, **Host("mail", "rly-mis2", values).files(MAIL), **Host("mail", "rly-mis1", values).files(MAIL)}
    intranet = [name for name, one in values["identities"].items() if one["kind"] == "intranet"]
    assert len(intranet) == 4
    everybody = {user["address"] for user in values["mail_users"]}
    assert len(everybody) == 12
    for name in intranet:
        here, there = users(files, name, "users"), users(files, name, "elsewhere")
        assert set(here) - {f"probe@{name}"} | set(there) == everybody
        # Nobody is passed on from where he is at home: no loop.
        assert not set(here) & set(there)
        assert not any("proxy" in rest for rest in here.values())
        for user, rest in there.items():
            home = re.search(
                r"proxy=y nologin=y starttls=yes proxy_no_multiplex=y host=(\S+) hostip=(\S+) source_ip=(\S+)$", rest
            )
            assert home is not None, rest
            assert user.split("@")[1] in values["identities"][home[1]]["domains"]
            assert home[2] == values["identities"][home[1]]["address"]
            assert home[3] == values["identities"][name]["address"]
            # The same password there, and of the client's address that identity believes this one.
            assert rest.split(":")[0] == users(files, home[1], "users")[user].split(":")[0]
            (trusted,) = re.findall(
                r"^login_trusted_networks = (.*)$", files[f"{ETC}/{home[1]}/dovecot/dovecot.conf"], re.MULTILINE
            )
            assert home[3] in trusted.split()


def test_who_leads_users_home_notices_a_home_that_is_gone(values: Values) -> None:
    leads = {host: Host("mail", host, values).files("__mail_leading_files") for host in ("sjc-mis2", "sjc-min1")}
    assert "tcp_keepalive_time" in leads["sjc-mis2"]["/etc/sysctl.d/63-holdfast-mail.conf"] and not leads["sjc-min1"]
    assert not Host("mail", "mail1", inventory("compact")).files("__mail_leading_files")


def test_on_the_internet_side_nobody_logs_in_for_a_mailbox(rly_min2: dict[str, str]) -> None:
    assert f"{ETC}/{MX2}/dovecot/elsewhere" not in rly_min2
    assert "passdb elsewhere" not in rly_min2[f"{ETC}/{MX2}/dovecot/dovecot.conf"]


def test_a_certificate_has_each_name_that_redirectors_may_lead_to_it(values: Values) -> None:
    wanted = {c["name"]: c["names"] for c in Host("certificates", "sjc-mis2", values).value("certificates_wanted")}
    intranet = {name for name, one in values["identities"].items() if one["kind"] == "intranet"}
    for name in intranet:
        assert wanted[name][:2] == [name, values["identities"][name]["address"]] and intranet <= set(wanted[name])
        assert not [other for other in wanted[name] if other.startswith("mx")]
    assert wanted["relay1.sjc.alpha.example"] == ["relay1.sjc.alpha.example", "203.0.113.21"]
    plain = {
        c["name"]: c["names"] for c in Host("certificates", "mail1", inventory("compact")).value("certificates_wanted")
    }
    assert plain["mx.alpha.example"] == ["mx.alpha.example", "203.0.113.10"]


def test_redirectors_have_every_server_of_their_side(values: Values) -> None:
    servers = Host("redirector", "rly-dis1", values).value("__redirector_servers")
    assert {name: s["backup"] for name, s in servers.items()} == {
        "mail.beta.example": False, HOME: False, IM: True, IM2: True,
    }  # fmt: skip


def test_each_server_has_an_address_and_a_number_of_its_own(values: Values) -> None:
    """Two of one host listen beside each other on the usual ports, each on its own address."""
    host = Host("address", "sjc-mis2", values)
    held = host.value("__address_held")
    assert {IM, IM2} <= set(held) and len(set(held.values())) == len(held)
    numbers = host.value("__address_numbers")
    assert len(set(numbers.values())) == len(numbers)

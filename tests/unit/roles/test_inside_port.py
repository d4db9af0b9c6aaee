"""The port at which identities serve our own hosts: who may come there, how many at a time, and what is taken there."""

from __future__ import annotations

import functools
import re

import pytest
from flow_plans import Allowed, plan
from rendering import Host, Values, inventory

ETC = "/etc/holdfast/identity"
LISTS = {"mail": "__mail_identity_files", "relay": "__relay_files_of_all"}
NAMES = ("compact", "full", "single", "external")
Services = dict[str, tuple[str, dict[str, str]]]


every_inventory = pytest.mark.parametrize("name", NAMES)


def services(text: str) -> Services:
    """{service of a master.cf: (maxproc, its options)}; of those on sockets of a host's own, `NAME unix`."""
    found, last = Services(), ""
    for line in text.splitlines():
        if option := re.fullmatch(r"  -o (?:\{ )?(\S+?) ?= ?(.*?)(?: \})?", line):
            found[last][1][option[1]] = option[2]
        elif line and not line.startswith("#"):
            name, kind, _, _, _, _, maxproc, *_ = line.split()
            last = name if kind == "inet" else f"{name} unix"
            found[last] = (maxproc, {})
    return found


def deployed(values: Values) -> dict[str, Services]:
    """{identity: services of its Postfix}, as its home has it."""
    found = {}
    for identity, one in values["identities"].items():
        role = "relay" if one["kind"] == "relay" else "mail"
        host = Host(role, one["home"], values)
        (item,) = [i for i in host.value(LISTS[role]) if i["dest"] == f"{ETC}/{identity}/postfix/master.cf"]
        found[identity] = services(host.text(item))
    return found


@functools.cache
def known_of(name: str) -> dict[str, Services]:
    return deployed(inventory(name))


def main_cf(values: Values, role: str, host_name: str, identity: str) -> str:
    host = Host(role, host_name, values)
    (item,) = [i for i in host.value(LISTS[role]) if i["dest"] == f"{ETC}/{identity}/postfix/main.cf"]
    return host.text(item)


@every_inventory
def test_postfix_takes_there_exactly_whom_the_packet_filters_let_through(name: str) -> None:
    values, allowed = inventory(name), Allowed(plan(name))
    returned = {i["address"] for i in values["identities"].values() if i["kind"] == "relay"}
    for identity, known in known_of(name).items():
        address = values["identities"][identity]["address"]
        options = known["2525"][1]
        assert options["smtpd_client_restrictions"] == "permit_mynetworks, reject"
        clients = set(options["mynetworks"].split(", "))
        through = {s for f in allowed.flows if 2525 in f.ports and address in f.destinations for s in f.sources}
        assert clients - {address} == through - {address}, identity
        assert address in clients  # its own agent, by the loopback
        # And whoever comes there comes to the public port, too, while this host or a filter is of an earlier release.
        assert all(allowed(client, address, 25) for client in clients - {address} - returned), identity


def test_monitors_come_by_each_route_and_nobody_of_the_other_side_does() -> None:
    values = inventory("full")
    for identity, known in known_of("full").items():
        one = values["identities"][identity]
        clients = known["2525"][1]["mynetworks"].split(", ")
        for relay in one["relays"]:
            routes = Host("monitor", relay, values).value("topology_routes")
            legs = {r["name"]: r["bind_address"] for r in routes}
            for network, leg in legs.items():
                assert (leg in clients) is (network in one["networks"]), (identity, relay, network)


def test_as_many_processes_as_all_can_ask_for() -> None:
    values, known = inventory("full"), known_of("full")
    # Ten from each of four relays by each of two routes, and of three servers beside it; two a monitor; the agent.
    assert known["mx.alpha.example"]["2525"][0] == str(10 * (4 * 2 + 3) + 2 * 4 + 1)
    # Four identities, for each of them the three others; who watches the relay are the four relay hosts.
    watching = len(values["identities"]["relay1.sjc.alpha.example"]["relays"])
    assert known["relay1.sjc.alpha.example"]["2525"][0] == str(10 * 4 * 3 + 2 * watching + 1)
    assert known_of("compact")["mx.alpha.example"]["2525"][0] == str(10 * 2 * 2 + 2 * 2 + 1)


def test_senders_keep_to_what_was_counted() -> None:
    values = {**inventory("full"), "topology_inside_concurrency": 7}
    text = main_cf(values, "relay", "sjc-relay1", "relay1.sjc.alpha.example")
    assert re.findall(r"^route-(\S+)_destination_concurrency_limit = (\d+)$", text, re.MULTILINE) == [
        (network, "7") for network in values["mail_routes"]
    ]
    assert "\nhome_destination_concurrency_limit = 7\n" in main_cf(values, "mail", "sjc-min1", "mx.alpha.example")


@every_inventory
def test_what_was_taken_at_the_first_server_is_taken_there(name: str) -> None:
    """Each server puts a field on top, so what is just below the limit at the first is above it at the next."""
    values = inventory(name)
    for known in known_of(name).values():
        maxproc, options = known["2525"]
        assert int(maxproc) > 0
        cleanup = options["cleanup_service_name"]
        sizes = {options["message_size_limit"], known[f"{cleanup} unix"][1]["message_size_limit"]}
        assert sizes == {str(values["message_size_limit"] + 65536)}
        assert "message_size_limit" not in known["smtp"][1] and "message_size_limit" not in known["cleanup unix"][1]


@every_inventory
def test_one_stranger_does_not_take_all_of_the_public_port(name: str) -> None:
    for known in known_of(name).values():
        for service in {"smtp", "10025"} & set(known):
            assert known[service][1]["smtpd_client_connection_count_limit"] == "10"
        assert "smtpd_client_connection_count_limit" not in known["2525"][1]
    host = Host("mail", "mail1", inventory("compact"), mail_process_limit=100)
    assert host.value("mail_client_connections") == 20


def test_limits_are_not_for_our_own_hosts() -> None:
    values = inventory("full")
    host = Host("mail", "sjc-min1", values)
    text = main_cf(values, "mail", "sjc-min1", "mx.alpha.example")
    (line,) = re.findall(r"^smtpd_client_event_limit_exceptions = (.*)$", text, re.MULTILINE)
    known = line.split(", ")
    inside = host.value("topology_inside")["mx.alpha.example"]["clients"]
    redirectors = host.value("topology_redirected")["mx.alpha.example"]["sources"]
    assert "$mynetworks" in known and redirectors and {*inside, *redirectors} <= set(known)


def test_who_asks_and_who_is_asked_name_the_same_port() -> None:
    values = {**inventory("full"), "topology_inside_port": 2626, "fence_devices": {}}
    assert Host("monitor", "sjc-relay1", values).value("__monitor_settings")["probe"] == {"port": 2626}
    agent = Host("agent", "sjc-min1", values, agent_ready_memory_mb=1, agent_ready_disk_mb=1)
    probes = [i["probe"] for i in agent.value("__agent_settings")["identities"].values()]
    assert probes and all(p["port"] == 2626 for p in probes)
    assert all("2626" in known for known in deployed(values).values())


# --- what goes back to strangers -------------------------------------------------------------------------------------

ISOLATED = "relay1.sjc.iso.alpha.example"


def test_relays_of_the_isolated_side_send_to_strangers_by_the_spools_of_their_site() -> None:
    """By MX they would ask the Internet's name server, and have no way to whom it names."""
    values = inventory("full")
    text = main_cf(values, "relay", "sjc-relay1", ISOLATED)
    takers = [
        one["address"] for one in values["identities"].values() if one["kind"] == "intranet" and one["store"] == "sjc"
    ]
    assert len(takers) == 2
    hops = ", ".join(f"[{address}]:2525" for address in takers)
    assert f"\ndefault_transport = strangers:{hops}\n" in text
    assert "\nstrangers_destination_concurrency_limit = 10\n" in text
    options = known_of("full")[ISOLATED]["strangers unix"][1]
    # A refusal keeps it: of what does not arrive nobody could be told. The relay's own address sends it.
    assert options["soft_bounce"] == "yes" and "smtp_bind_address" not in options


def test_other_relays_send_to_strangers_themselves() -> None:
    values = inventory("full")
    assert "default_transport" not in main_cf(values, "relay", "sjc-relay1", "relay1.sjc.alpha.example")
    assert "strangers unix" not in known_of("full")["relay1.sjc.alpha.example"]
    uncarried = {**values, "groups": {**values["groups"], "transfer": []}}
    assert "default_transport" not in main_cf(uncarried, "relay", "sjc-relay1", ISOLATED)
    assert all("strangers unix" not in known for known in known_of("compact").values())


def test_these_identities_pass_on_what_such_relays_return_and_nothing_else() -> None:
    values = inventory("full")
    for identity, one in values["identities"].items():
        mine = [
            relay["address"]
            for name, relay in values["identities"].items()
            if relay["kind"] == "relay" and ".iso." in name and relay["store"] == one["store"]
        ]
        options = known_of("full")[identity]["2525"][1]
        if one["kind"] != "intranet":
            assert "smtpd_relay_restrictions" not in options, identity
            continue
        listed = ", ".join(f"{{ {address} = OK }}" for address in mine)
        wanted = f"check_client_access inline:{{ {listed} }}, reject_unauth_destination"
        assert len(mine) == 2 and options["smtpd_relay_restrictions"] == wanted
        assert set(mine) <= set(options["mynetworks"].split(", "))
        assert "smtpd_relay_restrictions" not in known_of("full")[identity]["smtp"][1]

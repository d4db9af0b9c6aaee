"""What a group `transfer` adds to mail hosts and what its own hosts get; without one nothing differs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import FilterModule
from holdfast.core.transfer import INTERNET, INTRANET
from holdfast.daemons import spool, transfer
from jinja2 import StrictUndefined
from jinja2.nativetypes import NativeEnvironment

ROLES = Path(__file__).parents[3] / "roles"
MX, IM, FAR, RELAY = "mx.alpha.example", "im.alpha.example", "im.far.example", "relay.dc1.alpha.example"
Values = dict[str, Any]


def inventory() -> Values:
    def one(kind: str, store: str, *domains: str) -> Values:
        return {"kind": kind, "store": store, "domains": list(domains), "address": "203.0.113.10"}

    return {
        "ansible_managed": "Ansible managed",
        "inventory_hostname": "mail1",
        "site": "dc1",
        "groups": {"transfer": ["transfer1"]},
        "identities": {
            MX: one("internet", "store1", "alpha.example", "own.example"),
            IM: one("intranet", "store1", "alpha.example"),
            FAR: one("intranet", "store2", "far.example"),
            RELAY: one("relay", "store1"),
        },
        "hostvars": {"transfer1": {"site": "dc1"}},
        "stores": {"store1": {}, "store2": {}},
        "topology_every_store": {
            "store1": {"site": "dc1", "address": "10.255.3.1"},
            "store2": {"site": "dc2", "address": "10.255.3.2"},
        },
        "topology_files": {n: {"address": "10.255.3.1", "path": f"/srv/store/{n}"} for n in (MX, IM)},
        "mail_users": [
            {"address": "alice@alpha.example", "password": "a"},
            {"address": "bob@own.example", "password": "b", "identity": IM},
        ],
        "message_size_limit": 1000,
        "mail_queue_lifetime": "14d",
        "mail_maximal_backoff": "4000s",
        "mail_process_limit": 20,
        "mail_client_connections": 10,
        "topology_inside_port": 2525,
        "topology_inside_concurrency": 20,
        "returning": [],
        "unlimited": ["203.0.113.10", "10.2.1.31"],
        "inside": {"clients": ["203.0.113.10", "10.2.1.31"], "processes": 23},
        "topology_coordinator": {"endpoints": ["https://10.1.3.31:2379"], "ca": "/ca", "cert": "/c", "key": "/k"},
    }


def environment(kind: type[jinja2.Environment], folder: Path | None = None) -> jinja2.Environment:
    loader = None if folder is None else jinja2.FileSystemLoader(folder)
    made = kind(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=folder is not None, loader=loader)
    # Those that both have are Ansible's own only for values that Ansible has marked.
    made.filters.update({k: v for k, v in FilterModule().filters().items() if k not in made.filters})
    return made


def derived(values: Values, role: str, *names: str, file: str = "vars") -> Values:
    """Variables of a role, each from those before it."""
    known = dict(values)
    given = yaml.safe_load((ROLES / role / file / "main.yml").read_text())
    for name in names:
        known[name] = environment(NativeEnvironment).from_string(str(given[name]).strip()).render(known)
    return known


def of_host(values: Values) -> Values:
    known = {**values, "topology_identities": {n: values["identities"][n] for n in (MX, IM, RELAY)}}
    return derived(known, "topology", "topology_transfer", "topology_spools", file="defaults")


def rendered(role: str, template: str, values: Values) -> str:
    return environment(jinja2.Environment, ROLES / role / "templates").get_template(template).render(values)


def of_identity(name: str, values: Values) -> Values:
    known = of_host(values)
    place = known["topology_spools"].get(name)
    table = known["topology_transfer"][place] if place else {}
    return {
        **known,
        "identity": name,
        "settings": values["identities"][name],
        "redirected": {},
        "beside": {},
        "spool": table,
        "table": table,
    }


# --- who holds what -------------------------------------------------------------------------------------------------


def test_the_table_of_a_site() -> None:
    known = of_host(inventory())
    assert known["topology_transfer"]["dc1"] == {
        "sides": {MX: INTERNET, IM: INTRANET},
        "domains": {"alpha.example": IM},
        "users": {"bob@own.example": IM},
        "outlets": {IM: MX},
    }
    assert known["topology_transfer"]["dc2"]["sides"] == {FAR: INTRANET}
    assert known["topology_spools"] == {MX: "dc1", IM: "dc1"}


def test_no_spool_where_nobody_carries() -> None:
    """A host of another site carries nothing here, and a store from elsewhere opens nothing to it."""
    far, elsewhere = inventory(), inventory()
    far["hostvars"]["transfer1"]["site"] = "dc2"
    elsewhere["stores"] = {}
    assert of_host(far)["topology_spools"] == of_host(elsewhere)["topology_spools"] == {}


def test_users_of_the_same_side_are_reached_without_a_crossing() -> None:
    values = inventory()
    far = {"identity": FAR, "address": "203.0.113.12", "nexthops": ["203.0.113.12", "203.0.113.21"]}
    known = {**of_identity(IM, values), "beside": {"far.example": far}}
    text = rendered("mail", "postfix/main.cf.j2", known)
    hops = "[203.0.113.12]:2525, [203.0.113.12]:25, [203.0.113.21]:2525, [203.0.113.21]:25"
    assert f"{{ far.example = home:{hops} }}\n" in text
    assert "relay_domains = far.example\n" in text
    assert "\nhome           unix" in rendered("mail", "postfix/master.cf.j2", known)
    alone = of_identity(IM, values)
    assert "transport_maps" not in rendered("mail", "postfix/main.cf.j2", alone)
    assert "\nhome " not in rendered("mail", "postfix/master.cf.j2", alone)


def test_an_intranet_identity_sends_by_the_internet_one_of_its_domains() -> None:
    def outlet(*domains: str, **changes: str) -> str:
        values = inventory()
        values["identities"]["mx2.alpha.example"] = {**values["identities"][MX], "domains": list(domains)}
        values["identities"][IM].update(changes)
        found: str = of_host(values)["topology_transfer"]["dc1"]["outlets"][IM]
        return found

    assert outlet("other.example") == MX
    values = inventory()
    values["identities"][MX]["domains"] = ["own.example"]
    values["identities"]["mx2.alpha.example"] = {**values["identities"][MX], "domains": ["alpha.example"]}
    assert of_host(values)["topology_transfer"]["dc1"]["outlets"] == {IM: "mx2.alpha.example"}
    assert outlet("other.example", outlet="mx2.alpha.example") == "mx2.alpha.example"


def test_a_site_with_one_side_has_no_spools() -> None:
    values = inventory()
    del values["identities"][IM]
    known = {**values, "topology_identities": {MX: values["identities"][MX]}}
    assert derived(known, "topology", "topology_transfer", "topology_spools", file="defaults")["topology_spools"] == {}


# --- without transfer hosts -----------------------------------------------------------------------------------------

MAIL_TEMPLATES = ("postfix/main.cf.j2", "postfix/master.cf.j2", "postfix/mailboxes.j2", "dovecot/once.sieve.j2")


@pytest.mark.parametrize("groups", [{}, {"transfer": []}])
def test_without_transfer_hosts_a_mail_host_has_nothing_of_it(groups: Values) -> None:
    values = {**inventory(), "groups": groups}
    known = of_host(values)
    assert known["topology_spools"] == {}
    assert derived(known, "mail", "__mail_spool_host_files", "__mail_spool_files")["__mail_spool_files"] == []
    for template in MAIL_TEMPLATES:
        text = rendered("mail", template, of_identity(MX, values))
        assert not any(word in text for word in ("spool", "intake", "Transfer")), template
    domains = "virtual_mailbox_domains = alpha.example, own.example\n"
    assert domains in rendered("mail", "postfix/main.cf.j2", of_identity(MX, values))


# --- with them ------------------------------------------------------------------------------------------------------


def parameters(text: str) -> dict[str, str]:
    lines = (line.partition(" = ") for line in text.splitlines() if line[:1].isalpha())
    return {name: value for name, _, value in lines}


def test_an_internet_identity_takes_for_the_other_side_and_hands_it_to_its_spool() -> None:
    given = parameters(rendered("mail", "postfix/main.cf.j2", of_identity(MX, inventory())))
    assert given["virtual_mailbox_domains"] == "own.example" and given["relay_domains"] == "alpha.example"
    assert given["relay_transport"] == f"spool:unix:/run/holdfast-spool-{MX}/lmtp" and "default_transport" not in given
    recipients = rendered("mail", "postfix/mailboxes.j2", of_identity(MX, inventory()))
    assert "alice@alpha.example alice@alpha.example" in recipients


def test_who_has_his_mailbox_on_the_other_side_has_none_here() -> None:
    def users(name: str, groups: Values) -> list[str]:
        values = {**inventory(), "groups": groups, "probe_password": "p"}
        text = rendered("mail", "dovecot/users.j2", of_identity(name, values))
        return [line.partition(":")[0] for line in text.splitlines() if not line.startswith("#")]

    alice, bob = "alice@alpha.example", "bob@own.example"
    assert users(MX, {"transfer": ["transfer1"]}) == [bob, f"probe@{MX}"]
    assert users(IM, {"transfer": ["transfer1"]}) == [alice, f"probe@{IM}"]
    assert users(MX, {}) == [alice, bob, f"probe@{MX}"]


def test_an_intranet_identity_sends_all_that_is_not_its_own_into_its_spool() -> None:
    given = parameters(rendered("mail", "postfix/main.cf.j2", of_identity(IM, inventory())))
    assert given["virtual_mailbox_domains"] == "alpha.example" and "relay_domains" not in given
    assert given["default_transport"] == f"spool:unix:/run/holdfast-spool-{IM}/lmtp"


@pytest.mark.parametrize("name", [MX, IM])
def test_the_field_of_a_crossing_is_taken_from_all_but_what_has_crossed(name: str) -> None:
    given = parameters(rendered("mail", "postfix/main.cf.j2", of_identity(name, inventory())))
    assert given["header_checks"] == "regexp:{ {/^Holdfast-Transfer-ID:/ IGNORE} }"
    services = rendered("mail", "postfix/master.cf.j2", of_identity(name, inventory()))
    intake = services.partition("\nintake ")[2].partition("\ncleanup-intake ")
    assert "cleanup_service_name=cleanup-intake" in intake[0] and "header_checks=\n" in intake[2]
    # What servers of this side pass on is no crossing.
    (inside,) = re.findall(r"^cleanup-inside .*\n((?:  .*\n)*)", services, re.MULTILINE)
    assert "header_checks" not in inside and services.count("header_checks") == 1
    assert "Holdfast-Transfer-ID" in rendered("mail", "dovecot/once.sieve.j2", of_identity(name, inventory()))


def test_the_files_of_both_ends_are_what_the_daemons_read(tmp_path: Path) -> None:
    file = tmp_path / "file.yml"
    file.write_text(rendered("mail", "spool/spool.yml.j2", of_identity(IM, inventory())))
    end = spool.load(str(file))
    assert end.folder == Path(f"/srv/holdfast/{IM}/spool") and end.table.holder(IM, "x@out.example") == MX
    known = {**of_host(inventory()), **yaml.safe_load((ROLES / "transfer/defaults/main.yml").read_text())}
    given = yaml.safe_load((ROLES / "transfer/vars/main.yml").read_text())
    known |= {"__transfer_root": given["__transfer_root"], "__transfer_records": given["__transfer_records"]}
    known |= {"inventory_hostname": "transfer1"}
    known = derived(known, "transfer", "__transfer_table", "__transfer_mounts")
    # Ansible renders what stands in a mapping where it is read.
    settings = {k: resolved(v, known) for k, v in given["__transfer_settings"].items()}
    file.write_text(rendered("transfer", "transfer.yml.j2", {**known, "__transfer_settings": settings}))
    carries = transfer.load(str(file))
    # Each step takes what the one before has put fields on top of.
    services = rendered("mail", "postfix/master.cf.j2", of_identity(IM, inventory()))
    assert 1000 < end.size <= carries.limits.size < 1000 + 131072
    assert services.count(f"message_size_limit={1000 + 131072}") == 2
    assert carries.table == end.table and carries.days == 30 and carries.move_to is None
    assert known["__transfer_mounts"] == {
        f"/srv/holdfast-spools/{MX}": f"10.255.3.1:/srv/store/{MX}/spool",
        f"/srv/holdfast-spools/{IM}": f"10.255.3.1:/srv/store/{IM}/spool",
        "/srv/holdfast-transfer": "10.255.3.1:/srv/store/transfer",
    }
    script = rendered("transfer", "mount-spools.sh.j2", known)
    assert script.count("\nbring ") == script.count("\nmounted /") == 3
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def resolved(value: Any, known: Values) -> Any:
    if isinstance(value, dict):
        return {k: resolved(v, known) for k, v in value.items()}
    return environment(NativeEnvironment).from_string(value).render(known) if isinstance(value, str) else value


def test_one_spool_that_cannot_be_mounted_keeps_no_other_back(tmp_path: Path) -> None:
    """And the unit learns that there is something left to do."""
    mounts = {f"{tmp_path}/{name}": f"10.255.3.1:/{name}" for name in ("away", "here", "had")}
    script = rendered("transfer", "mount-spools.sh.j2", {**inventory(), "__transfer_mounts": mounts})
    table = tmp_path / "mounts"
    table.write_text(f"10.255.3.1:/had {tmp_path}/had nfs4 rw 0 0\n")
    # In place of the kernel and of mount(8): a server that does not answer, and one that does.
    fake = f'case $5 in *away) exit 32;; esac; echo "$5 $6 nfs4 rw 0 0" >> {table}'
    (tmp_path / "mount").write_text(f"#!/bin/sh\n{fake}\n")
    (tmp_path / "mount").chmod(0o755)
    program = script.replace("/proc/mounts", str(table))
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=False, env=path)
    assert done.returncode == 1 and done.stderr == ""
    assert [line.split()[0] for line in table.read_text().splitlines()] == ["10.255.3.1:/had", "10.255.3.1:/here"]
    (tmp_path / "mount").write_text(f'#!/bin/sh\necho "$5 $6 nfs4 rw 0 0" >> {table}\n')
    assert subprocess.run(["sh", "-c", program], check=False, env=path).returncode == 0
    assert len(table.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("role", "template"),
    [("mail", "spool/holdfast-spool@.service.j2"), ("transfer", "holdfast-transfer.service.j2")],
)
def test_the_units_have_a_user_of_their_own_and_few_rights(role: str, template: str) -> None:
    known = {**inventory(), "transfer_archive_move_to": None, "__transfer_root": "/r", "__transfer_records": "/s"}
    unit = rendered(role, template, known)
    for line in ("User=holdfast-transfer", "CapabilityBoundingSet=", "ProtectSystem=strict", "WatchdogSec=60"):
        assert f"{line}\n" in unit
    writable = next(line for line in unit.splitlines() if line.startswith("ReadWritePaths="))
    assert writable in ("ReadWritePaths=-/srv/holdfast/%i/spool", "ReadWritePaths=-/r -/s"), "made by what is started"


def test_the_command_says_what_it_knows(tmp_path: Path) -> None:
    script = tmp_path / "holdfast-transfer"
    script.write_text(rendered("transfer", "holdfast-transfer.j2", inventory()))
    done = subprocess.run(["sh", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "holdfast-transfer restore ID" in done.stderr

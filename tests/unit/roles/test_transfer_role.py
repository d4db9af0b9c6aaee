"""What a group `transfer` adds to mail hosts and what its own hosts get; without one nothing differs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import FilterModule
from holdfast.adapters.units import Units
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
        "__mail_scripts_port": 10190,
        "mail_inside_queue_lifetime": "100d",
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


def test_what_never_goes_to_a_stranger_is_kept_as_long_as_a_relay_keeps_it() -> None:
    """A stranger's server that is away is told of in days; homes, stores and spools are ours."""
    values = inventory()
    alone = {**values, "groups": {}}
    for name, given, lifetime in ((IM, values, "100d"), (MX, values, "14d"), (IM, alone, "14d"), (MX, alone, "14d")):
        text = rendered("mail", "postfix/main.cf.j2", of_identity(name, given))
        for parameter in ("maximal_queue_lifetime", "bounce_queue_lifetime"):
            assert f"\n{parameter} = {lifetime}\n" in text, (name, lifetime)


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
    assert carries.table == end.table and (carries.days, carries.log_days, carries.move_to) == (30, 90, None)
    assert carries.at_once == 4
    assert known["__transfer_mounts"] == {
        f"/srv/holdfast-spools/{MX}": f"10.255.3.1:/srv/store/{MX}/spool",
        f"/srv/holdfast-spools/{IM}": f"10.255.3.1:/srv/store/{IM}/spool",
        "/srv/holdfast-transfer": "10.255.3.1:/srv/store/transfer",
    }
    script = rendered("transfer", "mount-spools.sh.j2", known)
    assert script.count("\nlook ") == script.count("\nbring ") == script.count("\nlies_right ") == 3
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def resolved(value: Any, known: Values) -> Any:
    if isinstance(value, dict):
        return {k: resolved(v, known) for k, v in value.items()}
    return environment(NativeEnvironment).from_string(value).render(known) if isinstance(value, str) else value


class Mounts:
    """The role's script, and in place of the kernel's table and of mount(8), umount(8) and stat(1) what a test says."""

    def __init__(self, folder: Path, *names: str) -> None:
        self._folder, self._table, self._said = folder, folder / "mounts", folder / "said"
        self.places = {name: f"{folder}/at/{name}" for name in names}
        self.sources = {name: f"10.255.3.1:/srv/store/{name}/spool" for name in names}
        self._table.write_text("")
        (folder / "bin").mkdir()
        self.program("mount", f'echo "$5 $6 nfs4 rw 0 0" >> {self._table}')
        self.program("umount", f'sed -i "\\#^[^ ]* $2 #d" {self._table}')
        self.program("stat", "echo 1")

    def program(self, name: str, text: str) -> None:
        """It notes its words, all but options of mount(8); then it does that."""
        file = self._folder / "bin" / name
        words = "$1 $5 $6" if name == "mount" else "$*"
        file.write_text(f'#!/bin/sh\necho "{name} {words}" >> {self._said}\n{text}\n')
        file.chmod(0o755)

    def has(self, name: str, source: str | None = None, kind: str = "nfs4") -> None:
        """That is mounted there, on top of what was."""
        with self._table.open("a") as table:
            table.write(f"{source or self.sources[name]} {self.places[name]} {kind} rw 0 0\n")

    def run(self) -> subprocess.CompletedProcess[str]:
        self._said.write_text("")
        mounts = {self.places[name]: source for name, source in self.sources.items()}
        script = rendered("transfer", "mount-spools.sh.j2", {**inventory(), "__transfer_mounts": mounts})
        script = script.replace("/proc/mounts", str(self._table)).replace("/run/", f"{self._folder}/run/")
        path = {"PATH": f"{self._folder}/bin:/usr/bin:/bin"}
        return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, env=path, timeout=60)

    def changes(self) -> list[str]:
        """What changes something of what was called, in the order of the alphabet: spools go side by side."""
        return sorted(line for line in self._said.read_text().splitlines() if not line.startswith("stat "))

    def looked(self) -> set[str]:
        return {line.split()[-1] for line in self._said.read_text().splitlines() if line.startswith("stat ")}

    def there(self) -> dict[str, str]:
        """{name: source} of what is mounted."""
        lines = (line.split() for line in self._table.read_text().splitlines())
        return {Path(at).name: source for source, at, *_ in lines}


def test_one_spool_that_cannot_be_mounted_keeps_no_other_back(tmp_path: Path) -> None:
    """And the unit learns that there is something left to do."""
    mounts = Mounts(tmp_path, "away", "here", "had")
    mounts.has("had")
    works = (tmp_path / "bin/mount").read_text()
    mounts.program("mount", f"case $6 in *away) exit 32;; esac; {works.splitlines()[-1]}")
    done = mounts.run()
    assert (done.returncode, done.stderr) == (1, "")
    assert mounts.there() == {name: mounts.sources[name] for name in ("had", "here")}
    (tmp_path / "bin/mount").write_text(works)
    assert mounts.run().returncode == 0 and mounts.there() == mounts.sources


def test_where_all_is_mounted_nothing_is_changed(tmp_path: Path) -> None:
    mounts = Mounts(tmp_path, "one", "two")
    mounts.has("one")
    mounts.has("two")
    done = mounts.run()
    assert (done.returncode, done.stdout, done.stderr, mounts.changes()) == (0, "", "", [])
    assert mounts.looked() == set(mounts.places.values())


def test_a_spool_that_has_moved_to_another_store_is_mounted_from_there(tmp_path: Path) -> None:
    """Its old store may be off: nothing is asked of it."""
    mounts = Mounts(tmp_path, "moved", "stays")
    mounts.has("moved")
    mounts.has("stays")
    mounts.sources["moved"] = "10.255.3.9:/srv/store/moved/spool"
    done = mounts.run()
    assert done.returncode == 0 and mounts.there() == mounts.sources
    at = mounts.places["moved"]
    assert mounts.changes() == [f"mount -t {mounts.sources['moved']} {at}", f"umount -l {at}"]
    assert mounts.looked() == {mounts.places["stays"]}
    assert "10.255.3.1:/srv/store/moved/spool" in done.stderr and mounts.sources["moved"] in done.stderr


def test_what_is_no_nfs4_or_lies_on_top_of_it_goes(tmp_path: Path) -> None:
    """One more with each run, and nothing is mounted on what is not ours."""
    mounts = Mounts(tmp_path, "other")
    mounts.has("other", "tmpfs", "tmpfs")
    mounts.program("umount", "exit 32")
    assert mounts.run().returncode == 1 and mounts.changes() == [f"umount -l {mounts.places['other']}"]
    mounts.has("other")
    assert mounts.run().returncode == 0 and mounts.changes() == []
    mounts.has("other", "tmpfs", "tmpfs")
    assert mounts.run().returncode == 1 and mounts.changes() == [f"umount -l {mounts.places['other']}"]


def test_a_stale_root_is_mounted_anew(tmp_path: Path) -> None:
    mounts = Mounts(tmp_path, "stale", "whole", "refused")
    for name in mounts.places:
        mounts.has(name)
    mounts.program(
        "stat",
        """for at; do :; done
        case $at in
          *stale) echo "stat: cannot statx '$at': Stale file handle" >&2; exit 1 ;;
          *refused) echo "stat: cannot statx '$at': Input/output error" >&2; exit 1 ;;
        esac""",
    )
    done = mounts.run()
    at = mounts.places["stale"]
    assert mounts.changes() == [f"mount -t {mounts.sources['stale']} {at}", f"umount -l {at}"]
    assert done.returncode == 0 and mounts.there() == mounts.sources
    assert "Input/output error" in done.stderr, "another fault is told, and nothing is done about it here"


def test_a_store_that_hangs_is_left_and_the_others_are_mounted(tmp_path: Path) -> None:
    """As it does while it fails over. Its stat(1) may not even die, and the next run starts no second one beside it."""
    mounts = Mounts(tmp_path, "hangs", "new")
    mounts.has("hangs")
    pids = tmp_path / "pids"
    # In a session of its own, where no signal of timeout(1) reaches it: as one that sleeps uninterruptibly.
    mounts.program("stat", f"setsid sh -c 'echo $$ >> {pids}; exec sleep 300' & trap '' TERM; wait; wait")
    try:
        done = mounts.run()
        assert done.returncode == 0 and mounts.changes() == [f"mount -t {mounts.sources['new']} {mounts.places['new']}"]
        assert done.stderr.strip() == f"{mounts.places['hangs']}: left as it is: no answer"
        mounts.program("stat", "echo 1")
        done = mounts.run()
        assert done.returncode == 0 and mounts.looked() == {mounts.places["new"]} and mounts.changes() == []
        # That it has moved meanwhile is seen all the same.
        mounts.sources["hangs"] = "10.255.3.9:/srv/store/hangs/spool"
        assert mounts.run().returncode == 0 and mounts.there() == mounts.sources
    finally:
        for pid in pids.read_text().split():
            os.kill(int(pid), signal.SIGKILL)
    assert len(pids.read_text().split()) == 1


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


def test_a_full_load_of_the_largest_messages_has_room_and_harms_nobody_else() -> None:
    """Two from Postfix at a time, and one on its way to it, beside a program of 40 MB; hosts have 384 MB."""
    values = {**inventory(), "message_size_limit": 52428800}
    services = rendered("mail", "postfix/master.cf.j2", of_identity(IM, values))
    (line,) = [line.split() for line in services.splitlines() if line.startswith("spool ")]
    assert line[6:] == ["2", "lmtp"]
    unit = settings_of(rendered("mail", "spool/holdfast-spool@.service.j2", values))
    most = int(unit["MemoryMax"].removesuffix("M"))
    assert 40 + 3 * 52.5 < most < 384 - 150 and int(unit["OOMScoreAdjust"]) > 0
    assert "MALLOC_MMAP_THRESHOLD_=" in unit["Environment"]


def settings_of(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit.splitlines() if line[:1].isalpha())


def test_a_stop_ends_before_the_agent_gives_up_waiting_and_a_start_never() -> None:
    """Stopped in this order, one after the other; what waits for a dead store ends by the second signal."""
    spool_unit = settings_of(rendered("mail", "spool/holdfast-spool@.service.j2", inventory()))
    waits = 2 * int(spool_unit["TimeoutStopSec"])
    for other in ("holdfast-postfix@.service.j2", "holdfast-dovecot@.service.j2"):
        waits += int(settings_of(rendered("mail", other, inventory()))["TimeoutStopSec"])
    assert waits < Units()._timeout
    assert spool_unit["TimeoutStartSec"] == "infinity"


@pytest.mark.parametrize(
    ("lifetime", "good"),
    [(good, True) for good in ("14d", "14", 5, "2w", "336h", "1209600s")]
    + [(bad, False) for bad in ("15d", "3w", "337h", "14 days", "")],
)
def test_nothing_waits_for_longer_than_spools_remember(lifetime: str | int, good: bool, tmp_path: Path) -> None:
    tasks = yaml.safe_load((ROLES / "mail/tasks/preflight.yml").read_text())
    (refuse,) = [t["ansible.builtin.assert"] for t in tasks if "mail_queue_lifetime" in str(t)]
    known = {**of_host(inventory()), "mail_queue_lifetime": lifetime}

    def holds(values: Values) -> bool:
        return bool(environment(NativeEnvironment).from_string("{{ " + refuse["that"] + " }}").render(values))

    assert holds(known) is good
    assert holds({**known, "topology_spools": {}}), "without spools it may be anything"
    file = tmp_path / "transfer.yml"
    table = known["topology_transfer"]["dc1"]
    settings = {
        "host": "transfer1",
        "table": table,
        "limits": {"size": 1},
        "coordinator": known["topology_coordinator"],
    }
    file.write_text(yaml.safe_dump(settings))
    assert f"<= {transfer.load(str(file)).done_days} * 86400" in refuse["that"]


def test_the_command_says_what_it_knows(tmp_path: Path) -> None:
    script = tmp_path / "holdfast-transfer"
    script.write_text(rendered("transfer", "holdfast-transfer.j2", inventory()))
    done = subprocess.run(["sh", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "holdfast-transfer restore ID" in done.stderr

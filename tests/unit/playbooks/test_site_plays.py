"""Plays of playbooks/site.yml that ask only for what a deploy does not know: first owners, the coordinator's rights."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from relays import FAILED, ROOT, Answers, collection, play, run
from test_owners_play import owned

# In place of modules that need a coordinator: they note what they are asked for.
NOTES = """
import json, os
from pathlib import Path
from ansible.module_utils.basic import AnsibleModule, _load_params

asked = {k: v for k, v in _load_params().items() if not k.startswith("_")}
module = AnsibleModule(argument_spec={k: {"type": "raw"} for k in asked}, supports_check_mode=True)
with Path(os.environ["NOTES"]).open("a") as notes:
    notes.write(json.dumps(module.params) + "\\n")
"""
IDENTITY = NOTES + "module.exit_json(changed=True)\n"
# ON: etcd has asked for users before the deploy.
RIGHTS = NOTES + 'module.exit_json(changed=False, enabled=bool(os.environ["ON"] or module.params["enabled"]))\n'


def of_site(*names: str) -> list[dict[str, Any]]:
    """Those plays, in this order."""
    plays = {one["name"]: one for one in yaml.safe_load((ROOT / "playbooks/site.yml").read_text())}
    return [plays[name] for name in names]


def notes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "notes").read_text().splitlines()]


# --- first owners ---------------------------------------------------------------------------------------------------


def first_owners(
    folder: Path, monkeypatch: Any, relays: list[Answers], *words: str, behind: bool = True
) -> list[dict[str, Any]]:
    """What module `identity` was asked for behind, or without, owners.yml."""
    (folder / "notes").touch()
    monkeypatch.setenv("NOTES", str(folder / "notes"))
    (collection(folder) / "modules/identity.py").write_text(IDENTITY)
    before = [{"name": "Owners", "import_playbook": str(ROOT / "playbooks/owners.yml")}] if behind else []
    book = folder / "book.yml"
    book.write_text(yaml.safe_dump([*before, *of_site("Owners of identities that have none yet")]))
    status, said = play(book, folder, relays, *words)
    assert status == 0, said
    return notes(folder)


def test_nobody_is_asked_for_first_owners_of_identities_that_have_owners(tmp_path: Path, monkeypatch: Any) -> None:
    known = owned({"store1": "store1a"}, mx="mail2", im="mail2")
    assert first_owners(tmp_path, monkeypatch, [FAILED, known]) == []


def test_first_owners_are_named_in_one_call(tmp_path: Path, monkeypatch: Any) -> None:
    """The first deploy: no relay could say."""
    asked = first_owners(tmp_path, monkeypatch, [FAILED, FAILED], "-e", '{"first_owners": {"mx": "mail2"}}')
    assert asked == [{"owners": {"mx": "mail2", "im": "mail2"}}]


def test_a_new_identity_begins_at_its_home(tmp_path: Path, monkeypatch: Any) -> None:
    """Known to no relay yet, or known to be nobody's."""
    old = [owned({"store1": "store1a"}, im="mail2"), owned({"store1": "store1a"}, im="mail2", mx=None)]
    assert first_owners(tmp_path, monkeypatch, list(old)) == [{"owners": {"mx": "mail1"}}]


def test_without_the_relays_words_all_are_asked_for(tmp_path: Path, monkeypatch: Any) -> None:
    asked = first_owners(tmp_path, monkeypatch, [owned(mx="mail1", im="mail2")], behind=False)
    assert asked == [{"owners": {"mx": "mail1", "im": "mail2"}}]


# --- rights ---------------------------------------------------------------------------------------------------------

COORDINATOR = ("Coordinator", "Who has got this far", "The coordinator asks who it is")
FAILS = {"name": "Mail hosts", "hosts": "mail", "gather_facts": False, "tasks": [
    {"name": "One fails", "ansible.builtin.fail": {"msg": "no"}, "when": "inventory_hostname == 'mail2'"}
]}  # fmt: skip


def rights(folder: Path, on: bool, fails: bool = False) -> tuple[list[bool], str]:
    """Whether each call of module `coordinator_rights` was to switch them on, and what was said."""
    (folder / "notes").touch()
    plugins = collection(folder)
    (plugins / "modules/coordinator_rights.py").write_text(RIGHTS)
    role = plugins.parent / "roles/coordinator"
    (role / "tasks").mkdir(parents=True)
    (role / "tasks/main.yml").write_text("- ansible.builtin.import_tasks: rights.yml\n")
    (role / "tasks/rights.yml").symlink_to(ROOT / "roles/coordinator/tasks/rights.yml")
    before, *behind = of_site(*COORDINATOR)
    (folder / "book.yml").write_text(yaml.safe_dump([before, *([FAILS] if fails else []), *behind]))
    names = {"coordinator": ["c1", "c2"], "mail": ["mail1", "mail2"], "relay": ["relay1"], "dns": ["dns1"]}
    groups = {group: {"hosts": dict.fromkeys(hosts)} for group, hosts in names.items()}
    values = {
        **{key: {} for key in ("topology_coordinator", "topology_coordinator_passwords", "identities")},
        "__coordinator_asking": [],
        "ansible_connection": "local",
    }
    inventory = {"all": {"children": groups, "vars": values}}
    own = {"NOTES": str(folder / "notes"), "ON": "yes" if on else ""}
    said = run(folder / "book.yml", folder, inventory, **own)[1]
    return [one["enabled"] for one in notes(folder)], said


def test_rights_that_are_asked_for_are_set_once(tmp_path: Path) -> None:
    assert rights(tmp_path, on=True)[0] == [False]


def test_rights_are_switched_on_when_all_hosts_got_through(tmp_path: Path) -> None:
    calls, said = rights(tmp_path, on=False)
    assert calls == [False, True]
    assert "goes on asking nobody" not in said


def test_rights_stay_off_while_one_host_did_not(tmp_path: Path) -> None:
    calls, said = rights(tmp_path, on=False, fails=True)
    assert calls == [False, False]
    assert "so every host may write everything: mail2 did not get through this run" in said


# --- turns of routers -----------------------------------------------------------------------------------------------


def turns(folder: Path, known: Sequence[str], *words: str) -> dict[str, str]:
    """{router: the group in which its turn comes}; `known` have been routers before."""
    collection(folder)
    for host in known:
        (folder / host).touch()
    turn = {"msg": "{{ group_names | select('match', 'router_') }}"}
    told = {"name": "Told", "hosts": "router", "gather_facts": False, "tasks": [
        {"name": "Turn", "tags": "always", "ansible.builtin.debug": turn}
    ]}  # fmt: skip
    (folder / "book.yml").write_text(yaml.safe_dump([*of_site("Which routers go first"), told]))
    hosts = {
        "core": {"site": "hub", "legs": {"mgmt": "10.0.0.9", "line": "10.1.9.1"}},
        **{f"rin{n}": {"site": "dc1", "legs": {"mgmt": f"10.0.0.{n}", "dmz": f"10.1.1.{n}"}} for n in (1, 2, 3)},
        "ris1": {"site": "dc1", "legs": {"mgmt": "10.0.0.4", "intra": "10.1.2.4"}},
    }
    inventory = {"all": {"children": {"router": {"hosts": hosts}}, "vars": {"ansible_connection": "local"}}}
    unit = json.dumps({"site_router_unit": f"{folder}/{{{{ inventory_hostname }}}}"})
    status, said = run(folder / "book.yml", folder, inventory, "-e", unit, *words)
    assert status == 0, said
    return dict(re.findall(r"ok: \[(\w+)\] => msg: - (\w+)", said))


def test_routers_that_carry_nothing_yet_go_together(tmp_path: Path) -> None:
    assert turns(tmp_path, []) == dict.fromkeys(("core", "rin1", "rin2", "rin3", "ris1"), "router_new")


def test_a_new_router_does_not_change_the_turn_of_those_that_carry_routes(tmp_path: Path) -> None:
    others = {"core": "router_others", "rin1": "router_others", "ris1": "router_others", "rin3": "router_first"}
    assert turns(tmp_path, list(others)) == {**others, "rin2": "router_new"}


def test_what_is_only_rendered_asks_no_router(tmp_path: Path) -> None:
    found = turns(tmp_path, [], "-e", "render_to=/nowhere", "-t", "configure,always")
    assert set(found.values()) == {"router_first", "router_others"}

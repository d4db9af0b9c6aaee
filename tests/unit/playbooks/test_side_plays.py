"""Redirectors and transfer hosts in plays: order and plan of an upgrade, who may be set aside, what ends a deploy."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import relays
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from relays import ROOT, play
from test_serving_play import NOT_RETRIED, said

from tests.playbook import playbook

LOCAL = {"ansible_connection": "local"}
PAIR = {"side": "internet", "site": "dc1", "hosts": ["red1", "red2"], "addresses": ["10.1.1.71", "10.1.1.72"]}
WELL: dict[str, Any] = {"addresses": ["10.1.1.72"], "servers": [], "unserved": [], "error": ""}


# --- order and plan -------------------------------------------------------------------------------------------------


def plan(*begun: str, packages: str = "present") -> list[str]:
    """Of the hosts below; mail1 owns something, and `begun` were left aside by an upgrade that stopped."""
    plays = DataLoader().load_from_file(str(ROOT / "playbooks/rolling_upgrade.yml"), trusted_as_template=True)
    tasks = [task for one in plays for task in one.get("tasks", [])]
    (own,) = (task["vars"] for task in tasks if task["name"] == "Plan")
    groups = {
        "mail": ["mail1", "mail2"],
        "relay": ["relay1", "relay2"],
        "redirector": ["red1", "red2"],
        "transfer": ["t1", "t2"],
        "all": [],
    }
    hosts = [h for some in groups.values() for h in some]
    values = {
        **own,
        "groups": groups,
        "packages": packages,
        "hostvars": {h: {"rolling_mark": {"matched": int(h in begun)}} for h in hosts},
        "rolling_status": {"identities": {"mx": {"owner": {"host": "mail1"}}}, "stores": {}},
    }
    lines: list[str] = Templar(DataLoader(), variables=values).template(trust_as_template("{{ rolling_plan }}"))
    return lines


def test_redirectors_come_behind_their_servers_and_transfer_hosts_last() -> None:
    assert plan() == [
        "1. mail2: evacuate, deploy, rejoin",
        "2. mail1: evacuate, deploy, rejoin",
        "3. red1: addresses to its partner, deploy, back in rotation",
        "4. red2: addresses to its partner, deploy, back in rotation",
        "5. relay1: evacuate, deploy, rejoin",
        "6. relay2: evacuate, deploy, rejoin",
        "7. t1: spools to the others, deploy, carries again",
        "8. t2: spools to the others, deploy, carries again",
    ]


def test_one_that_an_upgrade_has_left_aside_goes_first() -> None:
    """Its partner has both addresses, and could not give them to anybody."""
    lines = plan("red2", packages="upgrade")
    again = "upgrade packages, deploy, back in rotation (an upgrade that stopped has drained it)"
    assert lines[2] == f"3. red2: addresses to its partner, {again}" and lines[3].startswith("4. red1: ")


# --- who may be set aside -------------------------------------------------------------------------------------------


def aside(folder: Path, host: str, **answers: Any) -> str:
    """What evacuate_host.yml says with --check, under what the others say."""
    groups = {
        "relay": {"hosts": {"relay1": LOCAL}},
        "mail": {"hosts": {"mail1": LOCAL}},
        "redirector": {"hosts": {n: {**LOCAL, "site": "dc1"} for n in ("red1", "red2")}},
        "transfer": {"hosts": {n: {**LOCAL, "site": s} for n, s in (("t1", "dc1"), ("t2", "dc1"), ("t3", "dc2"))}},
    }
    own = {"redirectors": {"front1": PAIR}, "identities": {}}
    (folder / "hosts.json").write_text(json.dumps({"all": {"children": groups, "vars": own}}))
    for name, answer in answers.items():
        (folder / name).write_text(json.dumps(answer))
    (folder / "say").write_text(f'#!/bin/sh\nexec cat "{folder}/$1"\n')
    (folder / "say").chmod(0o755)
    said_by = {"side_command": f"{folder}/say {{{{ item | default(inventory_hostname) }}}}", "host": host}
    command = ("-i", "hosts.json", ROOT / "playbooks/evacuate_host.yml", "--check", "-e", json.dumps(said_by))
    done = playbook(folder, *command, timeout=300)
    return " ".join((done.stdout + done.stderr).split())


def test_a_redirector_is_set_aside_when_its_partner_serves(tmp_path: Path) -> None:
    words = aside(tmp_path, "red1", red2=WELL)
    assert "red1: its addresses go to red2, who is connected through them comes again there" in words
    assert "TASK [Mark it]" in words and "stays as it is" not in words


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({**WELL, "addresses": []}, "red2: does not have 10.1.1.72"),
        ({**WELL, "unserved": ["no server is left for smtp"]}, "red2: no server is left for smtp"),
    ],
)
def test_never_both_of_a_pair(tmp_path: Path, answer: dict[str, Any], why: str) -> None:
    words = aside(tmp_path, "red1", red2=answer)
    assert f"red1 stays as it is: {why}. Mend that first" in words and "TASK [Mark it]" not in words


def test_a_partner_without_an_answer_is_none(tmp_path: Path) -> None:
    words = aside(tmp_path, "red1")
    assert "red1 stays as it is: red2: no answer" in words and "TASK [Mark it]" not in words


def test_of_transfer_hosts_those_of_the_site_stand_in(tmp_path: Path) -> None:
    words = aside(tmp_path, "t1", t2={"unserved": []})
    assert "t1: its spools go to t2 (planned work)" in words and "TASK [Mark it]" in words
    words = aside(tmp_path, "t3")
    assert "t3: what crosses in dc2 waits, nobody else carries there" in words and "TASK [Mark it]" in words


# --- the end of a deploy --------------------------------------------------------------------------------------------

IDLE = {**WELL, "unserved": ["no server is left for smtp"]}


def deployed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, answers: dict[str, dict[str, Any] | None], *words: str
) -> tuple[int, str]:
    """What the end of a deploy says under what each redirector answers; None: it has no such command."""
    program = folder / "holdfast-redirect"
    program.write_text(f'#!/bin/sh\nexec cat "{folder}/$SIDE.json"\n')
    program.chmod(0o755)
    hosts = {}
    for name, answer in answers.items():
        if answer is not None:
            (folder / f"{name}.json").write_text(json.dumps(answer))
        # Each is this machine, and its interpreter knows which of them it is.
        own = folder / f"python-{name}"
        path = f"PATH={folder}:$PATH" if answer is not None else ""
        own.write_text(f'#!/bin/sh\nSIDE={name} {path} exec {sys.executable} "$@"\n')
        own.chmod(0o755)
        hosts[name] = {**LOCAL, "ansible_python_interpreter": str(own)}
    monkeypatch.setitem(relays.GROUPS, "redirector", {"hosts": hosts})
    return play("serving.yml", folder, [said(), said()], *NOT_RETRIED, "-e", "serving_sides_retries=0", *words)


@pytest.mark.parametrize("words", [(), ("--limit", "mail2")])
@pytest.mark.parametrize(
    ("answers", "status", "line"),
    [
        ({"red1": WELL, "red2": WELL}, 0, ""),
        ({"red1": WELL, "red2": IDLE}, 2, "and yet red2: no server is left for smtp (docs"),
        ({"red1": None, "red2": WELL}, 0, "No answer from red1; ask again"),
    ],
)
def test_a_front_end_without_servers_fails_the_deploy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answers: dict[str, dict[str, Any] | None],
    status: int,
    line: str,
    words: tuple[str, ...],
) -> None:
    """Whether the deploy leaves them out or not."""
    found, told = deployed(tmp_path, monkeypatch, answers, *words)
    assert (found, line in told) == (status, True), told
    assert line or "No answer from" not in told


def test_redirectors_are_asked_at_once_and_those_outside_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, told = deployed(tmp_path, monkeypatch, {"red1": WELL, "red2": WELL, "red3": WELL}, "--limit", "!red3")
    assert found == 0, told
    assert "TASK [Do they]" in told and "ok: [red1]" in told and "ok: [red2]" in told
    assert "red1)" not in told and "red2)" not in told and "(item=red3)" in told

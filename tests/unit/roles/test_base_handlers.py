"""Which handlers of role base run behind which files, played by Ansible in check mode with the handlers as they are."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
import yaml
from rendering import ROLES

from tests.playbook import playbook

CODE = "/usr/lib/holdfast/holdfast/core/model.py"
CERTIFICATE = "/etc/holdfast/tls/ca.pem"
PASSWORD = "/etc/holdfast/coordinator.password"
LEFT = {
    "transfer": "/etc/systemd/system/holdfast-transfer.service",
    "redirector": "/var/lib/holdfast/redirector/servers",
}
COMPILE = "Compile"

# {host: its groups, what was changed, the handlers that have something to do}
HOSTS: dict[str, tuple[list[str], list[str], set[str]]] = {
    "new_code": (["mail"], [CODE, CERTIFICATE], {COMPILE}),
    "new_code_without_daemons": (["router", "redirector", "coordinator"], [CODE, CERTIFICATE], set()),
    "new_certificate": (["relay"], [CERTIFICATE], set()),
    "first_daemon": (["external_store"], [PASSWORD], {COMPILE}),
    "new_name": (["mail"], ["/etc/hosts"], set()),
    "no_transfer": (["mail"], [LEFT["transfer"], CODE], {"Stop the transfer of a host that left", COMPILE}),
    "no_redirector": (["dns"], [LEFT["redirector"]], {"Stop the redirector of a host that left"}),
    "still_both": (["transfer", "redirector"], list(LEFT.values()), set()),
    "sysctl": (["dns"], ["/etc/sysctl.d/60-holdfast.conf"], {"Apply sysctl of base"}),
    "routes": (["dns"], ["/usr/lib/holdfast/routes"], {"Apply routes"}),
    "unit": (["dns"], ["/etc/systemd/system/holdfast-routes.service"], {"Apply routes"}),
    "journal": (["dns"], ["/etc/systemd/journald.conf.d/holdfast.conf", CODE], {"Restart journal"}),
}
SELDOM = {
    "new_name",
    "no_transfer",
    "no_redirector",
    "still_both",
    "first_daemon",
    "sysctl",
    "routes",
    "unit",
    "journal",
}

# The handlers ask only how units are; nothing is changed in check mode.
SYSTEMCTL = "#!/bin/sh\nprintf 'LoadState=loaded\\nActiveState=active\\nSubState=exited\\n'\n"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("handlers")
    role = folder / "roles/base"
    (role / "tasks").mkdir(parents=True)
    for part in ("handlers", "vars"):
        (role / part).symlink_to(ROLES / "base" / part)
    (given,) = [t for t in yaml.safe_load((ROLES / "base/tasks/configure.yml").read_text()) if "notify" in t]
    told: dict[str, Any] = {"name": "Files", "changed_when": True, "notify": given["notify"]}
    told |= {"ansible.builtin.set_fact": {given["register"]: {"changed_files": "{{ changed_here }}"}}}
    (role / "tasks/main.yml").write_text(json.dumps([told]))
    groups: dict[str, dict[str, Any]] = {}
    for host, (names, changed, _) in HOSTS.items():
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        for name in names:
            groups.setdefault(name, {"hosts": {}})["hosts"][host] = {**local, "changed_here": changed}
    (folder / "hosts.json").write_text(json.dumps({"all": {"children": groups}}))
    programs = folder / "bin"
    programs.mkdir()
    (programs / "systemctl").write_text(SYSTEMCTL)
    (programs / "systemctl").chmod(0o755)
    path = {"PATH": f"{programs}:/usr/bin:/bin"}
    play = {"hosts": "all", "gather_facts": False, "environment": path, "roles": ["base"]}
    (folder / "play.yml").write_text(json.dumps([play]))
    command = ("-i", "hosts.json", "play.yml", "--check", "-v")
    done = playbook(folder, *command, timeout=300, ANSIBLE_CALLBACK_RESULT_FORMAT="json")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def done(output: str, host: str) -> set[str]:
    """Handlers that did something there, or would have without check mode."""
    found = set()
    for banner in output.split("\nRUNNING HANDLER [")[1:]:
        name = banner.split("]")[0].removeprefix("base : ")
        for said in re.findall(rf"^\w+: \[{host}\] => (.*)$", banner, re.MULTILINE):
            if json.loads(said)["changed"] or "would have run" in said:
                found.add(name)
    return found


@pytest.mark.parametrize("host", HOSTS)
def test_each_does_what_its_files_want(output: str, host: str) -> None:
    assert done(output, host) == HOSTS[host][2]


def test_where_only_code_and_certificates_are_new_the_seldom_ones_are_left_out_at_once(output: str) -> None:
    (asked,) = re.findall(r"^included: \S+/seldom.yml for (.*)$", output, re.MULTILINE)
    assert set(asked.split(", ")) == SELDOM


def test_they_run_in_the_order_of_the_files_and_the_note_goes_last(output: str) -> None:
    """A host that has left is stopped before its routes change; what is not applied yet stays noted."""
    names = [name.removeprefix("base : ") for name in re.findall(r"^RUNNING HANDLER \[(.*)\]", output, re.MULTILINE)]
    seldom = [task["name"] for task in yaml.safe_load((ROLES / "base/handlers/seldom.yml").read_text())]
    assert names == ["Apply what seldom changes", *seldom, COMPILE, "Base is applied"]

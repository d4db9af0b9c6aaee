"""A host that is out of group `transfer` or `redirector` keeps nothing of it: role base takes it away."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from rendering import ROLES, Host, Values, inventory

OF_PACKAGES = {"/etc/haproxy/haproxy.cfg", "/etc/keepalived/keepalived.conf"}


def left(*groups: str) -> set[str]:
    items = Host("base", "sjc-din1", inventory("full"), group_names=list(groups)).value("__base_left")
    assert all(item["state"] == "absent" for item in items)
    return {item["dest"] for item in items}


def test_a_host_keeps_what_it_is_for() -> None:
    both = left()
    assert left("redirector") | left("transfer") == both and left("redirector") & left("transfer") == set()
    assert left("transfer", "redirector") == set()
    assert "/etc/systemd/system/holdfast-transfer.service" in left("redirector")


@pytest.mark.parametrize(("role", "groups"), [("transfer", ["redirector"]), ("redirector", ["transfer"])])
def test_each_file_of_the_role_goes_with_it(role: str, groups: list[str]) -> None:
    """Whoever adds one adds it there, too. Names of the distribution are for the handler, which looks into them."""
    given = yaml.safe_load((ROLES / role / "vars/main.yml").read_text())[f"__{role}_files"]
    files = {item["dest"] for item in given if item.get("state") != "directory"}
    shared = {f for f in files if "keepalived.service.d" in f or "haproxy.service.d" in f}
    assert files - OF_PACKAGES - shared <= left(*groups)


def handler(folder: Path, name: str, **values: object) -> str:
    tasks: list[Values] = yaml.safe_load((ROLES / "base/handlers/seldom.yml").read_text())
    (task,) = [t for t in tasks if t["name"] == name]
    (folder / "script").write_text(task["ansible.builtin.shell"])
    host = Host("base", "sjc-din1", inventory("full"), group_names=[], **values)
    return host.text({"src": "script"}, folder)


def played(folder: Path, script: str) -> list[str]:
    """The words of systemctl, umount and sysctl that it says, in a root of its own."""
    programs, said = folder / "bin", folder / "said"
    programs.mkdir()
    for name, status in (("systemctl", 5), ("umount", 0), ("sysctl", 0)):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {said}\n[ "$1" != stop ] || exit {status}\n')
        (programs / name).chmod(0o755)
    moved = script.replace("/etc/", f"{folder}/etc/").replace("/proc/mounts", f"{folder}/mounts")
    subprocess.run(["sh", "-c", moved], check=True, env={"PATH": f"{programs}:/usr/bin:/bin"})
    return said.read_text().splitlines()


def test_the_transfer_is_stopped_and_its_mounts_go(tmp_path: Path) -> None:
    here = "10.255.3.1:/srv/store/mx/spool"
    lines = ["/srv/holdfast-spools/mx nfs4", "/srv/holdfast-transfer nfs4", "/srv/holdfast nfs4", "/srv/other ext4"]
    (tmp_path / "mounts").write_text("".join(f"{here} {line} rw 0 0\n" for line in lines))
    assert played(tmp_path, handler(tmp_path, "Stop the transfer of a host that left")) == [
        "systemctl stop holdfast-transfer.service holdfast-spools.timer holdfast-spools.service",
        "systemctl daemon-reload",
        "umount -l /srv/holdfast-spools/mx",
        "umount -l /srv/holdfast-transfer",
    ]


def test_of_files_that_packages_have_only_ours_go(tmp_path: Path) -> None:
    for unit, file, text in (
        ("haproxy", "haproxy.cfg", "# Written by Ansible (Holdfast); changes made here are lost\n"),
        ("keepalived", "keepalived.conf", "# somebody's own\n"),
    ):
        (tmp_path / "etc" / unit).mkdir(parents=True)
        (tmp_path / "etc" / unit / file).write_text(text)
    said = played(tmp_path, handler(tmp_path, "Stop the redirector of a host that left", __base_with_keepalived=False))
    assert [line.split()[-1] for line in said if line.startswith("systemctl stop")] == [
        "keepalived.service",
        "haproxy.service",
    ]
    assert not (tmp_path / "etc/haproxy/haproxy.cfg").exists()
    assert (tmp_path / "etc/keepalived/keepalived.conf").exists()


def test_who_has_become_a_mail_host_keeps_keepalived(tmp_path: Path) -> None:
    said = played(tmp_path, handler(tmp_path, "Stop the redirector of a host that left", __base_with_keepalived=True))
    assert "systemctl stop haproxy.service" in said and not any("keepalived" in line for line in said)

#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_facts
short_description: What a host is and has, before a role puts anything on it
description:
  - The distribution, the installed packages, and whether accounts and masked units are as wanted, in one short run.
  - C(ansible.builtin.setup) and C(ansible.builtin.package_facts) tell far more than roles ask, and take seconds for it
    on a busy host.
  - Any system is answered for; one without dpkg has no packages.
options:
  accounts:
    description: Accounts that should be there, each NAME:UID:GID; with an empty UID a group only.
    type: list
    elements: str
    default: []
  masked:
    description: Units that should be masked.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
author: Holdfast
"""

EXAMPLES = r"""
- name: Learn what is there
  holdfast.mail.host_facts:
    accounts: ["postfix:2001:2001", "postdrop::2002"]
    masked: [postfix.service]
  register: __role_host

- name: Packages
  ansible.builtin.apt:
    name: "{{ __role_packages }}"
  when: __role_packages | difference(ansible_facts.packages) | length > 0
"""

RETURN = r"""
ansible_facts:
  description: Facts of the host.
  type: dict
  returned: always
  contains:
    distribution:
      description: C(Debian), or what another system is called; empty for one without os-release(5).
      type: str
    distribution_major_version:
      description: Its version up to the first dot; empty where it has none, as Debian's testing.
      type: str
    packages:
      description: A key for each package that is installed.
      type: dict
accounts_stand:
  description: Whether all of I(accounts) have their ids and all of I(masked) are masked.
  type: bool
  returned: always
"""

import grp
import os
import pwd
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

RELEASE = "/etc/os-release"
UNITS = "/etc/systemd/system"
INSTALLED = "i"


def release():
    """{key: value} of os-release(5); empty where there is none."""
    path = Path(RELEASE)
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {key: value.strip().strip("\"'") for key, value in pairs}


def distribution(known):
    """What it is called, and its version up to the first dot."""
    name = "Debian" if known.get("ID") == "debian" else known.get("NAME") or known.get("ID", "")
    return name, known.get("VERSION_ID", "").split(".")[0]


def packages(listed):
    """From lines "ii  NAME": wanted, state, error. One that is held (hi) is installed, too."""
    words = (line.rsplit(" ", 1) for line in listed.splitlines())
    return {name: [] for status, name in words if status[1] == INSTALLED}


def account_stands(word):
    name, uid, gid = word.split(":")
    try:
        return grp.getgrnam(name).gr_gid == int(gid) and (not uid or pwd.getpwnam(name).pw_uid == int(uid))
    except KeyError:
        return False


def is_masked(unit):
    try:
        return Path(UNITS, unit).readlink() == Path(os.devnull)
    except OSError:
        return False


def main():
    module = AnsibleModule(
        argument_spec={
            "accounts": {"type": "list", "elements": "str", "default": []},
            "masked": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    p = module.params
    listed = ""
    if program := module.get_bin_path("dpkg-query"):
        command = [program, "-W", "-f", "${db:Status-Abbrev} ${Package}\n"]
        _, listed, _ = module.run_command(command, check_rc=True)
    name, version = distribution(release())
    module.exit_json(
        changed=False,
        ansible_facts={
            "distribution": name,
            "distribution_major_version": version,
            "packages": packages(listed),
        },
        accounts_stand=all(map(account_stands, p["accounts"])) and all(map(is_masked, p["masked"])),
    )


if __name__ == "__main__":
    main()

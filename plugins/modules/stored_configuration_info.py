#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: stored_configuration_info
short_description: What a store keeps of hosts' configurations
description:
  - Runs on a store host, or on the manager of a store from elsewhere. Where the store is not served it says so and
    finds nothing.
  - The action plugin of the same name unpacks on the controller what the store has.
options:
  root:
    description: The store's own folder; configurations lie in C(.configuration) below it.
    type: path
    required: true
  mounted:
    description: The store is served here only while something is mounted at I(root).
    type: bool
    default: true
  hosts:
    description: Of these hosts; of all if not given.
    type: list
    elements: str
    default: []
  fetch:
    description: A host whose configuration is wanted on the controller.
    type: str
  version:
    description: The time of its version (20261129T102500Z), or one from which on it held; the newest if not given.
    type: str
  since:
    description: Another version of it; C(difference) tells what was changed since.
    type: str
  read:
    description: Files that are wanted, {host; name}. Not for playbooks.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
author: Holdfast
"""

EXAMPLES = r"""
- name: Fetch the newest version of mail1
  holdfast.mail.stored_configuration_info:
    root: /srv/store
    fetch: mail1
  register: found
"""

RETURN = r"""
served:
  description: Whether the store is served here.
  type: bool
  returned: always
versions:
  description: For each host that has a folder there the names of its archives, oldest first.
  type: dict
  returned: always
archive:
  description: Where the fetched archive lies on the controller until the end of the run.
  type: str
  returned: when fetch is given
roles:
  description: Roles in it, in the order of a deploy.
  type: list
  elements: str
  returned: when fetch is given
packages:
  description: Their packages.
  type: list
  elements: str
  returned: when fetch is given
units:
  description: Units that they enable.
  type: list
  elements: str
  returned: when fetch is given
plan:
  description: What a rebuild would do, for people.
  type: list
  elements: str
  returned: when fetch is given
difference:
  description: A unified diff of two versions, file by file.
  type: list
  elements: str
  returned: when since is given
"""

import base64
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

FOLDER = ".configuration"


def main():
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "mounted": {"type": "bool", "default": True},
            "hosts": {"type": "list", "elements": "str", "default": []},
            "fetch": {"type": "str"},
            "version": {"type": "str"},
            "since": {"type": "str"},
            "read": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    p = module.params
    root = Path(p["root"])
    try:
        if not (root.is_mount() if p["mounted"] else root.is_dir()):
            module.exit_json(changed=False, served=False, versions={})
        folder = root / FOLDER
        hosts = p["hosts"] or sorted(one.name for one in folder.glob("*") if one.is_dir())
        versions = {h: sorted(one.name for one in (folder / h).glob("*.tar.gz")) for h in hosts}
        read = {h: base64.b64encode((folder / h / name).read_bytes()).decode() for h, name in p["read"].items()}
    except OSError as why:
        module.fail_json(msg=f"{why.filename or root}: {why.strerror}; is the store well? (docs/runbooks/store.md)")
    module.exit_json(changed=False, served=True, versions=versions, read=read)


if __name__ == "__main__":
    main()

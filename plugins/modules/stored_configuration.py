#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: stored_configuration
short_description: Keep what a deploy has put on hosts, on a store
description:
  - The action plugin of the same name packs on the controller what this run put on each host, and hands over what is
    not there yet. This module keeps it, on a store host, or on the manager of a store from elsewhere. Where the store
    is not served nothing is done.
  - Each archive is written beside its place, fsynced and renamed; only then are the oldest ones removed.
options:
  root:
    description: The store's own folder; configurations lie in C(.configuration) below it, for root alone.
    type: path
    required: true
  mounted:
    description: The store is served here only while something is mounted at I(root).
    type: bool
    default: true
  hosts:
    description: Whose configuration belongs there. Those on which this run has put nothing are left as they are.
    type: list
    elements: str
    default: []
  version:
    description: The time of the deploy (20261129T102500Z, UTC).
    type: str
  whole:
    description: The run applied all roles of a host; otherwise those that it left out are as they were stored last.
    type: bool
    default: true
  keep:
    description: Versions that are kept of each host.
    type: int
    default: 20
  archives:
    description: What the action plugin hands over, JSON of {host; [name, data]}. Not for playbooks.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
author: Holdfast
"""

EXAMPLES = r"""
- name: Keep it
  holdfast.mail.stored_configuration:
    root: /srv/store
    hosts: [mail1, relay1]
    version: 20261129T102500Z
  delegate_to: store1a
"""

RETURN = r"""
served:
  description: Whether the store is served here.
  type: bool
  returned: always
stored:
  description: Hosts whose configuration differed from what was there.
  type: list
  elements: str
  returned: always
"""

import base64
import json
import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

FOLDER = ".configuration"


class Full(Exception):
    """One line: thing, value, remedy."""


def room(folder, wanted):
    """What only root may still use is the store's own (docs/decisions/0020). Raises Full."""
    st = os.statvfs(folder)
    free = st.f_bavail * st.f_frsize
    if free < wanted:
        raise Full(f"{folder}: {wanted} bytes are to be stored and {free} are left; make room (docs/runbooks/store.md)")


def folder_of(path):
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    keep_names(path.parent)
    return path


def keep_names(folder):
    """What was made, renamed or removed there shall still be so after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path, data):
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def store(folder, name, data, keep):
    write(folder / name, data)
    keep_names(folder)
    for old in sorted(folder.glob("*.tar.gz"))[:-keep]:
        old.unlink()
    for torn in folder.glob(".*"):  # of a run that was cut off
        torn.unlink()
    keep_names(folder)


def main():
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "mounted": {"type": "bool", "default": True},
            "hosts": {"type": "list", "elements": "str", "default": []},
            "version": {"type": "str"},
            "whole": {"type": "bool", "default": True},
            "keep": {"type": "int", "default": 20},
            # Long, and nothing for the host's journal.
            "archives": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    p = module.params
    if p["keep"] < 1:
        module.fail_json(msg=f"keep is {p['keep']}: keep one version at the least")
    root = Path(p["root"])
    done = []
    try:
        if not (root.is_mount() if p["mounted"] else root.is_dir()):
            module.exit_json(changed=False, served=False, stored=[])
        archives = {h: (n, base64.b64decode(d)) for h, (n, d) in json.loads(p["archives"] or "{}").items()}
        if archives and not module.check_mode:
            room(root, sum(len(data) for _, data in archives.values()))
            folder = folder_of(root / FOLDER)
        for host, (name, data) in archives.items():
            if not module.check_mode:
                store(folder_of(folder / host), name, data, p["keep"])
            done.append(host)
    except Full as why:
        module.fail_json(msg=str(why), served=True, stored=[])
    except OSError as why:
        said = f"{why.filename or root}: {why.strerror}; is the store well? (docs/runbooks/store.md)"
        module.fail_json(msg=said, changed=bool(done), served=True, stored=done)
    module.exit_json(changed=bool(done), served=True, stored=done)


if __name__ == "__main__":
    main()

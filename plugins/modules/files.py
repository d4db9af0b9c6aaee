#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: files
short_description: Apply a set of rendered files in one go
description:
  - The action plugin of the same name renders all templates on the controller; this module compares, validates and
    replaces the files on the host. When one file fails its validation, none is replaced.
  - Each file is replaced atomically (written beside the old one, fsynced, renamed).
options:
  files:
    description:
      - What should be there, in this order. Each entry has C(dest), C(mode) (text) and one of C(src) (a template of the
        role), C(content) (text) or C(copy) (a local file); optionally C(vars), C(owner), C(group), C(secret) (no diff
        is shown) and C(state) (C(file), C(directory), C(link) with C(target), C(absent)).
      - C(validate) is a command for the shell in which C(%s) stands for a file with the new content, alone in a folder
        and called like C(dest). In check mode a program that is not installed yet is no mistake.
    type: list
    elements: dict
  tree:
    description:
      - A local folder C(src) to be the same at C(dest), for files that match C(pattern) (C(*.py)); such files at
        C(dest) that are gone locally are removed.
    type: dict
  items:
    description: What the action plugin hands over, as JSON. Not for playbooks.
    type: str
    default: ""
  prune:
    description: Folder and pattern of the files that are removed unless they are among C(items). Not for playbooks.
    type: dict
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: Holdfast
"""

EXAMPLES = r"""
- name: Configure
  holdfast.mail.files:
    files:
      - {src: main.cf.j2, dest: /etc/postfix/main.cf, mode: "0644", validate: "postconf -c $(dirname %s) -n"}
      - {content: "1\n", dest: /etc/holdfast/epoch, mode: "0640", group: holdfast}
  register: __role_files
"""

RETURN = r"""
changed_files:
  description: Paths that were changed.
  type: list
  elements: str
  returned: always
"""

import base64
import grp
import json
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

NO_SUCH_PROGRAM = 127  # of a shell


class Mistake(Exception):
    """One line: thing, value, remedy."""


def owner_ids(item, check_mode):
    owner, group = str(item.get("owner", "root")), str(item.get("group", "root"))
    try:
        uid = int(owner) if owner.isdigit() else pwd.getpwnam(owner).pw_uid
        gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError as why:
        if check_mode:  # an earlier task would have made the account
            return None, None
        raise Mistake(f"{item['dest']}: {why.args[0]}; make the account in a task or package before this one") from why
    return uid, gid


def text_of(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        return f"(binary, {len(data)} bytes)\n"


class Change:
    """What has to be done for one item; `why` is empty when nothing has."""

    def __init__(self, item, check_mode):
        self.check_mode = check_mode
        self.item = item
        self.dest = Path(item["dest"])
        self.state = item["state"]
        self.data = base64.b64decode(item["data"]) if "data" in item else None
        self.before = None
        self.why = []
        try:
            st = self.dest.lstat()
        except FileNotFoundError:
            st = None
        if self.state == "absent":
            if st is not None:
                self.why.append("exists")
            return
        if self.state == "link":
            if st is None or not stat.S_ISLNK(st.st_mode) or str(self.dest.readlink()) != item["target"]:
                self.why.append("link")
            return
        self.uid, self.gid = owner_ids(item, check_mode)
        self.mode = int(item["mode"], 8)
        right_kind = st is not None and (
            stat.S_ISDIR(st.st_mode) if self.state == "directory" else stat.S_ISREG(st.st_mode)
        )
        if st is not None and not right_kind and (self.state == "directory" or stat.S_ISDIR(st.st_mode)):
            raise Mistake(f"{self.dest} is not a {self.state}; remove it by hand")
        if not right_kind:
            self.why.append("missing")
        elif self.state == "file":
            self.before = self.dest.read_bytes()
            if self.before != self.data:
                self.why.append("content")
        if right_kind and (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) != (self.uid, self.gid, self.mode):
            self.why.append("attributes")

    @property
    def content(self):
        return "missing" in self.why or "content" in self.why

    def diff(self):
        name = str(self.dest)
        if self.state != "file" or not self.content:
            return {"before_header": name, "after_header": name, "prepared": f"{name}: {', '.join(self.why)}\n"}
        if self.item.get("secret"):
            return {"before_header": name, "after_header": name, "prepared": f"{name}: secret content changed\n"}
        before = "" if self.before is None else text_of(self.before)
        return {"before_header": name, "after_header": name, "before": before, "after": text_of(self.data)}

    def validate(self):
        """Run the file's own program over the new content. Raises Mistake with what it said."""
        command = self.item.get("validate")
        if not command or not self.content:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self.dest.name
            path.write_bytes(self.data)
            done = subprocess.run(  # noqa: S602 - a command line of the role's own
                command.replace("%s", str(path)),
                shell=True,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        if done.returncode == NO_SUCH_PROGRAM and self.check_mode:
            return
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().replace(folder, "…")[-600:]
            raise Mistake(f"{self.dest}: not valid, nothing was replaced: {command}: exit {done.returncode}: {said}")

    def apply(self):
        if self.state == "absent":
            if self.dest.is_dir() and not self.dest.is_symlink():
                shutil.rmtree(self.dest)
            else:
                self.dest.unlink()
        elif self.state == "link":
            new = self.dest.with_name(f".{self.dest.name}.new")
            new.unlink(missing_ok=True)
            new.symlink_to(self.item["target"])
            new.replace(self.dest)
        elif self.state == "directory":
            self.dest.mkdir(exist_ok=True)
            os.chown(self.dest, self.uid, self.gid)
            self.dest.chmod(self.mode)
        elif self.content:
            self.replace()
        else:
            os.chown(self.dest, self.uid, self.gid)
            self.dest.chmod(self.mode)

    def replace(self):
        descriptor, name = tempfile.mkstemp(prefix=f".{self.dest.name}.", dir=self.dest.parent)
        try:
            with os.fdopen(descriptor, "wb") as out:
                out.write(self.data)
                out.flush()
                os.fchown(out.fileno(), self.uid, self.gid)
                os.fchmod(out.fileno(), self.mode)
                os.fsync(out.fileno())
            Path(name).replace(self.dest)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def keep(changes):
    """What was renamed, made or removed shall still be so after a power cut."""
    for folder in {change.dest.parent for change in changes}:
        if folder.is_dir():
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def gone(prune, items):
    """Files in the pruned folder that are not among the items any more."""
    wanted = {item["dest"] for item in items}
    for path in sorted(Path(prune["dest"]).rglob(prune["pattern"])) if prune else ():
        if str(path) not in wanted:
            yield {"dest": str(path), "state": "absent"}


def main():
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict"},
            "tree": {"type": "dict"},
            # A secret as a whole, for AnsibleModule tells the host's journal all other arguments, and there are keys
            # among these. As a list each of its words, paths too, would be struck out of the result.
            "items": {"type": "str", "default": "", "no_log": True},
            "prune": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    given = json.loads(module.params["items"] or "[]")
    items = [*given, *gone(module.params["prune"], given)]
    try:
        changes = [c for c in (Change(item, module.check_mode) for item in items) if c.why]
        for change in changes:
            if change.state == "file":
                change.validate()
        if not module.check_mode:
            for change in changes:
                change.apply()
            keep(changes)
    except Mistake as why:
        module.fail_json(msg=str(why), changed_files=[])
    except OSError as why:
        module.fail_json(msg=f"{why.filename}: {why.strerror}", changed_files=[])
    module.exit_json(
        changed=bool(changes),
        changed_files=[str(c.dest) for c in changes],
        diff=[c.diff() for c in changes],
    )


if __name__ == "__main__":
    main()

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
  - When unit files or their drop-ins were replaced, or are still pending, systemd reads its units anew if it knows one
    of these as it was. Of a unit that is removed the role's handler has to tell it, behind stopping it.
  - With the variable C(render_to) nothing is asked of the host; its files are written below that folder of the
    controller, under the host's name.
  - With the variable C(rebuild_from), an archive of the host's stored configuration on the controller, the files are
    those that the role put there then.
options:
  files:
    description:
      - What should be there, in this order. Each entry has C(dest), C(mode) (text) and one of C(src) (a template of the
        role), C(content) (text) or C(copy) (a local file); optionally C(vars), C(owner), C(group), C(secret) (no diff
        is shown) and C(state) (C(file), C(directory), C(link) with C(target), C(absent)).
      - In a stored configuration C(copy) and C(secret) have no content, but for a secret with C(hidden), {name of a
        secret in it; its value}; there the file is stored without these values.
      - C(validate) is a command for the shell in which C(%s) stands for a file with the new content, alone in a folder
        and called like C(dest). In check mode a program that is not installed yet is no mistake.
    type: list
    elements: dict
  tree:
    description:
      - A local folder C(src) to be the same at C(dest), for files that match C(pattern) (C(*.py)); such files at
        C(dest) that are gone locally are removed.
    type: dict
  pending:
    description:
      - A file that names what was changed and is not applied yet. It is written before the first file is replaced, and
        what it names counts as changed too, so that a run that ended before its handlers is made good by the next one.
        The last handler of the role removes it.
    type: path
  pending_for:
    description:
      - The same for roles that come later in the deploy, a regular expression by file. Changed paths that match are
        noted there, and are what that role finds as I(pending).
    type: dict
    default: {}
  beside:
    description:
      - What the role puts on the host besides, lists of C(packages), C(units) (enabled), C(accounts) and C(masked)
        units. It is stored with the files and changes nothing here.
      - How these units stand is told as C(standing), so that no task needs to ask for them again.
      - Those whose own file is among I(files) are enabled when it is replaced. They are not started.
    type: dict
  items:
    description: What the action plugin hands over, as JSON. Not for playbooks.
    type: str
    default: ""
  prune:
    description: Folder and pattern of the files that are removed unless they are among C(items). Not for playbooks.
    type: dict
  units:
    description: The units of I(beside). Not for playbooks.
    type: list
    elements: str
    default: []
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
    pending: /var/lib/holdfast/pending/role
  register: __role_files
  notify: [Restart the role, Role is applied]
"""

RETURN = r"""
changed_files:
  description:
    - Paths that were changed, and those that I(pending) names from before. In a failed run those that were replaced
      before the mistake.
  type: list
  elements: str
  returned: always
standing:
  description:
    - Whether nothing has changed, nothing is pending, and each unit of I(beside) is enabled and active. Only then a
      task that enables and starts them has nothing to do.
  type: bool
  returned: success, but not with C(render_to)
"""

import base64
import grp
import json
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

NO_SUCH_PROGRAM = 127  # of a shell
UNITS = Path("/etc/systemd/system")  # systemd.unit(5)


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
        replace(self.dest, self.data, self.mode, self.uid, self.gid, self.item.get("mtime"))


def replace(dest, data, mode, uid, gid, mtime=None):
    """`mtime`: Unix time that the file is to have, now if not given. Raises OSError with the name of the file."""
    descriptor, name = tempfile.mkstemp(prefix=f".{dest.name}.", dir=dest.parent)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(data)
            out.flush()
            if mtime is not None:
                os.utime(out.fileno(), (mtime, mtime))
            os.fchown(out.fileno(), uid, gid)
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        Path(name).replace(dest)
    except BaseException as why:
        Path(name).unlink(missing_ok=True)
        if isinstance(why, OSError):  # that of a full disk knows no name
            why.filename = str(dest)
        raise


def noted(stamp):
    return Path(stamp).read_text().splitlines() if stamp and Path(stamp).exists() else []


def note(stamp, names):
    """Add names to the file `stamp`, durable before anything that they stand for is done."""
    before = noted(stamp)
    after = list(dict.fromkeys([*before, *names]))
    if after != before:
        path = Path(stamp)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, "".join(f"{name}\n" for name in after).encode(), 0o644, os.getuid(), os.getgid())
        keep([path])


def keep(paths):
    """What was renamed, made or removed shall still be so after a power cut."""
    for folder in {path.parent for path in paths}:
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


def stand(units):
    """Whether each of the units is enabled and active. What is not sure is no: then a task asks for each of them.

    By is-enabled, which looks at the links on disk; `systemctl show` tells of them what the manager remembers. A script
    of System V is told before all units, so an answer belongs to no name, and all have to say the same.
    """
    if not units:
        return False
    for verb, word in (("is-enabled", "enabled"), ("is-active", "active")):
        try:
            done = subprocess.run(["systemctl", verb, *units], capture_output=True, text=True, check=False)
        except OSError:
            return False
        if done.stdout.split() != [word] * len(units):
            return False
    return True


def unit_of(path):
    """Name of the unit that a file or drop-in is for, a pattern for instances of a template; None: it is for none."""
    try:
        first = path.relative_to(UNITS).parts[0]
    except ValueError:
        return None
    name = first.removesuffix(".d")
    if name.endswith((".wants", ".requires")):
        return None
    return name.replace("@.", "@*.")


def systemctl(*words):
    """What it says. Raises Mistake."""
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise Mistake(f"systemctl {' '.join(words)}: {said}; mend it, deploy again")
    return done.stdout


def read_units(written, units):
    """Have systemd know these files as they are now, and enable those of `units` that are among them. Raises Mistake.

    Neither does more than it must: reading all units costs a third of a second of a slow host's processor, and
    `enable` would do it each time.
    """
    names = sorted({name for path in written if (name := unit_of(path))})
    if not names:
        return
    if own := [unit for unit in units if UNITS / unit in written]:
        systemctl("--no-reload", "enable", *own)
    # A unit that is not loaded yet is read from disk when it is asked for.
    if "yes" in systemctl("show", "--property=NeedDaemonReload", "--value", *names).split():
        systemctl("daemon-reload")


def main():
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict"},
            "tree": {"type": "dict"},
            "beside": {"type": "dict"},
            # A secret as a whole, for AnsibleModule tells the host's journal all other arguments, and there are keys
            # among these. As a list each of its words, paths too, would be struck out of the result.
            "items": {"type": "str", "default": "", "no_log": True},
            "prune": {"type": "dict"},
            "pending": {"type": "path"},
            "pending_for": {"type": "dict", "default": {}},
            "units": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    p = module.params
    given = json.loads(p["items"] or "[]")
    items = [*given, *gone(p["prune"], given)]
    done = []
    try:
        earlier = noted(p["pending"])
        changes = [c for c in (Change(item, module.check_mode) for item in items) if c.why]
        names = [str(c.dest) for c in changes]
        for change in changes:
            if change.state == "file":
                change.validate()
        if not module.check_mode:
            for stamp, pattern in p["pending_for"].items():
                note(stamp, [name for name in names if re.match(pattern, name)])
            if p["pending"]:
                note(p["pending"], names)
            for change in changes:
                change.apply()
                done.append(str(change.dest))
            keep([change.dest for change in changes])
            read_units([path for path in map(Path, [*names, *earlier]) if path.is_file()], p["units"])
    except Mistake as why:
        module.fail_json(msg=str(why), changed_files=done, changed=bool(done))
    except OSError as why:
        module.fail_json(msg=f"{why.filename}: {why.strerror}", changed_files=done, changed=bool(done))
    left = [name for name in earlier if name not in names]
    diff = [c.diff() for c in changes]
    if left:
        said = "".join(f"{name}: changed earlier, not applied yet\n" for name in left)
        diff.append({"before_header": p["pending"], "after_header": p["pending"], "prepared": said})
    changed = bool(changes or left)
    standing = not changed and stand(p["units"])
    module.exit_json(changed=changed, changed_files=[*names, *left], diff=diff, standing=standing)


if __name__ == "__main__":
    main()

"""What an archive of a host's configuration holds, and what becomes of it in a rebuild."""

from __future__ import annotations

import base64
import io
import tarfile
from typing import Any

import pytest
from ansible_collections.holdfast.mail.plugins.plugin_utils import differences, stored, versions
from ansible_collections.holdfast.mail.plugins.plugin_utils.stored import Entry, Role, Stored, Unfit
from hypothesis import given
from hypothesis import strategies as st

SINCE = 1_796_000_000
DIGEST = "/etc/holdfast/identity/mx/configuration"


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def mail1(text: str = "a = 1\n") -> Stored:
    base = Role(
        (
            Entry("/etc/holdfast", "directory", "0755"),
            Entry("/etc/holdfast/main.cf", mode="0640", group="holdfast", data=text.encode()),
            Entry("/etc/holdfast/host.key", mode="0600", secret=True),
            Entry("/etc/systemd/system/rpcbind.service", "link", target="/dev/null"),
            Entry("/etc/old", "absent"),
        ),
        packages=("postfix", "openssl"),
        units=("routes.service",),
        accounts=("vmail:2005:2005",),
        masked=("postfix.service",),
        prune={"dest": "/usr/lib/holdfast", "pattern": "*.py"},
    )
    agent = Role((Entry(DIGEST, mode="0644", data=b"d\n"),), packages=("openssl",), units=("agent.service",))
    return Stored("mail1", {"agent": agent, "base": base})


def archive(one: Stored) -> tuple[bytes, str]:
    packed = stored.pack(one)
    return stored.compressed(packed), stored.digest(packed)


def test_what_is_unpacked_is_what_was_packed() -> None:
    assert stored.unpack(*archive(mail1())) == mail1()


def test_the_same_configuration_makes_the_same_octets() -> None:
    """Whatever the order in which roles were noted: two deploys that put the same on a host store one version."""
    other = Stored("mail1", dict(reversed(mail1().roles.items())))
    assert archive(other) == archive(mail1())
    assert archive(mail1("a = 2\n"))[1] != archive(mail1())[1]
    # No time, no id and no name of whoever packed it: this very digest, on any machine and on any day.
    assert archive(mail1())[1] == "267269f564fb804fe32e2a6be1ced043e0ebf20acfd1a2c3b8bcc183bccc6a75"


def test_tar_alone_can_put_it_back() -> None:
    """What --strip-components=1 leaves is the path on the host; what has no content is not among it."""
    with tarfile.open(fileobj=io.BytesIO(stored.pack(mail1()))) as tar:
        found = {m.name: (m.type, m.mode, m.uname, m.gname, m.linkname) for m in tar.getmembers()}
    assert found == {
        "manifest.json": (tarfile.REGTYPE, 0o600, "root", "root", ""),
        "base/etc/holdfast": (tarfile.DIRTYPE, 0o755, "root", "root", ""),
        "base/etc/holdfast/main.cf": (tarfile.REGTYPE, 0o640, "root", "holdfast", ""),
        "base/etc/systemd/system/rpcbind.service": (tarfile.SYMTYPE, 0o777, "root", "root", "/dev/null"),
        f"agent{DIGEST}": (tarfile.REGTYPE, 0o644, "root", "root", ""),
    }


def test_a_damaged_archive_is_refused() -> None:
    data, digest = archive(mail1())
    for broken, words in ((data[:-20], "damaged"), (data, "digest"), (b"hello", "damaged")):
        with pytest.raises(Unfit, match=words):
            stored.unpack(broken, digest if broken is not data else "0" * 64)
    for text in (b"no tar at all", b"\0" * 1024):
        with pytest.raises(Unfit, match="not one of ours"):
            stored.unpack(stored.compressed(text), stored.digest(text))


def test_an_archive_of_another_form_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "FORMAT", 2)
    data, digest = archive(mail1())
    monkeypatch.undo()
    with pytest.raises(Unfit, match="form is 2, this release reads 1"):
        stored.unpack(data, digest)


def test_roles_come_in_the_order_of_a_deploy() -> None:
    names = ("zeal", "agent", "mail", "base", "router", "art")
    assert Stored("h", {n: Role(()) for n in names}).order() == ["base", "router", "mail", "agent", "art", "zeal"]
    assert mail1().beside("packages") == ["postfix", "openssl"]
    assert mail1().beside("units") == ["routes.service", "agent.service"]
    assert mail1().anew() == ["/etc/holdfast/host.key"]


def test_a_run_that_applied_some_roles_keeps_the_others() -> None:
    now = Stored("mail1", {"agent": Role((), units=("new.service",))})
    assert stored.merged(mail1(), now).roles == {**mail1().roles, "agent": now.roles["agent"]}


# --- secrets ---------------------------------------------------------------------------------------------------------


def item(text: str, **more: Any) -> dict[str, Any]:
    return {"dest": "/x", "state": "file", "mode": "0600", "data": base64_of(text), **more}


def test_a_secret_is_not_kept() -> None:
    assert stored.entry(item("k"), copied=True, hidden={}).data is None
    assert stored.entry(item("k", secret=True), copied=False, hidden={}).data is None
    assert stored.entry(item("k"), copied=False, hidden={}).data == b"k"
    part = stored.entry(item("key = s3;\n", secret=True), copied=False, hidden={"tsig": "s3"})
    assert (part.data, part.hidden, part.secret) == (b"key = <<secret tsig>>;\n", ("tsig",), True)


def test_a_secret_that_is_part_of_another() -> None:
    """And one that stands in what is put in its place."""
    secrets = {"short": "abc", "long": "abcdef", "none": "", "word": "secret"}
    hidden = stored.hide(b"abcdef abc secret\n", secrets)
    assert hidden == b"<<secret long>> <<secret short>> <<secret word>>\n"
    assert stored.reveal(hidden, secrets) == b"abcdef abc secret\n"


words = st.text("abcxyz", min_size=8, max_size=12)


@given(st.lists(words, max_size=6), st.dictionaries(st.sampled_from("PQR"), words, max_size=3))
def test_no_value_is_left_and_all_come_back(text: list[str], secrets: dict[str, str]) -> None:
    data = " ".join([*text, *secrets.values()]).encode()
    hidden = stored.hide(data, secrets)
    assert not [value for value in secrets.values() if value.encode() in hidden]
    assert stored.reveal(hidden, secrets) == data


# --- rebuild ---------------------------------------------------------------------------------------------------------

TODAY: list[dict[str, Any]] = [
    {
        "dest": "/etc/holdfast/main.cf",
        "state": "file",
        "mode": "0600",
        "data": base64_of("new\n"),
        "validate": "check %s",
    },
    {
        "dest": "/etc/holdfast/host.key",
        "state": "file",
        "mode": "0600",
        "data": base64_of("key of now\n"),
        "secret": True,
    },
    {"dest": "/etc/holdfast/new.cf", "state": "file", "mode": "0644", "data": base64_of("not known then\n")},
]


def test_a_rebuild_puts_back_what_was_stored_and_nothing_else() -> None:
    assert stored.items("base", mail1(), TODAY, {}, SINCE) == [
        {"dest": "/etc/holdfast", "state": "directory", "mode": "0755", "owner": "root", "group": "root"},
        {
            "dest": "/etc/holdfast/main.cf", "state": "file", "mode": "0640", "owner": "root", "group": "holdfast",
            "validate": "check %s", "data": base64_of("a = 1\n"),
        },
        {
            "dest": "/etc/holdfast/host.key", "state": "file", "mode": "0600", "owner": "root", "group": "root",
            "secret": True, "data": base64_of("key of now\n"),
        },
        {"dest": "/etc/systemd/system/rpcbind.service", "state": "link", "target": "/dev/null"},
        {"dest": "/etc/old", "state": "absent"},
    ]  # fmt: skip


def test_a_digest_has_the_time_of_its_version() -> None:
    """Of two hosts whose digests differ the later one takes over (core/placement.py): an old version stays older."""
    (found,) = stored.items("agent", mail1(), [], {}, SINCE)
    assert (found["dest"], found["mtime"]) == (DIGEST, SINCE)


def test_a_secret_of_now_goes_into_a_file_of_then() -> None:
    role = Role((Entry("/etc/knot.conf", mode="0640", data=b"key <<secret tsig>>;\n", hidden=("tsig",), secret=True),))
    one = Stored("ns", {"dns": role})
    (found,) = stored.items("dns", one, [], {"/etc/knot.conf": {"tsig": "of-now"}}, SINCE)
    assert (found["data"], found["secret"]) == (base64_of("key of-now;\n"), True)
    with pytest.raises(Unfit, match=r"/etc/knot\.conf: the secret tsig is not stored, and role dns of this release"):
        stored.items("dns", one, [], {}, SINCE)


def test_a_key_that_this_release_does_not_make() -> None:
    with pytest.raises(Unfit, match=r"/etc/holdfast/host\.key: its content is not stored, and role base"):
        stored.items("base", mail1(), [], {}, SINCE)


# --- for people -------------------------------------------------------------------------------------------------------


def test_the_difference_of_two_versions() -> None:
    new = mail1("a = 2\n")
    agent = Role((Entry(DIGEST, mode="0600", data=b"\xff"),), packages=("openssl", "knot"), units=())
    now = Stored("mail1", {**new.roles, "agent": agent})
    assert differences.between(mail1(), now, ("then", "now")) == [
        "--- /etc/holdfast/main.cf (then)",
        "+++ /etc/holdfast/main.cf (now)",
        "@@ -1 +1 @@",
        "-a = 1",
        "+a = 2",
        "+agent: packages: knot",
        "-agent: units: agent.service",
        f"{DIGEST}: file root:root 0644 -> file root:root 0600",
        f"--- {DIGEST} (then)",
        f"+++ {DIGEST} (now)",
        "@@ -1 +1 @@",
        "-d",
        "+(binary, 1 bytes)",
    ]
    assert differences.between(mail1(), mail1(), ("then", "now")) == []


def test_a_role_that_came_or_went_is_in_the_difference() -> None:
    less = Stored("mail1", {"base": mail1().roles["base"]})
    for old, new, sign in ((less, mail1(), "+"), (mail1(), less, "-")):
        found = differences.between(old, new, ("then", "now"))
        assert f"{sign}agent: units: agent.service" in found and f"{sign}d" in found


def test_the_plan_of_a_rebuild() -> None:
    newest, old = versions.Version("20261129T102500Z", "b" * 64), versions.Version("20261001T000000Z", "a" * 64)
    lines = differences.plan(mail1(), newest, newest)
    assert lines[0] == "mail1 as it was deployed at 20261129T102500Z (the newest)"
    assert "role base: 1 files as stored" in lines
    assert "made anew by the vault and authority of this controller: /etc/holdfast/host.key" in lines
    assert "units, enabled and started: routes.service, agent.service" in lines
    assert "NOT the newest, which is 20261129T102500Z" in differences.plan(mail1(), old, newest)[0]

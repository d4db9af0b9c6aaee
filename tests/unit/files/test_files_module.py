"""The module `files`: what it finds different, what it refuses, and that it replaces all or nothing."""

from __future__ import annotations

import base64
import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trial import Module, file, folder, me


@pytest.fixture
def files(capsys: pytest.CaptureFixture[str]) -> Module:
    return Module(capsys)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_folders_files_and_links_in_the_order_given(files: Module, tmp_path: Path) -> None:
    deep, conf, link = tmp_path / "deep", tmp_path / "deep/a.conf", tmp_path / "deep/link"
    wanted = [
        folder(deep, "0750"),
        file(conf, "a\n", "0640"),
        {"dest": str(link), "state": "link", "target": "a.conf"},
    ]
    result = files(*wanted)
    assert result["changed_files"] == [str(deep), str(conf), str(link)]
    assert (mode_of(deep), mode_of(conf), conf.read_text()) == (0o750, 0o640, "a\n")
    assert link.readlink() == Path("a.conf")
    assert files(*wanted)["changed"] is False


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_a_mode_is_the_one_given_whatever_the_umask(files: Module, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        files(folder(tmp_path / "d", "0711"), file(tmp_path / "d/f", mode="0604"))
    finally:
        os.umask(before)
    assert (mode_of(tmp_path / "d"), mode_of(tmp_path / "d/f")) == (0o711, 0o604)


def test_only_what_differs_is_touched(files: Module, tmp_path: Path) -> None:
    same, content, attributes = (tmp_path / n for n in ("same", "content", "attributes"))
    for path in (same, content, attributes):
        path.write_text("old\n")
        path.chmod(0o644)
    inodes = {p: p.stat().st_ino for p in (same, content, attributes)}
    result = files(file(same, "old\n"), file(content, "new\n"), file(attributes, "old\n", "0600"))
    assert result["changed_files"] == [str(content), str(attributes)]
    assert same.stat().st_ino == inodes[same]
    assert attributes.stat().st_ino == inodes[attributes]
    assert mode_of(attributes) == 0o600
    # Replaced, not written over: who has the old one open goes on reading the old one.
    assert content.stat().st_ino != inodes[content]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["attributes", "content", "same"]


def test_check_mode_tells_the_same_and_does_nothing(files: Module, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("old\n")
    wanted = [folder(tmp_path / "d"), file(tmp_path / "d/f"), file(tmp_path / "there")]
    told = files(*wanted, check=True)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "old\n"
    assert told["changed_files"] == files(*wanted)["changed_files"]


def test_nothing_is_replaced_when_one_is_not_valid(files: Module, tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad.conf"
    bad.write_text("old\n")
    complain = "echo 'line 1: no such option' >&2; grep -q old %s"
    result = files(file(good, validate="grep -q new %s"), file(bad, validate=complain))
    assert result["failed"] is True
    assert "\n" not in result["msg"]
    for word in (str(bad), complain, "no such option", "nothing was replaced"):
        assert word in result["msg"]
    assert result["changed_files"] == []
    assert not good.exists()
    assert bad.read_text() == "old\n"


def test_a_validator_sees_the_new_content_under_the_name_of_the_file(files: Module, tmp_path: Path) -> None:
    dest, seen = tmp_path / "main.cf", tmp_path / "seen"
    command = f"basename %s > {seen}; ls $(dirname %s) >> {seen}; cat %s >> {seen}; stat -c %%a $(dirname %s) >> {seen}"
    files(file(dest, "relay = no\n", validate=command.replace("%%", "%")))
    assert seen.read_text().split("\n") == ["main.cf", "main.cf", "relay = no", "700", ""]


def test_a_file_that_stays_is_not_validated(files: Module, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("new\n")
    (tmp_path / "f").chmod(0o644)
    assert files(file(tmp_path / "f", validate="false"))["changed"] is False


def test_check_mode_before_the_program_is_installed(files: Module, tmp_path: Path) -> None:
    item = file(tmp_path / "f", validate="no-such-program-here %s")
    assert files(item, check=True)["changed_files"] == [str(tmp_path / "f")]
    assert "no-such-program-here" in files(item)["msg"]
    assert files(file(tmp_path / "f", validate="exit 1"), check=True)["failed"] is True


def test_an_account_that_is_missing(files: Module, tmp_path: Path) -> None:
    item = {**file(tmp_path / "f"), "owner": "no-such-account"}
    assert files(item, check=True)["changed_files"] == [str(tmp_path / "f")]
    result = files(item)
    assert "no-such-account" in result["msg"]
    assert str(tmp_path / "f") in result["msg"]
    assert not (tmp_path / "f").exists()


def test_a_missing_parent_is_named(files: Module, tmp_path: Path) -> None:
    assert str(tmp_path / "missing") in files(file(tmp_path / "missing/f"))["msg"]


def test_what_is_of_another_kind(files: Module, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "is not a file" in files(file(tmp_path / "folder"))["msg"]
    (tmp_path / "file").write_text("")
    assert "is not a directory" in files(folder(tmp_path / "file"))["msg"]
    # A link is replaced, and not what it points to.
    (tmp_path / "elsewhere").write_text("mine\n")
    (tmp_path / "link").symlink_to("elsewhere")
    files(file(tmp_path / "link"))
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere").read_text() == "mine\n"


def test_absent(files: Module, tmp_path: Path) -> None:
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/f").write_text("")
    (tmp_path / "f").write_text("")
    (tmp_path / "outside").mkdir()
    (tmp_path / "link").symlink_to("outside")
    items = [{"dest": str(tmp_path / n), "state": "absent"} for n in ("d", "f", "link", "never")]
    assert files(*items)["changed_files"] == [str(tmp_path / n) for n in ("d", "f", "link")]
    assert [p.name for p in tmp_path.iterdir()] == ["outside"]
    assert files(*items)["changed"] is False


def test_diff_shows_contents_but_no_secret(files: Module, tmp_path: Path) -> None:
    for name in ("plain", "key"):
        (tmp_path / name).write_text("old-secret\n")
    result = files(file(tmp_path / "plain", "shown\n"), file(tmp_path / "key", "hidden\n", secret=True))
    plain, key = result["diff"]
    assert (plain["before"], plain["after"]) == ("old-secret\n", "shown\n")
    assert "secret" not in str(key).replace("secret content changed", "")
    assert "hidden" not in str(key)


def test_results_carry_no_contents(files: Module, tmp_path: Path) -> None:
    item = file(tmp_path / "key", "hidden\n", secret=True)
    for result in (files(item), files({**item, "mode": "0600"}), files(file(tmp_path / "key", validate="false"))):
        assert item["data"] not in str(result)


def test_the_journal_is_told_no_contents(files: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("ansible.module_utils.basic.has_journal", False)
    monkeypatch.setattr("syslog.syslog", lambda priority, text: told.append(text))
    item = file(tmp_path / "key", "hidden\n", secret=True)
    assert files(item)["changed"] is True
    assert any("Invoked with" in line for line in told)
    assert item["data"] not in str(told)


def test_binary_contents(files: Module, tmp_path: Path) -> None:
    data = bytes(range(256))
    item = {**file(tmp_path / "b"), "data": base64.b64encode(data).decode()}
    assert "binary, 256 bytes" in str(files(item)["diff"])
    assert (tmp_path / "b").read_bytes() == data


def test_prune_removes_what_matches_and_nothing_else(files: Module, tmp_path: Path) -> None:
    package = tmp_path / "p"
    (package / "sub").mkdir(parents=True)
    for name in ("kept.py", "gone.py", "sub/gone.py", "data.txt"):
        (package / name).write_text("")
    prune = {"dest": str(package), "pattern": "*.py"}
    wanted = [folder(package), file(package / "kept.py", "")]
    (package / "kept.py").chmod(0o644)
    package.chmod(0o755)
    gone = [str(package / "gone.py"), str(package / "sub/gone.py")]
    assert files(*wanted, prune=prune, check=True)["changed_files"] == gone
    assert (package / "gone.py").exists()
    assert files(*wanted, prune=prune)["changed_files"] == gone
    assert sorted(p.name for p in package.rglob("*") if p.is_file()) == ["data.txt", "kept.py"]


def test_what_no_handler_has_applied_stays_changed(files: Module, tmp_path: Path) -> None:
    stamp, first, second = tmp_path / "pending/role", tmp_path / "first", tmp_path / "second"
    wanted = [file(first), file(second)]
    assert files(*wanted, check=True, pending=str(stamp))["changed"] is True
    assert not stamp.parent.exists()
    files(file(first), pending=str(stamp))
    told = files(*wanted, check=True, pending=str(stamp), _ansible_diff=True)
    assert told["changed_files"] == [str(second), str(first)]
    assert {"prepared": f"{first}: changed earlier, not applied yet\n"}.items() <= told["diff"][1].items()
    for _ in range(2):
        assert files(*wanted, pending=str(stamp))["changed_files"] in (
            [str(second), str(first)],
            [str(first), str(second)],
        )
    stamp.unlink()  # as the last handler does
    again = files(*wanted, pending=str(stamp))
    assert (again["changed"], again["changed_files"], stamp.exists()) == (False, [], False)


def test_a_run_that_breaks_off_is_told_and_noted(files: Module, tmp_path: Path) -> None:
    stamp, good, bad = tmp_path / "role", tmp_path / "good", tmp_path / "missing/bad"
    result = files(file(good), file(bad), pending=str(stamp))
    assert (result["failed"], result["changed"], result["changed_files"]) == (True, True, [str(good)])
    bad.parent.mkdir()
    assert files(file(good), file(bad), pending=str(stamp))["changed_files"] == [str(bad), str(good)]


def test_nothing_is_replaced_that_cannot_be_noted(files: Module, tmp_path: Path) -> None:
    (tmp_path / "no-folder").write_text("")
    result = files(file(tmp_path / "f"), pending=str(tmp_path / "no-folder/role"))
    assert result["failed"] is True and "no-folder" in result["msg"]
    assert not (tmp_path / "f").exists()


def test_a_full_disk_is_told_with_the_file(files: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    assert files(file(tmp_path / "f"))["msg"] == f"{tmp_path / 'f'}: No space left on device"
    assert list(tmp_path.iterdir()) == []


def test_a_later_role_finds_what_concerns_it(files: Module, tmp_path: Path) -> None:
    code, names, later = tmp_path / "code.py", tmp_path / "names", tmp_path / "later"
    wanted = [file(code), file(names)]
    given = {"pending": str(tmp_path / "own"), "pending_for": {str(later): ".*/code"}}
    files(*wanted, check=True, **given)
    assert not later.exists()
    files(*wanted, **given)
    (tmp_path / "own").unlink()
    assert files(*wanted, **given)["changed"] is False
    assert files(pending=str(later))["changed_files"] == [str(code)]


names = st.text(alphabet="abc", min_size=1, max_size=2)
contents = st.text(alphabet=st.characters(codec="utf-8"), max_size=20)
modes = st.sampled_from(["0600", "0644", "0755"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(names, st.tuples(contents, modes)), min_size=1, max_size=4))
def test_after_any_history_it_is_as_asked_and_a_second_run_is_quiet(
    files: Module, tmp_path_factory: pytest.TempPathFactory, wishes: list[dict[str, tuple[str, str]]]
) -> None:
    place = tmp_path_factory.mktemp("history")
    for wish in wishes:
        items = [file(place / name, text, mode) for name, (text, mode) in wish.items()]
        files(*items)
        for name, (text, mode) in wish.items():
            assert (place / name).read_bytes() == text.encode()
            assert mode_of(place / name) == int(mode, 8)
        assert files(*items)["changed"] is False
    assert me()["owner"] == str(place.stat().st_uid)

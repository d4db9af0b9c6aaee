"""What a store host does with archives: stored_configuration writes them, stored_configuration_info reads them."""

from __future__ import annotations

import base64
import importlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible.module_utils.testing import patch_module_args

NAMES = "ansible_collections.holdfast.mail.plugins.modules"
Answer = dict[str, Any]


class Store:
    """Both modules in this very process, on a folder that is no mount."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self._capsys = root, capsys
        self.folder = root / ".configuration"

    def put(self, archives: dict[str, tuple[str, bytes]], **more: Any) -> Answer:
        given = {host: [name, base64.b64encode(data).decode()] for host, (name, data) in archives.items()}
        return self._run("stored_configuration", {"archives": json.dumps(given), **more})

    def ask(self, **more: Any) -> Answer:
        return self._run("stored_configuration_info", more)

    def _run(self, name: str, given: Answer) -> Answer:
        self._capsys.readouterr()
        module = importlib.import_module(f"{NAMES}.{name}")
        with patch_module_args({"root": str(self.root), "mounted": False, **given}), pytest.raises(SystemExit):
            module.main()
        answer: Answer = json.loads(self._capsys.readouterr().out)
        return answer


@pytest.fixture
def store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Store:
    return Store(tmp_path, capsys)


def name(n: int) -> str:
    return f"2026112{n}T102500Z.{'a' * 64}.tar.gz"


def test_no_more_versions_than_are_kept(store: Store) -> None:
    for n in range(4):
        assert store.put({"mail1": (name(n), b"x"), "mail2": (name(0), b"y")}, keep=2)["stored"] == ["mail1", "mail2"]
    assert store.ask()["versions"] == {"mail1": [name(2), name(3)], "mail2": [name(0)]}
    assert store.ask(hosts=["mail1", "new"])["versions"] == {"mail1": [name(2), name(3)], "new": []}
    assert "keep is 0: keep one version at the least" in store.put({}, keep=0)["msg"]


def test_what_a_run_that_was_cut_off_has_left_goes(store: Store) -> None:
    store.put({"mail1": (name(0), b"x")})
    torn = store.folder / "mail1" / f".{name(1)}.abc"
    torn.write_text("half of it")
    assert store.ask()["versions"] == {"mail1": [name(0)]}
    store.put({"mail1": (name(1), b"x")})
    assert not torn.exists()


def test_what_is_read_is_what_was_written(store: Store) -> None:
    store.put({"mail1": (name(0), bytes(range(256)))})
    assert base64.b64decode(store.ask(read={"mail1": name(0)})["read"]["mail1"]) == bytes(range(256))
    assert "No such file" in store.ask(read={"mail1": name(9)})["msg"]


def test_where_the_store_is_not_served_nothing_is_done(store: Store) -> None:
    """The other member of a pair has the same folder, empty and on its own disk."""
    said = store.put({"mail1": (name(0), b"x")}, mounted=True)
    assert (said["changed"], said["served"], said["stored"]) == (False, False, [])
    assert store.ask(mounted=True)["served"] is False
    assert not store.folder.exists()


def test_check_mode_writes_nothing(store: Store) -> None:
    said = store.put({"mail1": (name(0), b"x")}, _ansible_check_mode=True)
    assert (said["changed"], said["stored"]) == (True, ["mail1"])
    assert not store.folder.exists()


class Room(NamedTuple):
    f_bavail: int
    f_frsize: int = 4096


def test_a_full_store_is_left_to_mail(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root could still write into the blocks that are kept from identities."""
    monkeypatch.setattr(os, "statvfs", lambda path: Room(1))
    said = store.put({"mail1": (name(0), b"x" * 5000)})
    assert said["failed"] and "5000 bytes are to be stored and 4096 are left; make room" in said["msg"]
    assert not store.folder.exists()


def test_it_is_for_root_alone(store: Store) -> None:
    store.folder.mkdir(mode=0o755)
    store.put({"mail1": (name(0), b"x")})
    modes = [
        oct(p.stat().st_mode)[-3:] for p in (store.folder, store.folder / "mail1", store.folder / "mail1" / name(0))
    ]
    assert modes == ["700", "700", "600"]


def test_the_journal_is_told_no_archive(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("ansible.module_utils.basic.has_journal", False)
    monkeypatch.setattr("syslog.syslog", lambda priority, text: told.append(text))
    store.put({"mail1": (name(0), b"of the archive")})
    assert any("Invoked with" in line for line in told)
    assert base64.b64encode(b"of the archive").decode() not in str(told)

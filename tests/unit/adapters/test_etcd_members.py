"""Members one by one, in a real cluster (skipped without `etcd` on PATH), and when one may be restarted."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from cluster import ETCD, Cluster
from holdfast.adapters.etcd import Tls
from holdfast.adapters.etcd_members import health, hindering


@pytest.mark.parametrize(
    ("members", "answering", "deployed", "expected"),
    [
        ("a", "a", "a", ""),
        ("abc", "abc", "abc", ""),
        ("abc", "", "abc", ""),  # the first start
        ("abc", "bc", "a", ""),  # a member that does not answer takes no majority away
        ("abc", "ab", "abc", "c"),  # the last one of this run has not come back
        ("abc", "ab", "ab", "c"),  # left out, and its loss is all that three can bear
        ("abcde", "abcd", "abcd", ""),  # five can bear one more
        ("abcde", "abcd", "abcde", "e"),  # unless the run has broken it
        ("abcde", "abc", "abc", "de"),
        ("abcde", "abc", "abcd", "d"),
    ],
)
def test_who_is_waited_for(members: str, answering: str, deployed: str, expected: str) -> None:
    assert hindering("a", answering, list(members), deployed) == list(expected)


@pytest.mark.skipif(ETCD is None, reason="no etcd on PATH")
def test_a_member_says_whether_it_belongs_to_a_majority(tmp_path: Path) -> None:
    with Cluster(tmp_path, 3) as cluster:
        assert [health(url, Tls()) for url in cluster.urls] == [True, True, True]
        cluster.kill(1)
        cluster.kill(2)
        assert [health(url, Tls(), 1) for url in cluster.urls] == [False, None, None]


class Restart:
    """The module on member `a`, `answers` being what the members say."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys = capsys
        self.answers: dict[str, bool | None] = dict.fromkeys("abc", True)
        self.after: dict[str, bool | None] = {}
        self.status = 0
        self.ran: list[str] = []
        self.warned: list[str] = []
        self.module = importlib.import_module("ansible_collections.holdfast.mail.plugins.modules.coordinator_restart")
        monkeypatch.setattr(self.module, "health", lambda url, tls: self.answers[url])
        monkeypatch.setattr(self.module, "PATIENCE", 0)
        module = "ansible.module_utils.basic.AnsibleModule"
        monkeypatch.setattr(f"{module}.run_command", lambda _, *a, **k: self.run(*a, **k))
        # Where the controller's parts are loaded, too, a warning goes to its display and not into the result.
        monkeypatch.setattr(f"{module}.warn", lambda _, text: self.warned.append(text))

    def run(self, argv: list[str], check_rc: bool = False) -> tuple[int, str, str]:
        self.ran.append(" ".join(argv[1:]))
        self.answers |= self.after if argv[1] == "restart" else {}
        return (self.status if argv[1] == "restart" else 0), "", ""

    def __call__(self, deployed: str = "abc", check: bool = False) -> dict[str, Any]:
        given = {"coordinator": {"endpoints": ["a", "b", "c"]}, "endpoint": "a", "deployed": list(deployed)}
        with patch_module_args({**given, "timeout": 0, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            self.module.main()
        result: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        return result


@pytest.fixture
def restart(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Restart:
    return Restart(capsys, monkeypatch)


def test_a_healthy_member_of_a_healthy_cluster(restart: Restart) -> None:
    assert restart(check=True)["changed"] is True and restart.ran == []
    assert restart()["changed"] is True
    assert restart.ran == ["restart etcd.service"]


def test_at_the_first_start_nobody_waits(restart: Restart) -> None:
    restart.answers = dict.fromkeys("abc", None)
    assert restart()["changed"] is True
    assert restart.ran == ["restart --no-block etcd.service"]


def test_behind_a_member_that_did_not_come_back(restart: Restart) -> None:
    restart.answers["c"] = None
    said = restart()
    assert said["failed"] is True and "c does not answer" in said["msg"] and "\n" not in said["msg"]
    assert restart.ran == []


def test_a_dead_member_that_was_left_out(restart: Restart) -> None:
    restart.answers["c"] = None
    said = restart("ab")
    assert (said["changed"], said["postponed"], restart.ran) == (False, ["c"], [])
    assert "without c" in restart.warned[0]


@pytest.mark.parametrize(("status", "after"), [(1, True), (0, None), (0, False)])
def test_a_setting_that_etcd_does_not_take(restart: Restart, status: int, after: bool | None) -> None:
    restart.status, restart.after = status, {"a": after}
    said = restart()
    assert said["failed"] is True and "does not answer after its restart" in said["msg"]

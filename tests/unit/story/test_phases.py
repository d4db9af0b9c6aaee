"""What a failed run says last is what an operator far from the machine gets to read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import interrupt
from lab.errors import Interrupted
from tests import phases

AT = "2026-11-25 01:55:06,502 p=26577 u=root n=ansible"
LOG = f"""{AT} INFO| TASK [Routes] ****
{AT} INFO| ok: [gw1]
{AT} ERROR| [ERROR]: Task failed: Connection refused
Origin: site.yml:3

{AT} INFO| fatal: [relay1]: UNREACHABLE! => 
    msg: 'Connection refused'
    unreachable: true

{AT} INFO| FAILED - RETRYING: [mail1]: Wait (3 retries left).
{AT} INFO| fatal: [mail1]: FAILED! => 
    msg: no
{AT} INFO| ok: [localhost] => 
    cleanup_lab.stdout_lines:
    - gw1 on
{AT} INFO| PLAY RECAP ****
"""  # noqa: W291  as Ansible writes it


def test_hosts_that_failed_and_the_machines_are_told(tmp_path: Path) -> None:
    log = tmp_path / "ansible.log"
    log.write_text(LOG)
    told = phases.complaints(log)
    assert [line.strip() for line in told] == [
        "fatal: [relay1]: UNREACHABLE! =>",
        "msg: 'Connection refused'",
        "unreachable: true",
        "fatal: [mail1]: FAILED! =>",
        "msg: no",
        "ok: [localhost] =>",
        "cleanup_lab.stdout_lines:",
        "- gw1 on",
    ]


def test_a_long_complaint_is_told_by_both_of_its_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "SHOWN", 2)
    log = tmp_path / "ansible.log"
    log.write_text(f"{AT} INFO| fatal: [x]: FAILED! => \n" + "".join(f"    line {n}\n" for n in range(9)))
    assert [line.strip() for line in phases.complaints(log)] == [
        "fatal: [x]: FAILED! =>",
        "line 0",
        "…",
        "line 7",
        "line 8",
    ]


def test_without_a_log_nothing_is_said(tmp_path: Path) -> None:
    assert phases.complaints(tmp_path / "none") == []
    assert phases.why(tmp_path / "none", tmp_path / "none") == []


def test_the_reason_is_the_test_that_failed_and_what_it_said(tmp_path: Path) -> None:
    log, results = tmp_path / "ansible.log", tmp_path / "tests.xml"
    log.write_text(LOG)
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): raise ValueError('two\\nlines')\n"
        "def test_long(): raise ValueError('command ' + 'x' * 400 + ' cause')\n"
        "@pytest.fixture\ndef lab(): raise OSError('no lab')\n"
        "def test_set_up(lab): pass\n"
    )
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--rootdir={tmp_path}",
            f"--junitxml={results}",
        ],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 1
    said = phases.why(results, log)
    long = said.pop(1)
    assert len(long) == phases.WHY_WIDTH
    assert long.startswith("test_it::test_long: ValueError: command xx") and long.endswith("xx cause")
    assert said == [
        "test_it::test_bad: ValueError: two lines",
        'test_it::test_set_up: failed on setup with "OSError: no lab"',
    ]


def test_without_a_failed_test_the_reason_is_the_host_that_failed(tmp_path: Path) -> None:
    log = tmp_path / "ansible.log"
    log.write_text(LOG)
    assert phases.why(tmp_path / "none", log) == [
        "fatal: [relay1]: UNREACHABLE! => msg: 'Connection refused' unreachable: true",
        "fatal: [mail1]: FAILED! => msg: no",
    ]


def test_an_interrupted_scenario_says_which_outage_it_was_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "lab").write_text('#!/bin/sh\necho "$*"\n')
    (tmp_path / "bin" / "lab").chmod(0o755)
    log = tmp_path / "outages.log"
    log.write_text("".join(f"test_{n} PASSED\n" for n in range(99)) + "test_that_hangs ")
    monkeypatch.setattr(phases, "ROOT", tmp_path)
    monkeypatch.setattr(phases, "OUTAGES", log)
    assert phases.interrupted("scenario") == 130
    said = capfd.readouterr().out.splitlines()
    assert said[0] == "--name molecule down --purge" and said[-1].startswith("test_that_hangs")
    assert len(said) < 20


@pytest.fixture
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs this may ignore it
    interrupt.install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


ENDS_ITS_MACHINES = """
import sys, time
from pathlib import Path
begun, ended = map(Path, sys.argv[1:])
try:
    begun.touch()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)
    ended.touch()
"""


@pytest.mark.usefixtures("_signals")
def test_a_signal_to_the_phases_alone_reaches_what_runs_and_its_end_is_waited_for(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"

    def terminate() -> None:
        while not begun.exists():
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate).start()
    with pytest.raises(Interrupted):
        phases.call([sys.executable, "-c", ENDS_ITS_MACHINES, str(begun), str(ended)], dict(os.environ))
    assert ended.exists()

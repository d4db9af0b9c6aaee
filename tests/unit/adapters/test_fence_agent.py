"""Fence agents by the API that they share: a real program that speaks it, and fence_dummy where it is installed."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from pathlib import Path

import pytest
from holdfast.adapters.fence_agent import FenceAgent
from holdfast.core.ports import Power, PowerSwitch, Unavailable

# An agent with one plug in a file. What it is told to do wrong it does.
AGENT = """\
#!{python}
import os, pathlib, sys, time
here = pathlib.Path(__file__).parent
given = dict(line.rstrip("\\n").split("=", 1) for line in sys.stdin)
with (here / "calls").open("a") as calls:
    print(given["action"], given.get("plug", "-"), file=calls)
fault = (here / "fault").read_text() if (here / "fault").exists() else ""
if given.get("password") != "s3cret":
    print("Failed: unable to connect with " + given.get("password", "nothing"), file=sys.stderr)
    sys.exit(1)
if fault == "hang":
    time.sleep(60)
if fault == "die":
    os.kill(os.getpid(), 9)
if fault.startswith("exit "):
    sys.exit(int(fault.split()[1]))
power = here / ("power-" + given.get("plug", ""))
if given["action"] == "off":
    power.write_text("off")
    sys.exit(0)
sys.exit(2 if power.exists() else 0)
"""


@pytest.fixture
def rack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "fence_rack"
    program.write_text(textwrap.dedent(AGENT).replace("{python}", sys.executable))
    program.chmod(0o755)
    (tmp_path / "password").write_text("s3cret\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def agent(rack: Path, timeout: float = 10.0, secret: str = "password") -> PowerSwitch:
    return FenceAgent(
        "pdu", "fence_rack", {"ip": "10.0.0.9"}, {"password": str(rack / secret)}, {"mail1": "outlet 3"}, timeout
    )


def test_off_and_status(rack: Path) -> None:
    assert agent(rack).status("mail1") is Power.ON
    assert agent(rack).off("mail1") == "fence_rack off mail1: status 0"
    assert agent(rack).status("mail1") is Power.OFF
    calls = (rack / "calls").read_text().splitlines()
    assert calls == ["status outlet 3", "off outlet 3", "status outlet 3"]


def test_a_host_without_a_plug_of_its_own(rack: Path) -> None:
    agent(rack).off("mail2")
    assert (rack / "calls").read_text().splitlines() == ["off -"]


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("exit 1", "status 1"),
        ("exit 2", "status 2"),
        ("die", "status -9"),
        ("hang", "no end after 1 s"),
    ],
)
def test_anything_else_proves_nothing(rack: Path, fault: str, why: str) -> None:
    (rack / "fault").write_text(fault)
    with pytest.raises(Unavailable, match=f"^pdu: .*{why}"):
        agent(rack, timeout=1.0 if fault == "hang" else 10.0).off("mail1")


@pytest.mark.parametrize("fault", ["exit 1", "exit 3", "die"])
def test_a_status_that_is_none(rack: Path, fault: str) -> None:
    (rack / "fault").write_text(fault)
    with pytest.raises(Unavailable, match="pdu: status mail1: status"):
        agent(rack).status("mail1")


def test_no_secret_is_repeated(rack: Path) -> None:
    (rack / "password").write_text("wr0ng\n")
    with pytest.raises(Unavailable, match="unable to connect with …") as why:
        agent(rack).off("mail1")
    assert "wr0ng" not in str(why.value)


def test_a_secret_that_is_not_there(rack: Path) -> None:
    with pytest.raises(Unavailable, match="none: No such file"):
        agent(rack, secret="none").off("mail1")
    assert not (rack / "calls").exists()


def test_an_agent_that_is_not_installed(rack: Path) -> None:
    with pytest.raises(Unavailable, match="fence_nowhere: No such file"):
        FenceAgent("pdu", "fence_nowhere", {}, {}, {}).off("mail1")


@pytest.mark.parametrize(
    ("name", "options", "plugs"),
    [
        ("/usr/bin/true", {}, {}),
        ("fence_x; reboot", {}, {}),
        ("fence_x", {"action": "on"}, {}),
        ("fence_x", {"port": "3"}, {}),
        ("fence_x", {"ip": "10.0.0.9\naction=on"}, {}),
        ("fence_x", {}, {"mail1": "3\naction=on"}),
    ],
)
def test_names_and_values_that_no_agent_could_take(name: str, options: dict[str, str], plugs: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"agent|option|line"):
        FenceAgent("pdu", name, options, {}, plugs)


@pytest.mark.skipif(shutil.which("fence_dummy") is None, reason="no fence_dummy on PATH (package fence-agents)")
def test_the_distributions_own_agent(tmp_path: Path) -> None:
    file = tmp_path / "status"
    file.write_text("on")
    dummy = FenceAgent("dummy", "fence_dummy", {"status_file": str(file)}, {}, {})
    assert dummy.status("mail1") is Power.ON
    assert dummy.off("mail1") == "fence_dummy off mail1: status 0"
    assert file.read_text() == "off" and dummy.status("mail1") is Power.OFF
    broken = FenceAgent("dummy", "fence_dummy", {"type": "fail"}, {}, {"mail1": "fake_port_1"}, timeout=60.0)
    with pytest.raises(Unavailable, match="dummy"):
        broken.off("mail1")

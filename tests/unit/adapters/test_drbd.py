"""What DRBD says, 8.4 in /proc/drbd and 9 as JSON. The first samples are from guests, the JSON follows drbdsetup(8)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from holdfast.adapters.command import CommandError
from holdfast.adapters.drbd import Drbd, parse_json, parse_proc
from holdfast.core.ports import Unavailable

HEAD = "version: 8.4.11 (api:1/proto:86-101)\nbuilt-in\n"
COUNTS = "    ns:7356 nr:0 dw:204056 dr:2125 al:45 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:0\n"
PRIMARY = f"{HEAD} 0: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n{COUNTS}"
ALONE = f"{HEAD} 0: cs:WFConnection ro:Primary/Unknown ds:UpToDate/Outdated C r-----\n{COUNTS}"
FROZEN = f"{HEAD} 0: cs:WFConnection ro:Primary/Unknown ds:UpToDate/DUnknown C s----F\n{COUNTS}"
HALTED = f"{HEAD} 0: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C s-----\n{COUNTS}"
COPYING = (
    f"{HEAD} 0: cs:SyncSource ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----\n{COUNTS}"
    "\t[=>..................] sync'ed: 12.5% (36864/41984)K\n\tfinish: 0:00:03 speed: 10,240 (10,240) K/sec\n"
)


def test_a_pair_in_sync() -> None:
    state = parse_proc(PRIMARY, 0)
    assert state is not None and state.primary and state.mirrored
    assert str(state) == "Primary/Secondary UpToDate/UpToDate Connected"


@pytest.mark.parametrize("text", [ALONE, FROZEN, HALTED, COPYING])
def test_what_is_not_mirrored(text: str) -> None:
    state = parse_proc(text, 0)
    assert state is not None and state.primary and not state.mirrored


def test_frozen_writes_and_a_running_copy_are_told() -> None:
    frozen, copying = parse_proc(FROZEN, 0), parse_proc(COPYING, 0)
    assert frozen is not None and frozen.suspended
    assert copying is not None and copying.percent == 12.5 and "12.5 % copied" in str(copying)


def test_another_device_is_not_ours() -> None:
    assert parse_proc(PRIMARY, 1) is None
    assert parse_proc(HEAD, 0) is None
    assert parse_proc(f"{HEAD} 0: cs:Unconfigured\n", 0) is None


def nine(connection: str = "Connected", replication: str = "Established", peer_disk: str = "UpToDate") -> str:
    peer = {"volume": 0, "replication-state": replication, "peer-disk-state": peer_disk, "percent-in-sync": 42.0}
    link = {"peer-node-id": 1, "name": "store1b", "connection-state": connection, "peer-role": "Secondary"}
    return json.dumps(
        [
            {"name": "other", "role": "Secondary"},
            {
                "name": "store1",
                "role": "Primary",
                "suspended": False,
                "devices": [{"volume": 0, "minor": 0, "disk-state": "UpToDate"}],
                "connections": [{**link, "peer_devices": [peer]}],
            },
        ]
    )


def test_drbd_9() -> None:
    good = parse_json(nine(), "store1")
    assert good is not None and good.primary and good.mirrored and good.percent is None
    copying = parse_json(nine(replication="SyncSource", peer_disk="Inconsistent"), "store1")
    assert copying is not None and copying.percent == 42.0 and not copying.mirrored
    cut = parse_json(nine(connection="Connecting", replication="Off", peer_disk="DUnknown"), "store1")
    assert cut is not None and cut.connection == "Connecting" and not cut.mirrored
    assert parse_json(nine(), "store2") is None


def test_the_version_decides_who_is_asked(tmp_path: Path) -> None:
    asked: list[Sequence[str]] = []

    def run(argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        asked.append(argv)
        return nine()

    proc = tmp_path / "drbd"
    proc.write_text(PRIMARY)
    assert Drbd("store1", proc=proc, run=run).state().mirrored and asked == []
    proc.write_text("version: 9.2.12 (api:2/proto:118-122)\n")
    assert Drbd("store1", proc=proc, run=run).state().mirrored and asked == [["drbdsetup", "status", "--json"]]
    proc.write_text(HEAD)
    with pytest.raises(Unavailable, match="store1 is not up"):
        Drbd("store1", proc=proc, run=run).state()
    with pytest.raises(Unavailable, match="not loaded"):
        Drbd("store1", proc=tmp_path / "none", run=run).state()


def test_nonsense_of_drbdsetup_is_no_answer(tmp_path: Path) -> None:
    def run(argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        return "not json"

    proc = tmp_path / "drbd"
    proc.write_text("version: 9.2.12\n")
    with pytest.raises(Unavailable):
        Drbd("store1", proc=proc, run=run).state()


def test_a_refused_promotion_is_told(tmp_path: Path) -> None:
    def run(argv: Sequence[str], *, timeout: float, stdin: str | None = None) -> str:
        raise CommandError("drbdadm primary store1: status 11: Refusing to be Primary while peer is not outdated")

    with pytest.raises(Unavailable, match="not outdated"):
        Drbd("store1", run=run).primary()

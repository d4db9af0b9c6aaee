"""The daemon on a transfer host: its file, its pace, and what it says when nothing can be carried."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import yaml
from edges import Coordinator, Lines
from holdfast.adapters.etcd import EtcdCoordinator
from holdfast.core import keys
from holdfast.core.claims import ClaimLost
from holdfast.core.model import Owner
from holdfast.core.transfer import Backlog, Direction
from holdfast.daemons import spool, transfer
from holdfast.daemons.config import ConfigError
from holdfast.daemons.transfer import Alarm, Config, Transfer, report
from spools import EPOCH, IM1, IM2, MX, ROOT, TABLE, Site

COORDINATOR = {"endpoints": ["http://127.0.0.1:1"], "ca": "/ca", "cert": "/cert", "key": "/key"}
TABLES: dict[str, Any] = {
    "sides": {MX: "internet", IM1: "intranet"},
    "domains": {"One.example": IM1},
    "users": {"Boss@one.example": IM1},
    "outlets": {IM1: MX},
}
TRANSFER: dict[str, Any] = {
    "host": "transfer1",
    "table": TABLES,
    "limits": {"size": 1000},
    "coordinator": COORDINATOR,
}
SPOOL: dict[str, Any] = {
    "identity": MX,
    "host": "mail1",
    "folder": "/srv/holdfast-spool/mx",
    "socket": "/run/s/lmtp",
    "submission": "/run/p/intake",
    "size": 1000,
    "table": TABLES,
    "coordinator": COORDINATOR,
}


def written(folder: Path, data: dict[str, Any]) -> str:
    (folder / "file.yml").write_text(yaml.safe_dump(data))
    return str(folder / "file.yml")


# --- files --------------------------------------------------------------------------------------------------------


def test_what_may_be_left_out(tmp_path: Path) -> None:
    made = transfer.load(written(tmp_path, TRANSFER))
    assert made.intervals == {Direction.INWARD: 30.0, Direction.OUTWARD: 30.0}
    assert (made.root, made.days, made.move_to, made.done_days) == (Path("/srv/holdfast-spools"), 30, None, 14)
    assert made.table.domains == {"one.example": IM1} and made.table.users == {"boss@one.example": IM1}
    assert made.limits.attempts == 3 and made.limits.size == 1000
    end = spool.load(written(tmp_path, SPOOL))
    assert (end.mark, end.interval, end.socket_group) == (Path(f"/run/holdfast/running/{MX}"), 5.0, "postfix")


def test_each_direction_has_its_switch_and_its_pace(tmp_path: Path) -> None:
    directions = {"inward": {"enabled": False}, "outward": {"interval": 60}}
    made = transfer.load(
        written(tmp_path, {**TRANSFER, "directions": directions, "archive": {"days": 15, "move_to": "/old"}})
    )
    assert made.intervals == {Direction.OUTWARD: 60.0} and made.move_to == Path("/old")


@pytest.mark.parametrize(
    ("load", "data", "words"),
    [
        (transfer.load, {**TRANSFER, "archive": {"days": 31}}, "archive.days is 31: give days from 15 to 30"),
        (transfer.load, {**TRANSFER, "archive": {"days": 14}}, "archive.days is 14"),
        (transfer.load, {**TRANSFER, "directions": {"inward": {"enabled": "no"}}}, "directions.inward.enabled is 'no'"),
        (transfer.load, {**TRANSFER, "directions": {"upward": {}}}, "directions.upward is unknown"),
        (transfer.load, {**TRANSFER, "table": {**TABLES, "sides": {MX: "outside"}}}, "table.sides.mx"),
        (transfer.load, {**TRANSFER, "table": {**TABLES, "domains": {"x": "nobody"}}}, "table.domains.x is 'nobody'"),
        (transfer.load, {**TRANSFER, "limits": {}}, "limits.size is missing"),
        (transfer.load, {**TRANSFER, "root": "srv"}, "root is 'srv'"),
        (transfer.load, {**TRANSFER, "other": 1}, "other is unknown"),
        (spool.load, {**SPOOL, "identity": IM2}, "identity is 'im2.alpha.example': name one of table.sides"),
        (spool.load, {**SPOOL, "attempts": 0}, "attempts is 0"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, load: Callable[[str], object], data: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, data))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_now_leaves_a_trigger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, {**TRANSFER, "trigger": str(tmp_path / "now")})
    assert transfer.main(["--check", file]) == 0 and not (tmp_path / "now").exists()
    assert transfer.main(["--now", file]) == 0 and (tmp_path / "now").exists()
    assert transfer.main(["--now", written(tmp_path, {**TRANSFER, "trigger": "/none/now"})]) == 78
    assert "/none/now" in capsys.readouterr().err


# --- whose epoch ------------------------------------------------------------------------------------------------------


def test_the_agents_mark_tells_the_epoch_and_else_the_coordinator(tmp_path: Path) -> None:
    site = Site()
    settings = spool.load(written(tmp_path, {**SPOOL, "mark": str(tmp_path / MX)}))
    coordinator: Any = Coordinator(site.clock)
    coordinator.get = lambda key: coordinator.read([key])[key]
    with pytest.raises(spool.NotOurs, match="owned by nobody, not by mail1"):
        spool.epoch(settings, coordinator)
    coordinator.data[keys.owner(MX)] = Owner("mail2", 6, "r", 0.0).to_json()
    with pytest.raises(spool.NotOurs, match="owned by mail2"):
        spool.epoch(settings, coordinator)
    coordinator.data[keys.owner(MX)] = Owner("mail1", 7, "r", 0.0).to_json()
    assert spool.epoch(settings, coordinator) == 7
    coordinator.reachable = False
    (tmp_path / MX).write_text('{"epoch": 5}')
    assert spool.epoch(settings, coordinator) == 5


def test_who_must_not_write_says_so_by_an_alert(tmp_path: Path) -> None:
    site = Site()
    folder = {"mark": str(tmp_path / MX), "folder": str(ROOT / MX)}
    settings = spool.load(written(tmp_path, {**SPOOL, **folder}))
    coordinator: Any = Coordinator(site.clock)
    (tmp_path / MX).write_text(f'{{"epoch": {EPOCH - 1}}}')
    with pytest.raises(spool.NotOurs):
        spool.adopted(settings, coordinator, site.files, site.clock, site.log)
    (said,) = site.log.said("spool_refused")
    assert said["level"] == "alert" and f"at epoch {EPOCH}" in str(said["detail"])
    (tmp_path / MX).write_text(f'{{"epoch": {EPOCH}}}')
    spool.adopted(settings, coordinator, site.files, site.clock, site.log)
    assert site.log.said("spool_adopted")[-1]["epoch"] == EPOCH


# --- the owner's end ------------------------------------------------------------------------------------------------


class End:
    """holdfast-spool of MX and IM1, with a limit of two messages and of 100 seconds."""

    def __init__(self, identity: str) -> None:
        self.site, self.identity = Site(), identity
        spooler, intake = self.site.spoolers[identity], self.site.intake(identity)
        limit, clock, log = Alarm(2, 100.0), self.site.clock, self.site.log
        self.work = spool.Work(identity, spooler, intake, limit, clock, log, lambda: False)

    def wait(self, seconds: int) -> None:
        for _ in range(seconds // 5):
            self.site.clock.sleep(5)
            self.work.tick()

    def alerts(self) -> list[tuple[str, object]]:
        return [(e, f["folder"]) for e, f in self.site.log.events if f.get("level") == "alert"]


def test_what_nobody_carries_is_an_alert_of_the_owner_each_hour() -> None:
    """No transfer host lives, or none sees this spool: then only the owner can tell."""
    end = End(MX)
    one = end.site.spool("a@one.example")
    end.wait(100)
    assert end.alerts() == []
    end.wait(100)
    assert end.alerts() == [("backlog", "out")]
    end.wait(3500)
    assert end.alerts() == [("backlog", "out")]
    end.wait(3600)
    assert end.alerts() == [("backlog", "out")] * 2
    end.site.files.move(ROOT / MX / "out" / one, ROOT / MX / "done" / one)
    end.wait(60)
    assert len(end.site.log.said("backlog_over")) == 1
    end.site.spool("b@one.example")
    end.wait(200)
    assert end.alerts() == [("backlog", "out")] * 3


def test_what_has_come_in_is_an_alert_also_where_nothing_can_be_written() -> None:
    end = End(IM1)
    end.site.spool("a@one.example")
    end.site.carry()

    def full(call: str, path: Path) -> None:
        if call == "write":
            raise OSError(28, "No space left on device")

    end.site.disk.before = full
    end.wait(200)
    assert end.alerts() == [("backlog", "in")] and end.site.lies(IM1, "in")
    end.wait(3600)
    assert end.alerts() == [("backlog", "in")] * 2
    end.site.disk.before = lambda call, path: None
    end.wait(60)
    assert not end.site.lies(IM1, "in") and len(end.site.log.said("backlog_over")) == 1


def test_a_spool_that_cannot_be_looked_into_is_an_alert_each_hour() -> None:
    end = End(IM1)
    inside = Path(ROOT / IM1)

    def away(call: str, path: Path) -> None:
        if call == "names" and path.parent == inside:
            raise OSError(5, "Input/output error")

    end.site.disk.before = away
    end.wait(3500)
    assert sorted(end.alerts()) == [("spool_away", "in"), ("spool_away", "out")]
    end.wait(200)
    assert len(end.alerts()) == 4


# --- the loop ---------------------------------------------------------------------------------------------------------


class Claims:
    """Of one host that is alone. `lost`: spools whose claim is another's by now."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.lost: set[str] = set()

    def look(self, seen: Collection[str]) -> None:
        self.seen = sorted(seen)

    def held(self) -> list[str]:
        return self.seen

    def check(self, spool: str) -> None:
        if spool in self.lost:
            raise ClaimLost(spool)


class Host:
    def __init__(self, folder: Path) -> None:
        self.site = Site()
        self.coordinator: Any = Coordinator(self.site.clock)
        self.coordinator.get = lambda key: self.coordinator.read([key])[key]
        self.claims: Any = Claims()
        self.own(EPOCH)
        self.settings = Config(
            "t1",
            ROOT,
            Path("/records"),
            folder / "now",
            {Direction.INWARD: 30.0, Direction.OUTWARD: 60.0},
            TABLE,
            self.site.limits,
            30,
            None,
            14,
            Alarm(2, 100.0),
            EtcdCoordinator(["http://127.0.0.1:1"]),
        )
        self.daemon = self.begin(self.settings)

    def begin(self, settings: Config) -> Transfer:
        site = self.site
        return Transfer(settings, self.coordinator, self.claims, site.carrier(), site.records, site.clock, site.log)

    def own(self, epoch: int) -> None:
        for identity in TABLE.sides:
            self.coordinator.data[keys.owner(identity)] = Owner("mail1", epoch, "r", 0.0).to_json()

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.site.clock.sleep(1)
            self.daemon.tick()

    def waits(self, *identities: str) -> set[str]:
        return {i for i in identities if self.site.lies(i, "out")}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_every_direction_at_its_pace(host: Host) -> None:
    host.daemon.tick()
    host.site.spool("a@one.example")
    host.site.spool("x@out.example", source=IM1)
    host.wait(29)
    assert host.waits(MX, IM1) == {MX, IM1}
    host.wait(1)
    assert host.waits(MX, IM1) == {IM1}
    host.wait(30)
    assert host.waits(MX, IM1) == set()


def test_now_means_now_and_once(host: Host) -> None:
    host.daemon.tick()
    host.site.spool("a@one.example")
    host.settings.trigger.touch()
    host.wait(1)
    assert host.waits(MX) == set() and not host.settings.trigger.exists()


def test_a_direction_that_is_off_carries_nothing(host: Host) -> None:
    host.daemon = host.begin(dataclasses.replace(host.settings, intervals={Direction.INWARD: 30.0}))
    host.site.spool("a@one.example")
    host.site.spool("x@out.example", source=IM1)
    host.wait(100)
    assert host.waits(MX, IM1) == {IM1}


def test_an_epoch_that_the_spool_does_not_know_yet_holds_it(host: Host) -> None:
    host.own(EPOCH + 1)
    host.site.spool("a@one.example")
    host.wait(31)
    assert host.waits(MX) == {MX}
    host.site.spooler(MX, "mail1", EPOCH + 1).adopt()
    host.wait(31)
    assert host.waits(MX) == set()


def test_a_lost_claim_stops_one_spool_and_no_other(host: Host) -> None:
    host.claims.lost = {MX}
    host.site.spool("a@one.example")
    host.site.spool("x@out.example", source=IM1)
    host.daemon.tick()
    assert host.waits(MX, IM1) == {MX}


def test_a_spool_that_is_away_is_told_once_and_keeps_no_other_back(host: Host) -> None:
    """It may be new, with no owner yet, or its store may be away."""
    host.site.spool("b@two.example")
    host.site.spool("a@one.example")
    host.site.disk.folders.discard(ROOT / IM2 / "in")
    host.wait(40)
    assert len(host.site.lies(MX, "out")) == 1 and host.claims.seen == sorted({*TABLE.sides} - {IM2})
    missing = {"what": f"spool of {IM2}", "detail": f"{ROOT / IM2 / 'in'} is missing", "level": "alert"}
    assert host.site.log.said("transfer_fails") == [missing]
    host.site.disk.folders.add(ROOT / IM2 / "in")
    host.wait(40)
    assert host.waits(MX) == set() and host.site.log.said("transfer_fails") == [missing]


def test_without_any_spool_nothing_is_carried_or_tidied(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.site.records, "expire", lambda days, to: pytest.fail("its records are not there, either"))
    for identity in TABLE.sides:
        host.site.disk.folders.discard(ROOT / identity / "in")
    host.wait(40)
    assert host.claims.seen == [] and len(host.site.log.said("transfer_fails")) == len(TABLE.sides)


def test_without_the_coordinator_nothing_is_carried_and_that_is_told(host: Host) -> None:
    host.site.spool("a@one.example")
    host.coordinator.reachable = False
    host.wait(40)
    assert host.waits(MX) == {MX} and "no quorum" in str(host.site.log.said("transfer_fails")[-1]["detail"])
    host.coordinator.reachable = True
    host.wait(40)
    assert host.waits(MX) == set()


def test_a_spool_that_cannot_be_read_keeps_no_other_back(host: Host) -> None:
    host.site.spool("a@one.example")
    host.site.spool("x@out.example", source=IM1)

    def before(call: str, path: Path) -> None:
        if call == "names" and path == ROOT / IM1 / "out":
            raise OSError(5, "Input/output error")

    host.site.disk.before = before
    host.wait(3)
    assert host.waits(MX, IM1) == {IM1}


def test_old_days_go_and_are_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(host.site.records, "expire", lambda days, to: asked.append((days, to)) or ["2026-10-01"])
    host.wait(10)
    assert asked == [(30, None)] and host.site.log.said("archive_expired")[0]["days"] == ["2026-10-01"]
    host.site.clock.sleep(3600)
    host.wait(1)
    assert len(asked) == 2


def test_a_backlog_alarms_once_and_its_end_is_told() -> None:
    log, alarmed = Lines(), set[str]()
    for left in (Backlog(1, 5.0), Backlog(3, 5.0), Backlog(1, 101.0), Backlog(1, 5.0), Backlog(0, 0.0)):
        report(MX, "out", left, Alarm(2, 100.0), alarmed, log)
    levels = [(e, f.get("level")) for e, f in log.events]
    assert levels == [("backlog", None), ("backlog", "alert"), ("backlog", "info"), ("backlog_over", None)]

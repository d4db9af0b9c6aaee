"""The daemon on a transfer host: its file, its pace, and what it says when nothing can be carried."""

from __future__ import annotations

import dataclasses
import errno
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from edges import Clock, Coordinator, Lines
from holdfast.adapters.clock import SystemClock
from holdfast.adapters.etcd import EtcdCoordinator
from holdfast.adapters.patient_disk import PatientDisk
from holdfast.adapters.spool_files import SpoolFiles, SystemDisk
from holdfast.adapters.transfer_records import Records
from holdfast.core import keys
from holdfast.core.claims import ClaimLost
from holdfast.core.claims import Claims as RealClaims
from holdfast.core.model import Owner
from holdfast.core.ports import Entry, Lock, LockLost
from holdfast.core.spool import FOLDERS
from holdfast.core.transfer import INTERNET, INTRANET, Backlog, Direction, Table
from holdfast.daemons import spool, transfer
from holdfast.daemons.config import ConfigError
from holdfast.daemons.spooling import Spooler
from holdfast.daemons.transfer import Alarm, Config, Hang, Spool, Tidy, Told, Transfer, Work, report
from spools import EPOCH, IM1, IM2, MX, RECORDS, ROOT, TABLE, Site, letter

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
    assert (made.log_days, made.at_once) == (90, 4)
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
        (transfer.load, {**TRANSFER, "at_once": 0}, "at_once is 0"),
        (transfer.load, {**TRANSFER, "at_once": 17}, "at_once is 17: give 1 to 16"),
        (transfer.load, {**TRANSFER, "other": 1}, "other is unknown"),
        (spool.load, {**SPOOL, "identity": IM2}, "identity is 'im2.alpha.example': name one of table.sides"),
        (spool.load, {**SPOOL, "attempts": 0}, "attempts is 0"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, load: Callable[[str], object], data: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, data))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_now_asks_both_hosts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, {**TRANSFER, "records": str(tmp_path)})
    (tmp_path / "tmp").mkdir()
    assert transfer.main(["--check", file]) == 0 and not (tmp_path / "now").exists()
    assert transfer.main(["--now", file]) == 0 and (tmp_path / "now").exists()
    assert transfer.main(["--now", written(tmp_path, {**TRANSFER, "records": "/none"})]) == 78
    assert "/none" in capsys.readouterr().err


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
        self.one = True  # whether it is told apart from the other host of its site
        self.closed = False

    def look(self, seen: Collection[str]) -> None:
        self.seen = sorted(seen)

    def check(self, spool: str) -> None:
        if spool in self.lost or spool not in self.seen:
            raise ClaimLost(spool)

    def first(self, claimed: Collection[str]) -> str | None:
        return self.seen[0] if self.seen and self.one else None

    def close(self) -> None:
        self.closed = True


class Etcd(Coordinator):
    """With locks."""

    def get(self, key: str) -> Entry:
        return self.read([key])[key]

    def delete(self, key: str) -> bool:
        self._enter()
        return self.data.pop(key, None) is not None

    def lock(self, key: str, value: Mapping[str, object], ttl: int) -> Lock | None:
        if self.get(key).value is not None:
            return None
        lease = self.grant(ttl)
        self.put(key, value, lease)
        return Lock(key, 1, lease)

    def refresh(self, lock: Lock) -> None:
        self._enter()
        if not self.keepalive(lock.lease):
            raise LockLost(lock.key)

    def unlock(self, lock: Lock) -> None:
        self._enter()
        if self.bound.get(lock.key) == lock.lease:
            self.data.pop(lock.key, None)


def config_of(site: Site, host: str = "t1") -> Config:
    return Config(
        host,
        ROOT,
        RECORDS,
        {Direction.INWARD: 30.0, Direction.OUTWARD: 60.0},
        site.table,
        site.limits,
        30,
        None,
        90,
        14,
        4,
        Alarm(2, 100.0),
        EtcdCoordinator(["http://127.0.0.1:1"]),
    )


class Host:
    """One transfer host; what its threads do is done one after the other."""

    def __init__(self, site: Site, coordinator: Any, claims: Any, name: str = "t1") -> None:
        self.site, self.coordinator, self.claims, self.name = site, coordinator, claims, name
        self.records = site.kept_by(name)
        self.carrier = site.carrier(name)
        self.begin(config_of(site, name))

    def begin(self, settings: Config) -> None:
        site, self.settings = self.site, settings
        told = Told(site.clock, site.log)
        with_all = (self.coordinator, self.claims, self.carrier, self.records, site.clock, site.log, told)
        paces = {i: settings.intervals.get(settings.table.direction(i)) for i in settings.table.sides}
        self.spools = {i: Spool(i, pace, settings.alarm, *with_all) for i, pace in paces.items()}
        self.tidy = Tidy(settings, *with_all)
        self.daemon = Transfer(list(self.spools.values()), self.tidy, self.claims, told)

    def own(self, epoch: int) -> None:
        for identity in self.site.table.sides:
            self.coordinator.data[keys.owner(identity)] = Owner("mail1", epoch, "r", 0.0).to_json()

    def tick(self) -> None:
        for work in (*self.spools.values(), self.daemon, *self.spools.values(), self.tidy):
            work.tick() if isinstance(work, Transfer) else work.turn()

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.site.clock.sleep(1)
            self.tick()

    def waits(self, *identities: str) -> set[str]:
        return {i for i in identities if self.site.lies(i, "out")}

    def alerts(self, what: str) -> list[str]:
        return [str(f["detail"]) for f in self.site.log.said("transfer_fails") if f["what"] == what]


@pytest.fixture
def host() -> Host:
    site = Site()
    made = Host(site, Etcd(site.clock), Claims())
    made.own(EPOCH)
    for identity in TABLE.sides:
        made.coordinator.data[keys.transfer_claim(identity)] = {"host": "t1", "since": 0.0}
    return made


def test_every_direction_at_its_pace(host: Host) -> None:
    host.tick()
    host.site.spool("a@one.example")
    host.site.spool("x@out.example", source=IM1)
    host.wait(29)
    assert host.waits(MX, IM1) == {MX, IM1}
    host.wait(1)
    assert host.waits(MX, IM1) == {IM1}
    host.wait(30)
    assert host.waits(MX, IM1) == set()


def test_now_means_now_and_once_whichever_host_was_asked(host: Host) -> None:
    host.tick()
    host.site.spool("a@one.example")
    host.site.kept_by("t2").ask()
    host.wait(1)
    assert host.waits(MX) == set()
    host.site.spool("b@one.example")
    host.wait(28)
    assert host.waits(MX) == {MX}


def test_a_direction_that_is_off_carries_nothing(host: Host) -> None:
    host.begin(dataclasses.replace(host.settings, intervals={Direction.INWARD: 30.0}))
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
    host.tick()
    assert host.waits(MX, IM1) == {MX}


def test_what_waits_is_told_also_by_a_round_whose_claim_is_lost(host: Host) -> None:
    """And the next one begins as soon as there is a claim again."""
    for n in range(4):
        host.site.spool("a@one.example", text=f"{n}")

    def before(call: str, path: Path) -> None:
        if path.parent == RECORDS / "log":
            host.claims.lost = {MX}

    host.site.disk.before = before
    host.tick()
    assert host.waits(MX) == {MX} and [b["count"] for b in host.site.log.said("backlog")] == [4]
    host.site.disk.before = lambda call, path: None
    host.claims.lost = set()
    host.wait(1)
    assert host.waits(MX) == set()


def test_a_stop_ends_a_round_behind_the_step_that_it_is_at(host: Host) -> None:
    """And neither the message in hand nor the partner has to bear that."""
    for n in range(9):
        host.site.spool("a@one.example", text=f"{n}")

    def before(call: str, path: Path) -> None:
        if call == "link" and len(host.site.lies(IM1, "in")) == 3:
            host.daemon.close()

    host.site.disk.before = before
    host.tick()
    assert host.claims.closed and len(host.site.lies(IM1, "in")) == 4
    assert not [p for p in host.site.disk.now if RECORDS / "attempts" in p.parents]


def test_a_host_whose_records_are_away_leaves_all_to_the_other(host: Host) -> None:
    host.tick()
    assert host.claims.seen == sorted(TABLE.sides)

    def before(call: str, path: Path) -> None:
        if RECORDS in (path, *path.parents):
            raise OSError(errno.ESTALE, "Stale file handle")

    host.site.disk.before = before
    host.wait(11)
    assert host.claims.seen == [] and len(host.alerts("records")) == 1
    host.site.disk.before = lambda call, path: None
    host.wait(11)
    assert host.claims.seen == sorted(TABLE.sides)


def test_records_that_go_away_end_a_round(host: Host) -> None:
    for n in range(9):
        host.site.spool("a@one.example", text=f"{n}")

    def before(call: str, path: Path) -> None:
        if len(host.site.lies(IM1, "in")) == 3:
            host.site.clock.sleep(1)
            if RECORDS in (path, *path.parents):
                raise OSError(errno.ESTALE, "Stale file handle")

    host.site.disk.before = before
    host.tick()
    host.tick()
    assert host.claims.seen == [] and len(host.alerts("records")) == 1
    assert len(host.site.log.said("transfer_waits")) < 6, "the others were not tried"


def test_a_new_owner_that_does_not_say_what_it_found_is_an_alert_also_while_nothing_waits(host: Host) -> None:
    host.own(EPOCH + 1)
    host.wait(59)
    assert host.alerts(f"owner of {MX}") == []
    host.wait(40)
    (why,) = host.alerts(f"owner of {MX}")
    assert f"epoch {EPOCH + 1}" in why
    host.site.spooler(MX, "mail1", EPOCH + 1).adopt()
    host.wait(31)
    host.own(EPOCH + 2)
    host.wait(31)
    assert len(host.alerts(f"owner of {MX}")) == 1


def test_what_lasts_is_an_alert_each_hour(host: Host) -> None:
    host.site.disk.folders.discard(ROOT / IM2 / "in")
    for n in range(3):
        host.site.spool("b@two.example", text=f"{n}")
    host.wait(2)

    def counts() -> tuple[int, int]:
        alerts = [b for b in host.site.log.said("backlog") if b["level"] == "alert"]
        return len(alerts), len(host.alerts(f"spool of {IM2}"))

    assert counts() == (1, 1)
    host.wait(100)
    assert counts() == (1, 1)
    host.site.clock.sleep(3600)
    host.wait(31)
    assert counts() == (2, 2)
    host.site.disk.folders.add(ROOT / IM2 / "in")
    host.wait(31)
    assert len(host.site.log.said("backlog_over")) == 1 and counts() == (2, 2)


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
    monkeypatch.setattr(host.records, "expire", lambda *given: pytest.fail("nobody is the first"))
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
    monkeypatch.setattr(host.records, "expire", lambda days, to, held: asked.append((days, to)) or ["2026-10-01"])
    monkeypatch.setattr(host.records, "expire_logs", lambda days: [f"{days}"])
    host.wait(10)
    assert asked == [(30, None)] and host.site.log.said("archive_expired")[0]["days"] == ["2026-10-01"]
    assert host.site.log.said("log_expired")[0]["files"] == ["90"]
    host.site.clock.sleep(3600)
    host.wait(1)
    assert len(asked) == 2


def test_a_site_that_has_only_begun_is_tidied_as_soon_as_somebody_has_a_claim(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(host.records, "expire", lambda *given: asked.append(1) or [])
    claims = [keys.transfer_claim(i) for i in TABLE.sides]
    for key in claims:
        host.coordinator.data.pop(key)
    host.wait(15)
    assert asked == []
    host.coordinator.data[claims[0]] = {"host": "t1", "since": 0.0}
    host.wait(10)
    assert asked == [1]


def test_one_host_tidies_and_each_compresses_its_own_log(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = []
    monkeypatch.setattr(host.records, "expire", lambda *given: pytest.fail("the other host does that"))
    monkeypatch.setattr(host.records, "pack_logs", lambda: packed.append(1))
    host.claims.one = False
    host.wait(3)
    assert packed == [1] and host.alerts("archive") == []


def test_who_is_the_one_no_more_ends_tidying(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    monkeypatch.setattr(
        host.carrier, "tidy", lambda identity, *more: done.append(identity) or host.claims.lost.add(IM1)
    )
    monkeypatch.setattr(host.records, "expire", lambda *given: pytest.fail("it has no claim"))
    host.wait(2)
    assert done == [MX]


def test_what_cannot_be_tidied_is_told_and_keeps_nothing_else_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scratch file that somebody takes away ended the daemon once."""
    asked = []

    def fails(identity: str, days: int, held: object) -> None:
        raise StopIteration

    def away(days: int, to: object, held: object) -> list[str]:
        raise OSError(errno.ENODEV, "Nothing is mounted there", "/old")

    monkeypatch.setattr(host.carrier, "tidy", fails)
    monkeypatch.setattr(host.records, "expire", away)
    monkeypatch.setattr(host.records, "tidy", lambda: asked.append(1))
    host.wait(2)
    assert asked == [1] and host.alerts(f"done of {MX}") == ["StopIteration()"]
    assert "Nothing is mounted there" in host.alerts("archive")[0]


def test_a_slow_spool_costs_this_host_no_other_claim() -> None:
    """Its round takes minutes; the partner leaves the others alone, since this host lives."""
    a, b, c, d = "a.mx", "b.im", "c.mx", "d.im"
    table = Table({a: INTERNET, b: INTRANET, c: INTERNET, d: INTRANET}, {"one.example": b}, {}, {b: a, d: c})
    site = Site(table)
    coordinator: Any = Etcd(site.clock)
    hosts = [
        Host(site, coordinator, RealClaims(t, list(table.sides), coordinator, site.clock, site.log), t)
        for t in ("t1", "t2")
    ]
    hosts[0].own(EPOCH)
    for _ in range(3):
        for one in hosts:
            one.tick()
        site.clock.sleep(1)
    held = {one.name: one.claims.held() for one in hosts}
    assert [len(h) for h in held.values()] == [2, 2] and {*held["t1"], *held["t2"]} == set(table.sides)
    (slow_host,) = (one for one in hosts if a in one.claims.held())
    (other,) = (s for s in slow_host.claims.held() if s != a)
    for n in range(40):
        site.spool("x@one.example", text=f"{n}", source=a)
    letter = site.spool("x@one.example" if other == c else "x@out.example", source=other)
    carried_at = None
    busy = False

    def before(call: str, path: Path) -> None:
        nonlocal busy, carried_at
        if call != "read" or path.parent != ROOT / a / "out" or busy:
            return
        busy = True
        site.clock.sleep(2)
        for one in hosts:  # their other threads
            one.daemon.tick()
            for work in one.spools.values():
                if work.identity != a:
                    work.turn()
        if carried_at is None and letter not in site.lies(other, "out"):
            carried_at = site.clock.boottime()
        busy = False

    site.disk.before = before
    began = site.clock.boottime()
    while site.lies(a, "out"):
        for one in hosts:
            one.tick()
        site.clock.sleep(1)
    assert site.clock.boottime() - began > 80
    assert carried_at is not None and carried_at - began < 65
    assert site.log.said("claim_lost") == [] and {one.name: one.claims.held() for one in hosts} == held


# --- threads ----------------------------------------------------------------------------------------------------------


class Nfs(SystemDisk):
    """What is below `away` hangs until `back` is set."""

    def __init__(self) -> None:
        self.away: Path | None = None
        self.back = threading.Event()

    def exists(self, file: Path) -> bool:
        if self.away is not None and self.away in (file, *file.parents):
            self.back.wait(30)
        return super().exists(file)


class Running:
    """The daemon with its threads, on this machine's own disk, at a quick pace."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transfer, "TICK", 0.02)
        monkeypatch.setattr(transfer, "LOOK_EVERY", 0.1)
        monkeypatch.setattr(transfer, "Claims", lambda *given: self.claims)
        self.root, self.nfs, self.log, self.claims = folder / "spools", Nfs(), Lines(), Claims()
        self.clock = SystemClock()
        for identity in TABLE.sides:
            for name in FOLDERS:
                (self.root / identity / name).mkdir(parents=True)
        coordinator: Any = Etcd(Clock())
        coordinator.another = lambda: coordinator
        self.disk = PatientDisk(self.nfs, [folder / "records", *(self.root / i for i in TABLE.sides)], 0.5)
        files = SpoolFiles(self.disk)
        records = Records(folder / "records", "t1", files, self.clock)
        records.prepare()
        paces = dict.fromkeys(Direction, 0.05)
        settings = dataclasses.replace(
            config_of(Site()), root=self.root, records=folder / "records", intervals=paces, coordinator=coordinator
        )
        self.daemon = transfer.build(settings, records, files, self.clock, self.log)
        self.spoolers = {i: self.spooler(i) for i in (MX, IM1)}
        self.daemon.start()

    def spooler(self, identity: str) -> Spooler:
        made = Spooler(identity, "mail1", EPOCH, self.root / identity, TABLE, SpoolFiles(), self.clock, self.log)
        made.adopt()
        return made

    def spool(self, address: str, text: str, source: str = MX) -> str:
        return self.spoolers[source].message(*letter(address, text=text))[1].split()[1]

    def until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < end, self.log.events[-20:]
            self.daemon.tick()
            time.sleep(0.02)


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    made = Running(tmp_path, monkeypatch)
    yield made
    made.nfs.back.set()
    made.daemon.close()


def test_a_store_that_hangs_stops_what_lies_there_and_nothing_else(running: Running) -> None:
    hung = running.root / IM2
    running.nfs.away = hung
    running.spool("b@two.example", "first")
    others = [running.spool("a@one.example", "second"), running.spool("x@out.example", "third", IM1)]
    running.until(
        lambda: all((running.root / to / "in" / one).exists() for to, one in zip((IM1, MX), others, strict=True))
    )
    running.until(lambda: running.claims.seen == sorted({*TABLE.sides} - {IM2}))

    def said() -> list[Any]:
        return [f for f in running.log.said("transfer_fails") if f["what"] == f"spool of {IM2}"]

    # It is not claimed before its first look has ended, either.
    running.until(lambda: said() != [])
    assert len(said()) == 1 and "does not answer" in str(said()[0]["detail"]) and said()[0]["level"] == "alert"
    # Behind the hand-over comes the mark.
    running.until(lambda: len(list((running.root / MX / "out").iterdir())) == 1)
    running.nfs.away = None
    running.nfs.back.set()
    running.until(lambda: list((running.root / MX / "out").iterdir()) == [])
    assert len(list((hung / "in").iterdir())) == 1
    running.until(lambda: running.claims.seen == sorted(TABLE.sides))


def test_a_stop_waits_for_no_store(running: Running) -> None:
    running.until(lambda: running.claims.seen == sorted(TABLE.sides))
    running.nfs.away = running.root
    time.sleep(0.3)
    began = time.monotonic()
    running.disk.hurry(0.1)
    running.daemon.close()
    assert running.claims.closed and time.monotonic() - began < transfer.STOP_WITHIN


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_or_never_comes_back_ends_the_daemon(host: Host) -> None:
    """Of what is tidied it is told: mail crosses without it."""
    one = host.spools[MX]
    host.daemon.tick()
    with pytest.raises(Hang, match=f"spool of {MX}"):
        one.check(patience=-1.0)
    work = Work("broken")
    work.start()
    work.join(10)
    with pytest.raises(NotImplementedError):
        work.check()
    host.tidy._step -= transfer.TIDY_EVERY + 1
    host.daemon.tick()
    host.daemon.tick()
    assert host.alerts("tidying") == ["tidying: one step does not end"]
    one._step -= transfer.PATIENCE + 1
    with pytest.raises(Hang):
        host.daemon.tick()


def test_a_backlog_alarms_once_and_its_end_is_told() -> None:
    log, alarmed = Lines(), set[str]()
    for left in (Backlog(1, 5.0), Backlog(3, 5.0), Backlog(1, 101.0), Backlog(1, 5.0), Backlog(0, 0.0)):
        report(MX, "out", left, Alarm(2, 100.0), alarmed, log)
    levels = [(e, f.get("level")) for e, f in log.events]
    assert levels == [("backlog", None), ("backlog", "alert"), ("backlog", "info"), ("backlog_over", None)]

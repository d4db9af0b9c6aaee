"""Disks of a store that fail or are too full: errors of the disk, of the file system, a member with older data."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from holdfast.core import keys
from holdfast.core.model import Owner, RunState

from tests.story.faults import all_once, sending
from tests.story.machines import wait_for
from tests.story.outage import IDENTITY
from tests.story.pair import STORE, Pair, Writer
from tests.story.stage import Stage

DISK, RESOURCE = "/dev/ubdb", f"/etc/drbd.d/{STORE}.res"


class Breakable:
    """The disk of one member below a device-mapper target, so that it can be made to fail with real errors."""

    def __init__(self, stage: Stage, host: str) -> None:
        self.stage, self.host = stage, host

    def insert(self) -> None:
        self.stage.lab.shell(
            self.host,
            f'drbdadm detach {STORE} && dmsetup create breakable --table "0 $(blockdev --getsz {DISK}) linear {DISK} 0"'
            f" && sed -i 's#disk {DISK};#disk /dev/mapper/breakable;#' {RESOURCE} && drbdadm attach {STORE}",
        )

    def fail(self) -> None:
        """Every read and write from now on is answered with an I/O error. The host may be gone before it answers."""
        script = (
            f"size=$(blockdev --getsz {DISK}); dmsetup suspend --noflush --nolockfs breakable"
            ' && dmsetup reload breakable --table "0 $size error" && dmsetup resume breakable'
        )
        self.stage.lab.shell(self.host, script, check=False)

    def hang(self) -> None:
        """No read or write is answered any more, by an error neither."""
        self.stage.lab.shell(self.host, "dmsetup suspend --noflush --nolockfs breakable")

    def remove(self) -> None:
        """The host has a sound disk again: the same one, as after a repaired cable."""
        self.stage.lab.shell(
            self.host,
            f"sed -i 's#disk /dev/mapper/breakable;#disk {DISK};#' {RESOURCE}"
            # Where the host has not been off, the target still holds the disk.
            f"; ! dmsetup info breakable >/dev/null 2>&1 || {{ drbdadm detach {STORE} && dmsetup remove breakable; }}"
            f" && drbdadm adjust {STORE}",
        )

    def is_off(self) -> bool:
        """By its own hand: the lab, which did not do it, calls that lost."""
        return self.stage.state(self.host) == "lost"


@pytest.fixture
def breakable(stage: Stage, pair: Pair) -> Iterator[Breakable]:
    """Of the standby."""
    made = Breakable(stage, pair.standby())
    made.insert()
    pair.wait_whole()
    yield made
    stage.tidy()
    made.remove()
    pair.wait_running()
    pair.wait_whole()


@pytest.fixture
def owned(stage: Stage, pair: Pair, breakable: Breakable) -> Owner:
    """The store belongs to the member whose disk can be broken, and both have everything."""
    stage.playbook("failback.yml", "-e", f"identity={STORE}", "-e", f"to={breakable.host}")
    before = pair.wait_running()
    assert before.host == breakable.host
    pair.wait_whole()
    return before


def test_a_standby_whose_disk_fails_powers_itself_off_and_clients_go_on(
    stage: Stage, pair: Pair, breakable: Breakable
) -> None:
    before = pair.owner()
    writer = Writer(stage.lab, stage.owner().host, f"bad{int(time.time())}", 40)
    time.sleep(5)  # writes are under way: a time in the middle of them, not a condition
    breakable.fail()
    wait_for("the standby off", breakable.is_off, 60)
    wait_for("the standby out of the set", lambda: pair.insync().members == (before.host,), 60)
    done = writer.end()
    assert done.error == "" and pair.missing(done) == []
    assert pair.owner() == before and pair.wait_running() == before
    print(f"stalled for {done.stall().seconds:.1f} s")


def test_an_owner_whose_disk_fails_is_taken_over_without_an_error_to_clients(
    stage: Stage, pair: Pair, breakable: Breakable, owned: Owner
) -> None:
    before = owned
    writer = Writer(stage.lab, stage.owner().host, f"bad{int(time.time())}", 75)
    time.sleep(5)  # writes are under way: a time in the middle of them, not a condition
    breakable.fail()
    wait_for("the owner off", breakable.is_off, 60)
    letters = stage.send_to_relay(2, "bad")
    pair.wait_taken(before)
    done = writer.end()
    assert done.error == "", "an error reached a program; a hard mount only stalls"
    assert pair.missing(done) == [] and pair.wait_running().host != before.host
    assert stage.mistakes(letters, stage.wait_letters(letters, 180)) == []
    print(f"stalled for {done.stall().seconds:.1f} s")


def test_an_owner_whose_disk_hangs_is_taken_over_before_anybody_blames_a_mail_host(
    stage: Stage, pair: Pair, breakable: Breakable, owned: Owner
) -> None:
    before, mail, runs = owned, stage.owner(), stage.runs()
    writer = Writer(stage.lab, mail.host, f"hang{int(time.time())}", 150)
    time.sleep(5)  # writes are under way: a time in the middle of them, not a condition
    breakable.hang()
    wait_for("the owner off", breakable.is_off, 120)
    letters = stage.send_to_relay(2, "hang")
    pair.wait_taken(before)
    done = writer.end()
    assert done.error == "" and pair.missing(done) == []
    assert stage.wait_running() == mail and stage.runs() == {**runs, STORE: stage.runs()[STORE]}
    assert stage.mistakes(letters, stage.wait_letters(letters, 180)) == []
    print(f"stalled for {done.stall().seconds:.1f} s")


def test_a_file_system_that_notes_an_error_is_mended_and_served_again(stage: Stage, pair: Pair) -> None:
    before, begun = pair.owner(), time.time()
    written = stage.send_to_relay(2, "before")
    said = ""

    def mended() -> bool:
        nonlocal said
        said = stage.lab.shell(before.host, f"journalctl -q --no-pager -u holdfast-agent --since @{begun:.0f}")
        return "is read-only" in said and " running identity=" in said.split("is read-only", 1)[1]

    with sending(stage, 30, 1.0, "readonly") as meanwhile:
        stage.lab.shell(before.host, "echo by-hand > /sys/fs/ext4/drbd0/trigger_fs_error")
        wait_for("its own repair", mended, 60)
        written += meanwhile
    assert "level=alert" in next(line for line in said.splitlines() if "is read-only" in line)
    assert pair.wait_running() == before
    mounts = stage.lab.shell(before.host, "grep ' /srv/store ' /proc/self/mountinfo")
    assert "/dev/drbd0 rw" in mounts and "emergency_ro" not in mounts
    written += stage.send_to_relay(2, "after")
    print(all_once(stage, written))
    assert stage.owner().host and pair.owner() == before, "nobody took anything over"


def test_a_full_store_is_taken_over_and_its_clients_get_their_files_back(stage: Stage, pair: Pair) -> None:
    """What nfsd must note about its clients has room even then."""
    before = pair.owner()
    written = stage.send_to_relay(2, "before")
    stage.wait_letters(written)
    pair.fill(0)
    _, cut = pair.cut_owner()
    pair.wait_taken(before)
    after = pair.wait_running()
    said = stage.lab.shell(
        after.host, f"journalctl -q --no-pager -k -u nfsdcld --since @{cut:.0f} | grep -i -E 'nospc|full'; true"
    )
    assert said == ""
    held = stage.send_to_relay(2, "full")
    pair.empty()
    assert stage.mistakes([*written, *held], stage.wait_letters([*written, *held], 240)) == []
    stage.lab.word("start", before.host)
    pair.wait_whole()


def test_of_two_dead_members_the_one_with_older_data_does_not_serve_and_says_why(stage: Stage, pair: Pair) -> None:
    before, standby = pair.owner(), pair.standby()
    stage.lab.word("kill", standby)
    wait_for("the standby out of the set", lambda: pair.insync().members == (before.host,), 60)
    writer = Writer(stage.lab, stage.owner().host, f"older{int(time.time())}", 10)
    done = writer.end()
    assert done.error == "" and len(done.records) > 10
    stage.lab.word("kill", before.host)
    wait_for("the end of its lease", lambda: not stage.records.get(keys.lease(before.host)), 60)
    begun = time.time()
    stage.lab.word("start", standby)

    def refused() -> str | None:
        run = pair.run()
        found = run is not None and run.time >= begun and run.state is RunState.HELD
        return run.steps[0].detail if run is not None and found else None

    why = wait_for("a takeover that is held", refused, 120)
    assert f"not in the in-sync set of {STORE} ({before.host})" in why
    assert not pair.serves(standby) and pair.owner() == before
    said = stage.playbook("status.yml", "-e", "strict=true", check=False)
    assert f"{STORE}: its owner {before.host} has no live lease" in said
    assert f"{STORE}: {standby} lacks writes, {before.host} alone has all" in said and "failed=1" in said
    held = stage.send_to_relay(2, "older")
    stage.lab.word("start", before.host)
    assert pair.wait_running() == before
    assert pair.missing(done) == []
    assert stage.mistakes(held, stage.wait_letters(held, 240)) == []
    pair.wait_whole()
    assert IDENTITY in stage.playbook("status.yml")

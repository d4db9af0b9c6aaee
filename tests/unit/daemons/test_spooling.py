"""The mail host's end: 250 only for what is durable, and what has come in is submitted once (R3.1, I1, I7)."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest
from holdfast.adapters.submission import Outcome
from holdfast.core.spool import Recipient, name, unpack
from holdfast.daemons.spooling import HEAD, READERS, TELL_EVERY, NotOurs
from spools import EPOCH, IM1, MX, ROOT, Crash, Site, letter


@pytest.fixture
def site() -> Site:
    return Site()


# --- out ----------------------------------------------------------------------------------------------------------


def test_what_is_answered_250_outlives_the_file_server(site: Site) -> None:
    one = site.spool("a@one.example")
    site.disk.power_cut(lambda: False)
    header, message = unpack(site.disk.now[ROOT / MX / "out" / one].data)
    assert (header.source, header.host, header.epoch) == (MX, "mail1", EPOCH)
    assert (header.envelope, message) == letter("a@one.example") and site.lies(MX, "tmp") == set()


def test_a_crash_at_any_call_leaves_a_whole_message_or_none() -> None:
    at = 0
    while True:
        site = Site()
        site.disk.crash_at(at)
        at += 1
        try:
            site.spool("a@one.example")
            break
        except Crash:
            site.disk.before = lambda call, path: None
            site.disk.power_cut(lambda: False)
            for found in site.lies(MX, "out"):
                unpack(site.disk.now[ROOT / MX / "out" / found].data)
            site.spoolers[MX] = site.spooler(MX)
            site.spoolers[MX].adopt()
            one = site.spool("a@one.example")
            assert site.lies(MX, "out") == {one} and site.lies(MX, "tmp") == set()
    assert at > 5


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, 452), (errno.EDQUOT, 452), (errno.EROFS, 451), (errno.EIO, 451)]
)
def test_a_spool_that_takes_nothing_keeps_the_mail_in_the_queue(site: Site, number: int, code: int) -> None:
    def before(call: str, path: Path) -> None:
        if call == "write":
            raise OSError(number, "no")

    site.disk.before = before
    assert site.spoolers[MX].message(*letter("a@one.example"))[0] == code
    assert site.lies(MX, "out") == set() and site.log.said("spool_fails")


@pytest.mark.parametrize("folder", ["out", "done", "quarantine"])
def test_what_postfix_hands_over_once_more_is_spooled_once(site: Site, folder: str) -> None:
    """It has not heard the answer; or its next owner has adopted the queue, and says the same at a new epoch."""
    one = site.spool("a@one.example")
    if folder != "out":
        site.files.move(ROOT / MX / "out" / one, ROOT / MX / folder / one)
    site.spoolers[MX] = site.spooler(MX, "mail2", EPOCH + 1)
    site.spoolers[MX].adopt()
    assert site.spool("a@one.example") == one and site.where(one) == {MX: {folder}}
    assert len(site.log.said("spooled_before")) == 1


def test_a_recipient_of_nobody_waits_in_the_queue(site: Site) -> None:
    assert site.spoolers[MX].recipient("a@one.example") is None
    refusal = site.spoolers[MX].recipient("a@three.example")
    assert refusal is not None and refusal[0] == 450


def test_who_is_no_owner_any_more_does_not_begin(site: Site) -> None:
    site.spooler(MX, "mail2", EPOCH + 1).adopt()
    with pytest.raises(NotOurs, match=f"mail2 has written there at epoch {EPOCH + 1}"):
        site.spooler(MX).adopt()
    site.disk.now[ROOT / MX / "epoch"].data = b"{"
    with pytest.raises(NotOurs, match="cannot be read"):
        site.spooler(MX, "mail2", EPOCH + 1).adopt()


def test_a_spool_that_is_not_mounted_is_not_begun_anew(site: Site) -> None:
    site.disk.folders.discard(ROOT / MX / "in")
    with pytest.raises(NotOurs, match="is the spool mounted"):
        site.spooler(MX).adopt()


def test_what_was_half_written_goes_when_the_next_begins_and_notes_stay(site: Site) -> None:
    for left in ("spool.x", "try.x", "transfer.t1.x"):
        site.disk.write(ROOT / MX / "tmp" / left, b"")
    site.spooler(MX).adopt()
    assert site.lies(MX, "tmp") == {"try.x", "transfer.t1.x"}


def test_the_epoch_of_a_long_header_is_read_too(site: Site) -> None:
    envelope, message = letter(*(f"{'a' * 60}{n}@one.example" for n in range(1500)))
    site.spoolers[MX].message(envelope, message)
    site.disk.write(ROOT / MX / "out" / ("f" * 32), b"damaged")
    assert site.spooler(MX, "mail2", EPOCH + 1).adopt() == 2
    site.spoolers[MX].message(envelope, message + b"late")
    assert site.spooler(MX, "mail1", EPOCH + 2).adopt() == 2


def test_a_long_spool_is_adopted_by_short_looks_at_several_files_at_a_time(site: Site) -> None:
    """Over a line between sites one after the other would take an hour for 50,000; and how far it is can be seen."""
    for n in range(2 * READERS):
        site.spool("a@one.example", text=f"{n}" * HEAD)
    together, reads = threading.Barrier(READERS, timeout=10), []
    disk: Any = site.disk
    read = disk.read

    def slow(file: Path, most: int) -> bytes:
        if file.parent.name == "out":
            reads.append(most)
            together.wait()
            site.clock.sleep(TELL_EVERY)
        data: bytes = read(file, most)
        return data

    disk.read = slow
    assert site.spooler(MX, "mail2", EPOCH + 1).adopt() == 2 * READERS
    assert reads == [HEAD] * 2 * READERS
    told = site.log.said("spool_adopting")
    assert told and told[-1]["of"] == 2 * READERS


# --- in ---------------------------------------------------------------------------------------------------------------


def arrived(site: Site, text: str = "hello") -> str:
    one = site.spool("a@one.example", text=text)
    site.carry()
    return one


def test_taken_once_and_remembered(site: Site) -> None:
    one = arrived(site)
    assert site.take_in(IM1) == 0 and site.take_in(IM1) == 0
    site.disk.power_cut(lambda: False)
    assert site.where(one) == {MX: {"done"}, IM1: {"done"}} and len(site.postfixes[IM1].got) == 1
    assert site.lies(IM1, "tmp") == set() and site.log.said("maybe_second_copy") == []


def test_a_crash_behind_the_250_is_told_when_it_is_submitted_again(site: Site) -> None:
    """RFC 1047: whether the server has it nobody can say; the final delivery drops a second copy by the id."""
    one = arrived(site)

    def die() -> None:
        raise Crash

    site.postfixes[IM1].after = die
    with pytest.raises(Crash):
        site.take_in(IM1)
    site.postfixes[IM1].after = lambda: None
    intake = site.intake(IM1)
    assert intake.round(lambda: False).count == 0 and intake.doubts == 1
    assert [i for i, _ in site.postfixes[IM1].got] == [one, one]
    assert site.log.said("maybe_second_copy")[0]["message"] == one


def test_a_crash_before_it_is_submitted_three_times_sets_it_aside(site: Site) -> None:
    one, other = arrived(site), None

    def die() -> None:
        raise Crash

    site.postfixes[IM1].before = die
    for _ in range(3):
        with pytest.raises(Crash):
            site.take_in(IM1)
    site.postfixes[IM1].before = lambda: None
    site.clock.sleep(1)
    other = arrived(site, "other")
    assert site.take_in(IM1) == 0 and site.where(one)[IM1] == {"quarantine"} and site.where(other)[IM1] == {"done"}
    assert site.log.said("intake_quarantined")[0]["level"] == "alert" and site.lies(IM1, "tmp") == set()


def test_a_server_that_is_away_costs_no_attempt_and_no_look_at_the_rest(site: Site) -> None:
    for n in range(4):
        arrived(site, f"{n}")
    site.postfixes[IM1].outcome = Outcome.DOWN
    for _ in range(9):
        assert site.take_in(IM1) == 4
    assert len(site.log.said("submission_fails")) == 9
    site.postfixes[IM1].outcome = Outcome.ACCEPTED
    assert site.take_in(IM1) == 0 and site.log.said("maybe_second_copy") == []


def test_a_server_that_is_back_is_asked_at_once(site: Site) -> None:
    """It was away for an instant: the message that met that waits no longer than the others."""
    arrived(site)
    intake = site.intake(IM1)
    site.postfixes[IM1].outcome = Outcome.DOWN
    assert intake.round(lambda: False).count == 1
    site.postfixes[IM1].outcome = Outcome.ACCEPTED
    assert intake.round(lambda: False).count == 0


def test_what_waits_is_counted_when_nothing_can_be_noted(site: Site) -> None:
    for n in range(3):
        arrived(site, f"{n}")
        site.clock.sleep(1)
    site.clock.sleep(100)
    site.disk.before = full
    left = site.intake(IM1).round(lambda: False)
    assert (left.count, left.oldest) == (3, 103) and site.postfixes[IM1].got == []
    assert len(site.log.said("submission_fails")) == 1


def full(call: str, path: Path) -> None:
    if call == "write":
        raise OSError(errno.ENOSPC, "no")


def test_one_file_that_cannot_be_read_keeps_no_other_back(site: Site) -> None:
    bad = arrived(site, "bad")
    site.clock.sleep(1)
    arrived(site, "good")

    def before(call: str, path: Path) -> None:
        if call == "read" and path == ROOT / IM1 / "in" / bad:
            raise OSError(errno.EIO, "Input/output error")

    site.disk.before = before
    intake = site.intake(IM1)
    assert intake.round(lambda: False).count == 2
    assert intake.round(lambda: False).count == 1 and len(site.postfixes[IM1].got) == 1
    site.disk.before = lambda call, path: None
    site.clock.sleep(60)
    assert intake.round(lambda: False).count == 0 and site.where(bad)[IM1] == {"done"}


@pytest.mark.parametrize(
    ("outcome", "rounds", "place"),
    [
        (Outcome.DEFERRED, 9, "in"),
        (Outcome.REFUSED, 2, "in"),
        (Outcome.REFUSED, 4, "quarantine"),
        (Outcome.UNKNOWN, 4, "quarantine"),
    ],
)
def test_what_becomes_of_one_that_is_not_accepted(site: Site, outcome: Outcome, rounds: int, place: str) -> None:
    one = arrived(site)
    site.postfixes[IM1].outcome = outcome
    for _ in range(rounds):
        site.take_in(IM1)
    assert site.where(one)[IM1] == {place}
    assert bool(site.log.said("maybe_second_copy")) is (outcome is Outcome.UNKNOWN)


def test_it_is_not_tried_again_at_once_and_others_are(site: Site) -> None:
    arrived(site)
    site.postfixes[IM1].outcome = Outcome.REFUSED
    intake = site.intake(IM1)
    for _ in range(5):
        assert intake.round(lambda: False).count == 1
    site.postfixes[IM1].outcome = Outcome.ACCEPTED
    site.clock.sleep(1)
    arrived(site, "other")
    assert intake.round(lambda: False).count == 1 and len(site.log.said("submission_fails")) == 1
    site.clock.sleep(60)
    assert intake.round(lambda: False).count == 0


def test_a_damaged_one_is_never_submitted(site: Site) -> None:
    one = arrived(site)
    inode = site.disk.now[ROOT / IM1 / "in" / one]
    inode.data = inode.data[:-1]
    for _ in range(4):
        site.take_in(IM1)
    assert site.where(one)[IM1] == {"quarantine"} and site.postfixes[IM1].got == []


def test_a_long_queue_is_left_off_in_time(site: Site) -> None:
    for n in range(4):
        arrived(site, f"{n}")
    turns = iter([False, False, True])
    assert site.intake(IM1).round(lambda: next(turns)).count == 2


def test_a_name_is_that_of_octets_and_recipients() -> None:
    envelope, message = letter("a@one.example")
    assert name(envelope, message) != name(envelope.only([Recipient("b@one.example")]), message)

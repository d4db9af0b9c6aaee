"""A spool file comes back as it was, or not at all; and who may have written it."""

from __future__ import annotations

import pytest
from holdfast.core.spool import (
    Adoption,
    Damaged,
    Envelope,
    Header,
    Recipient,
    adopt,
    crossings,
    fields,
    name,
    pack,
    unpack,
    unpack_header,
)
from hypothesis import given
from hypothesis import strategies as st

RECIPIENT = Recipient("a@one.example", "SUCCESS,DELAY", "rfc822;a+2B@one.example")
ENVELOPE = Envelope("s@out.example", (RECIPIENT, Recipient("\udcffü@zwei.example")), "FULL", "QQ+3D", True, True)
HEADER = Header("0" * 32, "mx.alpha.example", "mail1", 7, 1_700_000_000.25, ENVELOPE, 5, "", "1" * 32)


@given(st.binary(max_size=300))
def test_whatever_octets_come_back(message: bytes) -> None:
    header, again = unpack(pack(HEADER, message))
    assert again == message and header.size == len(message)
    assert (header.envelope, header.epoch, header.time, header.restored_from) == (ENVELOPE, 7, HEADER.time, "1" * 32)


@given(st.data())
def test_any_octet_that_differs_or_lacks_is_seen(data: st.DataObject) -> None:
    whole = pack(HEADER, b"Subject: x\r\n\r\nbody\r\n")
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytes([whole[at] ^ data.draw(st.integers(1, 255))])
    for bad in (whole[:at], whole[:at] + flipped + whole[at + 1 :], whole + b"\n"):
        with pytest.raises(Damaged):
            unpack(bad)


def test_half_a_message_is_told_by_its_length() -> None:
    with pytest.raises(Damaged, match="has 4 octets of a message of 5"):
        unpack(pack(HEADER, b"12345")[:-1])


def test_a_header_is_read_without_the_message() -> None:
    whole = pack(HEADER, b"x" * 100_000)
    header, start = unpack_header(whole[:2000])
    assert header.size == 100_000 and whole[start:] == b"x" * 100_000
    with pytest.raises(Damaged, match="ends within its header"):
        unpack_header(whole[:200])


def test_an_id_that_is_no_file_name_of_ours_is_refused() -> None:
    with pytest.raises(Damaged, match="its id is"):
        unpack(pack(Header("../../x", "i", "h", 1, 0.0, ENVELOPE, 0, ""), b""))


def test_the_same_entry_of_a_queue_has_the_same_name_and_no_other_has() -> None:
    one = name(ENVELOPE, b"m")
    assert one == name(Envelope("s@out.example", ENVELOPE.recipients[::-1]), b"m") and len(one) == 32
    others = [
        (ENVELOPE, b"n"),
        (Envelope("t@out.example", ENVELOPE.recipients), b"m"),
        (ENVELOPE.only([RECIPIENT]), b"m"),
        (Envelope("s@out.example", (Recipient("a@one.example\udcffü@zwei.example"),)), b"m"),
    ]
    assert one not in [name(*other) for other in others]


def test_fields_are_unfolded_and_end_where_the_body_begins() -> None:
    message = b"Received: from a\r\n\tby b\r\nsubject : \xff\r\n\r\nReceived: no field\r\n"
    assert list(fields(message)) == [("Received", "from a by b"), ("subject", "\\xff")]
    assert list(fields(b"no header at all")) == [] and list(fields(b"A: b")) == [("A", "b")]
    assert crossings(b"HOLDFAST-TRANSFER-ID: 1\nReceived: x\nreceived: y\n\nReceived: z") == (1, 2)


# --- adoption ---------------------------------------------------------------------------------------------------


def test_an_owner_adopts_what_was_written_rightly() -> None:
    first = adopt(None, 1, "mail1", 0.0, {})
    assert first.holds("a", 1) and not first.holds("a", 0) and not first.holds("a", 2)
    second = adopt(first, 2, "mail2", 0.0, {"a": 1, "b": 1, "damaged": None})
    assert second.names == {"a", "b", "damaged"}
    # `late` came from epoch 1 behind its end; `c` is the present owner's, `b` has been carried meanwhile.
    third = adopt(second, 3, "mail1", 0.0, {"a": 1, "late": 1, "c": 2})
    assert third.names == {"a", "c"} and third.holds("a", 1) and not third.holds("late", 1)
    assert Adoption.from_json(third.to_json()) == third


def test_a_restart_at_the_same_epoch_forgets_nothing() -> None:
    second = adopt(adopt(None, 1, "mail1", 0.0, {}), 2, "mail2", 0.0, {"a": 1})
    again = adopt(second, 2, "mail2", 0.0, {"a": 1, "late": 1, "own": 2})
    assert again.holds("a", 1) and again.holds("own", 2) and not again.holds("late", 1)


def test_an_owner_of_an_older_epoch_writes_nothing() -> None:
    with pytest.raises(ValueError, match="mail2 has written there at epoch 2, this is epoch 1"):
        adopt(Adoption(2, "mail2", 0.0), 1, "mail1", 0.0, {})

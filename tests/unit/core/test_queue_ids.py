"""Ids and Received fields as Postfix 3.10 writes them."""

from __future__ import annotations

import pytest
from holdfast.core import queue_ids
from hypothesis import given
from hypothesis import strategies as st

MX = "mx.alpha.example"


def encoded(seconds: int, microseconds: int, inode: int) -> str:
    """As src/global/mail_queue.h describes it: base 52, padded; `z`; base 51."""

    def digits(number: int, base: int, pad: int) -> str:
        text = ""
        while number:
            number, rest = divmod(number, base)
            text = queue_ids.DIGITS[rest] + text
        return text.rjust(pad, "0")

    return f"{digits(seconds, 52, 6)}{digits(microseconds, 52, 4)}z{digits(inode, 51, 1)}"


def test_an_id_from_a_log() -> None:
    assert queue_ids.arrival("4jYfzX4kxjz5B3") == 1795518168  # logged at 2026-11-24 11:02:48 UTC


@given(st.integers(0, 2**40), st.integers(0, 999_999), st.integers(0, 2**63))
def test_the_second_of_arrival_is_read_back(seconds: int, microseconds: int, inode: int) -> None:
    assert queue_ids.arrival(encoded(seconds, microseconds, inode)) == seconds


@pytest.mark.parametrize("short", ["", "z", "A1B2C3D4E5", "4Xz5B3", "4jYfzX4kxj", "4jYfzX4kxaz5B3"])
def test_what_is_no_long_id_has_no_time(short: str) -> None:
    assert queue_ids.arrival(short) is None


@pytest.mark.parametrize(
    "field",
    [
        "from a (a [192.0.2.1]) by mx.alpha.example (Postfix) with ESMTP id 4jYfzX4kxjz5B3 for <x@y>; Tue",
        "from a (a [::1]) (using TLSv1.3 (256 bits)) by mx.alpha.example (Postfix) with ESMTPS id 4jYfzX4kxjz5B3; T",
        "by mx.alpha.example (Postfix, from userid 0) id 4jYfzX4kxjz5B3; Tue",
        "by mx.alpha.example (Postfix) id 4jYfzX4kxjz5B3; Tue",
        "from a.example (a.example [192.0.2.1]) by mx.alpha.example (Postfix)\twith UTF8SMTP id 4jYfzX4kxjz5B3; Tue",
    ],
)
def test_the_identitys_own_field_names_the_entry(field: str) -> None:
    assert queue_ids.of_received(field, MX) == "4jYfzX4kxjz5B3"


@pytest.mark.parametrize(
    "field",
    [
        "from a by relay2.alpha.example (Postfix) with ESMTP id 4jYfzX4kxjz5B3; Tue",
        "from a by mx.alpha.example.evil.example (Postfix) with ESMTP id 4jYfzX4kxjz5B3; Tue",
        "from a by mxxalpha.example (Postfix) with ESMTP id 4jYfzX4kxjz5B3; Tue",
        "from id (id [192.0.2.1]) by mx.alpha.example (Other) with ESMTP id 4jYfzX4kxjz5B3; Tue",
        "",
    ],
)
def test_anybody_elses_field_names_none(field: str) -> None:
    assert queue_ids.of_received(field, MX) is None

"""Names and addresses the lab makes up must be fit for the kernel, stable, and distinct."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lab.debian import DEFAULT_MIRROR, mirror_of
from lab.network import mac_address, tap_name

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=63)


@given(NAMES, NAMES)
def test_taps_and_macs_are_fit(host: str, segment: str) -> None:
    assert len(tap_name(host, segment)) <= 15
    first = int(mac_address(host, segment).split(":")[0], 16)
    assert first & 0b11 == 0b10  # unicast, locally administered
    assert len(mac_address(host, segment)) == 17


def test_no_two_legs_share_a_name() -> None:
    legs = [(f"host{number}", f"segment{other}") for number in range(60) for other in range(12)]
    assert len({tap_name(*leg) for leg in legs}) == len(legs)
    assert len({mac_address(*leg) for leg in legs}) == len(legs)


def test_the_machine_s_own_mirror_is_used() -> None:
    said = (
        "Debian|Debian-Security|http://security.example/debian-security/\n"
        "Other|Other|http://other.example/\n"
        "Debian|Debian|http://mirror.example/debian/\n"
    )
    assert mirror_of(said) == "http://mirror.example/debian"
    assert mirror_of("") == DEFAULT_MIRROR

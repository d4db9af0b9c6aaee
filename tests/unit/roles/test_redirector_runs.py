"""A redirector's HAProxy as the role configures it, before servers on loopback (R2.5); skipped where there is none."""

from __future__ import annotations

import dataclasses
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import ADDRESSES, FRONT, MX, MX2, MX3, SMTP, WITHIN, Bench, Speech, self_signed, until
from holdfast.daemons import redirect


@pytest.fixture(autouse=True)
def _haproxy() -> None:
    if shutil.which("haproxy") is None:
        pytest.skip("no haproxy here (package haproxy)")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, {"smtp": SMTP})
    yield made
    made.close()


def test_servers_of_this_site_share_and_hear_who_the_client_is(bench: Bench) -> None:
    assert bench.who() == {MX: 10, MX3: 10}
    assert set(bench.mail[MX].clients) == {"127.0.0.1"}
    assert bench.mail[MX2].clients == []


def test_the_most_available_one_gets_most(bench: Bench) -> None:
    bench.mail[MX3].share = "up 10%\n"
    until(lambda: bench.share_of(MX3) == 10, "the share is not taken over")
    found = bench.who(33)
    assert found[MX] >= 9 * found[MX3] > 0


def test_a_server_that_hangs_is_taken_out_with_whoever_waits_for_it_and_put_back(bench: Bench) -> None:
    waiting = next(c for name, c in (bench.connect() for _ in range(4)) if name == MX)
    bench.mail[MX].well = False
    waiting.settimeout(WITHIN)
    assert waiting.recv(100) == b"", "a session with a lost server goes on"
    assert bench.who(4) == {MX3: 4}
    bench.mail[MX].well = True
    until(lambda: bench.states_of().get(MX) == "UP", "a mended server is not put back")
    until(lambda: bench.who(4)[MX] > 0, "a mended server gets nothing")


def test_the_other_site_comes_in_when_none_of_this_one_is_left_and_goes_again(bench: Bench) -> None:
    bench.mail[MX].well = bench.mail[MX3].well = False
    until(lambda: bench.states_of().get(MX, "").startswith("DOWN"), "not noticed")
    until(lambda: bench.states_of().get(MX3, "").startswith("DOWN"), "not noticed")
    assert bench.who(4) == {MX2: 4}
    bench.mail[MX].well = True
    until(lambda: bench.states_of().get(MX) == "UP", "a mended server is not put back")
    assert bench.who(4) == {MX: 4}


def test_what_is_drained_by_its_own_word_gets_nothing_new_and_keeps_what_it_has(bench: Bench) -> None:
    (mine,) = [c for name, c in (bench.connect() for _ in range(2)) if name == MX]
    bench.mail[MX].share = "up 0%\n"
    until(lambda: bench.share_of(MX) == 0, "the share is not taken over")
    assert bench.who(4) == {MX3: 4}
    mine.sendall(b"NOOP\r\n")
    assert mine.recv(100).startswith(b"250")
    # Another host owns it now.
    bench.mail[MX].share = "up 100%\n"
    until(lambda: bench.who(4)[MX] > 0, "a drain of its own does not end")


def test_the_other_site_comes_in_when_all_of_this_one_say_that_they_can_take_nothing(bench: Bench) -> None:
    """As two servers say whose stores do not answer: to a check both are as good as ever."""
    (mine,) = [c for name, c in (bench.connect() for _ in range(2)) if name == MX]
    bench.mail[MX].share = bench.mail[MX3].share = "up 0%\n"
    until(lambda: bench.share_of(MX) == bench.share_of(MX3) == 0, "the shares are not taken over")
    assert bench.who(4) == {MX2: 4}
    assert bench.states_of()[MX] == bench.states_of()[MX3] == "UP"
    mine.sendall(b"NOOP\r\n")
    assert mine.recv(100).startswith(b"250"), "what is connected goes on"
    bench.mail[MX].share = "up 100%\n"
    until(lambda: bench.who(4) == {MX: 4}, "a store that is back brings nothing back")


def test_what_says_that_it_does_not_run_here_is_down_until_it_says_up(bench: Bench) -> None:
    bench.mail[MX].share = "down #does not run here\n"
    until(lambda: bench.states_of().get(MX, "").startswith("DOWN"), "its word does not count")
    assert bench.who(4) == {MX3: 4}
    bench.mail[MX].share = "up 100%\n"
    until(lambda: bench.states_of().get(MX) == "UP", "its word does not count")


def test_an_operators_drain_outlives_the_servers_word_and_a_reload(bench: Bench) -> None:
    assert redirect.main(["drain", MX], bench.socket, bench.states) == 0
    asked = bench.mail[MX].checks
    until(lambda: bench.mail[MX].checks > asked + 2, "no checks")  # and its own word, `up 100%`, several times
    assert bench.who(4) == {MX3: 4}
    bench.reload()
    assert bench.who(6) == {MX3: 6}
    assert redirect.main(["ready", MX], bench.socket, bench.states) == 0
    until(lambda: bench.who(4)[MX] > 0, "the drain does not end")


def test_a_server_that_is_down_is_not_taken_for_a_new_one_by_a_reload(bench: Bench) -> None:
    bench.mail[MX].well = False
    until(lambda: bench.states_of().get(MX, "").startswith("DOWN"), "not noticed")
    bench.reload()
    assert bench.who(4) == {MX3: 4}


def test_nobody_is_refused_while_it_is_reloaded(bench: Bench) -> None:
    over, refused = threading.Event(), list[str]()

    def knock() -> None:
        while not over.is_set():
            try:
                name, connection = bench.connect()
                connection.close()
                if not name:
                    refused.append("no greeting")
            except OSError as why:
                refused.append(str(why))

    knocking = threading.Thread(target=knock)
    knocking.start()
    bench.reload()
    time.sleep(1.0)  # some more of the new process
    over.set()
    knocking.join()
    assert refused == []


def test_what_is_connected_outlives_reloads_and_so_many_old_processes_there_are(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"smtp": SMTP}, redirector_old_processes=1)
    try:
        _, session = bench.connect()
        session.settimeout(WITHIN)
        bench.reload()
        session.sendall(b"NOOP\r\n")
        assert session.recv(100).startswith(b"250"), "cut off by the first reload"
        bench.reload()
        assert session.recv(100) == b"", "a process more than is wanted goes on"
    finally:
        bench.close()


def test_whoever_is_too_many_for_a_postfix_waits_and_no_server_is_taken_for_dead(tmp_path: Path) -> None:
    """Eight processes, four redirectors: one connection each, beside the dialogue."""
    bench = Bench(tmp_path, {"smtp": SMTP}, mail_process_limit=8)
    try:
        (first, mine), (second, _) = bench.connect(), bench.connect()
        assert {first, second} == {MX, MX3}
        late = socket.create_connection((FRONT, bench.front), 5)
        bench.mine.append(late)
        asked = {name: bench.mail[name].checks for name in (MX, MX3)}
        late.settimeout(3.0)
        with pytest.raises(TimeoutError):
            late.recv(100)
        until(lambda: all(bench.mail[name].checks > asked[name] + 1 for name in asked), "checks wait, too")
        assert set(bench.states_of().values()) == {"UP"}
        mine.close()
        late.settimeout(WITHIN)
        assert late.recv(100).startswith(f"220 {first}".encode())
    finally:
        bench.close()


CAPABILITIES = '"IMPLEMENTATION" "Dovecot Pigeonhole"\r\n"SIEVE" "fileinto"\r\n"STARTTLS"\r\n'
SPEECHES = {
    "smtp": SMTP,
    "submissions": SMTP,
    "imap": Speech("* OK [CAPABILITY IMAP4rev1] {name}\r\n", "LOGOUT", "* BYE Logging out\r\nh1 OK done\r\n"),
    "imaps": Speech("* OK {name}\r\n", "LOGOUT", "* BYE Logging out\r\nh1 OK done\r\n"),
    "pop3": Speech("+OK {name}\r\n", "QUIT", "+OK Logging out\r\n"),
    "pop3s": Speech("+OK {name}\r\n", "QUIT", "+OK Logging out\r\n"),
    "sieve": Speech(f'{CAPABILITIES}OK "{{name}}"\r\n', "LOGOUT", 'OK "Logout completed."\r\n'),
}
WRONG = {"smtp": "421 {name}\r\n", "imap": "* BYE {name}\r\n", "pop3": "-ERR {name}\r\n", "sieve": 'BYE "{name}"\r\n'}


def test_each_protocol_is_spoken_to_its_end_and_a_server_that_refuses_is_down(tmp_path: Path) -> None:
    bench = Bench(tmp_path, SPEECHES, self_signed(tmp_path, *ADDRESSES))
    try:
        until(lambda: all(m.ended > 2 for m in bench.all.values()), "a dialogue does not come to its end")
        for protocol, speech in SPEECHES.items():
            assert set(bench.states_of(protocol).values()) == {"UP"}, protocol
            refuses = WRONG.get(protocol.removesuffix("s"), WRONG["smtp"])
            bench.all[protocol, MX].speech = dataclasses.replace(speech, greeting=refuses)
        for protocol in SPEECHES:
            down = f"a server that refuses counts as good: {protocol}"
            until(lambda p=protocol: bench.states_of(p).get(MX, "").startswith("DOWN"), down)  # type: ignore[misc]
            assert bench.states_of(protocol)[MX3] == "UP"
    finally:
        bench.close()


def test_a_certificate_of_somebody_else_is_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"imaps": SPEECHES["imaps"]}, self_signed(tmp_path, MX, MX2))
    try:
        until(lambda: bench.states_of("imaps").get(MX3, "").startswith("DOWN"), "any certificate is taken")
        assert bench.states_of("imaps")[MX] == "UP"
    finally:
        bench.close()

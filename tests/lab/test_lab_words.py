"""Every word of bin/lab, proved by what it does to two small guests of its own (inventory beside this file).

Runs in a lab named `words`, so that it disturbs no other. The tests go in order; each leaves both guests on.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = ROOT / "tests/lab/inventory"
NAME = "words"
STATE = ROOT / ".lab" / NAME
KEYS = ROOT / "lab/test-keys"
SWITCH = "10.99.0.254"
UP = [str(ROOT / "bin/lab"), "--name", NAME, "up", str(INVENTORY)]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="guests need root")


def lab(*words: str, stdin: bytes = b"", ok: bool = True, timeout: float = 240) -> subprocess.CompletedProcess[bytes]:
    """Run bin/lab; fail the test with what it said unless it ends as expected."""
    result = subprocess.run(
        [ROOT / "bin/lab", "--name", NAME, *words], input=stdin, capture_output=True, timeout=timeout, check=False
    )
    if ok:
        assert result.returncode == 0, f"{words}: {result.returncode}\n{result.stdout.decode()}{result.stderr.decode()}"
    return result


def on(host: str, script: str, *, ok: bool = True) -> str:
    return lab("exec", host, "--", "sh", "-c", script, ok=ok).stdout.decode()


def status() -> dict[str, object]:
    data = json.loads(lab("status", "--json").stdout)
    assert isinstance(data, dict)
    return data


def state(host: str) -> str:
    hosts = status()["hosts"]
    assert isinstance(hosts, list)
    return str(next(entry["state"] for entry in hosts if entry["name"] == host))


def ping(host: str, address: str, count: int = 5) -> tuple[float, float]:
    """Return the loss in percent and the shortest round trip in milliseconds: load makes others longer."""
    said = on(host, f"ping -q -n -c {count} -i 0.05 -W 1 {address}", ok=False)
    loss = re.search(r"([\d.]+)% packet loss", said)
    trip = re.search(r"= ([\d.]+)/", said)
    assert loss, said
    return float(loss[1]), float(trip[1]) if trip else 0.0


def power(command: str, key: str = "fence_client_ed25519", user: str = "power") -> tuple[str, int]:
    """Ask the power switch over SSH, as a guest would; its host key is checked."""
    known = STATE / "switch_known_hosts"
    known.write_text(f"{SWITCH} {(KEYS / 'switch_host_ed25519.pub').read_text()}")
    own = STATE / "client_key"  # ssh refuses a key that others may read, as it is in a fresh clone
    own.write_bytes((KEYS / key).read_bytes())
    own.chmod(0o600)
    result = subprocess.run(
        [
            *("nsenter", f"--net={status()['netns']}", "--", "ssh", "-F", "none", "-i", str(own)),
            *("-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={known}"),
            *("-o", "StrictHostKeyChecking=yes", "-o", "LogLevel=ERROR", f"{user}@{SWITCH}", command),
        ],
        capture_output=True,
        timeout=60,
        check=False,
    )
    return result.stdout.decode().strip(), result.returncode


def traces() -> list[str]:
    """Return what a lab that is down must not leave: processes, mounts, its runtime folder."""
    runtime = f"/run/holdfast-lab/{NAME}-"
    found = [line for line in Path("/proc/mounts").read_text().splitlines() if runtime in line]
    found += [str(path) for path in Path("/run/holdfast-lab").glob(f"{NAME}-*")]
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if runtime in words or f"lab.switch {NAME} " in words:
                    found.append(words)
                elif (process / "cwd").readlink().is_relative_to(STATE):
                    found.append(f"{process.name} in {STATE}")
    return found


def eventually(what: str, true: Callable[[], bool], within: float = 30) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module", autouse=True)
def running() -> Iterator[None]:
    if STATE.exists():
        lab("down", "--purge")
    lab("up", str(INVENTORY), timeout=1800)  # may build the kernel
    yield
    if STATE.exists():
        lab("down", "--purge")


def test_a_guest_killed_right_after_its_first_boot_boots_again() -> None:
    lab("kill", "one")
    lab("start", "one")
    assert on("one", "hostname").strip() == "one"


def test_a_second_up_does_nothing() -> None:
    began = time.monotonic()
    said = lab("up", str(INVENTORY)).stdout.decode()
    assert "is up already" in said
    assert time.monotonic() - began < 10


def test_exec_hands_on_status_words_and_input() -> None:
    assert lab("exec", "one", "--", "sh", "-c", "exit 7", ok=False).returncode == 7
    awkward = ["a b", "c'd", '"', "$HOME", "*", "", "--", "ü\n"]
    said = lab("exec", "one", "--", "printf", "%s|", *awkward).stdout.decode()
    assert said == "".join(f"{word}|" for word in awkward)
    noise = os.urandom(200_000) + bytes(range(256))
    assert lab("exec", "one", "--", "cat", stdin=noise).stdout == noise
    both = lab("exec", "one", "--", "sh", "-c", "echo out; echo err >&2")
    assert (both.stdout, both.stderr) == (b"out\n", b"err\n")


def test_a_guest_looks_like_a_fresh_host() -> None:
    assert on("one", "hostname; cat /etc/hostname; id -un").split() == ["one", "one", "root"]
    assert on("one", "systemctl is-system-running --wait", ok=False).strip() == "running"
    assert on("one", "systemctl list-units --failed --no-legend --plain") == ""
    addresses = {link["ifname"]: link for link in json.loads(on("one", "ip -json -4 address"))}
    assert set(addresses) == {"lo", "mgmt", "wire"}
    assert addresses["wire"]["addr_info"][0]["local"] == "10.99.1.1"
    assert on("one", "blockdev --getsize64 /dev/ubdb").strip() == str(64 * 1024**2)


def test_errors_are_one_line_with_a_remedy() -> None:
    for words in (
        ("exec", "nix", "--", "true"),
        ("kill", "nix"),
        ("unplug", "one", "nix"),
        ("impair", "one", "wire", "--loss", "300"),
        ("up", "nix"),
        ("up", "compact"),
        ("restore", "nix"),
        ("snapshot", "../nix"),
    ):
        result = lab(*words, ok=False)
        said = result.stderr.decode()
        assert result.returncode == 1, words
        assert said.startswith("lab: "), said
        assert said.count("\n") == 1, said
        assert "; " in said, said


def test_ansible_reaches_the_guests_with_either_strategy(tmp_path: Path) -> None:
    play = tmp_path / "play.yml"
    play.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.command: hostname\n      register: here\n      changed_when: false\n"
        "    - ansible.builtin.command: echo there\n      register: there\n      changed_when: false\n"
        "      delegate_to: localhost\n"
        "    - ansible.builtin.assert: {that: [here.stdout == inventory_hostname, there.stdout == 'there']}\n"
    )
    for option in ([], ["--stock"]):
        lab("run", *option, "--", "ansible-playbook", "-i", str(INVENTORY), str(play))


def test_kill_loses_what_was_not_synced_and_keeps_what_was() -> None:
    on(
        "two",
        "printf kept >/root/kept && sync -f /root/kept && dd if=/dev/zero of=/root/lost bs=64k count=8 status=none",
    )
    lab("kill", "two")
    assert state("two") == "off"
    refused = lab("exec", "two", "--", "true", ok=False)
    assert refused.stderr == b"lab: two is: off; bin/lab start two\n"
    lab("start", "two")
    assert on("two", "cat /root/kept") == "kept"
    assert on("two", "stat -c %s /root/lost || echo none", ok=False).strip() in ("none", "0")


def test_a_power_cut_ends_the_wait_of_a_start() -> None:
    lab("kill", "two")
    start = subprocess.Popen([ROOT / "bin/lab", "--name", NAME, "start", "two"], stderr=subprocess.PIPE)
    eventually("two boots", lambda: state("two") == "on")
    assert power("off two") == ("two off", 0)
    said = start.communicate(timeout=30)[1]
    assert said == b"lab: guests that don't answer ssh: two (its power was cut); see `bin/lab console two`\n"
    assert start.returncode != 0
    lab("start", "two")


def test_pause_and_resume() -> None:
    before = on("two", "cat /proc/sys/kernel/random/boot_id")
    lab("pause", "two")
    assert state("two") == "paused"
    assert ping("one", "10.99.1.2", count=3)[0] == 100
    assert b"two is: paused; bin/lab resume two" in lab("exec", "two", "--", "true", ok=False).stderr
    lab("resume", "two")
    assert state("two") == "on"
    assert on("two", "cat /proc/sys/kernel/random/boot_id") == before
    assert ping("one", "10.99.1.2")[0] == 0


HOST_CLOCK = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
# Each clock is read by the program itself between two questions to the kernel.
READ_CLOCKS = """
import ctypes, time
call, spec = ctypes.CDLL(None).syscall, (ctypes.c_long * 2)()
def asked(clock):
    assert call(228, clock, spec) == 0
    return spec[0] * 10**9 + spec[1]
for clock in (time.CLOCK_REALTIME, time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME):
    for n in range(500):
        before, read, after = asked(clock), time.clock_gettime_ns(clock), asked(clock)
        assert before <= read <= after, (clock, before, read, after)
begin = time.perf_counter()
for n in range(10000): time.monotonic()
middle = time.perf_counter()
for n in range(10000): asked(1)
print((middle - begin) / (time.perf_counter() - middle))
"""


@pytest.mark.skipif(
    not HOST_CLOCK.is_file() or HOST_CLOCK.read_text() != "tsc\n",
    reason="another clock here, and in guests",
)
def test_programs_tell_the_time_without_their_kernel_and_as_it_does() -> None:
    def clock() -> str:
        return on("two", f"cat {HOST_CLOCK}").strip()

    def share() -> float:
        return float(lab("exec", "two", "--", "python3", "-", stdin=READ_CLOCKS.encode()).stdout)

    eventually("the processor's counter as clock", lambda: clock() == "host-tsc")
    assert share() < 0.2
    on("two", "date -s '+1 hour'")
    share()
    lab("pause", "two")
    time.sleep(3)
    lab("resume", "two")
    share()
    ahead = float(on("two", "date +%s.%N")) - time.time()
    assert 3590 < ahead < 3610, f"{ahead} s ahead behind an hour forward and a pause"
    on("two", "date -s '-1 hour'")
    share()


def test_a_guest_may_reboot_itself() -> None:
    before = on("two", "cat /proc/sys/kernel/random/boot_id")
    on("two", "systemctl reboot", ok=False)  # its connection may end before its answer comes

    def rebooted() -> bool:
        result = lab("exec", "two", "--", "cat", "/proc/sys/kernel/random/boot_id", ok=False)
        return result.returncode == 0 and result.stdout.decode() != before

    eventually("it has booted again", rebooted, within=60)
    assert ping("one", "10.99.1.2")[0] == 0


def test_unplug_and_plug() -> None:
    lab("unplug", "two", "wire")
    assert ping("one", "10.99.1.2", count=3)[0] == 100
    assert ping("one", "10.99.0.2", count=3)[0] == 0
    lab("kill", "two")
    lab("start", "two")
    assert ping("one", "10.99.1.2", count=3)[0] == 100  # the cable is still out
    lab("plug", "two", "wire")
    eventually("the wire carries again", lambda: ping("one", "10.99.1.2", count=3)[0] == 0)


def test_unplugging_the_management_segment_leaves_exec_with_a_word() -> None:
    lab("unplug", "two", "mgmt")
    refused = lab("exec", "two", "--", "true", ok=False)
    assert refused.stderr == b"lab: two is unplugged from: mgmt; bin/lab plug two mgmt\n"
    assert ping("one", SWITCH, count=2)[0] == 0
    lab("plug", "two", "mgmt")
    assert on("two", "hostname").strip() == "two"


def test_impair_and_heal() -> None:
    ping("one", "10.99.1.2")  # neighbours known
    assert 19 < ping("one", "10.99.1.2")[1] < 35  # two's own long line: 20 ms
    lab("impair", "two", "wire", "--delay", "60")
    assert 79 < ping("one", "10.99.1.2")[1] < 100
    lab("impair", "one", "wire", "--delay", "40")
    assert 119 < ping("one", "10.99.1.2")[1] < 150
    lab("heal", "two", "wire")
    assert 59 < ping("one", "10.99.1.2")[1] < 80
    lab("heal", "one", "wire")
    assert 19 < ping("one", "10.99.1.2")[1] < 35
    lab("impair", "one", "wire", "--loss", "50")
    loss, _ = ping("one", "10.99.1.2", count=60)
    assert 20 < loss < 80  # six standard deviations
    lab("heal", "one", "wire")
    assert ping("one", "10.99.1.2", count=20)[0] == 0


def test_a_power_cut_heals_and_the_long_line_stays() -> None:
    lab("impair", "two", "wire", "--delay", "60")
    lab("kill", "two")
    lab("start", "two")
    ping("one", "10.99.1.2")
    assert 19 < ping("one", "10.99.1.2")[1] < 35


def test_snapshot_and_restore() -> None:
    on("one", "echo old >/root/file; dd if=/dev/urandom of=/dev/ubdb bs=1M count=2 conv=fsync status=none")
    disk = on("one", "md5sum </dev/ubdb")
    lab("snapshot", "good")
    assert on("one", "cat /root/file").strip() == "old"  # what was not synced was written: powered off cleanly
    on("one", "echo new >/root/file; dd if=/dev/zero of=/dev/ubdb bs=1M count=2 conv=fsync status=none")
    lab("restore", "good")
    assert on("one", "cat /root/file").strip() == "old"
    assert on("one", "md5sum </dev/ubdb") == disk


def test_the_power_switch_does_what_it_says() -> None:
    assert power("status two") == ("two on", 0)
    assert power("off two") == ("two off", 0)
    assert state("two") == "off"
    assert power("status two") == ("two off", 0)
    assert "two stays off" in lab("up", str(INVENTORY)).stdout.decode()
    assert state("two") == "off"
    assert power("on two") == ("two on", 0)
    lab("start", "two")  # waits for ssh
    lab("pause", "two")
    assert power("off two") == ("two off", 0)
    lab("start", "two")


def test_the_power_switch_knows_its_client_and_its_commands() -> None:
    line, code = power("reboot two")
    assert line.startswith("error: unknown command"), line
    assert code != 0
    assert power("status two", user="root")[1] == 255
    assert power("status two", key="switch_host_ed25519")[1] == 255


def test_a_denied_host_keeps_its_power() -> None:
    lab("switch", "deny", "two")
    assert power("off two") == ("two refused", 1)
    assert state("two") == "on"
    lab("switch", "allow", "two")
    assert power("off two") == ("two off", 0)
    lab("start", "two")


def test_console_shows_what_a_guest_said_last() -> None:
    on("one", "echo last words >/dev/console")
    eventually("the console has it", lambda: "last words" in lab("console", "one").stdout.decode())


def test_what_was_killed_from_outside_is_stale_and_cleaned() -> None:
    for path in (STATE / "guests/one/process.json", STATE / "switch.json"):
        session = json.loads(path.read_text())["leader"]
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if os.getsid(int(entry.name)) == session:
                        os.kill(int(entry.name), signal.SIGKILL)
    assert status()["state"] == "stale"
    assert state("one") == "lost"
    lab("up", str(INVENTORY))
    assert status()["state"] == "up"
    assert power("status one") == ("one on", 0)
    assert on("one", "hostname").strip() == "one"


def test_a_lost_namespace_is_stale_and_cleaned() -> None:
    subprocess.run(["umount", str(status()["netns"])], check=True)
    assert status()["state"] == "stale"
    lab("up", str(INVENTORY))
    assert status()["state"] == "up"
    assert ping("one", "10.99.1.2")[0] == 0


def test_down_leaves_nothing_but_disks_and_two_ups_do_not_collide() -> None:
    on("one", "echo stays >/root/stays")
    lab("down")
    assert traces() == []
    assert status()["state"] == "down"
    ups = [subprocess.Popen(UP, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    said = [up.communicate(timeout=120) for up in ups]
    assert [up.returncode for up in ups] == [0, 0], said
    assert sum(b"is up already" in out for out, _ in said) == 1, said
    assert on("one", "cat /root/stays").strip() == "stays"


def test_purge_leaves_nothing_at_all() -> None:
    lab("down", "--purge")
    assert traces() == []
    assert not STATE.exists()


@pytest.mark.parametrize("line", ["power switch listens", "guests started"])
def test_an_interrupted_up_takes_back_what_it_started(line: str) -> None:
    with subprocess.Popen(UP, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as up:
        assert up.stdout is not None
        assert up.stderr is not None
        while line.encode() not in (said := up.stdout.readline()):
            assert said, up.stderr.read().decode()
        up.send_signal(signal.SIGTERM)
        assert up.wait(timeout=60) == 130
        assert b"interrupted" in up.stderr.read()
    assert traces() == []

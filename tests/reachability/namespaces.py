"""Hosts as network namespaces of this machine, wired as an inventory says; run as root of a network of its own:

    unshare --user --map-root-user --net --mount python -m tests.reachability.namespaces <SPEC >ANSWERS

SPEC: {segments: [name], hosts: {name: {legs: {segment: address/length}, ip: [lines for ip -batch], forward, rules,
listen: [[address, port]]}}, steps: [{run: {host: what on_host.py is told}} or {do: {host: shell}}]}. An address
`@host/segment` in what is run stands for the one of IPv6 that this interface has given itself. ANSWERS: a list,
{host: answer} for each step.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ON_HOST = Path(__file__).parent / "on_host.py"
LISTEN = """
import json, socket, sys
kept = []
for address, port in json.loads(sys.argv[1]):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, port)); s.listen(512); kept.append(s)
print("ready", flush=True)
sys.stdin.read()
"""
SYSCTL = """
for key in net/ipv4/conf/all/rp_filter=0 net/ipv4/conf/default/rp_filter=0 net/ipv6/conf/all/accept_dad=0 \
  net/ipv6/conf/default/accept_dad=0 net/ipv4/conf/all/send_redirects=0 net/ipv4/conf/default/send_redirects=0; do
    echo "${key#*=}" >"/proc/sys/${key%%=*}"
done
"""


class Bench:
    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.pids: dict[str, int] = {}

    def inside(self, host: str, *argv: str, stdin: str = "") -> str:
        command = ["nsenter", f"--net=/proc/{self.pids[host]}/ns/net", "--", *argv]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{host}: {' '.join(argv)[:80]}: {done.stderr.strip()[-800:]}")
        return done.stdout

    @contextlib.contextmanager
    def up(self) -> Iterator[None]:
        with contextlib.ExitStack() as living:
            ip(["link set lo up"])
            numbers = {name: n for n, name in enumerate(self.spec["segments"])}
            ip([f"link add br{n} type bridge mcast_snooping 0" for n in numbers.values()])
            ip([f"link set br{n} up" for n in numbers.values()])
            cable = 0
            for name, host in self.spec["hosts"].items():
                holder = living.enter_context(
                    subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=-1, stdout=-1)
                )
                living.callback(holder.kill)
                assert holder.stdout is not None
                holder.stdout.readline()
                self.pids[name] = holder.pid
                self.inside(name, "sh", "-e", stdin=SYSCTL)
                lines = ["link set lo up"]
                for segment, address in host["legs"].items():
                    cable += 1
                    ip([f"link add v{cable} type veth peer name {segment} netns {holder.pid}",
                        f"link set v{cable} master br{numbers[segment]} up"])  # fmt: skip
                    lines += [f"address add {address} dev {segment}", f"link set {segment} up"]
                self.inside(name, "ip", "-batch", "-", stdin="\n".join([*lines, *host["ip"]]) + "\n")
                if host["forward"]:
                    self.inside(name, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
                if host["rules"]:
                    self.inside(name, "nft", "-f", "-", stdin=host["rules"])
                command = ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "--", sys.executable, "-c", LISTEN]
                listener = living.enter_context(
                    subprocess.Popen([*command, json.dumps(host["listen"])], stdin=-1, stdout=-1)
                )
                living.callback(listener.kill)
                assert listener.stdout is not None
                if listener.stdout.readline() != b"ready\n":
                    raise SystemExit(f"{name}: does not listen at all of {host['listen']}")
            yield

    def step(self, step: dict[str, Any], local: dict[str, str]) -> dict[str, Any]:
        if "do" in step:
            return {host: self.inside(host, "sh", "-ec", script) for host, script in step["do"].items()}
        running = {}
        for host, wanted in step["run"].items():
            for target in wanted["targets"]:
                target["address"] = local.get(target["address"], target["address"])
            command = ["nsenter", f"--net=/proc/{self.pids[host]}/ns/net", "--", sys.executable, str(ON_HOST)]
            running[host] = subprocess.Popen([*command, json.dumps(wanted)], stdout=subprocess.PIPE)
        return {host: json.loads(child.communicate()[0]) for host, child in running.items()}

    def local(self) -> dict[str, str]:
        found = {}
        for host in self.pids:
            for device in json.loads(self.inside(host, "ip", "-json", "-6", "address")):
                for one in device.get("addr_info", ()):
                    if one.get("scope") == "link":
                        found[f"@{host}/{device['ifname']}"] = one["local"]
        return found


def ip(lines: list[str]) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


def main() -> int:
    bench = Bench(json.load(sys.stdin))
    with bench.up():
        local = bench.local()
        print(json.dumps([bench.step(step, local) for step in bench.spec["steps"]]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

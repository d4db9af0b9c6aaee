"""What rights cost: requests a second to one etcd on loopback with TLS, before and after it asks for users.

    python -m tests.full.coordinator_cost [SECONDS]

Needs etcd on PATH (tests/programs.sh). In turns, so that what else runs on the machine hits all alike.
"""

from __future__ import annotations

import base64
import datetime
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.story.machines import ROOT

sys.path.insert(0, str(ROOT / "tests" / "unit" / "adapters"))

from cluster import Cluster  # type: ignore[import-not-found]
from holdfast.adapters.etcd import EtcdCoordinator, Login, Tls, member_client, token
from holdfast.adapters.etcd_rights import Rights, Step, permissions, steps
from holdfast.adapters.pki import Authority, Leaf
from holdfast.core.rights import Grant

KEY = "/holdfast/cost"
ROUNDS = 4


def rate(call: Callable[[], Any], seconds: float) -> float:
    start, n = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        call()
        n += 1
    return n / (time.monotonic() - start)


def switch_on(etcd: Rights, password: str) -> None:
    wanted = {"h": permissions([Grant(KEY)])}
    for step in [*steps(etcd.find(), wanted, {"h": password}), *etcd.admin_steps(password)]:
        etcd.take(step)
    etcd.take(Step("/auth/enable", {}, ""))


def measure(folder: Path, cost: int, seconds: float) -> dict[str, list[float]]:
    authority = Authority(folder / "pki", "x", 365, 30, datetime.datetime.now(datetime.UTC))
    authority.make_authority()
    authority.make(Leaf("host", ("127.0.0.1", "localhost"), common_name=False))
    tls = Tls(*(str(folder / "pki" / name) for name in ("ca.pem", "host.pem", "host.key")))
    key, password = folder / "token.key", folder / "password"
    key.write_text(base64.b16encode(b"k" * 32).decode())
    password.write_text("p" * 64 + "\n")
    options = (f"--auth-token=jwt,priv-key={key},sign-method=HS256,ttl=300s", f"--bcrypt-cost={cost}")
    found: dict[str, list[float]] = {}

    def note(name: str, call: Callable[[], Any]) -> None:
        found.setdefault(name, []).append(rate(call, seconds))

    for part in ("plain", "asked"):
        (folder / part).mkdir()
    with Cluster(folder / "plain", 1, tls, options) as plain, Cluster(folder / "asked", 1, tls, options) as asked:
        switch_on(Rights(asked.urls, tls, ["p" * 64]), "p" * 64)
        before = EtcdCoordinator(plain.urls, tls.ca, tls.cert, tls.key)
        after = EtcdCoordinator(asked.urls, tls.ca, tls.cert, tls.key, login=Login("h", str(password)))
        client = member_client(asked.urls[0], tls, 5.0)
        for _ in range(ROUNDS):
            note("get, nobody is asked", lambda: before.get(KEY))
            note("get, with a token", lambda: after.get(KEY))
            note("put, nobody is asked", lambda: before.put(KEY, {"x": 1}))
            note("put, with a token", lambda: after.put(KEY, {"x": 1}))
            note(f"a new token, bcrypt cost {cost}", lambda: token(client, "h", "p" * 64))
    return found


def main(arguments: list[str]) -> int:
    seconds = float(arguments[0]) if arguments else 2.0
    for cost in (4, 10):
        with tempfile.TemporaryDirectory() as folder:
            for name, rates in measure(Path(folder), cost, seconds).items():
                print(f"bcrypt {cost:2}  {name:32} {min(rates):7.0f} to {max(rates):7.0f} a second")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

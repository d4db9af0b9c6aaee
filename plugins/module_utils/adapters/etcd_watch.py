"""Wakes a daemon when something it reads has changed in etcd, so that it need not wait for its next look.

Source: etcd 3.5, api/etcdserverpb/rpc.proto, WatchCreateRequest, through the JSON gateway: requests and answers are
JSON objects, one a line. A watch only says *that* something changed: what is decided on is read anew, linearizable,
by whoever was woken. So a watch that is lost costs nothing but the time until the next look.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import requests
from etcd3gw import exceptions

from ..core.ports import Unavailable
from .etcd import TIMEOUT, EtcdCoordinator, Login, Tls, carry, encode, member_client, prefix_end

# A stream that is silent for longer may have a dead member at its other end, and is asked for at the next one.
SILENCE = 75.0
AGAIN = (1.0, 15.0)  # seconds before a watch that ended is asked for again: the first time, and at most


def request(prefixes: Sequence[str]) -> str:
    """The body that asks for every key that begins with one of `prefixes`."""
    return "\n".join(json.dumps({"create_request": {"key": encode(p), "range_end": prefix_end(p)}}) for p in prefixes)


def changed(line: bytes) -> bool:
    """Does a line of the stream tell of a change? Raises ValueError for an error that stands in the stream."""
    answer = json.loads(line)
    if "error" in answer:
        raise ValueError(str(answer["error"]))
    result = answer.get("result", {})
    if result.get("canceled"):
        raise ValueError(f"watch canceled: {result.get('cancel_reason', 'no reason given')}")
    return bool(result.get("events"))


class ChangeWatch(threading.Thread):
    """Sets `wake` after a change of a key that begins with one of `prefixes`, and whenever a watch begins.

    `silence`: seconds. `timeout`: seconds to connect, and of any other call. A thread with connections of its own; it
    ends with the process, or after `stop`.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        tls: Tls,
        prefixes: Sequence[str],
        wake: threading.Event,
        silence: float = SILENCE,
        login: Login | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        super().__init__(name="etcd-watch", daemon=True)
        self._members = [member_client(url, tls, timeout) for url in endpoints]
        self._silence = silence
        self._prefixes = prefixes
        self._login = login
        self._wake = wake
        self._over = threading.Event()

    def run(self) -> None:
        turn, wait = 0, AGAIN[0]
        while not self._over.is_set():
            # Nothing is said of a failure here: the looks go on without a watch, and they tell when etcd is away.
            with contextlib.suppress(requests.RequestException, exceptions.Etcd3Exception, ValueError, Unavailable):
                for _ in self._changes(self._members[turn % len(self._members)]):
                    self._wake.set()
                    wait = AGAIN[0]
            turn += 1
            self._over.wait(wait)
            wait = min(wait * 2, AGAIN[1])

    def _changes(self, client: Any) -> Iterator[None]:
        if self._login is not None:  # once a watch: etcd looks at the token when a watch begins, and not again
            carry(client, self._login.token(client))
        within = (client.timeout, self._silence)
        asked = client.session.post(client.get_url("/watch"), data=request(self._prefixes), stream=True, timeout=within)
        with contextlib.closing(asked):
            asked.raise_for_status()
            yield  # the look that follows sees what changed before the watch began
            for line in asked.iter_lines(chunk_size=None):
                if self._over.is_set():
                    return
                if line and changed(line):
                    yield

    def stop(self) -> None:
        """No further watch is begun."""
        self._over.set()


def woken_by(etcd: EtcdCoordinator, *prefixes: str) -> threading.Event:
    """What is set from now on whenever a key changes that begins with one of `prefixes`."""
    wake = threading.Event()
    ChangeWatch(etcd.endpoints, etcd.tls, prefixes, wake, login=etcd.login, timeout=etcd.timeout).start()
    return wake

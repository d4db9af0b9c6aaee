"""The coordinator: etcd's v3 API through its JSON gateway, with etcd3gw's client.

Source: etcd 3.5, api/etcdserverpb/rpc.proto and "Why gRPC gateway". All reads are linearizable.

An answer that was lost says nothing about the request: it may have been carried out, or may be carried out later.
So a transaction has a form that changes nothing when it is carried out twice, and can be sent again to the next
member. Every `write` on a lock compares and raises the lock key's version, so that a late copy of an older write
changes nothing, and leaves its number in the lock key's value, so that its author can tell whether it was carried out.

Rights go by user and password (etcd 3.5, "Role-based access control"): through the gateway a certificate gives none. A
password buys a token, which every member can check by itself; when a member takes it no longer - it has run out, or
somebody's rights have changed - the same member is asked for a new one and the request sent again: what was refused for
its token has not been carried out.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import random
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from etcd3gw import Etcd3Client, exceptions

from ..core.keys import ROOT
from ..core.model import Json
from ..core.ports import AT_ONCE, Entry, Lock, LockLost, Unavailable

TIMEOUT = 3.0  # seconds for one call to one member
# Seconds until a client that has left the member at which it began asks that one again. Without it whatever makes one
# member slow for a moment would move its clients for good, and in the end one answers them all.
HOME_AFTER = 300.0
WORDS = 200  # characters of a member's error text

LEASE_GONE = "requested lease not found"
# A member's words when a request needs a (new) token. "old": the token is from before a change of users or roles.
NO_TOKEN = ("user name is empty", "invalid auth token", "revision of auth store is old")
AUTH_OFF = "authentication is not enabled"
WRONG_PASSWORD = "authentication failed"  # noqa: S105 - etcd's words
NO_RIGHT = "permission denied"
# Rights that are changed one after the other make each new token old at once; more than this in a row is no deploy.
LOGINS = 10


@dataclass(frozen=True)
class Record:
    """One key as etcd returns it (mvccpb.KeyValue)."""

    key: str
    value: Json
    create: int
    mod: int
    version: int
    lease: int


# --- requests and answers as the gateway spells them: pure ------------------------------------------------------


def encode(text: str | bytes) -> str:
    """Keys and values travel as base64."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def encode_value(value: Mapping[str, Any]) -> str:
    return encode(json.dumps(value, separators=(",", ":"), sort_keys=True))


def prefix_end(prefix: str) -> str:
    """The first key behind all that begin with `prefix`, in base64 (rpc.proto, RangeRequest.range_end)."""
    raw = bytearray(prefix.encode())
    while raw and raw[-1] == 0xFF:
        raw.pop()
    if not raw:
        return encode(b"\0")
    raw[-1] += 1
    return encode(bytes(raw))


def parse_record(data: Mapping[str, Any]) -> Record:
    """Numbers are 64 bit and come as text; what is zero is left out.

    Raises Unavailable for a value that is no JSON object: somebody else's hand, and nothing to guess from.
    """
    key = base64.b64decode(data["key"]).decode()
    raw = base64.b64decode(data.get("value", ""))
    try:
        value = json.loads(raw)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Unavailable(f"coordinator: {key} holds {raw[:WORDS]!r}, not a JSON object; put it right or delete it")
    return Record(
        key,
        value,
        int(data.get("create_revision", 0)),
        int(data.get("mod_revision", 0)),
        int(data.get("version", 0)),
        int(data.get("lease", 0)),
    )


def found_by(data: Mapping[str, Any]) -> Iterator[Json]:
    """What the gets of a transaction have found, not parsed."""
    for response in data.get("responses", ()):
        yield from response.get("response_range", {}).get("kvs", ())


def parse_txn(data: Mapping[str, Any]) -> tuple[bool, dict[str, Record]]:
    """Whether the comparisons held, and what the gets of the branch that ran have found."""
    records = [parse_record(kv) for kv in found_by(data)]
    return bool(data.get("succeeded", False)), {r.key: r for r in records}


def parsed(kvs: Iterable[Json]) -> dict[str, Entry]:
    """Raises Unavailable as `parse_record` does."""
    return {r.key: _entry(r) for r in map(parse_record, kvs)}


def _get(key: str) -> Json:
    return {"request_range": {"key": encode(key), "serializable": False}}


def _put(key: str, value: Mapping[str, Any], lease: int = 0) -> Json:
    return {"request_put": {"key": encode(key), "value": encode_value(value), "lease": lease}}


def _compare(key: str, target: str, field: str, number: int) -> Json:
    return {"key": encode(key), "target": target, "result": "EQUAL", field: number}


def range_read(prefix: str) -> Json:
    """All keys of a prefix. `serializable` would let a member that is cut off tell of the past."""
    return {"key": encode(prefix), "range_end": prefix_end(prefix), "serializable": False}


def keys_of(body: object) -> list[str]:
    """The keys that a request names, for people."""
    found: list[str] = []
    for name, value in body.items() if isinstance(body, Mapping) else ():
        if name == "key":
            found.append(base64.b64decode(value).decode(errors="replace"))
        for one in value if isinstance(value, list) else [value]:
            found += keys_of(one)
    return list(dict.fromkeys(found))


def txn_read(keys: Iterable[str]) -> Json:
    """Several keys at one revision."""
    return {"compare": [], "success": [_get(k) for k in keys], "failure": []}


def txn_list(prefixes: Iterable[str]) -> Json:
    """Several prefixes at one revision."""
    return {"compare": [], "success": [{"request_range": range_read(p)} for p in prefixes], "failure": []}


def txn_create(key: str, value: Mapping[str, Any], lease: int = 0) -> Json:
    return {
        "compare": [_compare(key, "CREATE", "create_revision", 0)],
        "success": [_put(key, value, lease), _get(key)],
        "failure": [_get(key)],
    }


def txn_replace(key: str, value: Mapping[str, Any], unchanged: Mapping[str, int]) -> Json:
    """Put `value` if every key of `unchanged` is at that revision (0: not there)."""
    return {
        "compare": [_compare(k, "MOD", "mod_revision", revision) for k, revision in unchanged.items()],
        "success": [_put(key, value), _get(key)],
        "failure": [_get(key)],
    }


def txn_write(
    lock: Lock,
    version: int,
    value: Mapping[str, Any],
    puts: Mapping[str, Mapping[str, Any]],
    unchanged: Mapping[str, int],
) -> Json:
    """Put all of `puts`, and `value` to the lock key, if that is at `version` and every key of `unchanged` as given."""
    return {
        "compare": [
            _compare(lock.key, "CREATE", "create_revision", lock.revision),
            _compare(lock.key, "VERSION", "version", version),
            *(_compare(key, "MOD", "mod_revision", revision) for key, revision in unchanged.items()),
        ],
        "success": [*(_put(key, v) for key, v in puts.items()), _put(lock.key, value, lock.lease)],
        "failure": [_get(lock.key)],
    }


# --- the adapter ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tls:
    """Files of a client of etcd; None where the endpoints are plain http."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


class Denied(Unavailable):
    """etcd knows no such user, or that user has no such right. One line: who, what, remedy."""


@dataclass(frozen=True)
class Login:
    """Who speaks. `password_file` holds a password a line, the present one first.

    It is read for every token: while passwords are changed it holds the last one too, and no daemon is restarted.
    """

    user: str
    password_file: str

    def token(self, client: Any) -> str | None:
        """A token from the member of this client; None where etcd asks nobody for one.

        Raises Denied, and what `client.post` raises.
        """
        try:
            passwords = Path(self.password_file).read_text().split()
        except OSError as why:
            raise Denied(
                f"coordinator: password of {self.user}: {self.password_file}: {why.strerror}; run playbooks/site.yml"
            ) from why
        for password in passwords:
            try:
                return token(client, self.user, password)
            except exceptions.Etcd3Exception as why:
                if WRONG_PASSWORD not in words(why):
                    raise
        raise Denied(
            f"coordinator: etcd does not take {self.user} with the password of {self.password_file}; "
            "run playbooks/site.yml, which sets both"
        )


def token(client: Any, user: str, password: str) -> str | None:
    """As `Login.token`."""
    try:
        answer = client.post(client.get_url("/auth/authenticate"), json={"name": user, "password": password})
    except exceptions.Etcd3Exception as why:
        if AUTH_OFF in words(why):
            return None
        raise
    return str(answer["token"])


def carry(client: Any, found: str | None) -> None:
    """All that this client asks from now on carries the token."""
    if found is None:
        client.session.headers.pop("Authorization", None)
    else:
        client.session.headers["Authorization"] = found


def member_client(url: str, tls: Tls, timeout: float) -> Any:
    """etcd3gw's client of one member. Raises ValueError for what is no URL."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        raise ValueError(f"coordinator.endpoints: {url!r} is no URL like https://10.1.3.21:2379")
    client = Etcd3Client(
        parts.hostname,
        parts.port or 2379,
        parts.scheme,
        ca_cert=tls.ca,
        cert_cert=tls.cert,
        cert_key=tls.key,
        timeout=timeout,
        api_path="/v3/",
    )
    # Neither proxies nor ~/.netrc are looked up for every call.
    client.session.trust_env = False
    return client


@dataclass
class _Held:
    """What this process knows of a lock key that it holds: nobody else writes it."""

    value: Json
    version: int
    serial: int = 0


class _LeaseGone(Unavailable):
    """etcd knows no such lease (any more)."""


class EtcdCoordinator:
    """Implements `core.ports.Coordinator`.

    `endpoints`: URLs of the members; `timeout`: seconds for one call to one member, so a call takes at most that times
    the number of members, and twice as long when it needs a new token. `login`: whose rights count; without one, a
    cluster that asks for users refuses everything. Not for two threads at once. Raises Unavailable naming every member
    and its last error, and Denied at once for what this user may not do.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        timeout: float = TIMEOUT,
        first: int | None = None,
        login: Login | None = None,
    ) -> None:
        if not endpoints:
            raise ValueError("coordinator.endpoints is empty; name at least one etcd member")
        self.endpoints = tuple(endpoints)
        self.tls = Tls(ca, cert, key)
        self.timeout = timeout
        self.login = login
        self._members = [(url, member_client(url, self.tls, timeout)) for url in endpoints]
        # Clients begin at different members, else the first one named would carry all of them.
        self._home = self._now = random.randrange(len(endpoints)) if first is None else first
        self._left = 0.0  # time.monotonic() at which it last gave no answer
        self._held: dict[Lock, _Held] = {}

    def another(self) -> EtcdCoordinator:
        """A connection of its own to the same members, for another thread."""
        return self.as_user(self.login)

    def as_user(self, login: Login | None) -> EtcdCoordinator:
        """The same members, asked by somebody else."""
        tls = self.tls
        return EtcdCoordinator(self.endpoints, tls.ca, tls.cert, tls.key, self.timeout, login=login)

    def close(self) -> None:
        for _, client in self._members:
            client.session.close()

    # --- reads -----------------------------------------------------------------------------------------------

    def get(self, key: str) -> Entry:
        return self.read([key])[key]

    def read(self, keys: Sequence[str]) -> dict[str, Entry]:
        """All of `keys` (each hundred of them) in one call, at one revision. Entry(None, 0): no such key."""
        found: dict[str, Record] = {}
        for some in itertools.batched(keys, AT_ONCE, strict=False):
            found.update(parse_txn(self._post("/kv/txn", txn_read(some)))[1])
        return {key: _entry(found.get(key)) for key in keys}

    def asks_users(self) -> bool:
        """Does the cluster ask who it is? Whoever had to log in knows. Raises Unavailable."""
        self.read([ROOT])
        return any("Authorization" in client.session.headers for _, client in self._members)

    def list(self, *prefixes: str) -> dict[str, Entry]:
        """All keys that begin with one of `prefixes`, in one call, at one revision."""
        return parsed(self.fetch(*prefixes).values())

    def fetch(self, *prefixes: str) -> dict[str, Json]:
        """The same by key, not parsed: what somebody else has spoilt is a fault only for whoever wants it."""
        found = found_by(self._post("/kv/txn", txn_list(prefixes)))
        return {base64.b64decode(kv["key"]).decode(): kv for kv in found}

    # --- single keys -----------------------------------------------------------------------------------------

    def create(self, key: str, value: Mapping[str, Any]) -> bool:
        return self._create(key, value) is not None

    def put(self, key: str, value: Mapping[str, Any], lease: int | None = None) -> None:
        """Raises Unavailable also when `lease` is gone: grant a new one."""
        self._post("/kv/put", {"key": encode(key), "value": encode_value(value), "lease": lease or 0})

    def replace(self, key: str, value: Mapping[str, Any], unchanged: Mapping[str, int]) -> bool:
        """One transaction: put `value` if every key of `unchanged`, `key` among them, is at that revision.

        Two writers must never write the same value: after a lost answer the value tells whose write was carried out.
        """
        succeeded, found, doubt = self._txn(txn_replace(key, value, unchanged))
        record = found.get(key)
        return succeeded or (doubt and record is not None and record.value == dict(value))

    def delete(self, key: str) -> bool:
        return int(self._post("/kv/deleterange", {"key": encode(key)}).get("deleted", 0)) > 0

    def _create(self, key: str, value: Mapping[str, Any], lease: int = 0) -> Record | None:
        """The key as it was put, None when somebody else's is there."""
        succeeded, found, doubt = self._txn(txn_create(key, value, lease))
        record = found.get(key)
        if record is None:
            raise Unavailable(f"etcd gave no answer for {key} in a transaction")
        # After a lost answer the key may be there because the first copy of this very request has put it.
        ours = succeeded or (doubt and record.value == dict(value) and record.lease == lease)
        return record if ours else None

    # --- locks -----------------------------------------------------------------------------------------------

    def lock(self, key: str, value: Mapping[str, Any], ttl: int) -> Lock | None:
        lease = self.grant(ttl)
        record = None
        try:
            record = self._create(key, value, lease)
        finally:
            if record is None:
                self._revoke(lease)
        if record is None:
            return None
        lock = Lock(key, record.create, lease)
        self._held[lock] = _Held(dict(value), record.version)
        return lock

    def refresh(self, lock: Lock) -> None:
        if not self.keepalive(lock.lease):
            raise LockLost(f"the lease of {lock.key} has run out")

    def write(self, lock: Lock, puts: Mapping[str, Mapping[str, Any]], unchanged: Mapping[str, int]) -> bool:
        held = self._held.get(lock)
        if held is None:
            raise LockLost(f"{lock.key}: this process does not hold the lock of revision {lock.revision}")
        held.serial += 1
        value = {**held.value, "write": held.serial}
        while True:
            try:
                succeeded, found = self._txn(txn_write(lock, held.version, value, puts, unchanged))[:2]
            except _LeaseGone as why:
                raise LockLost(f"the lease of {lock.key} has run out") from why
            if succeeded:
                held.version += 1
                return True
            record = found.get(lock.key)
            if record is None or record.create != lock.revision:
                raise LockLost(f"{lock.key} is {'gone' if record is None else 'held by somebody else'}")
            if record.version == held.version:
                return False
            # Only this process writes the key: a write whose answer was lost was carried out, this or an older one.
            held.version = record.version
            if record.value.get("write") == held.serial:
                return True

    def unlock(self, lock: Lock) -> None:
        """Revoking the lease removes the key. When nobody answers the lease runs out by itself."""
        self._held.pop(lock, None)
        self._revoke(lock.lease)

    # --- leases ----------------------------------------------------------------------------------------------

    def grant(self, ttl: int) -> int:
        return int(self._post("/lease/grant", {"TTL": ttl, "ID": 0})["ID"])

    def keepalive(self, lease: int) -> bool:
        data = self._post("/lease/keepalive", {"ID": lease})
        return int(data.get("result", {}).get("TTL", 0)) > 0

    def _revoke(self, lease: int) -> None:
        with contextlib.suppress(Unavailable):  # then it runs out by itself
            self._post("/lease/revoke", {"ID": lease})

    # --- calls -----------------------------------------------------------------------------------------------

    def _txn(self, txn: Json) -> tuple[bool, dict[str, Record], bool]:
        """`parse_txn` and whether an earlier copy of the request may have been carried out."""
        said: list[str] = []
        return *parse_txn(self._post("/kv/txn", txn, said)), bool(said)

    def _post(self, path: str, body: Json, said: MutableSequence[str] | None = None) -> Json:
        """Ask the member that answered last, then the others, each once; `said` gets the words of those that failed."""
        said = [] if said is None else said
        if time.monotonic() - self._left >= HOME_AFTER:
            self._now = self._home
        for _ in self._members:
            url, client = self._members[self._now]
            try:
                return self._ask(client, path, body)
            except (exceptions.Etcd3Exception, requests.RequestException, ValueError, KeyError) as why:
                text = words(why)
                if LEASE_GONE in text:
                    raise _LeaseGone(f"{url}: {text}") from why
                if NO_RIGHT in text:
                    raise Denied(self._no_right(path, body)) from why
                said.append(f"{url}: {text}")
            if self._now == self._home:
                self._left = time.monotonic()
            self._now = (self._now + 1) % len(self._members)
        raise Unavailable(f"coordinator: no answer from any member: {'; '.join(said)}")

    def _ask(self, client: Any, path: str, body: Json) -> Json:
        """One member's answer, if need be with a new token. Raises what the client raises, ValueError, Denied."""
        for _ in range(LOGINS):
            try:
                answer = client.post(client.get_url(path), json=body)
            except exceptions.Etcd3Exception as why:
                if not any(text in words(why) for text in NO_TOKEN):
                    raise
                if self.login is None:
                    raise Denied(
                        "coordinator: etcd asks for a user and a password; name them (user, password_file)"
                    ) from why
                new = self.login.token(client)
                for _, other in self._members:
                    carry(other, new)
                continue
            if not isinstance(answer, dict):
                raise ValueError(f"answered {str(answer)[:WORDS]}")
            return answer
        raise ValueError(f"took none of {LOGINS} new tokens of {self.login and self.login.user}")

    def _no_right(self, path: str, body: Json) -> str:
        user = "nobody" if self.login is None else self.login.user
        what = ", ".join(keys_of(body)[:3]) or "a lease of somebody else's keys"
        return (
            f"coordinator: {user} has no right to {path.removeprefix('/')} on {what}; see docs/runbooks/coordinator.md"
        )


def _entry(record: Record | None) -> Entry:
    return Entry(None, 0) if record is None else Entry(record.value, record.mod)


def words(why: Exception) -> str:
    """etcd's own error text, else the exception's."""
    text = getattr(why, "detail_text", None) or str(why) or type(why).__name__
    with contextlib.suppress(ValueError, KeyError, TypeError):
        answer = json.loads(text)
        text = answer["message"] if "message" in answer else answer["error"]
    return " ".join(str(text).split())[:WORDS]

"""What etcd's administrator does, through the HTTP gateway: users, roles, rights, and a member that is made anew.

Source: etcd 3.5, api/etcdserverpb/rpc.proto (service Auth) and "Role-based access control". Each user has one role of
its own name. etcd keeps all of it in its data, so a member that comes back or is made anew learns it from the others.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import requests
from etcd3gw import exceptions

from ..core import keys
from ..core.model import Json
from ..core.ports import Unavailable
from ..core.rights import ADMIN, Grant
from .etcd import LOGINS, NO_TOKEN, WRONG_PASSWORD, Tls, carry, encode, member_client, prefix_end, token, words

AT_ONCE = 8  # each is short work for a member, and on a crowded machine a long wait for whoever asks


@dataclass(frozen=True, order=True)
class Permission:
    """One row of a role: `end` as etcd has it, empty for a single key."""

    kind: str
    key: str
    end: str

    def __str__(self) -> str:
        return f"{self.kind.lower()} {self.key}{'*' if self.end else ''}"


def permissions(grants: Iterable[Grant]) -> frozenset[Permission]:
    """Everybody reads all; who writes all of it has one row for both, since etcd keeps one row a range."""
    everything = Grant(keys.ROOT, prefix=True)
    found = set()
    for grant in {*grants, everything}:
        kind = "WRITE" if grant != everything else "READWRITE" if everything in grants else "READ"
        end = base64.b64decode(prefix_end(grant.key)).decode() if grant.prefix else ""
        found.add(Permission(kind, grant.key, end))
    return frozenset(found)


@dataclass(frozen=True)
class Found:
    """{user: its roles}, {role: its rows}."""

    users: Mapping[str, frozenset[str]]
    roles: Mapping[str, frozenset[Permission]]


@dataclass(frozen=True)
class Step:
    """A call and what it does, for people. `of`: the user or role that it is about; those of others need no order."""

    path: str
    body: Json
    words: str
    of: str = ""


def steps(found: Found, wanted: Mapping[str, frozenset[Permission]], passwords: Mapping[str, str]) -> list[Step]:
    """What makes `found` the wanted one. Rights are given before others are taken, so no work stops in between."""
    out: list[Step] = []
    for name, rows in sorted(wanted.items()):
        there = found.roles.get(name)
        if there is None:
            out.append(Step("/auth/role/add", {"name": name}, f"role {name}", name))
        old = {(p.key, p.end): p for p in there or ()}
        for row in sorted(rows - (there or frozenset())):
            perm = {"permType": row.kind, "key": encode(row.key), "range_end": encode(row.end)}
            out.append(Step("/auth/role/grant", {"name": name, "perm": perm}, f"{name} may {row}", name))
            old.pop((row.key, row.end), None)  # the same range: the row is replaced
        for row in sorted(p for p in old.values() if p not in rows):
            body = {"role": name, "key": encode(row.key), "range_end": encode(row.end)}
            out.append(Step("/auth/role/revoke", body, f"{name} may no longer {row}", name))
        roles = found.users.get(name)
        if roles is None:
            body = {"name": name, "password": passwords[name]}
            out.append(Step("/auth/user/add", body, f"user {name}", name))
        if roles is None or name not in roles:
            out.append(Step("/auth/user/grant", {"user": name, "role": name}, f"user {name} has role {name}", name))
        out += [
            Step("/auth/user/revoke", {"name": name, "role": role}, f"user {name} without role {role}", name)
            for role in sorted((roles or frozenset()) - {name})
        ]
    gone = sorted(found.users.keys() - wanted.keys())
    out += [Step("/auth/user/delete", {"name": name}, f"no user {name}", name) for name in gone]
    gone = sorted(found.roles.keys() - wanted.keys())
    out += [Step("/auth/role/delete", {"role": name}, f"no role {name}", name) for name in gone]
    return out


class Rights:
    """Speaks to the members as etcd's own administrator.

    `admin_passwords`: the present one first, then the one before, which counts while passwords are being changed.
    Raises Unavailable when no member answers or none takes a password.
    """

    def __init__(
        self, endpoints: Sequence[str], tls: Tls, admin_passwords: Sequence[str], timeout: float = 10.0
    ) -> None:
        self._members = [(url, member_client(url, tls, timeout)) for url in endpoints]
        self._plain = [(url, member_client(url, tls, timeout)) for url in endpoints]
        self._tls = tls
        self._passwords = admin_passwords
        self._turn = threading.Lock()  # of the members

    def on(self) -> bool:
        """Does the cluster ask for users at all?"""
        return bool(self._ask("/auth/status", {}).get("enabled", False))

    def find(self) -> Found:
        """Call `on` first."""
        return Found(_of_each(self._names("user"), self._roles), _of_each(self._names("role"), self._rows))

    def admin_steps(self, password: str) -> list[Step]:
        """What makes etcd's administrator, without whom it does not ask for users."""
        out = []
        there = ADMIN in self._ask("/auth/user/list", {}).get("users", ())
        if not there:
            out.append(Step("/auth/user/add", {"name": ADMIN, "password": password}, f"user {ADMIN}"))
        else:
            out.append(Step("/auth/user/changepw", {"name": ADMIN, "password": password}, f"password of {ADMIN}"))
        if ADMIN not in self._ask("/auth/role/list", {}).get("roles", ()):
            out.append(Step("/auth/role/add", {"name": ADMIN}, f"role {ADMIN}"))
        if not there or ADMIN not in self._roles(ADMIN):
            out.append(Step("/auth/user/grant", {"user": ADMIN, "role": ADMIN}, f"user {ADMIN} has role {ADMIN}"))
        return out

    def anew(self, name: str, peer_url: str) -> list[Step]:
        """What lets a member that has lost its data join again: etcd knows the old one and would not let it in."""
        self.on()
        members = self._ask("/cluster/member/list", {}).get("members", ())
        there = [m for m in members if peer_url in m.get("peerURLs", ())]
        if any(not m.get("name") for m in there):  # added, and not started yet
            return []
        for m in there:
            for url in m.get("clientURLs", ()):
                if self._runs(url):
                    raise Unavailable(f"coordinator: {name} runs at {url} and has its data; stop it if it is to go")
        out = [Step("/cluster/member/remove", {"ID": m["ID"]}, f"no member {name} ({m['ID']})") for m in there]
        return [*out, Step("/cluster/member/add", {"peerURLs": [peer_url]}, f"a new member at {peer_url}")]

    def _runs(self, url: str) -> bool:
        client = member_client(url, self._tls, 3.0)
        try:
            answer: Json = client.post(client.get_url("/maintenance/status"), json={})
        except (exceptions.Etcd3Exception, requests.RequestException, ValueError):
            return False
        return int(answer.get("raftIndex", 0)) > 0

    def take(self, step: Step) -> None:
        """Changed rights make the present token old."""
        self._ask(step.path, step.body)

    def take_all(self, todo: Sequence[Step], on: bool, done: list[str]) -> None:
        """`done` gets the words of each step behind it, also where one of them fails.

        Those of different users at once, then what is of nobody in particular; one by one where the cluster asks for
        users (`on`), since each makes the token old.
        """
        lanes: dict[str, list[Step]] = {}
        for step in todo:
            lanes.setdefault("" if on else step.of, []).append(step)

        def go(of: str) -> None:
            for step in lanes.get(of, ()):
                self.take(step)
                done.append(step.words)

        _of_each(filter(None, lanes), go)
        go("")

    def refused(self, passwords: Mapping[str, str]) -> list[str]:
        """Users whom it does not take with these passwords. Only while the cluster asks for users."""
        taken = _of_each(passwords, lambda user: self._takes_password(user, passwords[user]))
        return [user for user, took in taken.items() if not took]

    def _takes_password(self, user: str, password: str) -> bool:
        for url, client in self._plain:
            try:
                return token(client, user, password) is not None
            except exceptions.Etcd3Exception as why:
                if WRONG_PASSWORD in words(why):
                    return False
                said = f"{url}: {words(why)}"
        raise Unavailable(f"coordinator: no answer from any member: {said}")

    def _roles(self, user: str) -> frozenset[str]:
        return frozenset(self._ask("/auth/user/get", {"name": user}).get("roles", ()))

    def _rows(self, role: str) -> frozenset[Permission]:
        return frozenset(_row(perm) for perm in self._ask("/auth/role/get", {"role": role}).get("perm", ()))

    def _names(self, kind: str) -> list[str]:
        found: list[str] = self._ask(f"/auth/{kind}/list", {}).get(f"{kind}s", [])
        return [name for name in found if name != ADMIN]

    def _ask(self, path: str, body: Json) -> Json:
        """With a new token as often as it takes: on a crowded machine one may have run out before it is used."""
        for _ in range(LOGINS):
            try:
                return self._post(path, body)
            except exceptions.Etcd3Exception as why:
                if not any(text in words(why) for text in NO_TOKEN):
                    raise Unavailable(f"coordinator: {path}: {words(why)}") from why
                said = words(why)
            self._log_in()
        raise Unavailable(f"coordinator: {path}: {said}, with each of {LOGINS} new tokens")

    def _post(self, path: str, body: Json) -> Json:
        """Asked of the first member that answers. Raises Etcd3Exception for a refusal."""
        said = []
        with self._turn:
            members = list(self._members)
        for url, client in members:
            try:
                answer: Json = client.post(client.get_url(path), json=body)
            except (
                exceptions.ConnectionFailedError,
                exceptions.ConnectionTimeoutError,
                requests.RequestException,
            ) as why:
                said.append(f"{url}: {words(why)}")
                self._last((url, client))
                continue
            return answer
        raise Unavailable(f"coordinator: no answer from any member: {'; '.join(said)}")

    def _last(self, member: tuple[str, Any]) -> None:
        with self._turn:
            self._members.remove(member)
            self._members.append(member)

    def _log_in(self) -> None:
        for password in self._passwords:
            try:
                answer = self._post("/auth/authenticate", {"name": ADMIN, "password": password})
            except exceptions.Etcd3Exception as why:
                if WRONG_PASSWORD in words(why):
                    continue
                raise Unavailable(f"coordinator: {words(why)}") from why
            for _, client in self._members:
                carry(client, str(answer["token"]))
            return
        raise Unavailable(
            f"coordinator: etcd takes {ADMIN} with none of {len(self._passwords)} passwords; "
            "put the secret of before into coordinator_secret_previous (docs/runbooks/coordinator.md)"
        )


def _of_each[T](names: Iterable[str], ask: Callable[[str], T]) -> dict[str, T]:
    some = list(names)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(some, pool.map(ask, some), strict=True))


def _row(perm: Mapping[str, Any]) -> Permission:
    """READ is zero, and what is zero is left out."""
    key, end = (base64.b64decode(perm.get(name, "")).decode() for name in ("key", "range_end"))
    return Permission(str(perm.get("permType", "READ")), key, end)

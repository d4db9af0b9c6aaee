"""Users and rights in a real etcd cluster with TLS, set up as by role coordinator; skipped without `etcd` on PATH."""

from __future__ import annotations

import datetime
import importlib
import json
import shutil
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from ansible.module_utils.testing import patch_module_args
from cluster import ETCD, Cluster
from holdfast.adapters import etcd, etcd_rights
from holdfast.adapters.etcd import Denied, EtcdCoordinator, Login, Tls
from holdfast.adapters.etcd_rights import Found, Permission, permissions, steps
from holdfast.adapters.etcd_watch import ChangeWatch
from holdfast.adapters.pki import Authority, Leaf
from holdfast.core import keys
from holdfast.core.ports import Unavailable
from holdfast.core.rights import Grant

real = pytest.mark.skipif(ETCD is None, reason="no etcd on PATH")
TTL = 2  # seconds that a token holds
MX, STORE = "mx.alpha.example", "store1"
IDENTITIES = {MX: {"candidates": ["mail1", "mail2"], "relays": ["relay1", "relay2"], "store": STORE}}
STORES = {STORE: {"members": ["store1a", "store1b"]}}
USERS = ("mail1", "mail2", "relay1", "relay2", "store1a", "store1b", "operator", "root")
ME = Path(__file__).parent


def passwords(generation: int = 1, before: int | None = None) -> dict[str, list[str]]:
    return {u: [f"{u}-{g}" for g in (generation, before) if g is not None] for u in USERS}


class Secured:
    """A cluster, what hosts know of it, and the module that sets rights."""

    def __init__(self, folder: Path, capsys: Any = None) -> None:
        self.folder = folder
        pki = folder / "pki"
        authority = Authority(pki, "Holdfast", 365, 30, datetime.datetime.now(datetime.UTC))
        authority.make_authority()
        here = ("localhost", "127.0.0.1")
        authority.make(Leaf("member", ("coordinator.holdfast", *here), common_name=False))
        authority.make(Leaf("host", ("host", *here), common_name=False))
        authority.make(Leaf("named", ("named", *here)))
        key = folder / "token.key"
        key.write_text("0123456789abcdef" * 4)
        self.cluster = Cluster(
            folder,
            3,
            self.tls("member"),
            (
                f"--auth-token=jwt,priv-key={key},sign-method=HS256,ttl={TTL}s",
                "--bcrypt-cost=4",
                "--peer-cert-allowed-hostname=coordinator.holdfast",
            ),
        )

    def tls(self, name: str) -> Tls:
        pki = self.folder / "pki"
        return Tls(str(pki / "ca.pem"), str(pki / f"{name}.pem"), str(pki / f"{name}.key"))

    def login(self, user: str, *lines: str) -> Login:
        path = self.folder / f"{user}-{len(list(self.folder.iterdir()))}.password"
        path.write_text("".join(f"{line}\n" for line in lines or (f"{user}-1",)))
        return Login(user, str(path))

    def client(self, login: Login | None, tls: str = "host") -> EtcdCoordinator:
        files = self.tls(tls)
        return EtcdCoordinator(self.cluster.urls, files.ca, files.cert, files.key, 5, login=login)

    def user(self, name: str) -> EtcdCoordinator:
        return self.client(self.login(name))

    def module(self, capsys: pytest.CaptureFixture[str], check: bool = False, **more: Any) -> dict[str, Any]:
        module = importlib.import_module("ansible_collections.holdfast.mail.plugins.modules.coordinator_rights")
        files = self.tls("host")
        given = {
            "coordinator": {"endpoints": self.cluster.urls, "ca": files.ca, "cert": files.cert, "key": files.key},
            "identities": IDENTITIES,
            "stores": STORES,
            "without_fence_rights": ["relay1"],
            "passwords": passwords(),
            "_ansible_check_mode": check,
            **more,
        }
        capsys.readouterr()
        with patch_module_args(given), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Secured]:
    made = Secured(tmp_path)
    with made.cluster:
        yield made


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    made = Secured(tmp_path_factory.mktemp("secured"))
    with made.cluster:
        yield made


@pytest.fixture
def secured(running: Secured, capsys: pytest.CaptureFixture[str]) -> Secured:
    """With the rights of the inventory above, and asking for users."""
    assert running.module(capsys, enabled=True)["enabled"]
    return running


def test_everybody_reads_and_only_the_operator_has_one_row_for_both() -> None:
    everything = ("/holdfast/", "/holdfast0")
    assert permissions([Grant("/holdfast/a")]) == {
        Permission("READ", *everything),
        Permission("WRITE", "/holdfast/a", ""),
    }
    assert permissions([Grant(keys.ROOT, prefix=True)]) == {Permission("READWRITE", *everything)}


def test_rights_are_given_before_others_are_taken() -> None:
    old, new = Permission("WRITE", "/holdfast/old", ""), Permission("WRITE", "/holdfast/new", "")
    found = Found({"mail1": frozenset({"mail1"}), "gone": frozenset({"gone"})}, {"mail1": frozenset({old})})
    made = steps(found, {"mail1": frozenset({new})}, {"mail1": "x"})
    assert [s.words for s in made] == [
        "mail1 may write /holdfast/new",
        "mail1 may no longer write /holdfast/old",
        "no user gone",
    ]


def test_no_words_of_a_step_hold_a_password() -> None:
    made = steps(Found({}, {}), {"mail1": permissions([])}, {"mail1": "secret"})
    assert made and not any("secret" in s.words for s in made)


def test_keys_of_a_request_are_told() -> None:
    txn = etcd.txn_create("/holdfast/a", {"x": 1})
    assert etcd.keys_of(txn) == ["/holdfast/a"]


@real
class TestModule:
    def test_made_once_and_check_mode_makes_nothing(self, fresh: Secured, capsys: pytest.CaptureFixture[str]) -> None:
        told = fresh.module(capsys, check=True, enabled=True)
        assert told["changed"] and "user mail1" in told["done"] and "etcd asks for users" in told["done"]
        assert fresh.client(None).get("/holdfast/x").revision == 0, "check mode has switched it on"
        assert fresh.module(capsys)["enabled"] is False
        assert fresh.user("relay1").asks_users() is False
        done = fresh.module(capsys, enabled=True)
        assert done["enabled"] and "etcd asks for users" in done["done"]
        assert fresh.user("relay1").asks_users() is True
        again = fresh.module(capsys, enabled=True)
        assert (again["changed"], again["done"]) == (False, [])
        assert fresh.module(capsys, check=True)["changed"] is False

    def test_what_is_done_before_a_step_fails_is_told(self, fresh: Secured) -> None:
        """Of the other users' steps, too, and the next try goes on from there."""
        root = etcd_rights.Rights(fresh.cluster.urls, fresh.tls("host"), ["root-1"])
        wanted = {name: permissions([Grant(f"/holdfast/{name}")]) for name in ("mail1", "mail2")}
        words = {name: name for name in wanted}
        todo = steps(root.find(), wanted, words)
        bad = etcd_rights.Step("/auth/role/grant", {"name": "nobody"}, "nobody may", "nobody")
        last = etcd_rights.Step("/auth/role/add", {"name": "last"}, "role last")
        done: list[str] = []
        with pytest.raises(Unavailable, match="/auth/role/grant"):
            root.take_all([bad, *todo, last], False, done)
        assert "role last" not in done and set(done) <= {step.words for step in todo}
        left = steps(root.find(), wanted, words)
        assert {step.words for step in left} == {step.words for step in todo} - set(done)
        root.take_all([*left, last], False, done)
        assert steps(root.find(), {**wanted, "last": frozenset()}, {**words, "last": "x"})[0].words == "user last"

    def test_a_host_comes_and_one_goes(self, fresh: Secured, capsys: pytest.CaptureFixture[str]) -> None:
        fresh.module(capsys, enabled=True)
        with pytest.raises(Denied, match="mail3"):
            fresh.user("mail3").get("/holdfast/x")
        more = {MX: {**IDENTITIES[MX], "candidates": ["mail2", "mail3"]}}
        new = {**passwords(), "mail3": ["mail3-1"]}
        told = fresh.module(capsys, check=True, identities=more, passwords=new)["done"]
        made = fresh.module(capsys, identities=more, passwords=new)
        assert made["done"] == told, made.get("msg")
        assert {"user mail3", "no user mail1", "no role mail1"} <= set(told)
        fresh.user("mail3").put(keys.lease("mail3"), {"x": 1})
        with pytest.raises(Denied, match="mail1"):
            fresh.user("mail1").get("/holdfast/x")
        assert fresh.module(capsys, identities=more, passwords=new)["changed"] is False

    def test_a_right_by_hand_is_taken_back(self, secured: Secured, capsys: pytest.CaptureFixture[str]) -> None:
        root = etcd_rights.Rights(secured.cluster.urls, secured.tls("host"), ["root-1"])
        perm = {"permType": "WRITE", "key": etcd.encode("/holdfast/x"), "range_end": ""}
        root.take(etcd_rights.Step("/auth/role/grant", {"name": "mail1", "perm": perm}, ""))
        assert secured.module(capsys)["done"] == ["mail1 may no longer write /holdfast/x"]

    def test_a_token_that_has_run_out_before_its_use_is_bought_anew(
        self, secured: Secured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On a crowded machine more than once; not for ever where none holds."""
        root = etcd_rights.Rights(secured.cluster.urls, secured.tls("host"), ["root-1"])
        log_in, bought, bad = root._log_in, 0, 3

        def late() -> None:
            nonlocal bought
            log_in()
            bought += 1
            if bought <= bad:
                for _, client in root._members:
                    etcd.carry(client, "run out")

        monkeypatch.setattr(root, "_log_in", late)
        assert "mail1" in root._names("role") and bought == 4
        bought, bad = 0, 1000
        late()
        with pytest.raises(Unavailable, match=r"/auth/role/list: .*invalid auth token, with each of 10 new tokens"):
            root._names("role")

    def test_a_forgotten_secret_is_told(self, secured: Secured, capsys: pytest.CaptureFixture[str]) -> None:
        said = secured.module(capsys, passwords=passwords(7))["msg"]
        assert "coordinator_secret_previous" in said and "root-7" not in said and "\n" not in said

    def test_a_user_without_a_password_is_named(self, secured: Secured, capsys: pytest.CaptureFixture[str]) -> None:
        some = {**passwords(), "mail2": []}
        assert "mail2" in secured.module(capsys, passwords=some)["msg"]

    def test_it_is_set_through_the_members_that_are_left(
        self, fresh: Secured, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fresh.module(capsys, enabled=True)
        fresh.cluster.kill(0)
        deadline = time.monotonic() + 20
        while "msg" in (done := fresh.module(capsys, without_fence_rights=[])):
            assert time.monotonic() < deadline, done["msg"]
        assert any(line.startswith("relay1 may write") for line in done["done"])
        fresh.cluster.start(0)
        fresh.cluster.wait_healthy()
        files = fresh.tls("host")
        back = EtcdCoordinator(fresh.cluster.urls[:1], files.ca, files.cert, files.key, 5, login=fresh.login("relay1"))
        assert back.create(keys.owner(MX), {"epoch": 1})


@real
class TestMember:
    def module(
        self, secured: Secured, capsys: pytest.CaptureFixture[str], n: int, check: bool = False
    ) -> dict[str, Any]:
        module = importlib.import_module("ansible_collections.holdfast.mail.plugins.modules.coordinator_member")
        files = secured.tls("host")
        given = {
            "coordinator": {"endpoints": secured.cluster.urls, "ca": files.ca, "cert": files.cert, "key": files.key},
            "name": f"m{n}",
            "peer_url": secured.cluster.peers[n],
            "password": passwords()["root"],
            "_ansible_check_mode": check,
        }
        capsys.readouterr()
        with patch_module_args(given), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    def test_a_member_without_its_data_joins_and_has_the_rights(
        self, fresh: Secured, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fresh.module(capsys, enabled=True)
        fresh.user("relay2").put(keys.owner(MX), {"epoch": 1})
        assert "runs" in self.module(fresh, capsys, 0)["msg"], "a living member is left alone"
        fresh.cluster.kill(0)
        shutil.rmtree(fresh.folder / "0")
        deadline = time.monotonic() + 20
        while "msg" in (told := self.module(fresh, capsys, 0, check=True)):
            assert time.monotonic() < deadline, told
        assert [line.split(" (")[0] for line in told["done"]] == [
            "no member m0",
            f"a new member at {fresh.cluster.peers[0]}",
        ]
        while "msg" in (done := self.module(fresh, capsys, 0)):  # between losing a member and taking a new one
            assert "unhealthy cluster" in done["msg"] and time.monotonic() < deadline, done
        assert self.module(fresh, capsys, 0)["changed"] is False
        fresh.cluster.options = (*fresh.cluster.options, "--initial-cluster-state=existing")
        fresh.cluster.start(0)
        fresh.cluster.wait_healthy()
        files = fresh.tls("host")
        back = EtcdCoordinator(fresh.cluster.urls[:1], files.ca, files.cert, files.key, 5, login=fresh.login("mail1"))
        assert back.get(keys.owner(MX)).value == {"epoch": 1}
        with pytest.raises(Denied):
            back.put(keys.owner(MX), {"epoch": 2})


@real
class TestRights:
    @pytest.mark.parametrize(
        "key",
        [
            keys.lease("mail2"),
            keys.watchdog("mail2"),
            keys.report("mail2", MX),
            keys.ready("mail2", MX),
            keys.owner(MX),
            keys.owner(STORE),
            keys.lock(MX),
            keys.takeover(MX),
            keys.run(MX, "r"),
            keys.evidence(MX, "relay2"),
            keys.request(MX),
            keys.inoperable(MX),
            keys.fence("mail2", MX),
            keys.fence("mail1", MX),
            keys.confirmed_off("mail2"),
            keys.access(STORE, MX),
            keys.insync(STORE),
            "/holdfast/identity/new/owner",
            "/elsewhere",
        ],
    )
    def test_a_mail_host_writes_nothing_of_others(self, secured: Secured, key: str) -> None:
        one, operator = secured.user("mail1"), secured.user("operator")
        if key.startswith(keys.ROOT):
            operator.put(key, {"n": 1})
        lease = one.grant(30)
        for write in (
            lambda: one.put(key, {"n": 2}),
            lambda: one.put(key, {"n": 2}, lease),
            lambda: one.create(f"{key}", {"n": 2}),
            lambda: one.replace(key, {"n": 2}, {key: 0}),
            lambda: one.delete(key),
            lambda: one.lock(key, {"n": 2}, 30),
        ):
            with pytest.raises(Denied, match="mail1 has no right") as said:
                write()
            assert key in str(said.value) and "\n" not in str(said.value)
        if key.startswith(keys.ROOT):
            assert one.get(key).value == {"n": 1}
            operator.delete(key)

    def test_a_mail_host_writes_its_own(self, secured: Secured) -> None:
        one = secured.user("mail1")
        lease = one.grant(30)
        one.put(keys.lease("mail1"), {"host": "mail1"}, lease)
        one.put(keys.watchdog("mail1"), {"x": 1})
        one.put(keys.ready("mail1", MX), {"x": 1})
        one.put(keys.report("mail1", MX), {"x": 1})
        assert set(one.list(keys.host("mail1"))) >= {keys.lease("mail1"), keys.report("mail1", MX)}
        assert one.keepalive(lease)

    def test_nobody_ends_anothers_lease_or_hangs_a_key_on_it(self, secured: Secured) -> None:
        one, other = secured.user("mail1"), secured.user("mail2")
        lease = other.grant(30)
        other.put(keys.lease("mail2"), {"host": "mail2"}, lease)
        with pytest.raises(Denied, match="mail1 has no right"):
            one._post("/lease/revoke", {"ID": lease})
        with pytest.raises(Denied):
            one.put(keys.lease("mail1"), {"host": "mail1"}, lease)
        assert other.keepalive(lease)

    def test_nothing_else_is_read_and_no_user_is_managed(self, secured: Secured) -> None:
        one = secured.user("mail1")
        for refused in (
            lambda: one.list("/"),
            lambda: one.get("/elsewhere"),
            lambda: one._post("/auth/user/list", {}),
            lambda: one._post("/auth/user/changepw", {"name": "mail2", "password": "x"}),
            lambda: one._post("/auth/role/get", {"role": "mail2"}),
            lambda: one._post("/auth/disable", {}),
            lambda: one._post("/cluster/member/remove", {"ID": 1}),
        ):
            with pytest.raises(Denied):
                refused()

    def test_a_relay_takes_over_and_gives_no_operators_word(self, secured: Secured) -> None:
        relay = secured.user("relay2")
        lock = relay.lock(keys.lock(MX), {"run": "r"}, 30)
        assert lock is not None
        puts = {keys.takeover(MX): {}, keys.fence("mail1", MX): {}, keys.owner(MX): {"epoch": 2}, keys.run(MX, "r"): {}}
        assert relay.write(lock, puts, {})
        relay.put(keys.evidence(MX, "relay2"), {"downs": 1})
        relay.delete(keys.run(MX, "r"))
        relay.unlock(lock)
        for key in (
            keys.inoperable(MX),
            keys.confirmed_off("mail1"),
            keys.evidence(MX, "relay1"),
            keys.owner(STORE),
            keys.lease("mail1"),
            keys.access(STORE, MX),
        ):
            with pytest.raises(Denied):
                relay.put(key, {})

    def test_a_relay_without_fence_rights_only_asks(self, secured: Secured) -> None:
        relay = secured.user("relay1")
        relay.put(keys.request(MX), {"relay": "relay1"})
        relay.put(keys.evidence(MX, "relay1"), {"downs": 1})
        with pytest.raises(Denied):
            relay.lock(keys.lock(MX), {"run": "r"}, 30)
        with pytest.raises(Denied):
            relay.put(keys.fence("mail1", MX), {})

    def test_a_store_server_takes_its_own_store_over_and_no_identity(self, secured: Secured) -> None:
        server = secured.user("store1b")
        lock = server.lock(keys.lock(STORE), {"run": "r"}, 30)
        assert lock is not None
        assert server.write(lock, {keys.owner(STORE): {"epoch": 2}, keys.fence("store1a", STORE): {}}, {})
        server.unlock(lock)
        server.put(keys.insync(STORE), {"members": ["store1b"]})
        server.put(keys.access(STORE, MX), {"admitted": None})
        for key in (keys.owner(MX), keys.lease("store1a"), keys.fence("mail1", MX), keys.insync("store2")):
            with pytest.raises(Denied):
                server.put(key, {})

    def test_a_certificate_gives_nothing(self, secured: Secured) -> None:
        """Neither with nor without a common name, nor the member's own, which its gateway uses (no Accept header)."""
        for tls in ("host", "named", "member"):
            with pytest.raises(Unavailable):
                secured.client(None, tls).get("/holdfast/x")
        session, files = requests.Session(), secured.tls("host")
        session.verify, session.cert = files.ca, (files.cert, files.key)  # type: ignore[assignment]
        session.trust_env = False
        session.headers["Accept"] = None  # type: ignore[assignment]
        body = {"key": etcd.encode(keys.owner(MX)), "value": etcd.encode("{}")}
        answer = session.post(f"{secured.cluster.urls[0]}/v3/kv/put", json=body, timeout=5)
        assert answer.status_code == 403 and "permission denied" in answer.text

    def test_the_gateway_turns_certificates_with_a_common_name_away(self, secured: Secured) -> None:
        """Why the certificates of hosts have none."""
        with pytest.raises(Unavailable, match="CommonName"):
            secured.client(secured.login("mail1"), "named").get("/holdfast/x")

    def test_only_members_speak_to_members(self, secured: Secured) -> None:
        def ask(name: str) -> int:
            files = secured.tls(name)
            context = ssl.create_default_context(cafile=files.ca)
            context.load_cert_chain(str(files.cert), files.key)
            with urllib.request.urlopen(f"{secured.cluster.peers[0]}/members", timeout=5, context=context) as answer:
                return int(answer.status)

        assert ask("member") == 200
        with pytest.raises(OSError, match=r"alert|reset|closed|EOF"):
            ask("host")


@real
class TestTokens:
    def test_a_token_that_runs_out_costs_nobody_an_error(self, secured: Secured) -> None:
        one = secured.user("relay2")
        lock = one.lock(keys.lock(MX), {"run": "r"}, 30)
        assert lock is not None
        end, n = time.monotonic() + 3 * TTL, 0
        seen: set[object] = set()
        while time.monotonic() < end:
            n += 1
            one.put(keys.evidence(MX, "relay2"), {"n": n})
            assert one.get(keys.evidence(MX, "relay2")).value == {"n": n}
            assert one.write(lock, {keys.takeover(MX): {"n": n}}, {})
            one.refresh(lock)
            seen.add(one._members[0][1].session.headers.get("Authorization"))
        assert len(seen) >= 2, "no token has run out meanwhile: the test shows nothing"
        one.unlock(lock)

    def test_changes_of_rights_cost_nobody_an_error(self, secured: Secured, capsys: pytest.CaptureFixture[str]) -> None:
        one = secured.user("mail1")
        over, said, n = threading.Event(), [], 0

        def work() -> None:
            nonlocal n
            try:
                while not over.is_set():
                    n += 1
                    one.put(keys.report("mail1", MX), {"n": n})
                    one.list(keys.host("mail1"))
            except Unavailable as why:
                said.append(str(why))

        thread = threading.Thread(target=work)
        thread.start()
        try:
            for some in ([], ["relay1"], []):
                assert secured.module(capsys, without_fence_rights=some)["changed"] or some == ["relay1"]
        finally:
            over.set()
            thread.join()
        assert said == [] and n > 20

    def test_a_watch_outlives_its_token_and_the_next_begins_with_a_new_one(self, secured: Secured) -> None:
        tls, operator = secured.tls("host"), secured.user("operator")
        login = secured.login("mail1")
        watch = ChangeWatch(secured.cluster.urls, tls, (keys.IDENTITIES,), threading.Event(), 10.0, login)
        for n in range(2):
            changes = watch._changes(watch._members[0])
            next(changes)  # it has begun
            time.sleep(TTL + 1.0)
            operator.put(keys.owner(MX), {"n": n})
            next(changes)  # raises when the watch was refused or ended
            changes.close()

    def test_a_watch_without_a_right_is_refused(self, secured: Secured) -> None:
        watch = ChangeWatch(secured.cluster.urls, secured.tls("host"), ("/elsewhere/",), threading.Event(), 10.0)
        changes = watch._changes(watch._members[0])
        next(changes)
        with pytest.raises(ValueError, match=r"canceled|empty|denied"):
            next(changes)

    def test_passwords_change_without_an_error(self, fresh: Secured, capsys: pytest.CaptureFixture[str]) -> None:
        fresh.module(capsys, enabled=True)
        path = fresh.folder / "mail1.password"
        path.write_text("mail1-1\n")
        one = fresh.client(Login("mail1", str(path)))
        one.put(keys.lease("mail1"), {"n": 1})
        path.write_text("mail1-2\nmail1-1\n")  # role base, before role coordinator
        one.put(keys.lease("mail1"), {"n": 2})
        told = fresh.module(capsys, passwords=passwords(2, 1))["done"]
        assert sorted(told) == sorted(f"password of {user}" for user in USERS)
        assert fresh.module(capsys, passwords=passwords(2, 1))["changed"] is False
        one.put(keys.lease("mail1"), {"n": 3})
        path.write_text("mail1-2\n")
        one.put(keys.lease("mail1"), {"n": 4})
        assert fresh.module(capsys, passwords=passwords(2))["changed"] is False
        with pytest.raises(Denied, match="does not take mail1"):
            fresh.client(fresh.login("mail1", "mail1-1")).get("/holdfast/x")

    def test_switched_on_under_work(self, fresh: Secured, capsys: pytest.CaptureFixture[str]) -> None:
        """The way of a cluster that asked nobody until now: lease, lock and watch go on."""
        one, relay, wake = fresh.user("mail1"), fresh.user("relay2"), threading.Event()
        lease = one.grant(30)
        one.put(keys.lease("mail1"), {"n": 1}, lease)
        lock = relay.lock(keys.lock(MX), {"run": "r"}, 30)
        assert lock is not None
        watch = ChangeWatch(fresh.cluster.urls, fresh.tls("host"), (keys.IDENTITIES,), wake, login=fresh.login("mail1"))
        watch.start()
        try:
            assert wake.wait(10)
            assert fresh.module(capsys, enabled=True)["enabled"]
            assert one.keepalive(lease)
            one.put(keys.lease("mail1"), {"n": 2}, lease)
            wake.clear()
            assert relay.write(lock, {keys.owner(MX): {"epoch": 2}}, {})
            assert wake.wait(10)
        finally:
            watch.stop()
        with pytest.raises(Denied, match="asks for a user"):
            fresh.client(None).get("/holdfast/x")

    @pytest.mark.parametrize(
        ("login", "words"),
        [
            (lambda s: s.login("mail1", "wrong"), "does not take mail1 with the password of"),
            (lambda s: s.login("nobody", "x"), "does not take nobody"),
            (lambda s: Login("mail1", "/nowhere/password"), "/nowhere/password: No such file or directory"),
            (lambda s: None, "asks for a user and a password"),
        ],
    )
    def test_who_is_refused_is_told_so_in_one_line(
        self, secured: Secured, login: Callable[[Secured], Login | None], words: str
    ) -> None:
        with pytest.raises(Unavailable) as said:
            secured.client(login(secured)).get("/holdfast/x")
        assert words in str(said.value) and str(said.value).startswith("coordinator: ") and "\n" not in str(said.value)

    def test_tokens_outlive_members(self, fresh: Secured, capsys: pytest.CaptureFixture[str]) -> None:
        fresh.module(capsys, enabled=True)
        one = fresh.user("mail1")
        one.put(keys.lease("mail1"), {"n": 1})
        for n in range(3):
            fresh.cluster.kill(n)
            deadline = time.monotonic() + 20
            while True:
                with suppress(Unavailable):
                    one.put(keys.lease("mail1"), {"n": n})
                    break
                assert time.monotonic() < deadline
            fresh.cluster.start(n)
            fresh.cluster.wait_healthy()
        assert one.get(keys.lease("mail1")).value == {"n": 2}

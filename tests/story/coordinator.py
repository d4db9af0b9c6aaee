"""Reads what the product has written into the coordinator, by asking a member on its own host."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import select
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from holdfast.adapters.etcd import encode, encode_value, range_read
from holdfast.core import keys
from holdfast.core.model import Json, Owner, Run

from .machines import ROOT, Lab, StoryError

MEMBER = "witness1"
USER = "operator"
ANSWER = Path(__file__).parent / "on_member" / "answer.py"
PATIENCE, SPARE = 30, 30  # seconds for one question: an election may be under way, and the connection must be made
SECRETS = ROOT / "inventories" / "compact" / "group_vars" / "all" / "secrets.yml"


def password(user: str, secrets: Path = SECRETS) -> str:
    """As role topology derives it."""
    secret = yaml.safe_load(secrets.read_text())["coordinator_secret"]
    return hashlib.sha512(f"{secret}:{user}".encode()).hexdigest()[:64]


class Asker:
    """A member's words, through one connection that stays open until the member or its host ends."""

    def __init__(self, lab: Lab, member: str) -> None:
        self._lab, self._member = lab, member
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, path: str, body: Json) -> Json:
        """The gateway's answer. Raises StoryError when there is none."""
        begun = self._process is None
        try:
            answer = self._asked(path, body)
        except StoryError:
            if begun:
                raise
            answer = self._asked(path, body)  # the connection of before ended with its host
        if "error" in answer:
            raise StoryError(f"etcd on {self._member}: {answer['error']}")
        return answer

    def _asked(self, path: str, body: Json) -> Json:
        process = self._process = self._process or self._begin()
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        try:
            process.stdin.write(json.dumps({"path": path, "body": body}).encode() + b"\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], PATIENCE + SPARE)
            line = process.stdout.readline() if ready else b""
        except OSError as why:
            line, ready = str(why).encode(), []
        if not line.endswith(b"\n"):
            self._process = None
            process.kill()
            _, error = process.communicate()
            raise StoryError(f"etcd on {self._member}: no answer: {error.decode(errors='replace').strip()[-500:]}")
        answer: Json = json.loads(line)
        return answer

    def _begin(self) -> subprocess.Popen[bytes]:
        words = ("python3", "-c", ANSWER.read_text(), self._member, USER, password(USER), str(PATIENCE))
        command = self._lab.command("exec", self._member, "--", *words)
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )


@functools.cache
def asker(lab: Lab, member: str) -> Asker:
    """One for all who ask this member."""
    return Asker(lab, member)


@dataclass(frozen=True)
class Records:
    """Linearizable reads through `member`, with the operator's rights."""

    lab: Lab
    member: str = MEMBER

    def etcdctl(self, *args: str) -> str:
        """What etcd's own client says, about members for example."""
        tls = "/etc/holdfast/tls"
        files = f"--cacert {tls}/ca.pem --cert {tls}/{self.member}.pem --key {tls}/{self.member}.key"
        words = " ".join(f"'{a}'" for a in args)
        return self.lab.shell(
            self.member,
            f"ETCDCTL_USER={USER} ETCDCTL_PASSWORD={password(USER)} "
            f"etcdctl --dial-timeout=30s --command-timeout=30s --endpoints https://127.0.0.1:2379 {files} {words}",
        )

    def get(self, prefix: str) -> dict[str, Any]:
        """All keys below `prefix` with their JSON values."""
        answer = asker(self.lab, self.member).ask("/kv/range", range_read(prefix))
        return {
            base64.b64decode(kv["key"]).decode(): json.loads(base64.b64decode(kv["value"]))
            for kv in answer.get("kvs", [])
        }

    def put(self, key: str, value: dict[str, Any]) -> None:
        asker(self.lab, self.member).ask("/kv/put", {"key": encode(key), "value": encode_value(value)})

    def flag_inoperable(self, identity: str, reason: str) -> None:
        """As an operator does against the present owner: the threshold is not waited for."""
        owner = self.owner(identity)
        assert owner is not None
        value = {"by": "test", "reason": reason, "time": time.time(), "epoch": owner.epoch}
        self.put(keys.inoperable(identity), value)

    def owner(self, identity: str) -> Owner | None:
        value = self.get(keys.owner(identity)).get(keys.owner(identity))
        return None if value is None else Owner.from_json(value)

    def run(self, identity: str) -> Run | None:
        value = self.get(keys.takeover(identity)).get(keys.takeover(identity))
        return None if value is None else Run.from_json(value)

"""Reads what the product has written into the coordinator, through etcd's own client on a member."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from holdfast.core import keys
from holdfast.core.model import Owner, Run

from .machines import ROOT, Lab

MEMBER = "witness1"
SECRETS = ROOT / "inventories" / "compact" / "group_vars" / "all" / "secrets.yml"


def password(user: str, secrets: Path = SECRETS) -> str:
    """As role topology derives it."""
    secret = yaml.safe_load(secrets.read_text())["coordinator_secret"]
    return hashlib.sha512(f"{secret}:{user}".encode()).hexdigest()[:64]


@dataclass(frozen=True)
class Records:
    """Linearizable reads through `member`, with the operator's rights."""

    lab: Lab
    member: str = MEMBER

    def etcdctl(self, *args: str) -> str:
        tls = "/etc/holdfast/tls"
        files = f"--cacert {tls}/ca.pem --cert {tls}/{self.member}.pem --key {tls}/{self.member}.key"
        words = " ".join(f"'{a}'" for a in args)
        return self.lab.shell(
            self.member,
            f"ETCDCTL_USER=operator ETCDCTL_PASSWORD={password('operator')} "
            f"etcdctl --dial-timeout=30s --command-timeout=30s --endpoints https://127.0.0.1:2379 {files} {words}",
        )

    def get(self, prefix: str) -> dict[str, Any]:
        """All keys below `prefix` with their JSON values."""
        answer = json.loads(self.etcdctl("get", "--prefix", prefix, "-w", "json"))
        return {
            base64.b64decode(kv["key"]).decode(): json.loads(base64.b64decode(kv["value"]))
            for kv in answer.get("kvs", [])
        }

    def put(self, key: str, value: dict[str, Any]) -> None:
        self.etcdctl("put", key, json.dumps(value))

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

"""What the stage of the full network makes of its hosts' words, told by a lab that is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.full_network.network import INTERNET, Network
from tests.full_network.stage import NetworkStage
from tests.story.coordinator import Records
from tests.story.machines import Lab

NETWORK = Network.load()
PAIR = NETWORK.pair(INTERNET, "sjc")
FIRST, SECOND = PAIR.hosts
NAMES = ["mx.alpha.example", "mx2.alpha.example"]


@dataclass(frozen=True)
class Told(Lab):
    """`said`: by each host to whatever it is asked."""

    said: dict[str, Any] = field(default_factory=dict)

    def shell(self, host: str, script: str, check: bool = True, timeout: float = 300) -> str:
        return "\n".join(f"3: dmz inet {address}/32 scope global dmz" for address in self.said[host])

    def python(self, host: str, source: Path, *args: str, timeout: float = 300) -> Any:
        return self.said[host]


def stage(**said: Any) -> NetworkStage:
    lab = Told(said={name.replace("_", "-"): words for name, words in said.items()})
    return NetworkStage(lab, Records(lab), NETWORK)


@pytest.mark.parametrize(
    ("first", "second", "astray"),
    [
        ((0,), (1,), ()),
        ((), (0, 1), (0,)),
        ((0, 1), (1,), (1,)),
        ((), (), (0, 1)),
        ((1,), (0,), (0, 1)),
    ],
)
def test_an_address_is_at_home_on_one_host_alone(
    first: tuple[int, ...], second: tuple[int, ...], astray: tuple[int, ...]
) -> None:
    held = {host: [PAIR.addresses[n] for n in some] for host, some in ((FIRST, first), (SECOND, second))}
    made = stage(**{host.replace("-", "_"): some for host, some in held.items()})
    assert made.astray(PAIR) == [PAIR.addresses[n] for n in astray]


def server(name: str, status: str = "UP", share: int = 100) -> dict[str, Any]:
    return {"protocol": "smtp", "name": name, "status": status, "share": share, "connected": 0, "backup": False}


def test_a_redirector_that_knows_no_such_server_does_not_send_to_it() -> None:
    assert stage(sjc_din1=[server(name) for name in NAMES]).down(FIRST, NAMES) == []
    assert stage(sjc_din1=[server(NAMES[0])]).down(FIRST, NAMES) == [f"HAProxy on {FIRST} knows no {NAMES[1]}"]
    said = [server(NAMES[0], "DOWN (agent)"), server(NAMES[1], "DRAIN", 0)]
    assert stage(sjc_din1=said).down(FIRST, NAMES) == [f"smtp {name}" for name in NAMES]

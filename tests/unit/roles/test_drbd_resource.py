"""DRBD's resource file for both majors: 8.4, which the lab runs, and 9, of which there is only this and its manual."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROLE = Path(__file__).parents[3] / "roles" / "store"


def rendered(major: int) -> dict[str, str]:
    """Section to its text, `net` for example; the hosts' ones as `on HOST`."""
    values: dict[str, Any] = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    values |= {
        "__store_major": str(major),
        "__store_name": "store1",
        "__store_drbd": "/dev/drbd0",
        "__store_pair": {"members": ["store1a", "store1b"]},
        "topology_storage": {"store1a": "10.1.3.21", "store1b": "10.1.3.22"},
        "store_device": "/dev/sdb",
        "store_drbd_port": 7789,
        "drbd_secret": "secret",
        "ansible_managed": "Ansible managed",
    }
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701
    text = environment.from_string((ROLE / "templates" / "resource.res.j2").read_text()).render(values)
    assert text.count("{") == text.count("}")
    body = re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE)
    return dict(re.findall(r"^  ([a-z]+(?: \w+)?) \{\n(.*?)^  \}", body, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize(("major", "section"), [(8, "disk"), (9, "net")])
def test_writes_wait_for_the_fence_whatever_the_major(major: int, section: str) -> None:
    """`fencing` is an option of `disk` in 8.4 and of `net` in 9 (drbd.conf(5) of each)."""
    found = rendered(major)
    assert [name for name, text in found.items() if "fencing resource-and-stonith;" in text] == [section]
    assert "fence-peer " in found["handlers"] and "local-io-error " in found["handlers"]
    assert "protocol C;" in found["net"]


def test_a_disk_that_hangs_counts_as_failed() -> None:
    disk = rendered(8)["disk"]
    assert "disk-timeout 600;" in disk and "on-io-error call-local-io-error;" in disk


def test_nobody_but_the_agent_makes_a_member_primary() -> None:
    """DRBD 9 promotes whoever opens the device for writing, 8.4 never does (and does not know the option)."""
    assert "auto-promote no;" in rendered(9)["options"]
    assert "options" not in rendered(8)


def test_members_of_nine_have_numbers_of_their_own() -> None:
    numbers = {name: re.findall(r"node-id (\d+);", text) for name, text in rendered(9).items() if name.startswith("on")}
    assert numbers == {"on store1a": ["0"], "on store1b": ["1"]}
    assert "node-id" not in rendered(8)["on store1a"]

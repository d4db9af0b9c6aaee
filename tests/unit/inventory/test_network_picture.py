"""The pictures in docs are those of the inventories, and nothing in them stands in the way of anything else."""

from __future__ import annotations

import copy
import itertools
import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.holdfast.mail.plugins.plugin_utils.network_picture import model, plan, svg
from ansible_collections.holdfast.mail.plugins.plugin_utils.network_picture.shapes import Box, Picture, Text
from holdfast.core import customers

ROOT = Path(__file__).resolve().parents[3]
INVENTORIES = sorted(p.name for p in (ROOT / "inventories").iterdir() if (p / "hosts.yml").exists())
Known = tuple[dict[str, Any], dict[str, list[str]]]


ENVIRONMENT = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}


@cache
def _read(name: str) -> Known:
    argv = ["ansible-inventory", "-i", str(ROOT / "inventories" / name), "--list"]
    done = subprocess.run(argv, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    hostvars = said.pop("_meta")["hostvars"]
    for known in hostvars.values():
        if isinstance(known.get("identities"), str):  # ansible-inventory resolves no expression
            known["identities"] = customers.served(known["identity_servers"], known["customers"], known["stores"])
    groups = {group: list(value.get("hosts", [])) for group, value in said.items()} | {"all": list(hostvars)}
    return hostvars, groups


def read(name: str) -> Known:
    """What Ansible knows, to be changed at will."""
    return copy.deepcopy(_read(name))


def drawn(known: Known) -> Picture:
    return plan.draw(model.read(*known, "trial"))


@pytest.mark.parametrize("name", ["compact", "full"])
def test_the_committed_picture_is_that_of_the_inventory(name: str, tmp_path: Path) -> None:
    made = tmp_path / "picture.svg"
    argv = [
        "ansible-playbook",
        "-i",
        str(ROOT / "inventories" / name),
        "playbooks/picture.yml",
        "-e",
        f"picture={made}",
    ]
    done = subprocess.run(argv, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    committed = ROOT / "docs" / f"network-{name}.svg"
    assert made.read_bytes() == committed.read_bytes(), f"{committed.name} is of another inventory: make picture"


@pytest.mark.parametrize("name", INVENTORIES)
def test_every_host_has_a_box_and_every_leg_a_wire(name: str) -> None:
    known = read(name)
    picture = drawn(known)
    legs = {(host, s) for host, v in known[0].items() for s in v["legs"] if s != "mgmt"}
    assert sorted(box.what for box in picture.boxes) == sorted(known[0])
    assert sorted((wire.host, wire.segment) for wire in picture.wires) == sorted(legs)


@pytest.mark.parametrize(
    ("host", "group", "legs"),
    [
        ("sjc-min3", "mail", {"sjc-dmz": "10.1.1.15", "sjc-storage": "10.1.3.15"}),
        # In the row through which wires of relays and routers run.
        ("sjc-ns1", "dns", {"sjc-intra": "10.1.2.53"}),
    ],
)
def test_one_more_host_is_one_more_box(host: str, group: str, legs: dict[str, str]) -> None:
    hostvars, groups = read("full")
    before = {box.what for box in drawn((hostvars, groups)).boxes}
    hostvars[host] = hostvars["sjc-min2"] | {"legs": legs}
    for name in ("all", group):
        groups[name].append(host)
    picture = drawn((hostvars, groups))
    assert {box.what for box in picture.boxes} - before == {host}
    assert len(picture.boxes) == len(before) + 1
    in_the_way(picture)


def test_a_third_and_a_fourth_data_centre_stand_below(tmp_path: Path) -> None:
    hostvars, groups = read("compact")
    settings: dict[str, Any] = hostvars["mail1"]
    for n, place in ((3, "dc3"), (4, "dc4")):
        for kind, network in (("dmz", "internet"), ("iso", "isolated"), ("storage", "storage")):
            for known in hostvars.values():
                known["sites"][place] = {"description": "another"}
                known["segments"][f"{kind}{n}"] = {"network": network, "prefix": f"10.{n}.{len(kind)}.0/24"}
            hostvars["gw1"]["legs"][f"{kind}{n}"] = f"10.{n}.{len(kind)}.1"
        legs = {f"{kind}{n}": f"10.{n}.{len(kind)}.11" for kind in ("dmz", "iso", "storage")}
        hostvars[f"mail{n}"] = settings | {"site": place, "legs": legs}
        for group in ("all", "mail"):
            groups[group].append(f"mail{n}")
    picture = drawn((hostvars, groups))
    frames = {frame.what: frame for frame in picture.frames}
    assert frames["dc3"].x == frames["dc1"].x and frames["dc3"].y > frames["dc1"].bottom
    assert frames["dc4"].x == frames["dc2"].x
    assert [box.what for box in picture.boxes].count("gw1") == 2, "a router between sites, beside each pair of them"
    in_the_way(picture)


def test_the_order_of_hosts_and_legs_decides_nothing() -> None:
    """That of sites does: the first data centre stands on the left."""
    hostvars, groups = read("full")
    other = read("full")[0]
    for known in other.values():
        for key in ("legs", "segments"):
            known[key] = dict(reversed(known[key].items()))
    turned = dict(reversed(other.items())), {g: list(reversed(hosts)) for g, hosts in groups.items()}
    assert svg.write(drawn((hostvars, groups))) == svg.write(drawn(turned))


@pytest.mark.parametrize("name", INVENTORIES)
def test_nothing_is_in_the_way(name: str) -> None:
    picture = drawn(read(name))
    in_the_way(picture)
    assert max(frame.right for frame in picture.frames) <= picture.width
    assert max(t.left + t.width for t in picture.texts) <= picture.width


def overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    """Of two rectangles (left, top, right, bottom)."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def of_box(box: Box) -> tuple[float, float, float, float]:
    return box.x, box.y, box.right, box.bottom


def of_text(text: Text) -> tuple[float, float, float, float]:
    return text.left, text.y - 0.75 * text.size, text.left + text.width, text.y + 0.2 * text.size


def in_the_way(picture: Picture) -> None:
    """Boxes and bars do not overlap, texts do not, and no wire runs behind another host's box or through a text."""
    solid = picture.boxes + picture.bars
    for a, b in itertools.combinations(solid, 2):
        assert not overlap(of_box(a), of_box(b)), f"{a.what} and {b.what}"
    for t, u in itertools.combinations(picture.texts, 2):
        assert not overlap(of_text(t), of_text(u)), f"{t.text!r} and {u.text!r}"
    for wire in picture.wires:
        for (x0, y0), (x1, y1) in itertools.pairwise(wire.points):
            way = min(x0, x1) - 0.8, min(y0, y1) - 0.8, max(x0, x1) + 0.8, max(y0, y1) + 0.8
            for box in picture.boxes:
                assert box.what == wire.host or not overlap(way, of_box(box)), f"{wire.host} behind {box.what}"
            for text in picture.texts:
                behind_a_bar = any(overlap(of_text(text), of_box(bar)) for bar in picture.bars)
                assert behind_a_bar or not overlap(way, of_text(text)), f"{wire.host}-{wire.segment}: {text.text!r}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h, g: h["mail1"].update(site="dc9"), "mail1: its site is dc9; name one of sites: dc1, dc2"),
        (
            lambda h, g: h["mail1"]["legs"].update(dmz9="10.9.9.9"),
            "mail1: it has a leg in dmz9; name one of segments: ",
        ),
        (lambda h, g: g["mail"].remove("mail1"), "mail1 is in no group that is drawn; put it in one of: router, "),
        (lambda h, g: h["client1"]["segments"]["dmz1"].update(prefix="10.1"), "segments.dmz1.prefix is 10.1: "),
        (lambda h, g: (h.clear(), g.clear()), "the inventory has no hosts"),
    ],
)
def test_what_cannot_be_drawn_is_named(change: Any, said: str) -> None:
    hostvars, groups = read("compact")
    change(hostvars, groups)
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        model.read(hostvars, groups, "trial")

"""keepalived.conf: the number of an instance stays while others come and go; keepalived goes by it on a reload."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path

import jinja2
import yaml

ROLE = Path(__file__).parents[3] / "roles" / "address"
HELD = {"mx.alpha.example": "203.0.113.10", "store1": "10.1.3.40", "zeta.example": "203.0.113.12"}


def numbers(held: Mapping[str, str]) -> dict[str, int]:
    """{name: virtual_router_id}, from the rendered file."""
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701
    variables = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    values = {"__address_held": held, "ansible_managed": "Ansible managed", "inventory_hostname": "mail1"}
    values["__address_numbers"] = ast.literal_eval(
        environment.from_string(variables["__address_numbers"]).render(values)
    )
    text = environment.from_string((ROLE / "templates" / "keepalived.conf.j2").read_text()).render(values)
    found = re.findall(r"^vrrp_instance (\S+) {.*?virtual_router_id (\d+)$", text, re.MULTILINE | re.DOTALL)
    return {name: int(number) for name, number in found}


def test_nobodys_number_changes_when_another_comes_or_goes() -> None:
    before = numbers(HELD)
    assert before == {"mx.alpha.example": 11, "store1": 41, "zeta.example": 13}
    more = numbers({"aaa.example": "203.0.113.9", **HELD, "mx.beta.example": "203.0.113.11"})
    assert {name: more[name] for name in HELD} == before
    assert numbers({"zeta.example": HELD["zeta.example"]}) == {"zeta.example": 13}


def test_no_two_have_the_same_number_and_all_are_such_as_keepalived_takes() -> None:
    held = {f"{net}.{last}": f"{net}.{last}" for net in ("203.0.113", "10.1.3") for last in (0, 1, 10, 253, 254, 255)}
    found = numbers(held)
    assert len(set(found.values())) == len(held) and all(1 <= n <= 255 for n in found.values())

"""What the power switch answers, with a guest that only remembers."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from lab.errors import LabError
from lab.guest import State
from lab.place import Place
from lab.switch import Answer, PowerSwitch, Verb, parse
from lab.switch_process import DenyList
from lab.uml import UmlGuest


class MemoryGuest:
    """Does what it is told, unless `stubborn`."""

    def __init__(self, folder: Path) -> None:
        self.switched_off = folder / "off"
        self.now = State.ON
        self.stubborn = False

    def state(self) -> State:
        return self.now

    def kill(self) -> None:
        if not self.stubborn:
            self.now = State.OFF

    def start(self) -> None:
        if not self.stubborn:
            self.now = State.ON


class World:
    def __init__(self, folder: Path) -> None:
        self.guest = MemoryGuest(folder)
        self.denied: set[str] = set()
        self.switch = PowerSwitch(self.find, lambda: self.denied)

    def find(self, name: str) -> UmlGuest:
        if name != "mail1":
            raise LabError("unknown host", name, "it is one of mail1")
        return cast(UmlGuest, self.guest)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_three_commands_and_no_more() -> None:
    assert parse("off mail1") == (Verb.OFF, "mail1")
    assert parse(" on  mail1 ") == (Verb.ON, "mail1")
    assert parse("status mail1") == (Verb.STATUS, "mail1")
    for command in ("", "off", "off a b", "reboot mail1", "OFF mail1", "off mail1; true"):
        with pytest.raises(LabError, match="unknown command"):
            parse(command)


def test_off_then_on(world: World) -> None:
    assert world.switch.answer("status mail1") == Answer("mail1 on", 0)
    assert world.switch.answer("off mail1") == Answer("mail1 off", 0)
    assert world.guest.switched_off.exists()
    assert world.switch.answer("status mail1") == Answer("mail1 off", 0)
    assert world.switch.answer("on mail1") == Answer("mail1 on", 0)
    assert not world.guest.switched_off.exists()


def test_off_twice_is_off(world: World) -> None:
    world.switch.answer("off mail1")
    assert world.switch.answer("off mail1") == Answer("mail1 off", 0)


def test_a_guest_that_survives_is_never_called_off(world: World) -> None:
    world.guest.stubborn = True
    answer = world.switch.answer("off mail1")
    assert answer.status != 0
    assert answer.line.startswith("error")


def test_a_hung_guest_is_on(world: World) -> None:
    world.guest.now = State.PAUSED
    assert world.switch.answer("status mail1") == Answer("mail1 on", 0)
    assert world.switch.answer("off mail1") == Answer("mail1 off", 0)


def test_a_guest_whose_kernel_ended_is_off_when_its_rest_is_gone(world: World) -> None:
    world.guest.now = State.LOST
    assert world.switch.answer("status mail1") == Answer("mail1 off", 0)
    assert world.guest.now is State.OFF


def test_a_refusal_changes_nothing(world: World) -> None:
    world.denied.add("mail1")
    assert world.switch.answer("off mail1") == Answer("mail1 refused", 1)
    assert world.guest.now is State.ON
    assert not world.guest.switched_off.exists()
    assert world.switch.answer("status mail1") == Answer("mail1 on", 0)


def test_unknown_hosts_are_errors(world: World) -> None:
    answer = world.switch.answer("off nix")
    assert (answer.line, answer.status) == ("error: unknown host: nix; it is one of mail1", 2)


def test_the_deny_list_is_kept_in_a_file(tmp_path: Path) -> None:
    place = Place("x", tmp_path)
    place.state.mkdir(parents=True)
    assert DenyList(place).read() == set()
    DenyList(place).change("mail1", denied=True)
    DenyList(place).change("mail2", denied=True)
    DenyList(place).change("mail1", denied=False)
    assert DenyList(place).read() == {"mail2"}

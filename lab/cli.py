"""The words of bin/lab."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence

from lab import interrupt
from lab.errors import Interrupted, LabError
from lab.line import Line
from lab.place import Place

BOOT_WITHIN = 180.0

Word = Callable[[Place, argparse.Namespace], int | None]


def main(argv: Sequence[str]) -> int:
    """Return the exit status: 1 for what a LabError says, 130 after an interruption, 2 for wrong usage."""
    words, rest = split(argv)
    arguments = parser().parse_args(words)
    if rest is not None and not arguments.takes_command:
        print(f"lab: {arguments.word} takes nothing after `--`", file=sys.stderr)
        return 2
    arguments.rest = [*getattr(arguments, "command", []), *(rest or [])]
    interrupt.install()
    try:
        return arguments.do(Place(arguments.name), arguments) or 0
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except PermissionError as error:
        print(f"lab: no permission: {error.filename}; run as root", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a file taken away meanwhile: still one line
        print(f"lab: {error.strerror}: {error.filename}; look at it and try again", file=sys.stderr)
        return 1
    except Interrupted:
        print("lab: interrupted; what this command had started is gone again", file=sys.stderr)
        return 130


def split(argv: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Cut at the first `--`; what follows is handed on untouched."""
    words = list(argv)
    if "--" not in words:
        return words, None
    at = words.index("--")
    return words[:at], words[at + 1 :]


def parser() -> argparse.ArgumentParser:
    """Return the parser; `do` of its result is the word."""
    default = os.environ.get("HOLDFAST_LAB") or "default"
    top = argparse.ArgumentParser(prog="bin/lab", description=__doc__, epilog="A second lab beside the first: --name.")
    top.add_argument("--name", default=default, help="which lab (default: %(default)s, from HOLDFAST_LAB)")
    words = top.add_subparsers(dest="word", required=True, metavar="WORD")

    def word(name: str, text: str, do: Word, *operands: str, command: bool = False) -> argparse.ArgumentParser:
        made = words.add_parser(name, help=text, description=text)
        made.add_argument("--name", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        for operand in operands:
            made.add_argument(operand.lower(), metavar=operand)
        made.set_defaults(do=do, takes_command=command)
        return made

    up = word("up", "build what is missing, boot what isn't running, wait for ssh", _up, "INVENTORY")
    up.add_argument("--timeout", type=float, default=BOOT_WITHIN, help="seconds to wait for ssh (%(default)s)")
    deploy = word("deploy", "run playbooks/site.yml over the guests", _deploy, "INVENTORY", command=True)
    run = word("run", "run a local command with the lab's Ansible and ssh environment", _run, command=True)
    run.add_argument("command", nargs="*", metavar="CMD")
    for made in (deploy, run):
        made.add_argument("--stock", action="store_true", help="Ansible's own strategy instead of mitogen's")
    word("status", "hosts, addresses, state, memory", _status).add_argument("--json", action="store_true")
    execute = word("exec", "run a command as root on a host", _exec, "HOST", command=True)
    execute.add_argument("command", nargs="*", metavar="CMD")
    word("kill", "power cut: memory and page cache are gone", _kill, "HOST")
    start = word("start", "power on and wait for ssh", _start, "HOST")
    start.add_argument("--timeout", type=float, default=BOOT_WITHIN, help="seconds to wait for ssh (%(default)s)")
    word("pause", "a hung host", _pause, "HOST")
    word("resume", "the end of a pause", _resume, "HOST")
    word("unplug", "a pulled cable", _unplug, "HOST", "SEGMENT")
    word("plug", "the cable back in", _plug, "HOST", "SEGMENT")
    impair = word(
        "impair",
        "a bad line, until heal or the host's next boot. It acts in one direction: on what HOST sends into SEGMENT. "
        "So a delay adds once to a round trip; impair the other end too for both directions. "
        "It comes on top of the line's own delay and loss (lab_line in the inventory).",
        _impair,
        "HOST",
        "SEGMENT",
    )
    impair.add_argument("--delay", type=float, default=0.0, metavar="MS", help="milliseconds added to each packet")
    impair.add_argument("--loss", type=float, default=0.0, metavar="PCT", help="percent of packets lost")
    word("heal", "undo impair; the line's own delay and loss stay", _heal, "HOST", "SEGMENT")
    word("snapshot", "copy all disks, with the hosts powered off cleanly meanwhile", _snapshot, "NAME_OF_SNAPSHOT")
    word("restore", "put all disks back to a snapshot and boot", _restore, "NAME_OF_SNAPSHOT")
    console = word("console", "last console output", _console, "HOST")
    console.add_argument("--lines", type=int, default=60)
    console.add_argument("--previous", action="store_true", help="of the boot before")
    switch = word("switch", "let the power switch refuse to touch a host (deny), or obey (allow)", _switch)
    switch.add_argument("action", choices=("deny", "allow"))
    switch.add_argument("host", metavar="HOST")
    down = word("down", "power all off and remove network and switch; disks stay", _down)
    down.add_argument("--purge", action="store_true", help="remove disks, keys and snapshots too")
    return top


# The words import what they need: `exec` is called often, and most of a start is imports.


def _up(place: Place, arguments: argparse.Namespace) -> None:
    from lab import lifecycle

    lifecycle.up(place, arguments.inventory, within=arguments.timeout)


def _down(place: Place, arguments: argparse.Namespace) -> None:
    from lab import lifecycle

    lifecycle.down(place, purge=arguments.purge)


def _snapshot(place: Place, arguments: argparse.Namespace) -> None:
    from lab import lifecycle

    lifecycle.snapshot(place, arguments.name_of_snapshot)


def _restore(place: Place, arguments: argparse.Namespace) -> None:
    from lab import lifecycle

    lifecycle.restore(place, arguments.name_of_snapshot)


def _deploy(place: Place, arguments: argparse.Namespace) -> None:
    from lab import controller

    controller.deploy(place, arguments.inventory, arguments.rest, stock=arguments.stock)


def _run(place: Place, arguments: argparse.Namespace) -> None:
    from lab import controller

    controller.run(place, _command(arguments), stock=arguments.stock)


def _exec(place: Place, arguments: argparse.Namespace) -> None:
    from lab import words

    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    words.execute(place, arguments.host, _command(arguments), terminal=terminal)


def _command(arguments: argparse.Namespace) -> list[str]:
    rest: list[str] = arguments.rest
    if not rest:
        raise LabError("no command", "", f"bin/lab {arguments.word} … -- CMD")
    return rest


def _kill(place: Place, arguments: argparse.Namespace) -> None:
    from lab import words

    words.kill(place, arguments.host)


def _start(place: Place, arguments: argparse.Namespace) -> None:
    from lab import words

    words.start(place, arguments.host, within=arguments.timeout)


def _pause(place: Place, arguments: argparse.Namespace) -> None:
    from lab import words

    words.pause(place, arguments.host)


def _resume(place: Place, arguments: argparse.Namespace) -> None:
    from lab import words

    words.resume(place, arguments.host)


def _unplug(place: Place, arguments: argparse.Namespace) -> None:
    from lab import words

    words.plug(place, arguments.host, arguments.segment, plugged=False)


def _plug(place: Place, arguments: argparse.Namespace) -> None:
    from lab import words

    words.plug(place, arguments.host, arguments.segment, plugged=True)


def _impair(place: Place, arguments: argparse.Namespace) -> None:
    from lab import words

    if not arguments.delay and not arguments.loss:
        raise LabError("nothing to impair", "", "give --delay MS, --loss PCT or both")
    line = words.impair(place, arguments.host, arguments.segment, Line(arguments.delay, arguments.loss))
    print(f"{arguments.host} sends into {arguments.segment} with {line.delay_ms:g} ms and {line.loss_pct:g} % loss")


def _heal(place: Place, arguments: argparse.Namespace) -> None:
    from lab import words

    line = words.heal(place, arguments.host, arguments.segment)
    print(f"{arguments.host} sends into {arguments.segment} with {line.delay_ms:g} ms and {line.loss_pct:g} % loss")


def _console(place: Place, arguments: argparse.Namespace) -> None:
    from lab import words

    print(words.console(place, arguments.host, lines=arguments.lines, previous=arguments.previous))


def _switch(place: Place, arguments: argparse.Namespace) -> None:
    from lab import words

    words.deny(place, arguments.host, denied=arguments.action == "deny")


def _status(place: Place, arguments: argparse.Namespace) -> None:
    from lab import words

    data = words.status(place)
    print(json.dumps(data, indent=1) if arguments.json else words.status_text(data))

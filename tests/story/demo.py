"""`make demo`: build the lab, deploy, play the story, and leave a picture and a report under build/."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from lab import interrupt
from lab.errors import Interrupted

from .machines import ROOT, Lab, StoryError
from .outage import Outage
from .timeline import as_json, as_svg, as_text

INVENTORY = ROOT / "inventories" / "compact"
BUILD = ROOT / "build"


def phase(took: dict[str, float], name: str, command: list[str]) -> None:
    print(f"== {name}", flush=True)
    start = time.monotonic()
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    took[name] = time.monotonic() - start
    if code != 0:
        raise StoryError(f"{' '.join(command)}: exit {code}")


def play(lab: Lab, took: dict[str, float]) -> int:
    start = time.monotonic()
    print("== story", flush=True)
    result = Outage(
        lab, INVENTORY, say=lambda text: print(f"{time.monotonic() - start:6.0f} s  {text}", flush=True)
    ).play()
    took["story"] = time.monotonic() - start
    print(f"\n{as_text(result.events, result.fault)}\n")
    report = {**result.report(), "timeline": as_json(result.events, result.fault), "phases": took}
    (BUILD / "story.json").write_text(json.dumps(report, indent=2) + "\n")
    title = f"One message that outlives its server: {result.owner_before.host} to {result.owner_after.host}"
    (BUILD / "timeline.svg").write_text(as_svg(result.events, result.fault, title))
    v = result.verdict
    print(
        f"{v.sent} letters, {v.copies_wanted} copies wanted, {v.copies_found} found, {len(v.lost)} lost, "
        f"{len(v.bounced)} bounced, {len(v.changed)} changed, {len(v.twice)} twice"
    )
    if result.threshold_to_delivery is not None:
        print(f"{result.threshold_to_delivery:.1f} s from the threshold to the first delivery")
    for mistake in v.mistakes:
        print(f"MISTAKE  {mistake}")
    return 1 if v.mistakes else 0


def main() -> int:
    interrupt.install()
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    keep = parser.parse_args().keep
    lab = Lab()
    took: dict[str, float] = {}
    code = 1
    try:
        # The story begins on fresh machines, whatever an earlier one has left.
        phase(took, "clean", lab.command("down", "--purge"))
        phase(took, "machines", lab.command("up", "compact"))
        phase(took, "deploy", lab.command("deploy", "compact"))
        code = play(lab, took)
    except StoryError as why:
        print(f"demo: {why}", file=sys.stderr)
    except Interrupted:
        print("demo: interrupted; ending the lab", file=sys.stderr)
        keep, code = False, 130
    finally:
        if keep:
            print("the lab is up: bin/lab status, bin/lab exec HOST -- CMD; end it with bin/lab down --purge")
        else:
            code = subprocess.run(lab.command("down", "--purge"), cwd=ROOT, check=False).returncode or code
    print("== phases")
    for name, seconds in took.items():
        print(f"{name:10} {seconds:6.0f} s")
    print(f"report: {Path('build/story.json')}, picture: {Path('build/timeline.svg')}")
    return code


if __name__ == "__main__":
    sys.exit(main())

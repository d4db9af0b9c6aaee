"""The words that concern a whole lab: up, down, snapshot, restore."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import cache, image, inventory, kernel
from lab.command import require, run
from lab.errors import LabError
from lab.fleet import Fleet
from lab.guest import State
from lab.interrupt import held
from lab.lock import locked
from lab.place import Place
from lab.process import Session
from lab.progress import Progress
from lab.ssh import NotReadyError
from lab.switch_process import SwitchProcess
from lab.uml import UmlGuest

SNAPSHOT_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def require_machine() -> None:
    """Raise LabError for what this machine lacks to run guests."""
    if os.geteuid() != 0:
        raise LabError("not root", f"uid {os.geteuid()}", "run as root: the lab makes a network namespace and bridges")
    if not Path("/dev/net/tun").exists():
        raise LabError("missing kernel feature", "/dev/net/tun", "load module tun (CONFIG_TUN)")
    if not Path("/dev/shm").is_dir():
        raise LabError("missing file system", "/dev/shm", "mount -t tmpfs tmpfs /dev/shm")
    require("ip", "umount", "nsenter", "unshare", "ssh", "ssh-keygen")


def lab_lock(place: Place) -> contextlib.AbstractContextManager[None]:
    """Keep the words that change a whole lab apart."""
    return locked(place.state / "lock", f"another bin/lab works on lab {place.name}; waiting for it")


def up(place: Place, word: str, *, within: float) -> None:
    """Make an inventory run: whatever is missing of kernel, image, network, switch and guests."""
    require_machine()
    folder = inventory.inventory_folder(word)
    progress = Progress("up")
    with lab_lock(place), contextlib.ExitStack() as undo:
        try:
            _up(place, folder, progress, undo, within)
        except NotReadyError:
            undo.pop_all()
            raise
        except BaseException:
            undo.close()
            if not place.topology.exists():  # it never came to be a lab
                shutil.rmtree(place.state)
            raise
        undo.pop_all()


def _up(place: Place, folder: Path, progress: Progress, undo: contextlib.ExitStack, within: float) -> None:
    fleet = Fleet(place, inventory.read(folder))
    _same_inventory(fleet)
    _clean_stale(fleet)
    kernel_folder, built = kernel.obtain()
    progress.done(f"kernel {kernel.release(kernel_folder)} {_made(built, progress)}")
    image_folder, built = image.obtain(kernel_folder)
    for product in (kernel_folder, image_folder):
        cache.use(product, place)
    progress.done(f"image {image_folder.name.rpartition('-')[2]} {_made(built, progress)}")
    base = (kernel_folder / "linux", image.disk(image_folder))

    names = list(fleet.topology.hosts)
    fenced = [name for name in names if (place.guest(name) / "off").exists()]
    wanted = [name for name in names if name not in fenced]
    to_start = [name for name in wanted if fleet.state(name) in (State.OFF, State.LOST)]
    fleet.require_memory(to_start)
    fleet.save()
    if not fleet.network.exists():
        undo.callback(_take_down, fleet)
    fleet.network.create(fleet.topology)
    fleet.ssh.prepare(fleet.topology)
    switch = SwitchProcess(place)
    if fleet.topology.switch and not switch.runs():
        undo.callback(switch.stop)
        with held():
            switch.start(fleet.topology.switch)
        progress.done(f"power switch listens on {fleet.topology.switch.address}")
    for name in to_start:
        fresh = fleet.set_base(name, *base)
        guest = fleet.guest(name)
        undo.callback(guest.erase if fresh else guest.kill)
        with held():
            guest.start()
    if to_start:
        progress.done(f"{len(to_start)} guests started")
    waited = fleet.ssh.wait(fleet.reachable(wanted), fleet.ended, within)
    progress.done(f"{len(waited)} guests answer ssh after {max(waited.values(), default=0):.1f} s")
    for name in fenced:
        print(f"{name} stays off: its power switch turned it off; bin/lab start {name}")
    older = [name for name in names if (known := fleet.base(name)) and known != base]
    if older:
        print(f"{', '.join(older)} keep the image their disks were made from; bin/lab down --purge for fresh ones")
    if not to_start:
        print(f"{folder.name} is up already")
    progress.keep(place.state / "timings.json")


def _made(built: bool, progress: Progress) -> str:
    return f"built in {progress.since():.0f} s" if built else "cached"


def _same_inventory(fleet: Fleet) -> None:
    """Refuse to put another inventory over one that runs, and legs that changed under a running guest."""
    try:
        old = Fleet.saved(fleet.place)
    except LabError:
        return
    running = [name for name in old.topology.hosts if old.state(name) in (State.ON, State.PAUSED)]
    if not running:
        return
    other = f"bin/lab --name {fleet.place.name} down"
    if old.topology.inventory != fleet.topology.inventory:
        raise LabError(
            "lab runs another inventory", old.topology.inventory, f"{other}, or give this one another --name"
        )
    for name in running:
        if fleet.topology.hosts.get(name) != old.topology.hosts[name]:
            raise LabError("running guest has changed in the inventory", name, f"bin/lab kill {name}, then up again")


def _clean_stale(fleet: Fleet) -> None:
    """Remove what a lab left whose processes or namespace were taken away from outside."""
    if fleet.network.exists():
        return
    for session in _guest_sessions(fleet.place):
        session.kill()
    for path in fleet.place.state.glob("guests/*/process.json"):
        path.unlink()
    SwitchProcess(fleet.place).stop()
    fleet.ssh.drop_all()
    fleet.network.remove()


def _guest_sessions(place: Place) -> list[Session]:
    return [Session(**json.loads(path.read_text())) for path in place.state.glob("guests/*/process.json")]


def _take_down(fleet: Fleet) -> None:
    fleet.ssh.drop_all()
    fleet.network.remove()
    shutil.rmtree(fleet.place.runtime, ignore_errors=True)
    with contextlib.suppress(OSError):  # other labs may be in it
        fleet.place.runtime.parent.rmdir()


def down(place: Place, *, purge: bool) -> None:
    """Stop everything that `up` started. Disks and keys stay, unless `purge`."""
    if not place.state.is_dir():
        print(f"no lab {place.name}: nothing to stop")
        return
    require_machine()
    progress = Progress("down")
    with lab_lock(place):
        try:
            fleet = Fleet.saved(place)
        except LabError:
            fleet = None
        if fleet is not None:
            stopped = _stop_guests(fleet, cleanly=not purge)
            progress.done(f"{stopped} guests off")
            SwitchProcess(place).stop()
            for path in place.state.glob("guests/*/off"):
                path.unlink()
            _take_down(fleet)
        if purge:
            shutil.rmtree(place.state)
            with contextlib.suppress(OSError):
                place.state.parent.rmdir()
        progress.done(f"lab {place.name} is {'gone' if purge else 'down'}")


def _stop_guests(fleet: Fleet, *, cleanly: bool) -> int:
    """Power all guests off, at the same time; whoever does not hear the button loses power."""

    def one(guest: UmlGuest) -> None:
        try:
            if cleanly:
                guest.stop()
        except LabError as error:
            print(f"power cut for {guest.name}: {error}")
        finally:
            guest.kill()

    on = [guest for guest in fleet.guests() if guest.state() is not State.OFF]
    if on:
        with ThreadPoolExecutor(max_workers=len(on)) as pool:
            list(pool.map(one, on))
    # Hosts that have left the inventory since.
    for session in _guest_sessions(fleet.place):
        session.kill()
    return len(on)


def snapshot(place: Place, name: str) -> None:
    """Keep a copy of all disks, taken with every host powered off cleanly; then start again those that were on."""
    if not SNAPSHOT_PATTERN.fullmatch(name):
        raise LabError("snapshot name", name, "use letters, digits and . _ -")
    progress = Progress("snapshot")
    fleet = Fleet.saved(place)
    require("cp")
    with lab_lock(place):
        on = _switch_all_off(fleet)
        progress.done(f"{len(on)} guests off")
        target = place.state / "snapshots" / name
        partial = target.with_name(f".{name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            for guest in fleet.guests():
                folder = partial / guest.name
                folder.mkdir(parents=True)
                _copy([*guest.disks(), guest.folder / "base.json"], folder)
            (partial / "on.json").write_text(json.dumps(on))
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        progress.done(f"snapshot {name} taken")
        _start_all(fleet, on, progress)
        progress.keep(place.state / "timings.json")


def restore(place: Place, name: str) -> None:
    """Put all disks back to a snapshot and start the hosts that were on when it was taken."""
    progress = Progress("restore")
    fleet = Fleet.saved(place)
    source = place.state / "snapshots" / name
    if not (source / "on.json").exists():
        known = ", ".join(snapshots(place)) or "none"
        raise LabError("no such snapshot", name, f"there is: {known}")
    missing = [host for host in fleet.topology.hosts if not (source / host).is_dir()]
    if missing:
        raise LabError(f"snapshot {name} is older than hosts", ", ".join(missing), "take a new one")
    with lab_lock(place):
        on: list[str] = json.loads((source / "on.json").read_text())
        for guest in fleet.guests():
            guest.kill()
        progress.done("guests off")
        for host in fleet.topology.hosts:
            _copy(sorted((source / host).iterdir()), place.guest(host))
            (place.guest(host) / "off").unlink(missing_ok=True)
        progress.done(f"disks are those of snapshot {name}")
        _start_all(fleet, on, progress)
        progress.keep(place.state / "timings.json")


def snapshots(place: Place) -> list[str]:
    """Return the names of all snapshots."""
    return sorted(path.parent.name for path in place.state.glob("snapshots/[!.]*/on.json"))


def _switch_all_off(fleet: Fleet) -> list[str]:
    on = []
    for guest in fleet.guests():
        state = guest.state()
        if state is State.PAUSED:
            raise LabError("guest is paused", guest.name, f"bin/lab resume {guest.name}, or kill it")
        if state is State.ON:
            on.append(guest.name)
    if on:
        with ThreadPoolExecutor(max_workers=len(on)) as pool:
            list(pool.map(lambda name: fleet.guest(name).stop(), on))
    return on


def _start_all(fleet: Fleet, names: list[str], progress: Progress, within: float = 180) -> None:
    if not fleet.network.exists():
        return
    for name in names:
        fleet.guest(name).start()
    waited = fleet.ssh.wait(fleet.reachable(names), fleet.ended, within)
    progress.done(f"{len(waited)} guests answer ssh after {max(waited.values(), default=0):.1f} s")


def _copy(files: list[Path], folder: Path) -> None:
    """Copy with holes and times: a copy-on-write disk remembers the time of the image below it."""
    run(
        ["cp", "--sparse=always", "--reflink=auto", "--preserve=timestamps,mode", "--", *files, folder],
        thing="can't copy disks",
        remedy="is the disk full?",
    )

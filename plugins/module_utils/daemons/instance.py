"""An identity on this host: the steps by which it comes up and goes down, each of them safe to repeat.

store    its files are mounted
queue    the old queue and, unless it is a relay, the mailboxes are there
address  keepalived has put its address on, told by the track file
start    its queue is adopted, its Dovecot (no relay has one) and its Postfix run
verify   a real SMTP dialogue and, where there are mailboxes, a real login on its address; and the world's port is open
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..adapters import command, imap, machine, smtp
from ..adapters.announcement import Announcement
from ..adapters.mount import NfsMount
from ..adapters.track import TrackFile
from ..adapters.units import Units
from ..core.model import Identity, Result
from ..core.ports import Clock, Unavailable
from . import running

MOUNT_WITHIN = 40.0  # seconds; a step that takes longer has failed
LOOK_WITHIN = 5.0  # seconds, for one look at a folder of the store
START_LOOK = 1.0  # seconds between two looks, while units start, whether this host is still the owner
# 1,000 letters beyond a line of 30 ms take 5 s. A little more than TimeoutStartSec of holdfast-queue@.service.
ADOPT_WITHIN = 1830.0
SETTLE_WITHIN = 5.0
# The adoption of a long spool takes minutes, and is told so meanwhile (daemons/spooling.py).
SPOOL_WITHIN = 60.0


@dataclass(frozen=True)
class Mailboxes:
    """What serves an identity's mailboxes on this host, and the user who tries it."""

    dovecot_conf: str
    probe_user: str
    probe_password_file: str


@dataclass(frozen=True)
class Place:
    """Where an identity's parts are on this host. `mailboxes`: None for a relay.

    `configuration`: a file with the digest of what the last deploy gave this host for it (model.Configuration);
    `smtp_port`: where it serves our own hosts.
    """

    identity: Identity
    source: str
    mount: str
    postfix_dir: str
    configuration: str
    tls_ca: str
    probe_recipient: str
    mailboxes: Mailboxes | None
    smtp_port: int = smtp.PORT

    @property
    def adoption(self) -> str:
        """The unit that adopts the queue and ends; that of Postfix pulls it in."""
        return f"holdfast-queue@{self.identity.name}.service"

    @property
    def postfix(self) -> str:
        return f"holdfast-{'relay' if self.mailboxes is None else 'postfix'}@{self.identity.name}.service"

    @property
    def dovecot(self) -> str:
        return f"holdfast-dovecot@{self.identity.name}.service"

    @property
    def units(self) -> tuple[str, ...]:
        return (self.postfix,) if self.mailboxes is None else (self.dovecot, self.postfix)

    @property
    def spool(self) -> str | None:
        """The unit of its end of the transfer (docs/decisions/0034), which that of Postfix pulls in; None: it has none.

        None of `units`: who is served waits for nothing of it, so where it fails that is no reason to stop or to move.
        """
        # The unit looks for the same file (ConditionPathExists).
        there = self.mailboxes is not None and Path(self.configuration).with_name("spool.yml").exists()
        return f"holdfast-spool@{self.identity.name}.service" if there else None

    @property
    def beside(self) -> tuple[str, ...]:
        """That unit, or nothing."""
        spool = self.spool
        return () if spool is None else (spool,)

    @property
    def everything(self) -> tuple[str, ...]:
        """All that may run of it."""
        return (*self.units, *self.beside, self.adoption)


class Instance:
    """Does what it is told; whether is core/ownership.py's to say. Methods raise Unavailable or OSError."""

    def __init__(
        self,
        place: Place,
        mount: NfsMount,
        units: Units,
        track: TrackFile,
        announcement: Announcement,
        clock: Clock,
        marks: Path = running.MARKS,
    ) -> None:
        self.place = place
        self._mount = mount
        self._units = units
        self._track = track
        self._announcement = announcement
        self._clock = clock
        self._mark = running.Mark(place.identity.name, marks)
        self._spool_ran = clock.boottime()

    # --- going up ----------------------------------------------------------------------------------------------

    def steps(self, epoch: int, cancel: running.Cancel) -> Sequence[tuple[str, Callable[[], str]]]:
        """In their order. Each returns what is worth telling."""
        return (
            ("store", lambda: self._attach(epoch, cancel)),
            ("queue", lambda: self._adopt(cancel)),
            ("address", lambda: running.until_address(self._clock, self.place.identity.address, cancel)),
            ("start", lambda: self._start(cancel)),
            ("verify", lambda: self._verify(cancel)),
        )

    def _attach(self, epoch: int, cancel: running.Cancel) -> str:
        # Before there is an address to be announced.
        self._announcement.tell(self.place.identity.name, epoch)
        # Keepalived takes a second for the address, and until something listens there a refused connection sends mail
        # to the relay sooner than one that nobody answers. So it is told first.
        self._track.write(True)
        why = ""

        def mounted() -> str | None:
            nonlocal why
            try:
                self._mount.mount()
            except command.CommandError as error:
                why = str(error)
                return None
            return f"{self._mount.source} at {self._mount.target}"

        said = running.until(self._clock, mounted, MOUNT_WITHIN, cancel)
        if said is None:
            raise Unavailable(why)
        return said

    def _adopt(self, cancel: running.Cancel) -> str:
        """Nothing is made here: an empty store where files should be is a mistake to be seen, not to be filled.

        Another process looks: on a hard mount whose server is away this one would wait for ever, and with it the stop.
        """
        for name in ("queue",) if self.place.mailboxes is None else ("queue", "mail"):
            folder = Path(self.place.mount) / name

            def there(folder: Path = folder) -> str | None:
                try:
                    status = command.attempt(["test", "-d", str(folder)], timeout=LOOK_WITHIN).status
                except command.CommandError:
                    return None  # nobody answers for the store
                if status != 0:
                    raise Unavailable(f"{folder} is missing on the store")
                return "there"

            if running.until(self._clock, there, MOUNT_WITHIN, cancel) is None:
                raise Unavailable(f"{folder}: the store does not answer")
        return "there"

    def _start(self, cancel: running.Cancel) -> str:
        """A long queue takes its time to adopt: that is waited for as long as this host is the owner."""
        units = self.place.units

        def ended() -> str | None:
            return "ended" if self._units.started(units, START_LOOK) else None

        try:
            if running.until(self._clock, ended, ADOPT_WITHIN, cancel) is None:
                raise Unavailable(f"{self.place.adoption} did not end within {ADOPT_WITHIN:g} s; see its journal")
        except command.CommandError:
            # One that systemd tries anew by itself is for `verify` to judge.
            if (dead := running.dead(self._units.states(units))) is not None:
                raise Unavailable(f"{dead}; see its journal and that of {self.place.adoption}") from None
        return ", ".join(units)

    def _verify(self, cancel: running.Cancel) -> str:
        """As a sender and as a user see it.

        A server that says 4xx to the end, its store is full, serves all the same: whoever is refused keeps the mail,
        and users can make room only where they can log in. The dialogue is held at the port for our own hosts, since
        strangers may keep all that serve the public one busy from its first second on; of that one the kernel is asked.
        """
        place, why, refuses = self.place, "", ""
        dialogue = smtp.Dialogue(
            place.identity.address, place.identity.name, place.probe_recipient, port=place.smtp_port, ca=place.tls_ca
        )
        login = None if place.mailboxes is None else self._login(place.mailboxes)

        def answers() -> str | None:
            nonlocal why, refuses
            if closed := smtp.unheard(place.identity.address):
                why, refuses = f"SMTP: {closed}", ""
                return None
            if login is None:
                outcome = smtp.talk(dialogue)
                why = f"SMTP: {outcome.detail}"
                refuses = f"SMTP refuses for now: {outcome.detail}" if outcome.temporary else ""
                return f"SMTP {outcome.detail}" if outcome.result is Result.OK else None
            # Both wait for the store most of the time, so they do it together.
            with ThreadPoolExecutor(max_workers=1) as pool:
                reader = pool.submit(imap.login, login)
                outcome = smtp.talk(dialogue)
                try:
                    read = reader.result()
                except Unavailable as error:
                    why, refuses = str(error), ""
                    return None
            if outcome.result is not Result.OK:
                why = f"SMTP: {outcome.detail}"
                refuses = f"SMTP refuses for now: {outcome.detail}; IMAP {read}" if outcome.temporary else ""
                return None
            return f"SMTP {outcome.detail}; IMAP {read}"

        said = running.until(self._clock, answers, running.VERIFY_WITHIN, cancel) or refuses
        if not said:
            raise Unavailable(why)
        return said

    def _login(self, mailboxes: Mailboxes) -> imap.Login:
        identity, password = self.place.identity, Path(mailboxes.probe_password_file).read_text().strip()
        return imap.Login(identity.address, identity.name, mailboxes.probe_user, password, ca=self.place.tls_ca)

    def mark(self, epoch: int) -> None:
        """Remember, until the next boot, that it runs here and since which epoch."""
        self._mark.write(epoch)
        self._spool_ran = self._clock.boottime()

    # --- going down --------------------------------------------------------------------------------------------

    def down(self) -> None:
        """Address first, so that nobody comes any more. Everything is tried, even if something before it failed."""
        attempt = running.Attempts()
        attempt(lambda: self._track.write(False))
        attempt(self._mark.remove)
        everything = self.place.everything
        if not attempt(lambda: self._units.stop(everything)):
            # Processes that wait for a dead store end when their requests are given up.
            attempt(self._mount.unmount)
            if attempt(lambda: self._units.stop(everything)):
                attempt.errors.clear()
        attempt(self._mount.unmount)
        attempt.end()

    def release(self) -> None:
        """Down for another host to go on at once: nobody is left waiting, and nothing is delivered twice by it.

        Whoever is connected sees the end of the connection, which he does not once the address is gone: he would wait
        for an answer until his own time-out. Deliveries into mailboxes end before the mailbox server does: one that is
        cut off behind its writing is made again by the next owner.
        """
        # What fails here is tried again by `down`, which tells it.
        with contextlib.suppress(Unavailable):
            self._units.stop((self.place.postfix,))
            if self.place.mailboxes is not None:
                socket = f"/run/dovecot-{self.place.identity.name}/lmtp"
                running.until(
                    self._clock, lambda: None if machine.connections(socket) else "none", SETTLE_WITHIN, lambda: False
                )
                self._units.stop((self.place.dovecot,))
        self.down()

    # --- looking -----------------------------------------------------------------------------------------------

    def lost(self) -> str | None:
        """What of a running identity is gone, as far as files tell it."""
        return None if self._mount.is_mounted() else f"{self.place.mount} is not mounted"

    def dead(self) -> str | None:
        """Units that do not run. Starts a program: not for every second."""
        return running.dead(self._units.states(self.place.units))

    def lacks(self) -> str | None:
        """What serves nobody at once and has not run for a while; its start is ordered. As seldom as `dead`.

        One that systemd tries anew all the time is no more `active` than one that it has given up.
        """
        now, unit = self._clock.boottime(), self.place.spool
        state = "active" if unit is None else self._units.states((unit,))[unit]
        if unit is None or state == "active":
            self._spool_ran = now
            return None
        if state in running.DEAD:
            self._units.begin((unit,))
        if now - self._spool_ran < SPOOL_WITHIN:
            return None
        return f"{unit} is {state}; it serves, and what is for the other side waits"

    def reload(self) -> None:
        """Their timers begin anew, and nobody who is connected notices.

        Postfix 3.10 plans by the wall clock: set back by an hour, its queue manager leaves what is deferred for an
        hour. Dovecot 2.4 starts no process for up to 180 s then, so nobody logs in and nothing is delivered.
        """
        self._units.reload(self.place.units)

    def announce(self, epoch: int) -> None:
        """Again, if the routing daemon has been started or reloaded meanwhile."""
        self._announcement.tell(self.place.identity.name, epoch)

    def address_missing(self) -> bool:
        return not machine.has_address(self.place.identity.address)

    def found(self) -> running.Found:
        """Does it run here already, from before a restart of the agent? Raises Unavailable."""
        if not self._track.path.exists():
            self._track.write(False)  # keepalived has something to read from the beginning
        epoch = self._mark.read()
        traces = running.alive(self._units.states((*self.place.units, *self.place.beside)))
        whole = epoch is not None and self._mount.is_mounted() and set(traces) >= set(self.place.units)
        if whole:
            return running.Found(epoch, ())
        there = {"mark": self._mark.exists(), "track file": self._track.read(), "mount": self._mount.is_mounted()}
        return running.Found(None, (*traces, *(name for name, is_there in there.items() if is_there)))

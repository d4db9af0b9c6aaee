"""An NFS service from elsewhere: the operator's program opens and closes it, and its word counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from edges import IM, MX, Clock, Coordinator, Lines
from holdfast.adapters.external_nfs import (
    LIST_EVERY,
    TIMEOUT,
    ExternalClients,
    ExternalExports,
    ExternalFirewall,
    longest,
)
from holdfast.core import fencing, keys
from holdfast.core.fencing import Mark, MarkState
from holdfast.core.model import Access, Owner, Run, RunState
from holdfast.core.ports import Unavailable
from holdfast.daemons.door import Door
from holdfast.daemons.store import Config, External, Store

ADDRESSES = {"mail1": ("10.1.3.11",), "mail2": ("10.2.3.11",)}
PROGRAM = """#!/bin/sh
# An NFS service in a folder: a file for each pair that may mount; what is asked goes into `asked`.
cd "$(dirname "$0")" || exit 1
echo "$*" >>asked
[ -e broken ] && { echo "the service does not answer" >&2; exit 1; }
case $1 in
    check) [ -e sync ] || { echo "export is async" >&2; exit 1; } ;;
    list) for f in open/*; do [ -e "$f" ] && basename "$f" | tr : ' '; done; exit 0 ;;
    admit) [ -e deaf ] || touch "open/$2:$3" ;;
    withdraw) [ -e deaf ] || rm -f "open/$2:$3"; [ ! -e draining ] || { echo "sessions do not end" >&2; exit 1; } ;;
    expire) ;;
    *) exit 64 ;;
esac
"""


class Service:
    """The service, and the daemon in front of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "open").mkdir()
        (folder / "sync").touch()
        self.program = folder / "nfs-access"
        self.program.write_text(PROGRAM)
        self.program.chmod(0o755)
        self.clock = Clock()
        self.coordinator = Coordinator(self.clock)
        self.log = Lines()
        self.exports = ExternalExports(str(self.program), Path("/export/mail"), self.clock)
        clients = ExternalClients(str(self.program), "192.0.2.9", probe=lambda address: None)
        made = Config(
            "store1", Path("/export/mail"), 1.0, self.coordinator, {i.name: i for i in (MX, IM)}, ADDRESSES, (0, 0),  # type: ignore[arg-type]
            External("192.0.2.9", str(self.program), "door1"),
        )  # fmt: skip
        firewall = ExternalFirewall(self.exports)
        self._parts = (made, self.coordinator, self.exports, clients, self.clock, self.log, firewall)
        self.store = Store(*self._parts)
        self.manager = self.another()  # as it runs; above without the word that `check` is asked for

    def another(self) -> Store:
        door = Door("store1", "door1", self.coordinator, self.exports.unfit, self.clock, self.log)
        return Store(*self._parts, door)

    def tick(self, seconds: float = 1.0) -> list[str]:
        (self.folder / "asked").write_text("")
        self.clock.sleep(seconds)
        self.store.tick()
        return (self.folder / "asked").read_text().splitlines()

    def asked_by_a_look(self) -> int:
        """Words, of the manager's look that finds everything due."""
        (self.folder / "asked").write_text("")
        self.clock.sleep(LIST_EVERY + 1)
        assert self.manager.tick()
        return len((self.folder / "asked").read_text().splitlines())

    @property
    def open_to(self) -> set[str]:
        return {f.name for f in (self.folder / "open").iterdir()}

    @property
    def access(self) -> Access:
        return Access.from_json(self.coordinator.data[keys.access("store1", MX.name)])

    def revoke(self) -> None:
        run = Run("r1", MX.name, "relay2", "test", RunState.RUNNING, "mail1", 0.0, revoke_epoch=1)
        self.coordinator.data[keys.takeover(MX.name)] = run.to_json()


@pytest.fixture
def service(tmp_path: Path) -> Service:
    made = Service(tmp_path)
    made.coordinator.own("mail1", 1)
    return made


def test_the_owner_is_admitted_and_nobody_else(service: Service) -> None:
    (service.folder / "open" / f"{MX.name}:10.9.9.9").touch()
    asked = service.tick()
    assert service.open_to == {f"{MX.name}:10.1.3.11"}
    assert f"withdraw {MX.name} 10.9.9.9" in asked and "expire 10.2.3.11" in asked
    assert service.access.admitted == "mail1"
    assert service.tick() == [], "no program is started while nothing changes"


def test_what_is_withdrawn_is_withdrawn_before_it_is_said(service: Service) -> None:
    service.tick()
    service.revoke()
    (service.folder / "broken").touch()
    service.tick()
    assert service.access.admitted == "mail1", "a program that fails has done nothing"
    assert service.log.said("not_settled")
    (service.folder / "broken").unlink()
    (service.folder / "deaf").touch()
    service.tick()
    assert service.access.admitted == "mail1", (
        "a program that says yes and whose list says otherwise counts for nothing"
    )
    (service.folder / "deaf").unlink()
    asked = service.tick()
    assert service.open_to == set() and service.access.admitted is None and service.access.run == "r1"
    assert asked.index(f"withdraw {MX.name} 10.1.3.11") < asked.index("expire 10.1.3.11")


def test_a_withdrawal_that_did_not_end_well_is_none_even_if_the_list_is_empty(service: Service) -> None:
    """What was begun may be done in part: it is asked for again, and nothing is said before it ends well."""
    service.tick()
    service.revoke()
    (service.folder / "draining").touch()
    for _ in range(3):
        asked = service.tick()
        assert service.open_to == set() and service.access.admitted == "mail1"
        assert f"withdraw {MX.name} 10.1.3.11" in asked
    (service.folder / "draining").unlink()
    service.tick()
    assert service.access.admitted is None


def test_what_an_earlier_daemon_may_have_begun_is_withdrawn_once(service: Service) -> None:
    """An `admit` that timed out may still be done at the service, behind an empty list."""
    service.revoke()
    asked = service.tick()
    assert {f"withdraw {MX.name} 10.1.3.11", f"withdraw {MX.name} 10.2.3.11"} <= set(asked)
    assert service.access.admitted is None


def test_without_the_coordinator_nothing_is_done_and_that_is_told_once(service: Service) -> None:
    service.coordinator.reachable = False
    assert not any(service.manager.tick() for _ in range(3))
    assert len(service.log.said("coordinator_unreachable")) == 1
    service.coordinator.reachable = True
    assert not service.manager.tick() and service.open_to == set(), "the first look makes it the manager"
    assert service.manager.tick() and service.open_to == {f"{MX.name}:10.1.3.11"}


def test_an_unfit_service_is_closed_but_not_opened(service: Service) -> None:
    service.tick()
    (service.folder / "sync").unlink()
    service.revoke()
    service.tick()
    assert service.open_to == set() and service.access.admitted is None
    del service.coordinator.data[keys.takeover(MX.name)]
    service.coordinator.own("mail2", 2)
    service.tick()
    assert service.open_to == set() and service.log.said("not_settled")
    (service.folder / "sync").touch()
    service.tick()
    assert service.open_to == {f"{MX.name}:10.2.3.11"} and service.access.admitted == "mail2"


def test_an_identity_whose_files_lie_on_another_store_is_not_opened_here(service: Service) -> None:
    there = Access(3, "deploy", None, 0.0)
    service.coordinator.data[keys.access("store9", MX.name)] = there.to_json()
    service.tick()
    assert service.open_to == set()
    assert "lie on store store9" in str(service.log.said("not_settled")[0]["detail"])


def test_what_somebody_opened_by_hand_is_closed_again(service: Service) -> None:
    service.tick()
    (service.folder / "open" / "mx.stranger.example:10.1.3.11").touch()
    (service.folder / "open" / f"{MX.name}:10.2.3.11").touch()
    service.tick(LIST_EVERY + 1)
    assert service.open_to == {f"{MX.name}:10.1.3.11"}


def test_a_service_that_does_not_what_is_needed_and_a_program_that_talks_nonsense(service: Service) -> None:
    assert service.exports.unfit() is None
    (service.folder / "sync").unlink()
    assert "export is async" in str(service.exports.unfit())
    service.program.write_text("#!/bin/sh\necho a b c\n")
    with pytest.raises(Unavailable, match="'a b c' is not IDENTITY ADDRESS"):
        service.exports.table()


def test_a_host_that_is_ordered_out_has_nothing_open_any_more_and_that_is_its_proof(service: Service) -> None:
    """The level `store`: what the firewall is to a pair, the closed door is to a service from elsewhere."""
    service.tick()
    service.revoke()
    mark = Mark("r1", MX.name, 1, "store", MarkState.ORDERED, "boot1", 0.0)
    service.coordinator.data[keys.fence("mail1", MX.name)] = mark.to_json()
    (service.folder / "open" / f"{IM.name}:10.1.3.11").touch()
    service.tick(LIST_EVERY + 1)
    assert service.open_to == set()
    assert service.access.admitted is None and service.access.dropped == ("mail1",)
    owner = Owner("mail1", 1, "", 0.0)
    assert "dropped" in fencing.revoked_words(service.access, owner, "r1")


def test_a_takeover_waits_for_all_that_one_look_may_ask(service: Service) -> None:
    """Both identities at once, everything open that could be, and a look at the service itself that is due."""
    service.coordinator.own("mail1", 1, IM)
    for _ in range(2):
        service.manager.tick()
    # Of the look that was under way `check` and `list`, and of both the calls of NFS, are no words of this one.
    limit = longest(i.candidates for i in (MX, IM)) / TIMEOUT - 4
    for epoch, gone, new in ((1, "mail1", "mail2"), (2, "mail2", "mail1")):
        for name in (MX.name, IM.name):
            run = Run(f"r{epoch}", name, "relay2", "test", RunState.RUNNING, gone, 0.0, revoke_epoch=epoch)
            service.coordinator.data[keys.takeover(name)] = run.to_json()
            mark = Mark(run.run, name, epoch, "store", MarkState.ORDERED, "boot1", 0.0)
            service.coordinator.data[keys.fence(gone, name)] = mark.to_json()
            for (address,) in ADDRESSES.values():
                (service.folder / "open" / f"{name}:{address}").touch()
        assert service.asked_by_a_look() == limit
        assert service.open_to == set() and service.access.run == f"r{epoch}"
        for identity in (MX, IM):
            service.coordinator.own(new, epoch + 1, identity, f"r{epoch}")
            del service.coordinator.data[keys.fence(gone, identity.name)]
        assert service.asked_by_a_look() <= limit
        assert service.access.admitted == new


def test_a_daemon_that_says_that_it_is_up_has_given_its_own_word(service: Service) -> None:
    """Whoever has restarted it need not tell its word from that of the one before, whose lease goes on for a while."""
    door = keys.door("store1")
    assert not service.manager.tick() and service.manager.tick()
    before = service.coordinator.bound[door]
    after = service.another()
    service.coordinator.reachable = False
    assert not after.tick() and service.coordinator.bound[door] == before, (
        "the old word is still there, and it is not up"
    )
    service.coordinator.reachable = True
    assert after.tick()
    assert service.coordinator.bound[door] != before

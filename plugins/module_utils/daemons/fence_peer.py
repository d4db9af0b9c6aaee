"""What DRBD calls before it goes on without its partner (drbd.conf(5): handler fence-peer).

    python3 -m holdfast.daemons.fence_peer [FILE]

FILE is /etc/holdfast/agent.yml. DRBD names the resource in DRBD_RESOURCE. Its writes are frozen until this ends:

    exit 4   the partner is out of the store's in-sync set: DRBD takes its disk for outdated, and goes on
    exit 1   this host must not go on (it does not own the store, or is out of the set itself): writes stay frozen

While the coordinator does not answer this neither allows nor refuses: it asks again. 5 ("unreachable") is never said,
since DRBD goes on after it.
"""

from __future__ import annotations

import os
import sys
import syslog
import time
from collections.abc import Callable
from pathlib import Path

from ..adapters.log import render
from ..core import keys, stores
from ..core.ports import Log, Unavailable
from .agent_config import FILE, load
from .config import ConfigError
from .store_instance import EPOCHS, Records, judge, read_epoch

GO_ON, STAY_FROZEN = 4, 1
RETRY = 0.5  # seconds


def take_out(
    host: str,
    store: str,
    records: Records,
    log: Log,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    epochs: Path = EPOCHS,
) -> int:
    """The exit status. It comes back only with a certain answer."""
    said = ""
    while True:
        try:
            judged = judge(records, store)
            epoch = read_epoch(store, epochs)
            new = stores.alone(host, epoch, judged.owner, judged.insync, store, now())
            if records.replace(keys.insync(store), new.to_json(), judged.unchanged):
                log("fence_peer", store=store, epoch=new.epoch, members=new.members, serial=new.serial)
                return GO_ON
        except stores.NotAllowed as why:
            log("fence_peer_refused", store=store, why=str(why), level="alert")
            return STAY_FROZEN
        except Unavailable as why:
            if str(why) != said:
                said = str(why)
                log("fence_peer_waits", store=store, why=said, level="error")
        sleep(RETRY)


def to_syslog(event: str, /, **fields: object) -> None:
    """DRBD gives a handler no standard output that anybody reads."""
    priority = {"alert": syslog.LOG_ALERT, "error": syslog.LOG_ERR}.get(str(fields.get("level")), syslog.LOG_NOTICE)
    syslog.syslog(priority, render(event, **fields))


def main(arguments: list[str]) -> int:
    syslog.openlog("holdfast-fence-peer")
    store = os.environ.get("DRBD_RESOURCE", "")
    try:
        settings = load(arguments[0] if arguments else FILE)
    except ConfigError as why:
        to_syslog("fence_peer_refused", store=store, why=str(why), level="alert")
        return STAY_FROZEN
    if store not in {p.identity.name for p in settings.stores}:
        to_syslog("fence_peer_refused", store=store, why="DRBD_RESOURCE names no store of this host", level="alert")
        return STAY_FROZEN
    return take_out(settings.host, store, settings.coordinator, to_syslog)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""How long do clients stall when the active store server loses power? Cuts it again and again under write load.

    python -m tests.full.store_cuts [--lab NAME] [--cuts 20] [--seconds 60]

The lab must be deployed with `-e store_hourly_limit=1000`, since every cut is an automatic takeover. Prints a line a
cut and the percentiles; build/store-cuts.json holds all. Exit status 1 when a record is missing or a call has failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass

from tests.full.figures import percentile
from tests.story.coordinator import Records
from tests.story.machines import ROOT, Lab
from tests.story.outage import IDENTITY
from tests.story.pair import Pair, Writer


@dataclass(frozen=True)
class Cut:
    """Seconds from the power cut, but `stall`: the longest time that one record took. `lease`: until the owner's word
    in the coordinator was over; `own`: until another host owned the store; `serves`: until it answered."""

    host: str
    leader: bool  # was the etcd member on that host the leader?
    records: int
    missing: int
    replayed: int  # calls that had been done and were answered as if they had not (tests/story/on_mail/write.py)
    error: str
    stall: float
    lease: float
    own: float
    serves: float
    whole: float  # from power on until both members were in sync again


def is_leader(records: Records, host: str) -> bool:
    status = json.loads(records.etcdctl("endpoint", "status", "--cluster", "-w", "json"))
    leader = {s["Status"]["leader"] for s in status}
    names = {m["ID"]: m["name"] for m in json.loads(records.etcdctl("member", "list", "-w", "json"))["members"]}
    return any(names.get(one) == host for one in leader)


def play(lab: Lab, records: Records, number: int, seconds: float) -> Cut:
    pair = Pair(lab, records)
    pair.wait_running()
    pair.wait_whole()
    mail = records.owner(IDENTITY)
    assert mail is not None
    leader = is_leader(records, pair.owner().host)
    writer = Writer(lab, mail.host, f"cuts{int(time.time())}", seconds)
    time.sleep(8)  # writes are under way: a time in the middle of them, not a condition
    before, cut = pair.cut_owner()
    run = pair.wait_taken(before)
    done = writer.end()
    pair.wait_running()
    missing = pair.missing(done)
    start = time.time()
    lab.word("start", before.host)
    pair.wait_whole()
    steps = {s.name: s for s in run.steps}
    candidate, own, started = steps["candidate"], steps["own"], steps["started"]
    stall = done.stall()
    return Cut(
        host=before.host,
        leader=leader,
        records=len(done.records),
        missing=len(missing),
        replayed=done.replayed(),
        error=done.error,
        stall=stall.seconds,
        lease=candidate.start - cut,
        own=own.start - cut,
        serves=(started.end or started.start) - cut,
        whole=time.time() - start,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="store_cuts", description=__doc__)
    parser.add_argument("--lab", default=Lab().name)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0, help="of writing, each time")
    arguments = parser.parse_args()
    lab = Lab(arguments.lab)
    records = Records(lab)
    cuts: list[Cut] = []
    for number in range(arguments.cuts):
        cut = play(lab, records, number, arguments.seconds)
        cuts.append(cut)
        role = "etcd leader" if cut.leader else "not the leader"
        print(
            f"{number + 1:3} {cut.host} ({role}): stall {cut.stall:.1f} s; lease over +{cut.lease:.1f}, own"
            f" +{cut.own:.1f}, serves +{cut.serves:.1f}; {cut.records} records, {cut.missing} missing,"
            f" {cut.replayed} replayed {cut.error};"
            f" whole after {cut.whole:.0f} s",
            flush=True,
        )
        (ROOT / "build" / "store-cuts.json").write_text(json.dumps([asdict(c) for c in cuts], indent=2) + "\n")
    for name in ("stall", "lease", "own", "serves", "whole"):
        values = [float(getattr(c, name)) for c in cuts]
        middle, high = percentile(values, 0.5), percentile(values, 0.99)
        print(f"{name:8} p50 {middle:6.1f}  p99 {high:6.1f}  max {max(values):6.1f} s")
    lost = sum(c.missing for c in cuts)
    print(
        f"{sum(c.records for c in cuts)} records called safe, {lost} missing, {sum(c.replayed for c in cuts)} replayed,"
        f" {sum(bool(c.error) for c in cuts)} errors"
    )
    return 1 if lost or any(c.error for c in cuts) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs seeds: `make simulate`, `make simulate SEEDS=1-20000`, `make simulate SEEDS=17`.

Without seeds: a range of its own for each run, for --seconds and at least --least seeds. One seed: its whole trace. The
exit status is 1 if a seed failed, 2 for bad arguments, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.synchronize import Event

from .report import fingerprint, line, short
from .scenario import Scenario

CHUNK = 10  # seeds that a process runs before it reports
TOLD = 3  # failing seeds whose trace is printed
ENOUGH = 20  # failing seeds after which no more are tried


class Mistake(Exception):
    """One line for whoever called."""


@dataclass(frozen=True)
class Result:
    """What a process found out about some seeds. `failed`: seed, violation, short trace."""

    seeds: int
    seconds: float
    takeovers: int
    failed: tuple[tuple[int, str, list[str]], ...]


def parse_seeds(text: str) -> range:
    """`17` or `1-20000`. Raises Mistake."""
    found = re.fullmatch(r"\s*(\d{1,15})\s*(?:-\s*(\d{1,15})\s*)?", text)
    if found is None:
        raise Mistake(f"SEEDS is {text!r}: give one number, or two like 1-20000")
    first = int(found.group(1))
    last = first if found.group(2) is None else int(found.group(2))
    if last < first:
        raise Mistake(f"SEEDS is {text!r}: the second number is smaller than the first; turn them round")
    return range(first, last + 1)


def run_some(seeds: range) -> Result:
    """In a process of the pool."""
    seconds, takeovers, failed = 0.0, 0, []
    tried = 0
    for seed in seeds:
        if _OVER is not None and _OVER.is_set():
            break
        outcome = Scenario(seed).run()
        tried += 1
        seconds += outcome.seconds
        takeovers += outcome.takeovers
        if outcome.violation is not None:
            failed.append((seed, outcome.violation, short(outcome)))
    gc.collect()
    return Result(tried, seconds, takeovers, tuple(failed))


_OVER: Event | None = None  # in a process of the pool: no more seeds


def _leave_signals_to_the_parent(over: Event) -> None:
    global _OVER
    _OVER = over
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # a run leaves cycles behind; they are collected between chunks


def _chunks(seeds: range) -> Iterator[range]:
    for first in range(seeds.start, seeds.stop, CHUNK):
        yield range(first, min(first + CHUNK, seeds.stop))


def replay(seed: int) -> int:
    outcome = Scenario(seed).run()
    for event in outcome.events:
        print(line(event))
    print(f"seed {seed}: {outcome.violation or 'all invariants held'}; {outcome.seconds:.0f} virtual seconds,", end=" ")
    print(f"{outcome.takeovers} takeovers, fingerprint {fingerprint([outcome])[:16]}")
    return _close(1, [] if outcome.violation is None else [seed])


def _close(tried: int, failed: Sequence[int]) -> int:
    print(f"{tried - len(failed)} passed, {len(failed)} failed", flush=True)
    return 1 if failed else 0


class Campaign:
    """Many seeds on several processes."""

    def __init__(self, seeds: range, processes: int, seconds: float | None, least: int) -> None:
        self.chunks = _chunks(seeds)
        self.processes = processes
        self.seconds = seconds
        self.least = least
        self.tried = self.takeovers = 0
        self.virtual = 0.0
        self.failed: list[int] = []
        self.start = time.monotonic()

    def run(self) -> int:
        interrupted = False
        over = multiprocessing.Event()
        pool = ProcessPoolExecutor(self.processes, initializer=_leave_signals_to_the_parent, initargs=(over,))
        pending: set[Future[Result]] = set()
        try:
            self._more(pool, pending)
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    self._take(future.result())
                self._more(pool, pending)
        except KeyboardInterrupt:
            interrupted = True
            over.set()
            print("interrupted", flush=True)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        took = time.monotonic() - self.start
        print(
            f"{self.tried} seeds in {took:.0f} s: {self.tried / took:.1f} seeds/s on {self.processes} processes;"
            f" {self.virtual / 3600:.0f} virtual hours, {self.takeovers} takeovers"
        )
        status = _close(self.tried, self.failed)
        return 130 if interrupted else status

    def _more(self, pool: ProcessPoolExecutor, pending: set[Future[Result]]) -> None:
        while len(pending) < 2 * self.processes and not self._over():
            chunk = next(self.chunks, None)
            if chunk is None:
                return
            pending.add(pool.submit(run_some, chunk))

    def _over(self) -> bool:
        if len(self.failed) >= ENOUGH:
            return True
        late = self.seconds is not None and time.monotonic() - self.start >= self.seconds
        return late and self.tried >= self.least

    def _take(self, result: Result) -> None:
        self.tried += result.seeds
        self.virtual += result.seconds
        self.takeovers += result.takeovers
        for seed, violation, trace in result.failed:
            self.failed.append(seed)
            print(f"FAILED seed {seed}: {violation}; replay: make simulate SEEDS={seed}", flush=True)
            if len(self.failed) <= TOLD:
                print("\n".join(f"    {text}" for text in trace), flush=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="simulate", description="Runs the simulation.")
    parser.add_argument("--seeds", default=os.environ.get("SEEDS", ""), help="17 or 1-20000; also as SEEDS=")
    parser.add_argument("--trace", action="store_true", help="the whole trace of every seed")
    parser.add_argument("--seconds", type=float, default=240.0, help="without seeds: go on for so long")
    parser.add_argument("--least", type=int, default=1000, help="without seeds: try at least so many")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    try:
        if options.processes < 1:
            raise Mistake(f"--processes is {options.processes}: give 1 or more")
        seeds = parse_seeds(options.seeds) if options.seeds.strip() else None
    except Mistake as why:
        print(f"simulate: {why}", file=sys.stderr)
        return 2
    if seeds is not None and (len(seeds) == 1 or options.trace):
        return max(replay(seed) for seed in seeds)
    if seeds is not None:
        return Campaign(seeds, options.processes, None, 0).run()
    first = int(time.time()) * 1000  # a range that no run before had
    print(f"seeds from {first}, for {options.seconds:.0f} s and at least {options.least}", flush=True)
    return Campaign(range(first, first + 10**9), options.processes, options.seconds, options.least).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Runs seeds: `make simulate`, `make simulate SEEDS=1-20000`, `make simulate SEEDS=17`; of pairs of stores `SEEDS=p17`.

Without seeds: a range of its own for each run, for --seconds and at least --least seeds, every fourth part of it pairs.
One seed: its whole trace. The exit status is 1 if a seed failed, 2 for bad arguments, 130 after Ctrl-C.
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

from .faults import Outcome
from .pair_scenario import PairScenario
from .report import fingerprint, line, short
from .scenario import Scenario

CHUNK = 10  # seeds that a process runs before it reports
PAIRS = 4  # of so many chunks one is of pairs, where nobody says which
TOLD = 3  # failing seeds whose trace is printed
ENOUGH = 20  # failing seeds after which no more are tried


class Mistake(Exception):
    """One line for whoever called."""


@dataclass(frozen=True)
class Result:
    """What a process found out about some seeds. `failed`: seed as it is asked for, violation, short trace."""

    seeds: int
    seconds: float
    takeovers: int
    failed: tuple[tuple[str, str, list[str]], ...]


@dataclass(frozen=True)
class Part:
    """Seeds of one kind of deployment: mail hosts (scenario.py), or with `pair` a store of two (pair_scenario.py)."""

    seeds: range
    pair: bool = False

    def play(self, seed: int) -> Outcome:
        return PairScenario(seed).run() if self.pair else Scenario(seed).run()

    def name(self, seed: int) -> str:
        return f"p{seed}" if self.pair else str(seed)


def parse_part(text: str) -> Part:
    """`17`, `1-20000`, `p17` or `p1-20000`. Raises Mistake."""
    pair = text.strip().startswith("p")
    try:
        return Part(parse_seeds(text.strip().removeprefix("p") if pair else text), pair)
    except Mistake as why:
        raise Mistake(str(why).replace(repr(text.strip()[1:]), repr(text)) if pair else str(why)) from None


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


def run_some(part: Part) -> Result:
    """In a process of the pool."""
    seconds, takeovers, failed = 0.0, 0, []
    tried = 0
    for seed in part.seeds:
        if _OVER is not None and _OVER.is_set():
            break
        outcome = part.play(seed)
        tried += 1
        seconds += outcome.seconds
        takeovers += outcome.takeovers
        if outcome.violation is not None:
            failed.append((part.name(seed), outcome.violation, short(outcome)))
    gc.collect()
    return Result(tried, seconds, takeovers, tuple(failed))


_OVER: Event | None = None  # in a process of the pool: no more seeds


def _leave_signals_to_the_parent(over: Event) -> None:
    global _OVER
    _OVER = over
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # a run leaves cycles behind; they are collected between chunks


def _chunks(part: Part, mixed: bool) -> Iterator[Part]:
    seeds = part.seeds
    for number, first in enumerate(range(seeds.start, seeds.stop, CHUNK), 1):
        pair = part.pair or (mixed and number % PAIRS == 0)
        yield Part(range(first, min(first + CHUNK, seeds.stop)), pair)


def replay(part: Part, seed: int) -> int:
    outcome, name = part.play(seed), part.name(seed)
    for event in outcome.events:
        print(line(event))
    print(f"seed {name}: {outcome.violation or 'all invariants held'}; {outcome.seconds:.0f} virtual seconds,", end=" ")
    print(f"{outcome.takeovers} takeovers, fingerprint {fingerprint([outcome])[:16]}")
    return _close(1, [] if outcome.violation is None else [name])


def _close(tried: int, failed: Sequence[str]) -> int:
    print(f"{tried - len(failed)} passed, {len(failed)} failed", flush=True)
    return 1 if failed else 0


class Campaign:
    """Many seeds on several processes. `mixed`: some of them are of pairs."""

    def __init__(self, part: Part, processes: int, seconds: float | None, least: int, mixed: bool = False) -> None:
        self.chunks = _chunks(part, mixed)
        self.processes = processes
        self.seconds = seconds
        self.least = least
        self.tried = self.takeovers = 0
        self.virtual = 0.0
        self.failed: list[str] = []
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
    parser.add_argument(
        "--seeds", default=os.environ.get("SEEDS", ""), help="17, 1-20000, p17 or p1-20000; also as SEEDS="
    )
    parser.add_argument("--trace", action="store_true", help="the whole trace of every seed")
    parser.add_argument("--seconds", type=float, default=240.0, help="without seeds: go on for so long")
    parser.add_argument("--least", type=int, default=1000, help="without seeds: try at least so many")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    try:
        if options.processes < 1:
            raise Mistake(f"--processes is {options.processes}: give 1 or more")
        part = parse_part(options.seeds) if options.seeds.strip() else None
    except Mistake as why:
        print(f"simulate: {why}", file=sys.stderr)
        return 2
    if part is not None and (len(part.seeds) == 1 or options.trace):
        return max(replay(part, seed) for seed in part.seeds)
    if part is not None:
        return Campaign(part, options.processes, None, 0).run()
    first = int(time.time()) * 1000  # a range that no run before had
    print(f"seeds from {first}, for {options.seconds:.0f} s and at least {options.least}", flush=True)
    everything = Part(range(first, first + 10**9))
    return Campaign(everything, options.processes, options.seconds, options.least, mixed=True).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

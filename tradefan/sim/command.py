"""What `tradefan simulate` does: seeds in processes of their own, a line for each failure, a summary."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from threading import Timer

import msgspec
from msgspec import Struct

from tradefan.errors import Defect
from tradefan.sim.checkers import all_checkers
from tradefan.sim.faults import read_kinds
from tradefan.sim.options import DEFAULT_HOURS
from tradefan.sim.report import Outcome, Summary
from tradefan.sim.shorten import shorten
from tradefan.sim.world import World

PROGRESS_EVERY = 10
ENOUGH_SEEDS = 300
"""So many seeds with all faults are to show something about each of them."""
SEED_MAX_S = 120
"""A seed ends within 20 s; a process whose seed still runs after this says where it stands, and ends."""
_STDERR = 2
__all__ = ["DEFAULT_HOURS", "Wanted", "failure", "main", "run_seed", "simulate"]


class Wanted(Struct, frozen=True):
    """What the command was asked for."""

    seeds: tuple[int, ...]
    hours: float = DEFAULT_HOURS
    faults: str = "all"
    jobs: int = 1
    shorten: bool = True


def run_seed(seed: int, hours: float, kinds: Sequence[str], all_on: bool) -> Outcome:
    """Run one seed with fresh checkers."""
    return World(seed, hours=hours, kinds=kinds, all_on=all_on, checkers=all_checkers()).run()


def simulate(wanted: Wanted, say: Callable[[str], None]) -> tuple[Summary, str]:
    """Run the seeds in their order; return the sum and the hash over all traces."""
    kinds, all_on = read_kinds(wanted.faults)
    one = partial(_one, wanted.hours, kinds, all_on)
    summary, traces = Summary(), blake2b(digest_size=32)
    for outcome in _in_order(one, wanted.seeds, wanted.jobs):
        summary.add(outcome)
        traces.update(outcome.trace.encode())
        if outcome.violation is not None:
            for line in failure(outcome, wanted):
                say(line)
        elif summary.seeds % PROGRESS_EVERY == 0:
            say(f"{summary.seeds} of {len(wanted.seeds)} seeds, {len(summary.violations)} violations")
    trace = outcome.trace if len(wanted.seeds) == 1 else traces.hexdigest()
    return summary, trace


def failure(outcome: Outcome, wanted: Wanted) -> Iterator[str]:
    """Give what is to be known of a failing seed, the command that repeats it last."""
    violation = outcome.violation
    assert violation is not None
    yield f"seed {outcome.seed}: {violation}"
    kinds = outcome.kinds
    if wanted.shorten and kinds:
        kinds = shorten(kinds, partial(_fails, outcome, wanted.hours))
    words = ",".join(kinds) or "none"
    hours = "" if wanted.hours == DEFAULT_HOURS else f" --hours {wanted.hours!r}"
    yield f"  needs {len(kinds)} of {len(outcome.kinds)} kinds of faults"
    yield f"  tradefan simulate --seed {outcome.seed}{hours} --faults {words}"


def _fails(outcome: Outcome, hours: float, kinds: Sequence[str]) -> bool:
    """Say whether the seed breaks the same invariant with these kinds."""
    with _watched(outcome.seed):
        again = run_seed(outcome.seed, hours, kinds, all_on=True).violation
    assert outcome.violation is not None
    return again is not None and again.invariant == outcome.violation.invariant


def _one(hours: float, kinds: Sequence[str], all_on: bool, seed: int) -> bytes:
    begun_s = time.process_time()
    with _watched(seed):
        outcome = run_seed(seed, hours, kinds, all_on)
    outcome = msgspec.structs.replace(outcome, cpu_s=time.process_time() - begun_s)
    return msgspec.msgpack.encode(outcome)


@contextmanager
def _watched(seed: int) -> Iterator[None]:
    """Let nobody wait for ever for a seed that hangs: it is named, and its process ends."""
    text = f"seed {seed} runs for more than {SEED_MAX_S} s and is ended; it stands here:\n"
    name = Timer(SEED_MAX_S, os.write, (_STDERR, text.encode()))
    name.daemon = True
    name.start()
    # A moment later, so that the name comes first; this one needs no turn of the interpreter.
    faulthandler.dump_traceback_later(SEED_MAX_S + 1, exit=True, file=_STDERR)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        name.cancel()


def _in_order(one: Callable[[int], bytes], seeds: Sequence[int], jobs: int) -> Iterator[Outcome]:
    """Give the outcomes in the order of the seeds, whatever process finishes first.

    Raises:
        Defect: a process died in the middle of a seed.
    """
    decode = msgspec.msgpack.Decoder(Outcome).decode
    if jobs <= 1 or len(seeds) == 1:
        for seed in seeds:
            yield decode(one(seed))
        return
    # A fresh interpreter each: nothing of one seed is left in memory for another process to inherit.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
    try:
        futures = {seed: pool.submit(one, seed) for seed in seeds}
        for seed in seeds:
            yield decode(futures[seed].result())
    except BrokenProcessPool as error:
        text = f"the process of seed {seed}, or of one of the {jobs - 1} behind it, died"
        raise Defect(f"{text}; run them one by one") from error
    finally:
        pool.shutdown(cancel_futures=True)


def main(seeds: Sequence[int], hours: float, faults: str, jobs: int, *, as_json: bool) -> int:
    """Run seeds and print: failures and progress as they come, then the summary, last the trace.

    Of at least `ENOUGH_SEEDS` with all faults each kind has to strike: what never does is shown by none.
    With `as_json` the summary is the only thing on standard output besides the trace.

    Raises:
        Refused: UNKNOWN_FAULT.
    """
    say = partial(print, flush=True)
    aside = partial(say, file=sys.stderr) if as_json else say
    summary, trace = simulate(Wanted(tuple(seeds), hours, faults, jobs), aside)
    say(msgspec.json.encode(summary).decode() if as_json else "\n".join(summary.lines()))
    silent = summary.silent() if faults == "all" and len(seeds) >= ENOUGH_SEEDS else []
    if silent:
        aside(f"never struck, so nothing is shown about them: {', '.join(silent)}")
    say(f"trace {trace}")
    return 1 if summary.violations or silent else 0

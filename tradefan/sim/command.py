"""What `tradefan simulate` does: seeds in processes of their own, a line for each failure, a summary."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from threading import Timer

import msgspec
from msgspec import Struct

from tradefan.errors import Defect
from tradefan.sim.checkers import all_checkers
from tradefan.sim.faults import read_kinds, read_only
from tradefan.sim.options import DEFAULT_HOURS
from tradefan.sim.pin import pin
from tradefan.sim.reduce import RUNS_MAX, Reduced, reduce
from tradefan.sim.report import Outcome, Summary
from tradefan.sim.shorten import Budget
from tradefan.sim.world import World

PROGRESS_EVERY = 10
ENOUGH_SEEDS = 300
"""So many seeds with all faults are to show something about each of them."""
SEED_MAX_S = 120
"""A seed ends within 20 s; a process whose seed still runs after this says where it stands, and ends."""
REDUCED_MAX = 3
"""So many failing seeds of a command are reduced: hundreds mostly have one cause, and each takes minutes."""
SHRINK_MINUTES = 5.0
PINNED = Path("results/pinned")
_STDERR = 2
__all__ = ["DEFAULT_HOURS", "PINNED", "SHRINK_MINUTES", "Wanted", "failure", "main", "replay", "simulate"]


class Wanted(Struct, frozen=True):
    """What the command was asked for."""

    seeds: tuple[int, ...]
    hours: float = DEFAULT_HOURS
    faults: str = "all"
    only: str = "all"
    jobs: int = 1
    shrink_minutes: float = SHRINK_MINUTES
    """How long it may take to reduce a failing seed; 0: it is not reduced."""
    pin: Path | None = None
    """The folder for a test of each reduced seed."""


def replay(
    seed: int,
    *,
    hours: float = DEFAULT_HOURS,
    faults: str = "all",
    only: str = "all",
    until_ns: int | None = None,
    over: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Run one seed with fresh checkers, as the command does with the same words.

    Raises:
        Refused: UNKNOWN_FAULT.
    """
    kinds, all_on = read_kinds(faults)
    words = read_only(only)
    world = World(seed, hours=hours, kinds=kinds, all_on=all_on, only=words, checkers=all_checkers())
    return world.run(until_ns, over)


def simulate(wanted: Wanted, say: Callable[[str], None]) -> tuple[Summary, str]:
    """Run the seeds in their order; return the sum and the hash over all traces."""
    # What nobody can read is refused before any seed runs, not in a process of its own.
    read_kinds(wanted.faults)
    read_only(wanted.only)
    one = partial(_one, wanted)
    summary, traces = Summary(), blake2b(digest_size=32)
    for outcome in _in_order(one, wanted.seeds, wanted.jobs):
        summary.add(outcome)
        traces.update(outcome.trace.encode())
        if outcome.violation is not None:
            for line in failure(outcome, wanted, shrink=len(summary.violations) <= REDUCED_MAX):
                say(line)
        elif summary.seeds % PROGRESS_EVERY == 0:
            say(f"{summary.seeds} of {len(wanted.seeds)} seeds, {len(summary.violations)} violations")
    trace = outcome.trace if len(wanted.seeds) == 1 else traces.hexdigest()
    return summary, trace


def failure(outcome: Outcome, wanted: Wanted, *, shrink: bool = True) -> Iterator[str]:
    """Give what is to be known of a failing seed: what broke and what that needs, its command, its test."""
    violation = outcome.violation
    assert violation is not None
    yield f"seed {outcome.seed}: {violation}"
    if not shrink or not wanted.shrink_minutes:
        yield f"  not reduced: {_command(outcome.seed, wanted.hours, wanted.faults, wanted.only)}"
        return
    budget = Budget(RUNS_MAX, 60 * wanted.shrink_minutes, longest_s=outcome.cpu_s)
    reduced = reduce(outcome, wanted.hours, partial(_again, outcome.seed, wanted.faults, budget), budget)
    part = f"{len(reduced.only)} of {len(outcome.happened)} faults"
    cost = f"{budget.runs} runs, {budget.seconds:.0f} s"
    if budget.spent:
        yield f"  fails with {part}, of which not each may be needed: stopped behind {cost}"
    else:
        yield f"  needs {part} ({cost})"
    yield f"  {_command(outcome.seed, reduced.hours, wanted.faults, ' '.join(reduced.only) or 'none')}"
    if wanted.pin is not None:
        yield f"  {_pin(wanted.pin, outcome.seed, wanted.faults, reduced)}"


def _command(seed: int, hours: float, faults: str, only: str) -> str:
    """Return what repeats a seed."""
    words = ["tradefan simulate --seed", str(seed)]
    words += [] if hours == DEFAULT_HOURS else ["--hours", repr(hours)]
    words += [] if faults == "all" else ["--faults", shlex.quote(faults)]
    words += [] if only == "all" else ["--only", shlex.quote(only)]
    return " ".join(words)


def _pin(folder: Path, seed: int, faults: str, reduced: Reduced) -> str:
    try:
        return f"pinned by {pin(folder, seed, faults, reduced)}"
    except OSError as error:
        return f"not pinned: {error}"


def _again(
    seed: int, faults: str, budget: Budget, hours: float, words: Sequence[str], until_ns: int
) -> Outcome:
    """Run a seed with some of its faults, while there is time."""
    only = " ".join(words) or "none"
    with _watched(seed):
        return replay(seed, hours=hours, faults=faults, only=only, until_ns=until_ns, over=budget.over)


def _one(wanted: Wanted, seed: int) -> bytes:
    begun_s = time.process_time()
    with _watched(seed):
        outcome = replay(seed, hours=wanted.hours, faults=wanted.faults, only=wanted.only)
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


def main(wanted: Wanted, *, as_json: bool) -> int:
    """Run seeds and print: failures and progress as they come, then the summary, last the trace.

    Of at least `ENOUGH_SEEDS` with all faults each kind has to strike: what never does is shown by none.
    With `as_json` the summary is the only thing on standard output besides the trace.

    Raises:
        Refused: UNKNOWN_FAULT.
    """
    say = partial(print, flush=True)
    aside = partial(say, file=sys.stderr) if as_json else say
    summary, trace = simulate(wanted, aside)
    say(msgspec.json.encode(summary).decode() if as_json else "\n".join(summary.lines()))
    everything = wanted.faults == wanted.only == "all" and len(wanted.seeds) >= ENOUGH_SEEDS
    silent = summary.silent() if everything else []
    if silent:
        aside(f"never struck, so nothing is shown about them: {', '.join(silent)}")
    say(f"trace {trace}")
    return 1 if summary.violations or silent else 0

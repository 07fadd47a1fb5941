"""Runs every deliberate fault against the simulator, which has to kill at least 95 % of them.

    python -m tests.mutants.run [--only NAME ...] [--jobs N] [--out FILE.json] [--check]

Each is applied to a copy of the package and attacked with the same seeds in the same order, those of CI,
until one breaks an invariant or its core-minutes are used. What is arithmetic that no world shows is attacked
by the walker of the property tests instead (WALKS), seed by seed as well. Survivors are named with the
invariant that should have seen them; exit code 1 where too many survive.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import PACKAGE, ROOT, Mutant, applied
from tests.proof.stamp import DIRTY, Stamp, stamp
from tradefan.sim.witness import DEFECT

BUDGET_S = 300
HOURS = 0.1
SEEDS = range(1, 301)
"""Those that CI runs: the program as it is breaks nothing in them."""
KILLED_LEAST = 0.95
SHOWN = 400
"""Of what was expected and found so many characters are kept."""
GUARDS = ("tradefan.errors.Defect:", "AssertionError")
"""How an exception begins that the program raises because it has seen what may not be."""
ATTACK, WALK = Path(__file__).with_name("attack.py"), Path(__file__).with_name("walk.py")
TRACE = "I-42"
COMMAND = "python -m tests.mutants.run"
NOWHERE = Path(os.devnull)
"""What is kept there may be of a tree with changes, and says so."""

Say: TypeAlias = Callable[[str], None]


class Seen(Struct, frozen=True):
    """What a child says of one seed; `core_s` is what it has used in all."""

    trace: str
    violation: tuple[str, str, str] | None
    core_s: float


class Result(Struct, frozen=True):
    """What became of a mutant. `invalid`: it does not run as a program with this one mistake would."""

    name: str
    mistake: str
    invariants: tuple[str, ...]
    verdict: Literal["killed", "survived", "invalid"]
    killed_by: str = ""
    seed: int = 0
    expected: str = ""
    found: str = ""
    core_s: float = 0.0
    seeds: int = 0


class Report(Struct, frozen=True):
    """The results of a whole run, for whoever publishes them."""

    stamp: Stamp
    budget_s: int
    hours: float
    seeds: int
    killed: int
    mutants: tuple[Result, ...]


class Child:
    """A fresh interpreter that attacks one copy of the package, seed by seed."""

    def __init__(self, folder: Path, budget_s: int, hash_seed: str, *, walks: bool = False) -> None:
        """Start it; nothing but the copy and the installed libraries can be imported, and the walker."""
        self.core_s = 0.0
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 closed in `close`
        # What is first is found first: the package is the copy's, only the tests are those beside this file.
        path = os.pathsep.join((str(folder), str(ROOT))) if walks else str(folder)
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, str(WALK if walks else ATTACK), str(budget_s), str(HOURS)]
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def run(self, faults: str, seed: int) -> Seen | None:
        """Run a seed; None where the child has used its time, or died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{faults} {seed}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        line = self._process.stdout.readline()
        if not line:
            return None
        seen = msgspec.json.decode(line, type=Seen)
        self.core_s = seen.core_s
        return seen

    def last_words(self) -> str:
        """Return the end of what it complained about."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-SHOWN:]

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def attack(mutant: Mutant, source: Path, budget_s: int) -> Result:
    """Apply a mutant to a copy of the package, and run seeds until one kills it or its time is used."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        make_copy(mutant, source, folder)
        hash_seeds = ("0", "4711") if mutant.hash_seeds else ("0",)
        walks = mutant.judge == "walks"
        # One that hangs uses all that its child may: together they have the time of one mutant.
        each_s = max(1, budget_s // len(hash_seeds))
        children = [Child(folder, each_s, hash_seed, walks=walks) for hash_seed in hash_seeds]
        try:
            return _attack(mutant, children, budget_s)
        finally:
            for child in children:
                child.close()


def keep_source(folder: Path) -> Path:
    """Copy the package as it is now: whoever edits it meanwhile changes none of the mutants to come."""
    # Recordings are market data of the demonstration; the simulated market is made from the seed.
    return Path(
        shutil.copytree(ROOT / PACKAGE, folder / PACKAGE, ignore=shutil.ignore_patterns("recordings"))
    )


def make_copy(mutant: Mutant, source: Path, folder: Path) -> None:
    """Copy the package, compiled files as well, and change what the mutant changes."""
    package = folder / PACKAGE
    shutil.copytree(source, package)
    for path, text in applied(mutant, package).items():
        compile(text, str(path), "exec")
        path.write_text(text, encoding="utf-8")
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()


def _attack(mutant: Mutant, children: list[Child], budget_s: int) -> Result:
    result = partial(Result, mutant.name, mutant.mistake, mutant.invariants)
    quiet = children[0].run("none", SEEDS[0])
    # The walker knows no faults that could be left out.
    shows = mutant.invariants if mutant.shows_always or mutant.judge == "walks" else ()
    if quiet is None or (quiet.violation is not None and quiet.violation[0] not in shows):
        why = children[0].last_words() if quiet is None else " ".join(quiet.violation or ())
        expected = f"a run without faults that breaks {' or '.join(shows) or 'nothing'}"
        return result("invalid", expected=expected, found=why[:SHOWN])
    ran = 0
    for seed in SEEDS:
        seen = [child.run("all", seed) for child in children]
        core_s = round(sum(child.core_s for child in children), 1)
        broken = _broken(seen)
        if broken is not None:
            by, expected, found = broken
            if by == DEFECT and not any(line.startswith(GUARDS) for line in found.splitlines()):
                # The program has come apart, and neither an invariant nor a guard has seen the mistake.
                return result(
                    "invalid", expected="a program that only does the wrong thing", found=found[-SHOWN:]
                )
            return result("killed", by, seed, expected[:SHOWN], found[:SHOWN], core_s, ran + 1)
        if None in seen or core_s >= budget_s:
            break
        ran += 1
    words = "".join(child.last_words() for child in children)
    return result("survived", found=words, core_s=min(core_s, budget_s), seeds=ran)


def _broken(seen: Sequence[Seen | None]) -> tuple[str, str, str] | None:
    """Return what a seed has broken, in any child or between them."""
    told = [one for one in seen if one is not None]
    broken = next((one.violation for one in told if one.violation is not None), None)
    traces = list(dict.fromkeys(one.trace for one in told))
    if broken is None and len(traces) > 1:
        return TRACE, f"the trace {traces[0]}", traces[1]
    return broken


def run(mutants: Sequence[Mutant], jobs: int, budget_s: int, say: Say) -> Report:
    """Attack mutants, so many at a time, and say what becomes of each in their order."""
    say(f"{'mutant':36}{'':10}{'by':8}{'seed':>5}{'core s':>8}")
    results, begun = [], stamp(COMMAND, NOWHERE)
    with tempfile.TemporaryDirectory(prefix="mutants-") as name, ThreadPoolExecutor(jobs) as pool:
        source = keep_source(Path(name))
        for one in pool.map(partial(attack, source=source, budget_s=budget_s), mutants):
            seed = str(one.seed or "")
            say(f"{one.name:36}{one.verdict:10}{one.killed_by:8}{seed:>5}{one.core_s:>8.1f}")
            results.append(one)
    killed = sum(one.verdict == "killed" for one in results)
    return Report(_ended(begun), budget_s, HOURS, len(SEEDS), killed, tuple(results))


def conclusion(report: Report) -> list[str]:
    """Return how many were killed, and each that was not with the invariant that should have seen it."""
    count = len(report.mutants)
    lines = [f"{report.killed} of {count} killed ({100 * report.killed / count:.0f} %)"]
    for one in report.mutants:
        if one.verdict != "killed":
            lines.append(f"{one.verdict}: {one.name} ({one.mistake}) not seen by {', '.join(one.invariants)}")
            lines += [f"  {one.found}"] if one.found else []
    return lines


def _ended(begun: Stamp) -> Stamp:
    """Return the stamp of a run that ends now: of a commit only if the code is still the same."""
    ended = stamp(COMMAND, NOWHERE)
    if ended.commit == begun.commit or begun.commit.endswith(DIRTY):
        return replace(ended, commit=begun.commit)
    return replace(ended, commit=begun.commit + DIRTY)


def check(mutants: Sequence[Mutant]) -> None:
    """Apply each mutant to a copy, and compile it."""
    for mutant in mutants:
        with tempfile.TemporaryDirectory(prefix="mutant-") as name:
            make_copy(mutant, ROOT / PACKAGE, Path(name))


def at_least(least: int) -> Callable[[str], int]:
    """Return what reads a whole number of an option."""

    def number(text: str) -> int:
        found = int(text)
        if found < least:
            raise argparse.ArgumentTypeError(f"expected at least {least}, got {text}")
        return found

    return number


def main(
    words: Sequence[str] | None = None, mutants: Sequence[Mutant] = MUTANTS, say: Say | None = None
) -> int:
    """Do what the command line says; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.run", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[one.name for one in mutants])
    parser.add_argument("--jobs", type=at_least(1), default=2)
    parser.add_argument("--budget", type=at_least(1), default=BUDGET_S, help="core-seconds for each")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    parser.add_argument("--check", action="store_true", help="only apply and compile each")
    wanted = parser.parse_args(words)
    say = say or partial(print, flush=True)
    chosen = [one for one in mutants if wanted.only is None or one.name in wanted.only]
    if wanted.check:
        check(chosen)
        say(f"{len(chosen)} mutants apply and compile")
        return 0
    report = run(chosen, wanted.jobs, wanted.budget, say)
    for line in conclusion(report):
        say(line)
    if wanted.out is not None:
        wanted.out.parent.mkdir(parents=True, exist_ok=True)
        wanted.out.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return 0 if report.killed >= KILLED_LEAST * len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())

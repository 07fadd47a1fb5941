"""The part `mutants`: what `tests.mutants` says of defects that were built in on purpose."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
from msgspec.structs import replace

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import WALKS
from tests.mutants.run import BUDGET_S, Report, Result
from tests.proof.figures import Mutants, save
from tests.proof.stamp import DIRTY, ROOT, stamp
from tradefan.errors import Refused

COMMAND = "python -m tests.mutants.run --out FILE"
SHARE_MIN = 0.95


def run(place: Path, file: Path | None) -> None:
    """Store the results in a file, or of a run of all mutants."""
    if file is not None:
        keep(place, read(file))
        return
    stamp(COMMAND, place)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "mutants.json"
        words = [sys.executable, "-m", "tests.mutants.run", "--out", str(made)]
        done = subprocess.run(words, cwd=ROOT, check=False)
        if not made.exists():
            raise Refused("NO_MUTANTS", f"`{COMMAND}` ended with {done.returncode} and left no file")
        keep(place, read(made))


def read(file: Path) -> Report:
    """Return what the file says.

    Raises:
        Refused: BAD_MUTANTS, by the first field that is missing or of another kind, or where it is not of
            all mutants that there are, each within its time.
    """
    try:
        report = msgspec.json.decode(file.read_bytes(), type=Report)
    except OSError as error:
        raise Refused("BAD_MUTANTS", f"{file}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise Refused("BAD_MUTANTS", f"{file}: {error}") from error
    names, known = [one.name for one in report.mutants], [one.name for one in MUTANTS]
    twice = sorted({name for name in names if names.count(name) > 1})
    missing = [name for name in known if name not in names]
    strange = [name for name in names if name not in known]
    for which, found in (("twice", twice), ("not", missing), ("unknown", strange)):
        if found:
            text = f"expected each of {len(known)} mutants, got {which} {', '.join(found)}"
            raise Refused("BAD_MUTANTS", f"{file}: {text}")
    if report.budget_s > BUDGET_S:
        text = f"expected at most {BUDGET_S} core-seconds for each, got {report.budget_s}"
        raise Refused("BAD_MUTANTS", f"{file}: {text}")
    blind = [one.name for one in report.mutants if one.verdict == "killed" and not one.killed_by]
    if blind:
        raise Refused("BAD_MUTANTS", f"{file}: killed, and no invariant says so: {', '.join(blind)}")
    return report


def keep(place: Path, report: Report) -> None:
    """Store the results under their stamp; how each was killed is of no use there.

    Raises:
        Refused: OTHER_CODE, what is there now is not what they are of: nobody could say which mutants it has.
    """
    now = stamp(COMMAND, place).commit
    if report.stamp.commit != now:
        text = f"expected mutants of {_short(now)}, got those of {_short(report.stamp.commit)}"
        raise Refused("OTHER_CODE", f"{text}; run them again")
    results = tuple(
        replace(one, expected="", found="") if one.verdict == "killed" else one for one in report.mutants
    )
    save(place, Mutants(report.stamp, report.budget_s, results))


def _short(commit: str) -> str:
    name, dirty, _ = commit.partition(DIRTY)
    return f"{name[:12]}{dirty}"


def share(results: tuple[Result, ...]) -> float:
    """Return which part of the mutants was killed."""
    return sum(one.verdict == "killed" for one in results) / len(results)


def of_seeds(results: tuple[Result, ...]) -> tuple[Result, ...]:
    """Return those that the simulator judges; the others are walked by the property tests."""
    return tuple(one for one in results if one.invariants != (WALKS,))

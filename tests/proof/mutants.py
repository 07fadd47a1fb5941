"""The part `mutants`: what `tests.mutants` says of defects that were built in on purpose."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
from msgspec.structs import replace

from tests.mutants.run import Report, Result
from tests.proof.figures import Mutants, save
from tests.proof.stamp import ROOT, code_of, stamp, still
from tradefan.errors import Refused

COMMAND = "python -m tests.mutants.run --out FILE"
SHARE_MIN = 0.95


def run(place: Path, file: Path | None) -> None:
    """Store the results in a file, or of a run of all mutants."""
    if file is not None:
        keep(place, read(file))
        return
    begun = stamp(COMMAND, place)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "mutants.json"
        words = [sys.executable, "-m", "tests.mutants.run", "--out", str(made)]
        done = subprocess.run(words, cwd=ROOT, check=False)
        if not made.exists():
            raise Refused("NO_MUTANTS", f"`{COMMAND}` ended with {done.returncode} and left no file")
        still(begun, place)
        keep(place, read(made))


def read(file: Path) -> Report:
    """Return what the file says.

    Raises:
        Refused: BAD_MUTANTS, by the first field that is missing or of another kind.
    """
    try:
        report = msgspec.json.decode(file.read_bytes(), type=Report)
    except OSError as error:
        raise Refused("BAD_MUTANTS", f"{file}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise Refused("BAD_MUTANTS", f"{file}: {error}") from error
    names = [one.name for one in report.mutants]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        found = f"twice {', '.join(twice)}" if twice else "none"
        raise Refused("BAD_MUTANTS", f"{file}: expected mutants with a name each, got {found}")
    blind = [one.name for one in report.mutants if one.verdict == "killed" and not one.killed_by]
    if blind:
        raise Refused("BAD_MUTANTS", f"{file}: killed, and no invariant says so: {', '.join(blind)}")
    return report


def keep(place: Path, report: Report) -> None:
    """Store the results under the commit that they name; how each was killed is of no use there."""
    here = stamp(COMMAND, place)
    kept = replace(here, commit=code_of(report.commit))
    results = tuple(
        replace(one, expected="", found="") if one.verdict == "killed" else one for one in report.mutants
    )
    save(place, Mutants(kept, report.budget_s, results))


def share(results: tuple[Result, ...]) -> float:
    """Return which part of the mutants was killed."""
    return sum(one.verdict == "killed" for one in results) / len(results)

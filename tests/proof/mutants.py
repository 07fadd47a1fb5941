"""The part `mutants`: what `tests.mutants` says of defects that were built in on purpose."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from tests.proof.figures import Mutant, Mutants, save
from tests.proof.stamp import ROOT, code_of, stamp, still
from tradefan.errors import Refused

COMMAND = "python -m tests.mutants.run --out FILE"
SHARE_MIN = 0.95
_RENAMED = {"mistake": "what", "invariants": "should", "killed_by": "invariant"}
"""What `tests.mutants` calls otherwise than this page."""


class Told(Struct, frozen=True):
    """The file that the run of the mutants leaves."""

    commit: str
    budget_s: float
    results: tuple[Mutant, ...]


def run(place: Path, file: Path | None) -> None:
    """Store the results in a file, or of a run of all mutants."""
    if file is not None:
        keep(place, read(file))
        return
    begun = stamp(COMMAND, place)
    if find_spec("tests.mutants") is None or find_spec("tests.mutants.run") is None:
        raise Refused("NO_MUTANTS", f"expected `{COMMAND}`, got no such module; name a file with --file")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "mutants.json"
        words = [sys.executable, "-m", "tests.mutants.run", "--out", str(made)]
        done = subprocess.run(words, cwd=ROOT, check=False)
        if not made.exists():
            raise Refused("NO_MUTANTS", f"`{COMMAND}` ended with {done.returncode} and left no file")
        still(begun, place)
        keep(place, read(made))


def read(file: Path) -> Told:
    """Return what the file says.

    Raises:
        Refused: BAD_MUTANTS, by the first field that is missing or of another kind.
    """
    try:
        told = msgspec.convert(_renamed(msgspec.json.decode(file.read_bytes())), Told)
    except OSError as error:
        raise Refused("BAD_MUTANTS", f"{file}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise Refused("BAD_MUTANTS", f"{file}: {error}") from error
    names = [one.name for one in told.results]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        found = f"twice {', '.join(twice)}" if twice else "none"
        raise Refused("BAD_MUTANTS", f"{file}: expected mutants with a name each, got {found}")
    blind = [one.name for one in told.results if one.killed and one.invariant is None]
    if blind:
        raise Refused("BAD_MUTANTS", f"{file}: killed, and no invariant says so: {', '.join(blind)}")
    return told


def _renamed(told: Any) -> Any:
    """Return what the file says in the words of `Told`, as far as it says it at all."""
    if not isinstance(told, dict) or "mutants" not in told:
        return told
    return {**told, "results": [_result(one) for one in told["mutants"]]}


def _result(one: dict[str, Any]) -> dict[str, Any]:
    found = {_RENAMED.get(name, name): value for name, value in one.items()}
    if "verdict" in found:
        found |= {"killed": found["verdict"] == "killed", "file": found.get("file", "")}
        # Of one that lived they are empty.
        found |= {name: found[name] or None for name in ("invariant", "seed") if name in found}
    return found


def keep(place: Path, told: Told) -> None:
    """Store the results under the commit that they name."""
    here = stamp(COMMAND, place)
    kept = msgspec.structs.replace(here, commit=code_of(told.commit))
    save(place, Mutants(kept, told.budget_s, told.results))


def share(results: tuple[Mutant, ...]) -> float:
    """Return which part of the mutants was killed."""
    return sum(one.killed for one in results) / len(results)

"""The test that pins a seed: laid out as this project's own are, whatever a violation says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tradefan.sim.faults import KINDS
from tradefan.sim.options import DEFAULT_HOURS
from tradefan.sim.personality import MODES
from tradefan.sim.pin import pin, pinned
from tradefan.sim.reduce import Reduced
from tradefan.sim.witness import Violation

ROOT = Path(__file__).resolve().parents[3]
PLACE = "tests/simulation/pinned/test_seed_5_i_01.py"
"""Where people move it; what the linters ask of a file depends on its place."""
EVERY = tuple(kind if kind in MODES else f"{kind}:1234" for kind in KINDS)
UGLY = Violation(
    "DEFECT", 7, 'no "exception" – none', 'File "C:\\x"\n  raise\t"""' + "word " * 400 + "E: the end"
)
CASES = {
    "plain": ("all", Reduced(DEFAULT_HOURS, (), Violation("I-01", 7, "one create", "two"))),
    "every kind": (",".join(KINDS), Reduced(0.14, EVERY, Violation("I-36", 7, "x " * 200, "y"))),
    "ugly words": ("all", Reduced(0.07, ("stall:1",), UGLY)),
}


def text(case: str) -> str:
    """Return the test of a case."""
    faults, reduced = CASES[case]
    return pinned(5, faults, reduced)


def test_pinned_when_written_then_it_reads_as_a_test_of_this_project() -> None:
    """The words of the violation and the meaning of each fault are in its docstring."""
    reduced = Reduced(0.14, ("crash_effect:2", "answer_lost:17"), Violation("I-01", 7, "one create", "two"))
    assert (
        pinned(5, "all", reduced)
        == '''\
"""A seed that `tradefan simulate` saw break I-01, with the faults that it needs and no others."""

from __future__ import annotations

from tradefan.sim.command import replay

ONLY = """
crash_effect:2 answer_lost:17
"""


def test_seed_5_when_its_faults_happen_then_no_invariant_breaks() -> None:
    """I-01 at 7 ns: expected one create, found two.

    crash_effect:2: the process dies before one of its effects, kill -9
    answer_lost:17: what was asked is done, and the answer never comes
    """
    outcome = replay(5, hours=0.14, only=ONLY)
    assert outcome.violation is None, str(outcome.violation)
'''
    )


def test_pin_when_called_then_the_file_is_named_after_seed_and_invariant(tmp_path: Path) -> None:
    """A folder that is not there is made."""
    faults, reduced = CASES["ugly words"]
    path = pin(tmp_path / "results" / "pinned", 5, faults, reduced)
    assert path == tmp_path / "results" / "pinned" / "test_seed_5_defect.py"
    assert path.read_text(encoding="utf-8") == text("ugly words")


def test_pinned_when_the_violation_is_a_traceback_then_its_end_is_told() -> None:
    """The last line says what was raised."""
    assert "E: the end." in " ".join(text("ugly words").split())
    assert len(text("ugly words")) < 2_000


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("action", [("check",), ("format", "--check")])
def test_pinned_when_moved_to_the_tests_then_the_linter_has_nothing_to_say(
    case: str, action: tuple[str, ...]
) -> None:
    """Nobody has to touch it before it is committed."""
    command = [sys.executable, "-m", "ruff", *action, "--no-cache", "--stdin-filename", PLACE, "-"]
    done = subprocess.run(command, cwd=ROOT, input=text(case), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_pinned_when_moved_to_the_tests_then_its_types_are_sound(tmp_path: Path) -> None:
    """`mypy --strict`, as for every file here; it takes the place of one that is there."""
    (tmp_path / "pinned.py").write_text(text("every kind"), encoding="utf-8")
    place = "tests/unit/sim/test_pin.py"
    command = [sys.executable, "-m", "mypy", "--strict", "--shadow-file", place, str(tmp_path / "pinned.py")]
    done = subprocess.run([*command, place], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

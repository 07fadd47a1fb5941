"""What the command tells of seeds: how to repeat one, and which one hangs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.unit.shell import Shell
from tradefan.sim.command import Wanted, failure
from tradefan.sim.report import Outcome
from tradefan.sim.witness import Violation

HANGS = """
import sys, time
from tradefan.sim import command
command.SEED_MAX_S = 2
command.replay = lambda seed, **_: time.sleep(60)
command.simulate(command.Wanted((4711,), faults="none"), print)
"""


def failed(*happened: str) -> Outcome:
    return Outcome(3, "", Violation("I-01", 0, "x", "y"), 0, happened=happened)


def test_failure_when_it_may_take_no_time_then_the_command_repeats_exactly_what_was_asked_for() -> None:
    """Rounded hours are another run, which may not fail."""
    wanted = Wanted((3,), 0.123456789, "stall, kill", "stall:1", shrink_minutes=0)
    assert list(failure(failed("stall:1"), wanted)) == [
        "seed 3: I-01 at 0 ns: expected x, found y",
        "  not reduced: tradefan simulate --seed 3 --hours 0.123456789 --faults 'stall, kill' --only stall:1",
    ]


def test_failure_when_the_time_is_too_short_for_a_run_then_all_its_faults_are_told() -> None:
    """Whatever was reached is given, if that is nothing."""
    outcome = msgspec.structs.replace(failed("stall:1", "ban:0"), cpu_s=70.0)
    _, told, line = failure(outcome, Wanted((3,), shrink_minutes=1))
    assert told == "  fails with 2 of 2 faults, of which not each may be needed: stopped behind 0 runs, 0 s"
    assert line == "  tradefan simulate --seed 3 --only 'stall:1 ban:0'"


def test_failure_when_the_test_cannot_be_written_then_it_says_so_and_goes_on(tmp_path: Path) -> None:
    """The list is worth more than its file."""
    (tmp_path / "file").touch()
    outcome = msgspec.structs.replace(failed(), cpu_s=9e9)
    *_, line = failure(outcome, Wanted((3,), pin=tmp_path / "file"))
    assert line.startswith("  not pinned: ")
    assert str(tmp_path / "file") in line


@pytest.mark.parametrize(
    ("option", "word"), [("--only", "stal:1"), ("--only", "stall:x"), ("--faults", "stal")]
)
def test_simulate_when_a_fault_is_unknown_then_2_and_option_word_and_meaning_are_said(
    shell: Shell, option: str, word: str
) -> None:
    """Before any seed runs."""
    done = shell("simulate", "--seed", "1", "--jobs", "2", option, word)
    assert (done.code, done.out) == (2, "")
    assert option in done.err
    assert repr(word) in done.err


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("--seed", "9223372036854775808"), "--seed"),
        (("--seeds", "2", "--from", "9223372036854775808"), "--from"),
        (("--seeds", "2", "--from", "9223372036854775807"), "--from"),
    ],
)
def test_simulate_when_a_seed_is_too_large_then_2_and_the_option_is_named(
    shell: Shell, words: tuple[str, ...], option: str
) -> None:
    """63 bits are what a report can hold, and what nobody has gone through yet."""
    done = shell("simulate", *words)
    assert (done.code, done.out) == (2, "")
    assert option in done.err
    assert "9223372036854775807" in done.err


@pytest.mark.slow
def test_simulate_when_the_only_seed_hangs_then_it_is_named_with_where_it_stands_and_ends() -> None:
    """Without a pool, too; CI would wait for hours, and then know nothing."""
    done = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "seed 4711 runs for more than" in done.stderr
    assert "<lambda>" in done.stderr

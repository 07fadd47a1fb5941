"""What the command tells of seeds: how to repeat one, and which one hangs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.unit.shell import Shell
from tradefan.sim.command import Wanted, failure
from tradefan.sim.report import Outcome
from tradefan.sim.witness import Violation

HANGS = """
import sys, time
from tradefan.sim import command
command.SEED_MAX_S = 2
command.run_seed = lambda seed, *_, **__: time.sleep(60)
command.simulate(command.Wanted((4711,), faults="none"), print)
"""


def test_failure_when_the_hours_have_many_digits_then_the_command_repeats_them_all() -> None:
    """Rounded hours are another run, which may not fail."""
    outcome = Outcome(3, "", Violation("I-01", 0, "x", "y"), (), 0)
    *_, line = failure(outcome, Wanted((3,), 0.123456789, "none"))
    assert line == "  tradefan simulate --seed 3 --hours 0.123456789 --faults none"


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
    assert "run_seed" in done.stderr or "<lambda>" in done.stderr

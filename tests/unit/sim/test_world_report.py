"""The report: sums over seeds and the coverage matrix."""

from __future__ import annotations

import pytest

from tradefan.sim import command
from tradefan.sim.command import Wanted
from tradefan.sim.faults import KINDS
from tradefan.sim.report import Outcome, Summary
from tradefan.sim.witness import Violation
from tradefan.units import HOUR


def outcome(seed: int, violation: Violation | None = None) -> Outcome:
    return Outcome(
        seed=seed,
        trace="0" * 64,
        violation=violation,
        simulated_ns=HOUR // 2,
        orders=100,
        fills=7,
        cpu_s=2.5,
        crashes=2,
        starts=3,
        faults={"stall": 3, "halt": 1},
        refused={"LATCHED": 1, "LATE": 2},
        coverage={"stall": {"NEW": 2, "IN_DOUBT_CREATE": 1}, "halt": {"NONE": 1}},
    )


def test_summary_when_outcomes_are_added_then_everything_is_summed() -> None:
    """Hours, orders, faults by kind and the matrix are sums over all seeds."""
    summary = Summary()
    summary.add(outcome(1))
    summary.add(outcome(2))
    assert (summary.seeds, summary.simulated_ns, summary.orders, summary.crashes) == (2, HOUR, 200, 4)
    assert summary.faults == {"stall": 6, "halt": 2}
    assert summary.coverage["stall"] == {"NEW": 4, "IN_DOUBT_CREATE": 2}
    assert summary.refused == {"LATCHED": 2, "LATE": 4}
    assert summary.violations == []


def test_summary_when_an_invariant_broke_then_both_values_are_kept() -> None:
    """Whoever reads the summary sees what was expected and what was found."""
    summary = Summary()
    summary.add(outcome(5, Violation("I-01", 9, "one create", "two")))
    assert summary.violations == [{"seed": 5, "invariant": "I-01", "expected": "one create", "found": "two"}]


def test_lines_when_printed_then_the_matrix_has_a_row_for_each_kind() -> None:
    """A row names the kind, how often it happened, and what it found our orders in."""
    summary = Summary()
    summary.add(outcome(1))
    head, slowest, refused, columns, halt, stall = summary.lines()
    assert "seeds 1" in head
    assert "simulated 0.5 h" in head
    assert slowest == "slowest seed 1: 2.5 s of computing"
    assert refused == "writes that the link refused: LATCHED 1, LATE 2"
    assert halt.split() == ["halt", "1", "1", *["0"] * 9]
    assert stall.split() == ["stall", "3", "0", "0", "2", "0", "0", "0", "1", "0", "0", "0"]
    assert len(columns.split()) == len(stall.split())


@pytest.mark.parametrize(("seeds", "struck"), [(2, False), (2, True)])
def test_main_when_a_kind_never_strikes_in_many_seeds_then_it_is_named_and_the_code_is_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seeds: int, *, struck: bool
) -> None:
    """A promise that no fault has tried is shown by nothing; a few seeds need not have all of them."""
    summary = Summary(seeds=seeds, faults={kind: 1 for kind in KINDS if struck or kind != "halt"})
    monkeypatch.setattr(command, "ENOUGH_SEEDS", 2)
    monkeypatch.setattr(command, "simulate", lambda _wanted, _say: (summary, "0" * 64))
    code = command.main(Wanted(tuple(range(seeds)), 0.1), as_json=False)
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"trace {'0' * 64}"
    assert (code, said[-2].endswith(": halt")) == ((0, False) if struck else (1, True))
    summary.faults.pop("stall")
    assert command.main(Wanted((1,), 0.1), as_json=False) == 0
    assert command.main(Wanted((1, 2), 0.1, "halt"), as_json=False) == 0
    assert command.main(Wanted((1, 2), 0.1, only="halt"), as_json=False) == 0


def test_main_when_a_seed_violates_an_invariant_then_the_code_is_1_and_the_trace_is_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A proof that nobody's build hears of is none."""
    summary = Summary(seeds=1, violations=[{"seed": 1}])
    monkeypatch.setattr(command, "simulate", lambda _wanted, _say: (summary, "0" * 64))
    assert command.main(Wanted((1,), 0.1, "none"), as_json=False) == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"trace {'0' * 64}"

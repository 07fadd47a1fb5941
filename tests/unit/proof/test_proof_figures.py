"""Ranges of seeds: what is missing, what replaces what, what is one run; and the files of figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.proof import stamp
from tests.proof.figures import Proof, Seeds, added, gaps, load, load_all, merged, pieces, save
from tests.proof.seeds import HOURS, Asked, chunk_of, run, strikes
from tests.unit.proof.made import ONE, OTHER, chunk, stamped, whole
from tradefan.errors import Refused
from tradefan.sim.report import Outcome, Summary
from tradefan.sim.witness import Violation


@pytest.mark.parametrize(
    ("has", "missing"),
    [
        ((), [(1, 500)]),
        ((chunk(1, 500),), []),
        ((chunk(1, 250),), [(251, 500)]),
        ((chunk(101, 200), chunk(301, 400)), [(1, 100), (201, 300), (401, 500)]),
        ((chunk(401, 900),), [(1, 400)]),
        ((chunk(501, 600),), [(1, 500)]),
        ((chunk(1, 500, OTHER),), [(1, 500)]),
    ],
)
def test_gaps_when_some_seeds_have_run_at_this_code_then_the_others(
    has: tuple[object, ...], missing: list[tuple[int, int]]
) -> None:
    """What ran at another commit does not count; neither does another length."""
    assert gaps(1, 500, HOURS, ONE, has) == missing  # type: ignore[arg-type]
    assert gaps(1, 500, 0.2, ONE, has) == [(1, 500)]  # type: ignore[arg-type]


def test_pieces_when_a_range_is_long_then_cut_from_its_beginning() -> None:
    """Each is stored by itself."""
    assert pieces([(1, 600), (701, 750)], 250) == [(1, 250), (251, 500), (501, 600), (701, 750)]


def test_added_when_another_code_ran_these_seeds_then_the_newer_run_takes_their_place() -> None:
    """A seed counts once, and what is of two commits stays apart."""
    old = Seeds((chunk(1, 250, OTHER), chunk(251, 500, OTHER)))
    found = added(old, chunk(1, 250))
    assert [(one.first, one.stamp.commit) for one in found.chunks] == [(1, ONE), (251, OTHER)]


def test_added_when_the_same_code_ran_one_of_these_seeds_then_refused() -> None:
    """It was the same run, and would count twice."""
    with pytest.raises(Refused, match="SEED_TWICE: 250-300: seeds 1-250 of 111111111111"):
        added(Seeds((chunk(1, 250),)), chunk(250, 300))


def test_merged_when_chunks_follow_each_other_at_one_commit_then_they_are_one_run() -> None:
    """A hole, another commit or another machine begins a new one."""
    chunks = (chunk(1, 250), chunk(251, 500), chunk(501, 600, OTHER), chunk(700, 800, OTHER))
    assert [(one[0].first, one[-1].last) for one in merged(chunks)] == [(1, 500), (501, 600), (700, 800)]


def test_figures_when_stored_then_read_back_as_they_were(tmp_path: Path) -> None:
    """Part by part; one that never ran is none."""
    proof = whole()
    assert load_all(tmp_path) == Proof()
    for figures in (proof.seeds, proof.mutants, proof.kills, proof.recovery):
        assert figures is not None
        save(tmp_path, figures)
    assert load_all(tmp_path) == proof
    assert {path.name for path in tmp_path.iterdir()} == {
        "seeds.json",
        "mutants.json",
        "kills.json",
        "recovery.json",
    }
    assert len((tmp_path / "seeds.json").read_text().splitlines()) == 6


def test_figures_when_the_file_is_none_of_ours_then_refused_by_what_is_wrong(tmp_path: Path) -> None:
    """A number that somebody has taken out must not become another one."""
    (tmp_path / "seeds.json").write_text('{"chunks": [{"first": 1}]}')
    with pytest.raises(Refused, match=r"BAD_FIGURES: seeds.json: .*missing required field `stamp`"):
        load(tmp_path, Seeds)


def test_strikes_when_read_from_the_matrix_then_an_order_is_met_where_none_and_down_are_not() -> None:
    """One strike may meet several states, and counts in each of them."""
    row = {"NONE": 2, "DOWN": 1, "NEW": 5, "PARTIALLY_FILLED": 3, "IN_DOUBT_CREATE": 2, "IN_DOUBT_REPLACE": 1}
    assert strikes(10, row) == (kept := strikes(10, dict(reversed(row.items()))))
    assert (kept.count, kept.live, kept.create, kept.cancel, kept.replace) == (10, 7, 2, 0, 1)


def test_chunk_when_made_of_a_sum_then_nothing_of_it_is_lost() -> None:
    """Violations, too."""
    summary = Summary()
    broken = Violation("I-06", 5, "one FILL", "two")
    faults, coverage = {"bust": 3}, {"bust": {"NONE": 1, "NEW": 2}}
    summary.add(Outcome(7, "t", None, 100, orders=4, fills=3, crashes=2, starts=3, cpu_s=1.26))
    summary.add(Outcome(8, "t", broken, 50, liar=True, faults=faults, coverage=coverage))
    found = chunk_of(stamped(), (7, 8), HOURS, summary, "ab")
    assert (found.seeds, found.liars, found.simulated_ns, found.orders, found.fills) == (2, 1, 150, 4, 3)
    assert (found.crashes, found.starts, found.slowest, found.slowest_s) == (2, 3, 7, 1.3)
    assert found.faults == {"bust": strikes(3, {"NONE": 1})}
    assert [(one.seed, one.invariant, one.found) for one in found.violations] == [(8, "I-06", "two")]


def test_seeds_when_two_ranges_run_at_once_then_neither_loses_chunks_of_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts may run side by side."""
    begun: list[int] = []

    def simulate(wanted: object, say: object) -> tuple[Summary, str]:
        first = wanted.seeds[0]  # type: ignore[attr-defined]
        begun.append(first)
        if first == 1:
            run(tmp_path, Asked(first=51, count=50, chunk=25), lambda _: None)
        return Summary(seeds=25), "ab"

    monkeypatch.setattr("tests.proof.seeds.simulate", simulate)
    monkeypatch.setattr(stamp, "code_of", lambda ref: ONE)
    monkeypatch.setattr(stamp, "changes", list)
    run(tmp_path, Asked(count=50, chunk=25), lambda _: None)
    assert begun == [1, 51, 76, 26]
    seeds = load(tmp_path, Seeds)
    assert seeds is not None
    assert [one.first for one in seeds.chunks] == [1, 26, 51, 76]


def test_seeds_when_of_another_length_then_not_among_those_that_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would take the places of seeds of the length that the page names, and of their violations."""
    monkeypatch.setattr("tests.proof.seeds.simulate", lambda *_: (Summary(seeds=1), "ab"))
    monkeypatch.setattr(stamp, "code_of", lambda ref: ONE)
    monkeypatch.setattr(stamp, "changes", list)
    with pytest.raises(Refused, match=r"OTHER_HOURS: expected seeds of 0.1 h, got 0.07"):
        run(stamp.PLACE, Asked(count=1, hours=0.07), lambda _: None)
    run(tmp_path, Asked(count=1, hours=0.07), lambda _: None)


def test_seeds_when_interrupted_then_go_on_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk is stored as it ends; the one that was cut runs again, from its beginning."""
    ran: list[tuple[int, int]] = []

    def simulate(wanted: object, say: object) -> tuple[Summary, str]:
        seeds = wanted.seeds  # type: ignore[attr-defined]
        if len(ran) == 1:
            ran.append((0, 0))
            raise KeyboardInterrupt
        ran.append((seeds[0], seeds[-1]))
        return Summary(seeds=len(seeds)), "ab"

    monkeypatch.setattr("tests.proof.seeds.simulate", simulate)
    monkeypatch.setattr(stamp, "code_of", lambda ref: ONE)
    monkeypatch.setattr(stamp, "changes", list)
    asked = Asked(count=60, chunk=25)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, asked, lambda _: None)
    run(tmp_path, asked, lambda _: None)
    run(tmp_path, asked, lambda _: None)
    assert ran == [(1, 25), (0, 0), (26, 50), (51, 60)]
    seeds = load(tmp_path, Seeds)
    assert seeds is not None
    assert [(one.first, one.last) for one in seeds.chunks] == [(1, 25), (26, 50), (51, 60)]

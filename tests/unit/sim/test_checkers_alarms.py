"""I-38, I-41: modes that do not flap, errors that name faults."""

from __future__ import annotations

import pytest

from tests.unit.sim.checker_bench import BTC, T0, Bench, broken
from tradefan.messages.account import Mode
from tradefan.messages.records import Epoch, Kill, ModeChange, Resume
from tradefan.sim.checkers.alarms import CAUSES, HONEST, ErrorsNameFaults
from tradefan.sim.checkers.modes import FewChanges, Modes
from tradefan.sim.faults import KINDS
from tradefan.units import MINUTE, SECOND


def change(at_ns: int, cause: str = "feed", scope: str = BTC, mode: Mode = "NO_NEW_RISK") -> ModeChange:
    return ModeChange(at_ns, scope, cause, mode, "", "")


def test_modes_when_they_change_six_times_a_minute_then_quiet() -> None:
    """I-38: of each (scope, cause) apart; a seventh comes when the first is a minute old."""
    bench = Bench(FewChanges())
    for number in range(6):
        at = T0 + number * SECOND
        assert bench.step(change(at), change(at, "hold"), change(at, scope="all")) is None
    assert bench.step(change(T0 + MINUTE)) is None


def test_modes_when_they_flap_then_broken() -> None:
    """I-38: seven within a minute, over a crash too."""
    bench = Bench(FewChanges())
    assert bench.step(*(change(T0 + number) for number in range(6))) is None
    bench.crash(6)
    found = bench.step(change(T0 + MINUTE - 1))
    broken(found, "I-38", f"at most 6 changes a minute of {BTC} for 'feed'", f"7 since {T0}")


def test_modes_when_the_process_starts_often_then_each_start_may_change_two_more() -> None:
    """I-38: what it finds is entered, what was journaled and is not so any more is taken off."""
    bench = Bench(FewChanges())
    for start in range(4):
        at = T0 + start * SECOND
        assert bench.step(Epoch(at, start + 1, "abc", "c", "0.1"), *(change(at) for _ in range(3))) is None
    found = bench.step(*(change(T0 + 5 * SECOND) for _ in range(3)))
    broken(found, "I-38", f"at most 14 changes a minute of {BTC} for 'feed'", f"15 since {T0}")


def test_modes_when_the_clock_of_a_new_start_is_behind_then_counting_begins_anew() -> None:
    """I-38: records carry the kernel's time, which is another one in each life."""
    bench = Bench(FewChanges())
    assert bench.step(*(change(T0 + number) for number in range(6))) is None
    assert bench.step(change(T0 - MINUTE)) is None


def test_modes_when_folded_then_the_tightest_cause_of_all_scopes_counts() -> None:
    """The fold that other checkers use: causes by scope, kills, and what RESUME lets go."""
    modes = Modes()
    records = (
        change(1),
        change(2, "in doubt", "paper:main", "CANCEL_ONLY"),
        change(3, "drawdown", "paper:main", "REDUCE_ONLY"),
        Kill(4, "all", "x", "me"),
    )
    for record in records:
        modes.take(record)
    assert modes.at_least("KILLED", ("all",))
    assert modes.at_least("CANCEL_ONLY", (BTC, "paper:main"))
    assert not modes.at_least("REDUCE_ONLY", (BTC,))
    for resumed in ("all", "paper:main"):
        modes.take(Resume(5, resumed, "x", "me"))
    modes.take(change(6, mode="NORMAL"))
    assert modes.of((BTC, "paper:main", "all")) == {"paper:main": {"in doubt": "CANCEL_ONLY"}}


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("overfill", "overfill"),
        ("overfill", "bust"),
        ("parent_failed", "executor_raise"),
        ("journal_failing", "disk_full"),
    ],
)
def test_error_when_a_fault_of_its_kind_was_injected_then_quiet_else_broken(event: str, kind: str) -> None:
    """I-41: a kind itself, or one of a family."""
    bench = Bench(ErrorsNameFaults())
    bench.fault("market_gap")
    bench.fault(kind)
    bench.log("error", event)
    assert bench.look() is None
    bench = Bench(ErrorsNameFaults())
    bench.fault("market_gap")
    bench.log("critical", event, subject="c1")
    broken(bench.look(), "I-41", f"{event} of oms only behind one of", "'c1'} behind ['market_gap']")


def test_error_when_no_fault_may_lead_to_it_then_broken_whatever_was_injected() -> None:
    """I-41: records that do not apply, a chain that breaks by itself, an event that nobody has described."""
    for event in ("records_unapplied", "chain_broken", "new_words"):
        bench = Bench(ErrorsNameFaults())
        for kind in KINDS:
            bench.fault(kind)
        bench.log("critical", event)
        broken(bench.look(), "I-41", event, "behind")


def test_error_when_only_a_liar_may_lead_to_it_then_broken_with_an_honest_venue() -> None:
    """I-41: an order that is adopted behind two looks means a broken bound, or a human who erred."""
    for honest in (True, False):
        bench = Bench(ErrorsNameFaults(), honest=honest)
        bench.fault("late_accept")
        bench.log("critical", "order_adopted")
        violation = bench.look()
        if honest:
            broken(violation, "I-41", "order_adopted of oms only behind one of ('resolve',)", "late_accept")
        else:
            assert violation is None


def test_warning_when_logged_then_nothing_has_to_explain_it() -> None:
    """I-41: warnings are no alarms."""
    bench = Bench(ErrorsNameFaults())
    bench.log("warning", "in_doubt")
    assert bench.look() is None


def test_table_when_it_names_kinds_then_the_world_can_inject_them() -> None:
    """I-41: a word that no fault has would excuse nothing, and hide that it does not."""
    for table in (CAUSES, HONEST):
        for event, kinds in table.items():
            for kind in kinds:
                known = any(word.startswith(kind) for word in KINDS) if kind.endswith("_") else kind in KINDS
                inside = kind in ("crash_effect", "crash_disk", "crash_take")
                assert known or inside, f"{event}: {kind}"
